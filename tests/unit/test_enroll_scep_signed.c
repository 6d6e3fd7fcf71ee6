/*
 * SCEP messages that are signed as they should be, and say what they should not: the signature is anybody's, so what stands behind it is checked for itself
 * (RFC 5652 sections 5.3, 5.4, 11.1 and 11.2; RFC 8894 section 3). Each differs from a good one in one thing.
 */
#include "enroll/worker/scep_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <cmocka.h>

#include "enroll/der_write.h"
#include "scep_client.h"

#define ROOM 32768

static const struct scep_rules rules = { .des3 = true };
static EVP_PKEY *key;
static unsigned char *cert, *twin, *large;	/* of this key, by one name and with one serial; of one of 9216 bits that nobody has */
static size_t cert_n, twin_n, large_n;

struct odd {
	const char *what;
	enum scep_result expected;
	/* the signature */
	bool type_missing, type_other, digest_other, id_twice, many_attributes, content_other, content_missing, algorithm_other;
	/* who signed */
	bool serial_other, issuer_other, twins, key_large;
	/* the envelope */
	unsigned recipients;			/* 0: 1; else that many and one less */
	bool inside_other, vector_short, vector_missing;
};

static EVP_PKEY *large_key(void)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	BIGNUM *n = BN_new(), *e = BN_new();
	EVP_PKEY *out = NULL;
	OSSL_PARAM *params;

	assert_true(BN_rand(n, 9216, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD) && BN_set_word(e, 65537));
	assert_true(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e));
	params = OSSL_PARAM_BLD_to_param(build);
	assert_true(EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &out, EVP_PKEY_PUBLIC_KEY, params) == 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	BN_free(e);
	return out;
}

static int set_up(void **state)
{
	EVP_PKEY *nobodys = large_key();
	X509 *one, *other;

	(void)state;
	key = client_key(2048);
	one = client_certificate(key, "phone", 2, NULL, NULL);
	other = X509_dup(one);
	assert_true(X509_gmtime_adj(X509_getm_notAfter(other), 172800) != NULL && X509_sign(other, key, EVP_sha256()) > 0);
	cert_n = (size_t)i2d_X509(one, &cert);
	twin_n = (size_t)i2d_X509(other, &twin);
	assert_true(X509_set_pubkey(other, nobodys) == 1 && X509_sign(other, key, EVP_sha256()) > 0);
	large_n = (size_t)i2d_X509(other, &large);
	X509_free(one);
	X509_free(other);
	EVP_PKEY_free(nobodys);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(key);
	OPENSSL_free(cert);
	OPENSSL_free(twin);
	OPENSSL_free(large);
	return 0;
}

static void put_algorithm(struct der_writer *d, int nid)
{
	size_t mark = der_mark(d);

	der_value(d, DER_NULL, NULL, 0);
	der_oid(d, nid);
	der_enclose(d, DER_SEQUENCE, mark);
}

static void put_recipient(struct der_writer *d, const struct der_certificate *to)
{
	static const uint8_t zero[] = { DER_INTEGER, 1, 0 };
	uint8_t wrapped[256] = { 1 };
	size_t end = der_mark(d), mark;

	der_value(d, DER_OCTETS, wrapped, sizeof(wrapped));
	put_algorithm(d, NID_rsaEncryption);
	mark = der_mark(d);
	der_put(d, to->serial.p, to->serial.n);
	der_put(d, to->issuer.p, to->issuer.n);
	der_enclose(d, DER_SEQUENCE, mark);
	der_put(d, zero, sizeof(zero));
	der_enclose(d, DER_SEQUENCE, end);
}

static struct strv envelope(const struct odd *odd, const struct der_certificate *to, uint8_t room[ROOM])
{
	static const uint8_t zero[] = { DER_INTEGER, 1, 0 }, bytes[32] = { 7 };
	struct der_writer d;
	size_t mark;

	der_start(&d, room, ROOM);
	der_value(&d, DER_CONTEXT(0), bytes, sizeof(bytes));
	mark = der_mark(&d);
	if (odd->vector_missing)
		der_value(&d, DER_NULL, NULL, 0);
	else
		der_value(&d, DER_OCTETS, bytes, odd->vector_short ? 8 : 16);
	der_oid(&d, NID_aes_256_cbc);
	der_enclose(&d, DER_SEQUENCE, mark);
	der_oid(&d, odd->inside_other ? NID_pkcs7_signed : NID_pkcs7_data);
	der_enclose(&d, DER_SEQUENCE, ROOM);
	mark = der_mark(&d);
	for (unsigned i = 1; i < (odd->recipients > 0 ? odd->recipients : 2); i++)
		put_recipient(&d, to);
	der_enclose(&d, DER_SET, mark);
	der_put(&d, zero, sizeof(zero));
	der_enclose(&d, DER_SEQUENCE, ROOM);
	der_enclose(&d, DER_CONSTRUCTED(0), ROOM);
	der_oid(&d, NID_pkcs7_enveloped);
	der_enclose(&d, DER_SEQUENCE, ROOM);
	return der_done(&d);
}

static void put_attribute(struct der_writer *d, const void *oid, size_t oid_n, uint8_t tag, const void *p, size_t n, bool twice)
{
	size_t mark = der_mark(d);

	der_value(d, tag, p, n);
	if (twice)
		der_value(d, tag, p, n);
	der_enclose(d, DER_SET, mark);
	der_value(d, DER_OID, oid, oid_n);
	der_enclose(d, DER_SEQUENCE, mark);
}

static void put_scep(struct der_writer *d, uint8_t nn, uint8_t tag, const void *p, size_t n, bool twice)
{
	const uint8_t oid[] = { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, nn };

	put_attribute(d, oid, sizeof(oid), tag, p, n, twice);
}

static struct strv attributes(const struct odd *odd, struct strv content, uint8_t room[ROOM])
{
	static const uint8_t type_oid[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03 }, digest_oid[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04 };
	const ASN1_OBJECT *type = OBJ_nid2obj(odd->type_other ? NID_pkcs7_enveloped : odd->content_other ? NID_pkcs7_signed : NID_pkcs7_data);
	uint8_t hash[SHA256_SIZE], nonce[16] = { 1 };
	struct der_writer d;

	SHA256((const uint8_t *)content.p, content.n, hash);
	hash[0] ^= odd->digest_other ? 1 : 0;
	der_start(&d, room, ROOM);
	put_scep(&d, 2, DER_PRINTABLE, "19", 2, false);
	put_scep(&d, 5, DER_OCTETS, nonce, sizeof(nonce), false);
	put_scep(&d, 7, DER_PRINTABLE, "ODD", 3, odd->id_twice);
	for (uint8_t i = 0; odd->many_attributes && i < 40; i++)
		put_scep(&d, (uint8_t)(64 + i), DER_OCTETS, nonce, sizeof(nonce), false);
	put_attribute(&d, digest_oid, sizeof(digest_oid), DER_OCTETS, hash, sizeof(hash), false);
	if (!odd->type_missing)
		put_attribute(&d, type_oid, sizeof(type_oid), DER_OID, OBJ_get0_data(type), OBJ_length(type), false);
	return der_done(&d);
}

static void sign(struct strv signed_ones, uint8_t out[256])
{
	uint8_t room[ROOM];
	struct der_writer d;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = 256;

	der_start(&d, room, sizeof(room));
	der_value(&d, DER_SET, signed_ones.p, signed_ones.n);
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, out, &n, (const uint8_t *)der_done(&d).p, der_done(&d).n), 1);
	EVP_MD_CTX_free(ctx);
}

static void put_signer(struct der_writer *d, const struct odd *odd, const struct der_certificate *parts, struct strv signed_ones)
{
	static const uint8_t one[] = { DER_INTEGER, 1, 1 }, other_name[] = { 0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x02, 'm', 'e' };
	uint8_t signature[256];
	size_t end = der_mark(d), mark;

	sign(signed_ones, signature);
	der_value(d, DER_OCTETS, signature, sizeof(signature));
	put_algorithm(d, odd->algorithm_other ? NID_sha512WithRSAEncryption : NID_rsaEncryption);
	der_value(d, DER_CONSTRUCTED(0), signed_ones.p, signed_ones.n);
	put_algorithm(d, NID_sha256);
	mark = der_mark(d);
	der_put(d, odd->serial_other ? (const char *)one : parts->serial.p, odd->serial_other ? sizeof(one) : parts->serial.n);
	der_put(d, odd->issuer_other ? (const char *)other_name : parts->issuer.p, odd->issuer_other ? sizeof(other_name) : parts->issuer.n);
	der_enclose(d, DER_SEQUENCE, mark);
	der_put(d, one, sizeof(one));
	der_enclose(d, DER_SEQUENCE, end);
	der_enclose(d, DER_SET, end);
}

static struct strv message(const struct odd *odd, uint8_t room[ROOM])
{
	static const uint8_t one[] = { DER_INTEGER, 1, 1 };
	uint8_t envelope_room[ROOM], attributes_room[ROOM];
	struct der_certificate parts;
	struct der_writer d;
	struct strv content;
	size_t mark;

	assert_int_equal(der_certificate_read((struct strv){ (char *)cert, cert_n }, &parts), 0);
	content = envelope(odd, &parts, envelope_room);
	der_start(&d, room, ROOM);
	put_signer(&d, odd, &parts, attributes(odd, content, attributes_room));
	mark = der_mark(&d);
	if (odd->key_large)
		der_put(&d, large, large_n);
	else
		der_put(&d, cert, cert_n);
	if (odd->twins)
		der_put(&d, twin, twin_n);
	der_enclose(&d, DER_CONSTRUCTED(0), mark);
	mark = der_mark(&d);
	if (!odd->content_missing) {
		der_value(&d, DER_OCTETS, content.p, content.n);
		der_enclose(&d, DER_CONSTRUCTED(0), mark);
	}
	der_oid(&d, odd->content_other ? NID_pkcs7_signed : NID_pkcs7_data);
	der_enclose(&d, DER_SEQUENCE, mark);
	mark = der_mark(&d);
	put_algorithm(&d, NID_sha256);
	der_enclose(&d, DER_SET, mark);
	der_put(&d, one, sizeof(one));
	der_enclose(&d, DER_SEQUENCE, ROOM);
	der_enclose(&d, DER_CONSTRUCTED(0), ROOM);
	der_oid(&d, NID_pkcs7_signed);
	der_enclose(&d, DER_SEQUENCE, ROOM);
	return der_done(&d);
}

static void threat_43_what_is_signed_is_not_good_for_that(void **state)
{
	static const struct odd odd[] = {
		{ .what = "a good one", .expected = SCEP_OK },
		{ .what = "no contentType", .type_missing = true, .expected = SCEP_BAD_SIGNATURE },
		{ .what = "a contentType that is not the content's", .type_other = true, .expected = SCEP_BAD_SIGNATURE },
		{ .what = "another content's digest", .digest_other = true, .expected = SCEP_BAD_SIGNATURE },
		{ .what = "a transactionID of two values", .id_twice = true, .expected = SCEP_NO_ATTRIBUTES },
		{ .what = "40 attributes more", .many_attributes = true, .expected = SCEP_NO_ATTRIBUTES },
		{ .what = "content that says that it is no data", .content_other = true, .expected = SCEP_BAD_CONTENT },
		{ .what = "no content", .content_missing = true, .expected = SCEP_BAD_CONTENT },
		{ .what = "a signature algorithm with another hash", .algorithm_other = true, .expected = SCEP_WEAK_DIGEST },
		{ .what = "another serial", .serial_other = true, .expected = SCEP_NOT_CMS },
		{ .what = "another issuer", .issuer_other = true, .expected = SCEP_NOT_CMS },
		{ .what = "two certificates that it names", .twins = true, .expected = SCEP_NOT_CMS },
		{ .what = "a key of 9216 bits", .key_large = true, .expected = SCEP_BAD_KEY },
		{ .what = "8 recipients", .recipients = 9, .expected = SCEP_OK },
		{ .what = "9 recipients", .recipients = 10, .expected = SCEP_BAD_CONTENT },
		{ .what = "no recipient", .recipients = 1, .expected = SCEP_BAD_CONTENT },
		{ .what = "an envelope around no data", .inside_other = true, .expected = SCEP_BAD_CONTENT },
		{ .what = "a vector of 8 bytes for AES", .vector_short = true, .expected = SCEP_BAD_CONTENT },
		{ .what = "no vector", .vector_missing = true, .expected = SCEP_BAD_CONTENT },
	};
	uint8_t room[ROOM];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		struct strv m = message(&odd[i], room);
		struct scep_request r;
		enum scep_result rc;

		assert_true(m.n > 0);
		rc = scep_request_read(&r, m.p, m.n, &rules);
		if (rc != odd[i].expected)
			fail_msg("%s: %s", odd[i].what, scep_result_text(rc));
		scep_request_clear(&r);
		assert_int_equal(ERR_peek_error(), 0);
	}
}

/* Keys that OpenSSL makes none of: certificates of such are made by putting their numbers into one of a good key. */
static void put_exponent(uint8_t *der, size_t n, const uint8_t exponent[3])
{
	static const uint8_t usual[] = { 0x02, 0x03, 0x01, 0x00, 0x01 };
	uint8_t *at = memmem(der, n, usual, sizeof(usual));

	assert_non_null(at);
	memcpy(at + 2, exponent, 3);
}

static void threat_43_a_signers_key_that_any_signature_fits_is_none(void **state)
{
	static const struct odd good = { .what = "good" };
	static const uint8_t even[] = { 0x01, 0x00, 0x02 }, one[] = { 0x00, 0x00, 0x01 };
	static const uint8_t *const exponents[] = { even, one };
	uint8_t room[ROOM];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(exponents); i++) {
		struct strv m = message(&good, room);
		struct scep_request r;
		enum scep_result rc;

		put_exponent((uint8_t *)(uintptr_t)m.p, m.n, exponents[i]);
		rc = scep_request_read(&r, m.p, m.n, &rules);
		if (rc != SCEP_BAD_KEY)
			fail_msg("exponent %zu: %s", i, scep_result_text(rc));
		scep_request_clear(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threat_43_what_is_signed_is_not_good_for_that),
		cmocka_unit_test(threat_43_a_signers_key_that_any_signature_fits_is_none),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
