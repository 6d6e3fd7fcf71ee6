/*
 * DER, read strictly: lengths that are indefinite, longer than they need be or than what holds them; and the parts of a certificate.
 */
#include "common/der.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/text.h"
#include "tests/unit/pki.h"

#define BYTES(s) ((struct strv){ (s), sizeof(s) - 1 })

static void a_value_is_taken_only_as_der_writes_it(void **state)
{
	static const struct strv bad[] = { BYTES(""), BYTES("\x04"), BYTES("\x04\x02x"), BYTES("\x04\x80xx\0\0"), BYTES("\x04\x81\x02xx"), BYTES("\x04\x82\x00\x80xx"),
		BYTES("\x04\x84\xff\xff\xff\xff"), BYTES("\x04\x85\x00\x00\x00\x00\x01x"), BYTES("\x24\x01x"), BYTES("\x1f\x04\x01x") };
	struct strv in = BYTES("\x04\x02xy\x05\x00"), inside, whole;

	(void)state;
	assert_int_equal(der_peek(in), DER_OCTETS);
	assert_int_equal(der_take(&in, DER_OCTETS, &inside, &whole), 0);
	assert_true(strv_eq(inside, STRV("xy")) && whole.n == 4 && in.n == 2);
	assert_int_equal(der_take(&in, DER_OCTETS, &inside, NULL), -1);
	assert_int_equal(der_take(&in, DER_NULL, &inside, NULL), 0);
	assert_int_equal(der_peek(in), -1);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		in = bad[i];
		assert_int_equal(der_take(&in, bad[i].n > 0 && bad[i].p[0] == 0x1f ? 0x1f : DER_OCTETS, &inside, NULL), -1);
		assert_int_equal(in.n, bad[i].n);
	}
}

static void check_parts(X509 *cert)
{
	unsigned char *der = NULL, *name = NULL, *key = NULL;
	int n = i2d_X509(cert, &der), name_n = i2d_X509_NAME(X509_get_subject_name(cert), &name), key_n = i2d_PUBKEY(X509_get0_pubkey(cert), &key);
	struct strv all = { (char *)der, (size_t)n };
	struct der_certificate parts;

	assert_true(n > 0 && name_n > 0 && key_n > 0);
	assert_int_equal(der_certificate_read(all, &parts), 0);
	assert_true(strv_eq(parts.subject, (struct strv){ (char *)name, (size_t)name_n }));
	assert_true(strv_eq(parts.issuer, parts.subject));
	assert_true(strv_eq(parts.spki, (struct strv){ (char *)key, (size_t)key_n }));
	assert_int_equal(parts.serial.p[0], DER_INTEGER);
	for (size_t i = 0; i < all.n; i++)
		assert_int_equal(der_certificate_read((struct strv){ all.p, i }, &parts), -1);
	all.p = realloc(der, (size_t)n + 1);
	assert_non_null(all.p);
	assert_int_equal(der_certificate_read((struct strv){ all.p, all.n + 1 }, &parts), -1);
	free((void *)(uintptr_t)all.p);
	OPENSSL_free(name);
	OPENSSL_free(key);
}

static void a_certificates_parts_are_found_and_a_cut_or_longer_one_has_none(void **state)
{
	struct pki_pair pair = pki_make(&(struct pki){ .cn = "A device", .key = "RSA-2048" });

	(void)state;
	check_parts(pair.cert);
	pki_free(&pair);
}

static void a_certificate_of_version_1_says_no_version(void **state)
{
	struct pki_pair pair = pki_make(&(struct pki){ .cn = "An old one", .key_usage = "", .eku = "", .no_key_ids = true });

	(void)state;
	while (X509_get_ext_count(pair.cert) > 0)
		X509_EXTENSION_free(X509_delete_ext(pair.cert, 0));
	assert_int_equal(X509_set_version(pair.cert, X509_VERSION_1), 1);
	assert_true(X509_sign(pair.cert, pair.key, EVP_sha256()) > 0);
	check_parts(pair.cert);
	pki_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_is_taken_only_as_der_writes_it),
		cmocka_unit_test(a_certificates_parts_are_found_and_a_cut_or_longer_one_has_none),
		cmocka_unit_test(a_certificate_of_version_1_says_no_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
