/*
 * test_enroll_pkcs12: keys and PKCS#12 files, read back with OpenSSL. `test_enroll_pkcs12 write DIR` writes samples for
 * tests/e2e/test_enroll_delivery.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/pkcs12.h>

#include "enroll/worker/pkcs12.h"
#include "tests/unit/pki.h"

static struct pki_pair ca;
static struct strv chain;

static struct strv der_of(X509 *cert)
{
	unsigned char *p = NULL;
	int n = i2d_X509(cert, &p);

	MUST(n > 0);
	return (struct strv){ (char *)p, (size_t)n };
}

static int make_ca(void **state UNUSED)
{
	struct pki spec = { .cn = "Example Devices", .ca = true };

	ca = pki_make(&spec);
	chain = der_of(ca.cert);
	return 0;
}

static int drop_ca(void **state UNUSED)
{
	OPENSSL_free((void *)(uintptr_t)chain.p);
	pki_free(&ca);
	return 0;
}

/* What the signer makes of a public key and nothing else. The caller frees. */
static struct strv certify(struct strv spki)
{
	const unsigned char *p = (const unsigned char *)spki.p;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)spki.n);
	struct pki spec = { .cn = "Alice", .issuer = &ca };
	struct pki_pair pair = pki_make(&spec);
	struct strv der;

	MUST(key != NULL && X509_set_pubkey(pair.cert, key) == 1 && X509_sign(pair.cert, ca.key, EVP_sha256()) > 0);
	der = der_of(pair.cert);
	EVP_PKEY_free(key);
	pki_free(&pair);
	return der;
}

static void make(enum pkcs12_key kind, enum pkcs12_age age, const char *password, struct buffer *out)
{
	EVP_PKEY *key = pkcs12_key_new(kind);
	struct buffer spki;
	struct strv cert;

	MUST(key != NULL);
	buffer_init(&spki, 4096);
	MUST(pkcs12_public_key(key, &spki) == 0);
	cert = certify(buffer_view(&spki));
	buffer_init(out, PKCS12_MAX);
	MUST(pkcs12_build(key, cert, &chain, 1, password, "Company mail", age, out) == 0);
	OPENSSL_free((void *)(uintptr_t)cert.p);
	buffer_clear(&spki);
	EVP_PKEY_free(key);
}

static PKCS12 *read_file(struct buffer *b)
{
	const unsigned char *p = (const unsigned char *)buffer_data(b);
	PKCS12 *p12 = d2i_PKCS12(NULL, &p, (long)buffer_len(b));

	assert_non_null(p12);
	buffer_clear(b);
	return p12;
}

static void check_file(enum pkcs12_key kind, enum pkcs12_age age, int base, int mac)
{
	char password[PKCS12_PASSWORD_SIZE];
	STACK_OF(X509) *others = NULL;
	const X509_ALGOR *mac_algorithm = NULL;
	const ASN1_OBJECT *name = NULL;
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	struct buffer b;
	PKCS12 *p12;

	assert_int_equal(pkcs12_password(password), 0);
	make(kind, age, password, &b);
	p12 = read_file(&b);
	assert_int_equal(PKCS12_verify_mac(p12, "K7QM-2XRA-9PPP-AAAA-BBBB", -1), 0);
	PKCS12_get0_mac(NULL, &mac_algorithm, NULL, NULL, p12);
	X509_ALGOR_get0(&name, NULL, NULL, mac_algorithm);
	assert_int_equal(OBJ_obj2nid(name), mac);
	assert_int_equal(PKCS12_parse(p12, password, &key, &cert, &others), 1);
	assert_int_equal(EVP_PKEY_get_base_id(key), base);
	assert_int_equal(X509_check_private_key(cert, key), 1);
	assert_int_equal(sk_X509_num(others), 1);
	assert_int_equal(X509_cmp(sk_X509_value(others, 0), ca.cert), 0);
	sk_X509_pop_free(others, X509_free);
	X509_free(cert);
	EVP_PKEY_free(key);
	PKCS12_free(p12);
}

static void test_a_file_holds_the_key_its_certificate_and_the_chain(void **state UNUSED)
{
	check_file(PKCS12_KEY_EC, PKCS12_MODERN, EVP_PKEY_EC, NID_sha256);
	check_file(PKCS12_KEY_RSA, PKCS12_MODERN, EVP_PKEY_RSA, NID_sha256);
}

static void test_old_devices_get_what_they_can_read(void **state UNUSED)
{
	check_file(PKCS12_KEY_RSA, PKCS12_LEGACY, EVP_PKEY_RSA, NID_sha1);
}

static void test_49_passwords_are_long_readable_and_never_the_same(void **state UNUSED)
{
	char a[PKCS12_PASSWORD_SIZE], b[PKCS12_PASSWORD_SIZE];

	for (int i = 0; i < 1000; i++) {
		assert_int_equal(pkcs12_password(a), 0);
		assert_int_equal(pkcs12_password(b), 0);
		assert_string_not_equal(a, b);
		assert_int_equal(strlen(a), PKCS12_PASSWORD_SIZE - 1);
		assert_int_equal(strspn(a, "23456789ABCDEFGHJKLMNPQRSTUVWXYZ-"), PKCS12_PASSWORD_SIZE - 1);
		for (size_t k = 4; k < PKCS12_PASSWORD_SIZE - 1; k += 5)
			assert_int_equal(a[k], '-');
	}
}

static void test_49_the_key_is_nowhere_in_the_file_in_the_clear(void **state UNUSED)
{
	EVP_PKEY *key = pkcs12_key_new(PKCS12_KEY_EC);
	struct buffer spki, b;
	unsigned char raw[32];
	struct strv cert;
	BIGNUM *secret = NULL;

	buffer_init(&spki, 4096);
	buffer_init(&b, PKCS12_MAX);
	assert_int_equal(pkcs12_public_key(key, &spki), 0);
	cert = certify(buffer_view(&spki));
	assert_int_equal(EVP_PKEY_get_bn_param(key, "priv", &secret), 1);
	assert_int_equal(BN_bn2binpad(secret, raw, sizeof(raw)), sizeof(raw));
	assert_int_equal(pkcs12_build(key, cert, &chain, 1, "K7QM-2XRA-9PPP-AAAA-BBBB", "x", PKCS12_MODERN, &b), 0);
	assert_null(memmem(buffer_data(&b), buffer_len(&b), raw, sizeof(raw)));
	BN_clear_free(secret);
	OPENSSL_free((void *)(uintptr_t)cert.p);
	buffer_clear(&spki);
	buffer_clear(&b);
	EVP_PKEY_free(key);
}

static void test_49_a_weak_password_another_keys_certificate_and_bad_names_are_refused(void **state UNUSED)
{
	static const char good[] = "K7QM-2XRA-9PPP-AAAA-BBBB";
	EVP_PKEY *key = pkcs12_key_new(PKCS12_KEY_EC), *other = pkcs12_key_new(PKCS12_KEY_EC);
	struct strv junk = STRV("junk"), cert;
	struct buffer spki, b;

	buffer_init(&spki, 4096);
	buffer_init(&b, PKCS12_MAX);
	assert_int_equal(pkcs12_public_key(key, &spki), 0);
	cert = certify(buffer_view(&spki));
	assert_int_equal(pkcs12_build(other, cert, &chain, 1, good, "x", PKCS12_MODERN, &b), -1);
	assert_int_equal(pkcs12_build(key, cert, &chain, 1, "1234", "x", PKCS12_MODERN, &b), -1);
	assert_int_equal(pkcs12_build(key, cert, &chain, 1, good, "", PKCS12_MODERN, &b), -1);
	assert_int_equal(pkcs12_build(key, cert, &chain, 1, good, "a\nb", PKCS12_MODERN, &b), -1);
	assert_int_equal(pkcs12_build(key, junk, &chain, 1, good, "x", PKCS12_MODERN, &b), -1);
	assert_int_equal(pkcs12_build(key, cert, &junk, 1, good, "x", PKCS12_MODERN, &b), -1);
	assert_int_equal(buffer_len(&b), 0);
	assert_int_equal(pkcs12_build(key, cert, &chain, 1, good, "x", PKCS12_MODERN, &b), 0);
	OPENSSL_free((void *)(uintptr_t)cert.p);
	buffer_clear(&spki);
	buffer_clear(&b);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static void write_file(const char *dir, const char *name, struct strv bytes)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	MUST(f != NULL && fwrite(bytes.p, 1, bytes.n, f) == bytes.n && fclose(f) == 0);
}

/* modern.p12, legacy.p12, password, ca.pem */
static int write_samples(const char *dir)
{
	char password[PKCS12_PASSWORD_SIZE], path[4096];
	struct buffer b;

	make_ca(NULL);
	MUST(pkcs12_password(password) == 0);
	write_file(dir, "password", strv_from(password));
	make(PKCS12_KEY_EC, PKCS12_MODERN, password, &b);
	write_file(dir, "modern.p12", buffer_view(&b));
	buffer_clear(&b);
	make(PKCS12_KEY_RSA, PKCS12_LEGACY, password, &b);
	write_file(dir, "legacy.p12", buffer_view(&b));
	buffer_clear(&b);
	snprintf(path, sizeof(path), "%s/ca.pem", dir);
	pki_write(path, &ca.cert, 1, NULL);
	drop_ca(NULL);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file_holds_the_key_its_certificate_and_the_chain),
		cmocka_unit_test(test_old_devices_get_what_they_can_read),
		cmocka_unit_test(test_49_passwords_are_long_readable_and_never_the_same),
		cmocka_unit_test(test_49_the_key_is_nowhere_in_the_file_in_the_clear),
		cmocka_unit_test(test_49_a_weak_password_another_keys_certificate_and_bad_names_are_refused),
	};

	if (argc == 3 && strcmp(argv[1], "write") == 0)
		return write_samples(argv[2]);
	return cmocka_run_group_tests(tests, make_ca, drop_ca);
}
