/*
 * Certification requests. As they come: what is accepted has a key worth certifying, clean texts, and reads the same twice. And signed anew by a key of
 * ours, so that what stands behind the proof of possession is reached: names, extensions, challenge.
 */
#include "enroll/worker/csr.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "common/text.h"
#include "der_mutate.h"

static void check(const struct csr *c)
{
	const char *const names[] = { "anna", "anna@corp.example", NULL, "", "S-1-5-21-1-2-3-1104" };

	FUZZ_CHECK(c->spki_n > 0 && c->spki_n <= CSR_SPKI_MAX);
	FUZZ_CHECK(c->rsa ? c->bits >= 2048 && c->bits <= 8192 : c->bits == 256 || c->bits == 384);
	FUZZ_CHECK(strlen(c->challenge) <= CSR_CHALLENGE_MAX && c->has_challenge == (c->challenge[0] != '\0'));
	FUZZ_CHECK(memchr(c->subject, '\0', sizeof(c->subject)) != NULL && memchr(c->asked, '\0', sizeof(c->asked)) != NULL);
	FUZZ_CHECK(memchr(c->claimed, '\0', sizeof(c->claimed)) != NULL);
	for (const char *p = c->asked; *p != '\0'; p++)
		FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
	for (struct strv rest = strv_from(c->claimed), one; rest.p != NULL;) {
		one = text_split(&rest, '\n');
		FUZZ_CHECK(text_is_clean(one));
	}
	(void)csr_names_another(c, names, ARRAY_LEN(names));
}

static void read_one(struct strv der)
{
	struct csr c, again;
	enum csr_result rc = csr_read_der(der, true, &c);

	FUZZ_CHECK(csr_result_text(rc)[0] != '\0' && ERR_peek_error() == 0);
	if (rc == CSR_OK) {
		check(&c);
		FUZZ_CHECK(csr_read_der(der, true, &again) == CSR_OK && memcmp(&c, &again, sizeof(c)) == 0);
	} else
		FUZZ_CHECK(c.spki_n == 0 && c.challenge[0] == '\0');
	csr_clear(&c);
}

static void read_signed_anew(struct strv der)
{
	static EVP_PKEY *key;
	const unsigned char *p = (const unsigned char *)der.p;
	X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)der.n);
	unsigned char *out = NULL;
	int n = -1;

	if (key == NULL)
		key = EVP_EC_gen("P-256");
	if (req != NULL && X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, EVP_sha256()) > 0)
		n = i2d_X509_REQ(req, &out);
	ERR_clear_error();
	if (n > 0)
		read_one((struct strv){ (char *)out, (size_t)n });
	OPENSSL_free(out);
	X509_REQ_free(req);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *copy;

	if (n > CSR_BYTES_MAX + 16)
		return 0;
	copy = fuzz_exact(bytes, n);
	read_one((struct strv){ copy, n });
	read_signed_anew((struct strv){ copy, n });
	free(copy);
	return 0;
}
