/*
 * CSR: only the key and the challenge are taken; no proof, weak keys and damaged bytes are refused; what it claims is told, and whom it names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include <openssl/rsa.h>

#include "common/text.h"
#include "enroll/worker/csr.h"
#include "tests/unit/pki.h"

struct wanted {
	const char *key, *cn, *challenge, *san, *sid;
	int challenge_type;		/* 0: UTF8String */
	const char *attribute;		/* an OID: one more attribute */
	bool twice, broken, pss;
	const EVP_MD *md;
};

static int sign(X509_REQ *req, EVP_PKEY *key, const struct wanted *w)
{
	const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : w->md != NULL ? w->md : EVP_sha256();
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *how = NULL;
	int n;

	MUST(ctx != NULL && EVP_DigestSignInit(ctx, &how, md, NULL, key) == 1);
	MUST(!w->pss || EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1);
	n = X509_REQ_sign_ctx(req, ctx);
	EVP_MD_CTX_free(ctx);
	return n;
}

static size_t make(const struct wanted *w, uint8_t *out, size_t size)
{
	EVP_PKEY *key = pki_key(w->key), *other = w->broken ? pki_key(w->key) : NULL;
	X509_REQ *req = X509_REQ_new();
	STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();
	unsigned char *p = out;
	int n;

	MUST(req != NULL && exts != NULL && X509_REQ_set_pubkey(req, key) == 1);
	if (w->cn != NULL)
		MUST(X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(req), NID_commonName, MBSTRING_UTF8, (const unsigned char *)w->cn, -1, -1, 0));
	if (w->challenge != NULL)
		MUST(X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, w->challenge_type != 0 ? w->challenge_type : V_ASN1_UTF8STRING,
		    (const unsigned char *)w->challenge, (int)strlen(w->challenge)) == 1);
	if (w->twice)
		MUST(X509_ATTRIBUTE_set1_data(X509_REQ_get_attr(req, 0), V_ASN1_UTF8STRING, "b", 1) == 1);
	if (w->san != NULL)
		MUST(sk_X509_EXTENSION_push(exts, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, w->san)) > 0);
	if (w->sid != NULL) {
		struct der value = der_sid(der_raw(w->sid, strlen(w->sid)));
		ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
		ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.4.1.311.25.2", 1);

		MUST(ASN1_OCTET_STRING_set(octets, value.p, (int)value.n) == 1);
		MUST(sk_X509_EXTENSION_push(exts, X509_EXTENSION_create_by_OBJ(NULL, oid, 0, octets)) > 0);
		ASN1_OCTET_STRING_free(octets);
		ASN1_OBJECT_free(oid);
	}
	if (sk_X509_EXTENSION_num(exts) > 0)
		MUST(X509_REQ_add_extensions(req, exts) == 1);
	if (w->attribute != NULL)
		MUST(X509_REQ_add1_attr_by_txt(req, w->attribute, V_ASN1_UTF8STRING, (const unsigned char *)"b", 1) == 1);
	MUST(sign(req, w->broken ? other : key, w) > 0);
	n = i2d_X509_REQ(req, NULL);
	MUST(n > 0 && (size_t)n <= size);
	n = i2d_X509_REQ(req, &p);
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	return (size_t)n;
}

static enum csr_result read_one(const struct wanted *w, bool sha1, struct csr *out)
{
	uint8_t der[8192];
	size_t n = make(w, der, sizeof(der));

	return csr_read((struct strv){ (char *)der, n }, sha1, out);
}

static void the_key_and_the_challenge_are_taken(void **state)
{
	struct csr c;

	(void)state;
	assert_int_equal(read_one(&(struct wanted){ .cn = "anna", .challenge = "AB-CD" }, false, &c), CSR_OK);
	assert_string_equal(c.challenge, "AB-CD");
	assert_true(c.has_challenge);
	assert_false(c.rsa);
	assert_true(c.spki_n > 64);
	assert_int_equal(read_one(&(struct wanted){ .key = "RSA-2048", .challenge = "X", .challenge_type = V_ASN1_PRINTABLESTRING }, false, &c), CSR_OK);
	assert_true(c.rsa);
	assert_int_equal(c.bits, 2048);
	assert_int_equal(read_one(&(struct wanted){ .key = "P-384" }, false, &c), CSR_OK);
	assert_false(c.has_challenge);
}

static void weak_and_foreign_keys_are_refused(void **state)
{
	struct csr c;

	(void)state;
	assert_int_equal(read_one(&(struct wanted){ .key = "RSA-1024" }, false, &c), CSR_WEAK_KEY);
	assert_int_equal(read_one(&(struct wanted){ .key = "P-224", .cn = "whoever has this name has a request of some length" }, false, &c), CSR_WEAK_KEY);
	assert_int_equal(read_one(&(struct wanted){ .key = "ED25519", .cn = "whoever has this name has a request of some length" }, false, &c), CSR_KEY_KIND);
	assert_int_equal(c.spki_n, 0);
}

static void a_request_must_be_signed_by_its_own_key(void **state)
{
	struct csr c;

	(void)state;
	assert_int_equal(read_one(&(struct wanted){ .broken = true }, false, &c), CSR_NO_PROOF);
	assert_int_equal(read_one(&(struct wanted){ .md = EVP_sha1() }, false, &c), CSR_NO_PROOF);
	assert_int_equal(read_one(&(struct wanted){ .md = EVP_sha1() }, true, &c), CSR_OK);
	assert_int_equal(read_one(&(struct wanted){ .key = "RSA-2048", .pss = true }, false, &c), CSR_OK);
	assert_int_equal(read_one(&(struct wanted){ .key = "RSA-2048", .pss = true, .md = EVP_sha1() }, false, &c), CSR_NO_PROOF);
	assert_int_equal(read_one(&(struct wanted){ .key = "RSA-2048", .pss = true, .md = EVP_sha1() }, true, &c), CSR_OK);
}

static void a_request_for_a_sealed_key_is_known_as_such(void **state)
{
	struct csr c;

	(void)state;
	assert_int_equal(read_one(&(struct wanted){ .attribute = "1.2.840.113549.1.9.16.2.37" }, false, &c), CSR_OK);
	assert_true(c.sealed_key);
	assert_int_equal(read_one(&(struct wanted){ .attribute = "1.2.840.113549.1.9.16.2.54" }, false, &c), CSR_OK);
	assert_true(c.sealed_key);
	assert_int_equal(read_one(&(struct wanted){ .attribute = "1.2.840.113549.1.9.16.2.38" }, false, &c), CSR_OK);
	assert_false(c.sealed_key);
}

static void a_doubtful_challenge_is_refused(void **state)
{
	struct csr c;
	char longer[200];

	(void)state;
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(read_one(&(struct wanted){ .challenge = "a", .twice = true }, false, &c), CSR_BAD_CHALLENGE);
	assert_int_equal(read_one(&(struct wanted){ .challenge = "a", .challenge_type = V_ASN1_OCTET_STRING }, false, &c), CSR_BAD_CHALLENGE);
	assert_int_equal(read_one(&(struct wanted){ .challenge = "a\nb" }, false, &c), CSR_BAD_CHALLENGE);
	assert_int_equal(read_one(&(struct wanted){ .challenge = longer }, false, &c), CSR_BAD_CHALLENGE);
}

static void pem_and_base64_are_read_as_well(void **state)
{
	uint8_t der[4096];
	char base64[8192], text[12000], wrapped[12000];
	size_t n = make(&(struct wanted){ .cn = "anna" }, der, sizeof(der)), m = text_base64(base64, der, n), k = 0;
	struct csr c;

	(void)state;
	for (size_t i = 0; i < m; i++) {
		wrapped[k++] = base64[i];
		if (i % 64 == 63)
			wrapped[k++] = '\n';
	}
	wrapped[k] = '\0';
	assert_int_equal(csr_read((struct strv){ wrapped, k }, false, &c), CSR_OK);
	snprintf(text, sizeof(text), "words before\n-----BEGIN CERTIFICATE REQUEST-----\r\n%s\n-----END CERTIFICATE REQUEST-----\n", wrapped);
	assert_int_equal(csr_read(strv_from(text), false, &c), CSR_OK);
	snprintf(text, sizeof(text), "-----BEGIN CERTIFICATE REQUEST-----\n%s", wrapped);
	assert_int_equal(csr_read(strv_from(text), false, &c), CSR_MALFORMED);
}

static void damaged_bytes_are_refused_wherever_they_are(void **state)
{
	uint8_t der[4096];
	size_t n = make(&(struct wanted){ .cn = "anna", .challenge = "secret", .san = "email:a@b.example" }, der, sizeof(der));
	struct csr c;

	(void)state;
	for (size_t cut = 0; cut < n; cut++)
		assert_int_not_equal(csr_read((struct strv){ (char *)der, cut }, true, &c), CSR_OK);
	for (size_t i = 0; i < n; i++) {
		der[i] ^= 0x01;
		assert_int_not_equal(csr_read((struct strv){ (char *)der, n }, true, &c), CSR_OK);
		der[i] ^= 0x01;
	}
	der[n] = 0;
	assert_int_not_equal(csr_read((struct strv){ (char *)der, n + 1 }, true, &c), CSR_OK);
	assert_int_equal(csr_read((struct strv){ (char *)der, CSR_TEXT_MAX + 1 }, true, &c), CSR_TOO_LONG);
}

static void whoever_a_request_names_is_told(void **state)
{
	static const char *const anna[] = { "anna", "anna@example.com", "S-1-5-21-1-2-3-1104", "Anna Example" };
	static const struct { struct wanted w; bool another; } row[] = {
		{ { .cn = "Anna Example" }, false },
		{ { .cn = "ANNA" }, false },
		{ { 0 }, false },
		{ { .cn = "administrator" }, true },
		{ { .cn = "anna", .san = "email:boss@example.com" }, true },
		{ { .cn = "anna", .san = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:anna@example.com" }, false },
		{ { .cn = "anna", .san = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:administrator@example.com" }, true },
		{ { .cn = "anna", .sid = "S-1-5-21-1-2-3-1104" }, false },
		{ { .cn = "anna", .sid = "S-1-5-21-1-2-3-500" }, true },
		{ { .cn = "anna", .sid = "nothing" }, true },
	};
	struct csr c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(read_one(&row[i].w, false, &c), CSR_OK);
		if (csr_names_another(&c, anna, ARRAY_LEN(anna)) != row[i].another)
			fail_msg("row %zu: %s %s", i, c.subject, c.asked);
	}
	assert_true(csr_names_another(&c, NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_key_and_the_challenge_are_taken),
		cmocka_unit_test(weak_and_foreign_keys_are_refused),
		cmocka_unit_test(a_request_must_be_signed_by_its_own_key),
		cmocka_unit_test(a_request_for_a_sealed_key_is_known_as_such),
		cmocka_unit_test(a_doubtful_challenge_is_refused),
		cmocka_unit_test(pem_and_base64_are_read_as_well),
		cmocka_unit_test(damaged_bytes_are_refused_wherever_they_are),
		cmocka_unit_test(whoever_a_request_names_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
