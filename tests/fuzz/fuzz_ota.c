/*
 * What a device posts to the over-the-air service. The first byte says what the rest is: 'c' a whole CMS message (nobody the
 * fuzzer knows can sign, so none is good and a refusal leaves nothing behind), anything else the property list inside: whatever
 * is read of it is clean text, from inside the list.
 */
#include "enroll/worker/ota.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/text.h"
#include "enroll/worker/ota_plist.h"
#include "fuzz.h"

/* A CA of which nobody has the key any more. */
static struct ota *make_ota(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	struct ota *o;
	char *p = NULL;
	long n;

	FUZZ_CHECK(key != NULL && cert != NULL && bio != NULL);
	FUZZ_CHECK(X509_set_version(cert, X509_VERSION_3) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)"Example Devices", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	FUZZ_CHECK(X509_set_pubkey(cert, key) == 1 && X509_sign(cert, key, EVP_sha256()) > 0 && PEM_write_bio_X509(bio, cert) == 1);
	n = BIO_get_mem_data(bio, &p);
	o = ota_new((struct strv){ p, (size_t)n }, (struct strv){ p, (size_t)n });
	FUZZ_CHECK(o != NULL);
	BIO_free(bio);
	X509_free(cert);
	EVP_PKEY_free(key);
	return o;
}

static int look(void *arg, struct strv key, struct strv type, struct strv value)
{
	const struct strv *whole = arg;
	char text[OTA_FIELD_MAX];

	FUZZ_CHECK(key.n > 0 && key.p >= whole->p && key.p + key.n <= whole->p + whole->n);
	FUZZ_CHECK(type.n > 0 && (value.n == 0 || (value.p >= whole->p && value.p + value.n <= whole->p + whole->n)));
	if (ota_plist_text(text, sizeof(text), value) == 0)
		FUZZ_CHECK(text_is_clean(strv_from(text)) && strlen(text) < sizeof(text));
	else
		FUZZ_CHECK(text[0] == '\0');
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const struct ota_post none;
	static struct ota *ota;
	struct ota_post post;
	struct strv rest;
	char *copy;

	if (n == 0)
		return 0;
	if (ota == NULL)
		ota = make_ota();
	copy = fuzz_exact(bytes + 1, n - 1);
	rest = (struct strv){ copy, n - 1 };
	if (bytes[0] == 'c') {
		FUZZ_CHECK(ota_open(ota, rest, 1800000000, &post) != OTA_OK);
		FUZZ_CHECK(memcmp(&post, &none, sizeof(post)) == 0 && ERR_peek_error() == 0);
	} else if (ota_plist_read(rest, look, &rest) == 0) {
		FUZZ_CHECK(rest.n > 0);
	}
	free(copy);
	return 0;
}
