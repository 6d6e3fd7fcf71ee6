/* Keys read here are those that OpenSSL reads; what is not the one encoding of a usual key is OpenSSL's to judge, or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "common/public_key.h"

/* The key's SubjectPublicKeyInfo; the caller frees `p` with OPENSSL_free. */
static struct strv spki_of(EVP_PKEY *key)
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);

	assert_true(n > 0);
	return (struct strv){ (const char *)der, (size_t)n };
}

static void check(EVP_PKEY *key, bool plain)
{
	struct strv spki = spki_of(key), again;
	EVP_PKEY *read = public_key_read(spki);

	assert_non_null(read);
	assert_int_equal(EVP_PKEY_eq(read, key), 1);
	assert_int_equal(EVP_PKEY_get_base_id(read), EVP_PKEY_get_base_id(key));
	assert_int_equal(EVP_PKEY_get_bits(read), EVP_PKEY_get_bits(key));
	again = spki_of(read);
	assert_true(strv_eq(again, spki));
	assert_int_equal(public_key_is_plain(spki), plain);
	OPENSSL_free((void *)(uintptr_t)again.p);
	OPENSSL_free((void *)(uintptr_t)spki.p);
	EVP_PKEY_free(read);
	EVP_PKEY_free(key);
}

static void usual_keys_are_what_openssl_reads(void **state)
{
	(void)state;
	check(EVP_EC_gen("P-256"), true);
	check(EVP_EC_gen("P-384"), true);
	check(EVP_EC_gen("P-521"), true);
	check(EVP_RSA_gen(1024), true);
	check(EVP_RSA_gen(2048), true);
}

static void other_keys_are_read_by_openssl(void **state)
{
	(void)state;
	check(EVP_EC_gen("secp256k1"), false);
	check(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), false);
	check(EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), false);
}

static void a_compressed_point_is_the_same_key(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *read;
	struct strv spki;

	(void)state;
	assert_int_equal(EVP_PKEY_set_utf8_string_param(key, "point-format", "compressed"), 1);
	spki = spki_of(key);
	assert_int_equal(spki.n, 59);
	assert_true(public_key_is_plain(spki));
	read = public_key_read(spki);
	assert_non_null(read);
	assert_int_equal(EVP_PKEY_eq(read, key), 1);
	OPENSSL_free((void *)(uintptr_t)spki.p);
	EVP_PKEY_free(read);
	EVP_PKEY_free(key);
}

/* Another byte is another key, none, or an encoding that is OpenSSL's to judge; never a crash. */
static void each_byte_counts(EVP_PKEY *key)
{
	struct strv spki = spki_of(key);
	char bytes[600];
	EVP_PKEY *read;

	assert_true(spki.n < sizeof(bytes));
	memcpy(bytes, spki.p, spki.n);
	for (size_t i = 0; i < spki.n; i++) {
		for (int bit = 0; bit < 8; bit++) {
			bytes[i] = (char)(spki.p[i] ^ 1 << bit);
			read = public_key_read((struct strv){ bytes, spki.n });
			/* what OpenSSL takes beside is not taken for the one encoding */
			assert_true(read == NULL || EVP_PKEY_eq(read, key) != 1 || !public_key_is_plain((struct strv){ bytes, spki.n }));
			EVP_PKEY_free(read);
		}
		bytes[i] = spki.p[i];
	}
	for (size_t n = 0; n < spki.n; n++)
		assert_null(public_key_read((struct strv){ spki.p, n }));
	memcpy(bytes, spki.p, spki.n);
	bytes[spki.n] = 0;
	assert_null(public_key_read((struct strv){ bytes, spki.n + 1 }));
	OPENSSL_free((void *)(uintptr_t)spki.p);
	EVP_PKEY_free(key);
}

static void every_bit_of_the_bytes_counts(void **state)
{
	(void)state;
	each_byte_counts(EVP_EC_gen("P-256"));
	each_byte_counts(EVP_RSA_gen(1024));
}

static void a_point_beside_its_curve_or_at_infinity_is_no_key(void **state)
{
	static const uint8_t infinity[] = { 0x30, 0x19, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
		0x03, 0x01, 0x07, 0x03, 0x02, 0x00, 0x00 };
	uint8_t beside[91] = { 0x30, 0x59 };

	(void)state;
	memcpy(beside + 2, infinity + 2, 21);
	memcpy(beside + 23, "\x03\x42\x00\x04", 4);
	memset(beside + 27, 7, 64);
	assert_false(public_key_is_plain((struct strv){ (const char *)infinity, sizeof(infinity) }));
	assert_null(public_key_read((struct strv){ (const char *)beside, sizeof(beside) }));
	assert_null(public_key_read((struct strv){ NULL, 0 }));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(usual_keys_are_what_openssl_reads),
		cmocka_unit_test(other_keys_are_read_by_openssl),
		cmocka_unit_test(a_compressed_point_is_the_same_key),
		cmocka_unit_test(every_bit_of_the_bytes_counts),
		cmocka_unit_test(a_point_beside_its_curve_or_at_infinity_is_no_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
