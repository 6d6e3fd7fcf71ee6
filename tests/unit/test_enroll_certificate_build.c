/* A device's certificate says what directory and profile say, and nothing that anybody else said. Verified with OpenSSL and our own readers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/certificate.h"
#include "common/text.h"
#include "enroll/signer/certificate_build.h"
#include "tests/unit/enroll_ca.h"

static X509 *issue(const struct test_ca *t, struct signer_issue *q, size_t n, struct refusal *r)
{
	struct issue_order order = { 0 };
	unsigned char *der;
	const unsigned char *p;
	size_t len = 0;
	X509 *x;

	if (profile_check(&t->setup, &t->files, q, n, t->now, &order, r) < 0)
		return NULL;
	der = certificate_build(&t->setup, &t->files.entries[1], q, &order, &len, r);	/* what the device gets */
	EVP_PKEY_free(order.key);
	if (der == NULL)
		return NULL;
	p = der;
	x = d2i_X509(NULL, &p, (long)len);
	assert_ptr_equal(p, der + len);
	OPENSSL_free(der);
	return x;
}

static void assert_verifies(const struct test_ca *t, X509 *x)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = sk_X509_new_null();

	X509_STORE_add_cert(store, t->files.entries[0].certificate);
	sk_X509_push(chain, t->files.entries[1].certificate);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, x, chain), 1);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
	assert_int_equal(X509_verify_cert(ctx), 1);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	sk_X509_free(chain);
}

static void check_certificate(enum key_kind issuing, enum key_kind device, uint32_t usage)
{
	struct refusal r = { 0 };
	struct test_ca t;
	EVP_PKEY *key = key_make(device, &r);
	struct signer_issue *q;
	char text[CERT_TEXT_MAX], sid[CERT_SID_MAX];
	size_t n;
	X509 *x;
	EXTENDED_KEY_USAGE *purposes;

	test_ca_make(&t, issuing, "");
	q = test_question(&t, key, &n);
	x = issue(&t, q, n, &r);
	assert_non_null(x);
	assert_verifies(&t, x);
	assert_int_equal(cert_upn(x, text), CERT_OK);
	assert_string_equal(text, "anna@example.com");
	assert_int_equal(cert_email(x, text), CERT_OK);
	assert_string_equal(text, "anna.b@example.com");
	assert_int_equal(cert_sid(x, sid), CERT_OK);
	assert_string_equal(sid, q->sid);
	assert_int_equal(cert_subject_attribute(x, NID_commonName, text), CERT_OK);
	assert_string_equal(text, "Ber\xc3\xa9nyi, Anna");
	assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(x)), 2);
	assert_int_equal(X509_get_key_usage(x), usage);
	assert_int_equal(X509_check_ca(x), 0);
	purposes = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
	assert_int_equal(sk_ASN1_OBJECT_num(purposes), 1);
	assert_int_equal(OBJ_obj2nid(sk_ASN1_OBJECT_value(purposes, 0)), NID_client_auth);
	EXTENDED_KEY_USAGE_free(purposes);
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(x), key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
	free(q);
	test_ca_remove(&t);
}

static void ec_certificates_verify_and_say_what_the_directory_says(void **state)
{
	(void)state;
	check_certificate(KEY_EC_P256, KEY_EC_P256, KU_DIGITAL_SIGNATURE);
	check_certificate(KEY_EC_P384, KEY_EC_P384, KU_DIGITAL_SIGNATURE);
}

/* The number comes out as it went in, whatever its first bit is: not negative, not longer than it has to be (d2i refuses that, X.690 section 8.3.2). */
static void threat_46_a_serial_may_have_any_first_bit(void **state)
{
	static const struct { uint8_t byte[SIGNER_SERIAL]; int n; } serials[] = { { { 0xff, [15] = 1 }, 17 }, { { 0x80 }, 17 }, { { 0x7f, 0xff }, 16 },
		{ { 0x00, 0x80 }, 16 }, { { 0x00, 0x7f }, 15 }, { { 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff }, 10 } };
	struct refusal r = { 0 };
	struct test_ca t;
	EVP_PKEY *key = key_make(KEY_EC_P256, &r);
	struct signer_issue *q;
	struct serial read;
	uint8_t wide[SIGNER_SERIAL];
	size_t n;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	q = test_question(&t, key, &n);
	for (size_t i = 0; i < ARRAY_LEN(serials); i++) {
		memcpy(q->serial, serials[i].byte, SIGNER_SERIAL);
		X509 *x = issue(&t, q, n, &r);
		assert_non_null(x);
		assert_verifies(&t, x);
		assert_int_equal(i2d_ASN1_INTEGER(X509_get0_serialNumber(x), NULL), 2 + serials[i].n);
		assert_int_equal(ASN1_STRING_type(X509_get0_serialNumber(x)), V_ASN1_INTEGER);
		assert_int_equal(cert_serial(X509_get0_serialNumber(x), &read), CERT_OK);
		memset(wide, 0, sizeof(wide));
		memcpy(wide + sizeof(wide) - read.n, read.byte, read.n);
		assert_memory_equal(wide, serials[i].byte, SIGNER_SERIAL);
		X509_free(x);
	}
	free(q);
	EVP_PKEY_free(key);
	test_ca_remove(&t);
}

static void rsa_certificates_verify_and_may_also_be_encrypted_to(void **state)
{
	(void)state;
	check_certificate(KEY_RSA_2048, KEY_RSA_2048, KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
}

/* The dump of an AD CS certificate (facts/enrolment.md 3.9): 30 3F A0 3D 06 0A ... A0 2F 04 2D "S-1-5-21-...", 45 bytes of text. */
static void the_sid_extension_is_byte_for_byte_that_of_ad_cs(void **state)
{
	static const char sid[] = "S-1-5-21-1234567890-987654321-1122334455-1107";
	static const uint8_t head[] = { 0x30, 0x3f, 0xa0, 0x3d, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04,
		0x01, 0x82, 0x37, 0x19, 0x02, 0x01, 0xa0, 0x2f, 0x04, 0x2d };
	uint8_t out[160];

	(void)state;
	assert_int_equal(strlen(sid), 45);
	assert_int_equal(certificate_sid_value(sid, out, sizeof(out)), sizeof(head) + 45);
	assert_memory_equal(out, head, sizeof(head));
	assert_memory_equal(out + sizeof(head), sid, 45);
	assert_int_equal(certificate_sid_value("", out, sizeof(out)), 0);
	assert_int_equal(certificate_sid_value(sid, out, 40), 0);
}

static void a_certificate_never_outlives_its_ca(void **state)
{
	struct refusal r = { 0 };
	struct test_ca t;
	EVP_PKEY *key = key_make(KEY_EC_P256, &r);
	struct signer_issue *q;
	size_t n;
	X509 *x;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	t.profile.days = 4000;
	q = test_question(&t, key, &n);
	q->not_after = t.now + 3999 * 86400ll;
	x = issue(&t, q, n, &r);
	assert_non_null(x);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(x),
			     X509_get0_notAfter(t.files.entries[1].certificate)),
	    0);
	X509_free(x);
	EVP_PKEY_free(key);
	free(q);
	test_ca_remove(&t);
}

/* What certificate_subject() writes, read by OpenSSL; NULL: refused. */
static X509_NAME *subject(const char *template, const struct signer_issue *q, struct refusal *r)
{
	uint8_t room[4096];
	struct der_writer d;
	const unsigned char *p;
	X509_NAME *name;
	struct strv all;

	der_start(&d, room, sizeof(room));
	if (certificate_subject(&d, template, q, r) < 0)
		return NULL;
	all = der_done(&d);
	p = (const unsigned char *)all.p;
	name = d2i_X509_NAME(NULL, &p, (long)all.n);
	assert_non_null(name);
	assert_ptr_equal(p, all.p + all.n);
	return name;
}

static void values_stay_in_their_attribute_whatever_they_hold(void **state)
{
	struct signer_issue q = { .display_name = "x,CN=admin+UID=root/O=evil\\", .sam = "" };
	struct refusal r = { 0 };
	X509_NAME *name;
	const ASN1_STRING *value;

	(void)state;
	name = subject("O=Example,CN={display_name},UID={sam}", &q, &r);
	assert_non_null(name);
	assert_int_equal(X509_NAME_entry_count(name), 2); /* a part without a value is left out */
	value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, 1));
	assert_int_equal(ASN1_STRING_length(value), strlen(q.display_name));
	assert_memory_equal(ASN1_STRING_get0_data(value), q.display_name, strlen(q.display_name));
	X509_NAME_free(name);
	assert_null(subject("UID={sam}", &q, &r));
	assert_null(subject("", &q, &r));
	assert_null(subject("CN=a,", &q, &r));
	assert_null(subject("CN={password}", &q, &r));
	assert_null(subject("CN={display_name", &q, &r));
	assert_null(subject("NOTHING=x", &q, &r));
	memset(q.display_name, 'a', 65);
	assert_null(subject("CN={display_name}", &q, &r)); /* X.520: 64 characters; refused, not cut */
	assert_non_null(strstr(r.text, "too long"));
}

/* Order and string types: those of OpenSSL's own writer, which gives a country and a serial number, mail and DC others than a name. */
static void a_subject_is_written_as_openssl_writes_it(void **state)
{
	static const struct {
		const char *key, *value;
	} parts[] = { { "DC", "example" }, { "C", "DE" }, { "O", "Ber\xc3\xa9nyi" }, { "serialNumber", "17 a" }, { "emailAddress", "a@example.com" },
		{ "UID", "anna" }, { "CN", "Anna \xf0\x9f\x99\x82" }, { "2.5.4.12", "Dr." } };
	struct signer_issue q = { .sam = "anna" };
	struct refusal r = { 0 };
	X509_NAME *name, *usual = X509_NAME_new();
	unsigned char *one = NULL, *other = NULL;
	char template[512] = "";
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		n += (size_t)snprintf(template + n, sizeof(template) - n, "%s%s=%s", i > 0 ? ", " : "", parts[i].key,
		    strcmp(parts[i].key, "UID") == 0 ? "{sam}" : parts[i].value);
		assert_int_equal(X509_NAME_add_entry_by_txt(usual, parts[i].key, MBSTRING_UTF8, (const unsigned char *)parts[i].value, -1, -1, 0), 1);
	}
	name = subject(template, &q, &r);
	assert_non_null(name);
	assert_int_equal(i2d_X509_NAME(name, &one), i2d_X509_NAME(usual, &other));
	assert_memory_equal(one, other, (size_t)i2d_X509_NAME(usual, NULL));
	OPENSSL_free(one);
	OPENSSL_free(other);
	X509_NAME_free(name);
	X509_NAME_free(usual);
	assert_null(subject("C=Deutschland", &q, &r));
	assert_null(subject("emailAddress=\xc3\xa9@example.com", &q, &r));
}

static void the_places_of_crl_ocsp_and_issuer_are_named(void **state)
{
	struct refusal r = { 0 };
	struct test_ca t;
	EVP_PKEY *key = key_make(KEY_EC_P256, &r);
	char hash[65], want[256];
	struct signer_issue *q;
	STACK_OF(OPENSSL_STRING) * urls;
	STACK_OF(DIST_POINT) * points;
	const ASN1_STRING *url;
	size_t n;
	X509 *x;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	q = test_question(&t, key, &n);
	x = issue(&t, q, n, &r);
	urls = X509_get1_ocsp(x);
	assert_string_equal(sk_OPENSSL_STRING_value(urls, 0), "http://enroll.example.com/ocsp");
	X509_email_free(urls);
	points = X509_get_ext_d2i(x, NID_crl_distribution_points, NULL, NULL);
	assert_int_equal(sk_DIST_POINT_num(points), 1);
	url = sk_GENERAL_NAME_value(sk_DIST_POINT_value(points, 0)->distpoint->name.fullname, 0)
		  ->d.uniformResourceIdentifier;
	text_hex(hash, t.files.entries[1].spki_sha256, 32);
	snprintf(want, sizeof(want), "http://enroll.example.com/crl/%s.crl", hash);
	assert_int_equal(ASN1_STRING_length(url), strlen(want));
	assert_memory_equal(ASN1_STRING_get0_data(url), want, strlen(want));
	CRL_DIST_POINTS_free(points);
	X509_free(x);
	EVP_PKEY_free(key);
	free(q);
	test_ca_remove(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ec_certificates_verify_and_say_what_the_directory_says),
		cmocka_unit_test(threat_46_a_serial_may_have_any_first_bit),
		cmocka_unit_test(rsa_certificates_verify_and_may_also_be_encrypted_to),
		cmocka_unit_test(the_sid_extension_is_byte_for_byte_that_of_ad_cs),
		cmocka_unit_test(a_certificate_never_outlives_its_ca),
		cmocka_unit_test(values_stay_in_their_attribute_whatever_they_hold),
		cmocka_unit_test(a_subject_is_written_as_openssl_writes_it),
		cmocka_unit_test(the_places_of_crl_ocsp_and_issuer_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
