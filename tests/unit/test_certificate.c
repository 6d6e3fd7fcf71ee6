/*
 * test_certificate: what certificate.c reads and above all what it refuses. Certificates are made
 * here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/certificate.h"
#include "common/text.h"
#include "tests/unit/pki.h"

#define SAN	     "2.5.29.17"
#define SECURITY_EXT "1.3.6.1.4.1.311.25.2"
#define SID	     "S-1-5-21-1004336348-1177238915-682003330-512"

/* A certificate with these bytes as the value of one extension. */
static X509 *with_extension(const char *oid, struct der value)
{
	struct pki spec = { .cn = "device", .ext = { { oid, false, value } } };
	struct pki_pair pair = pki_make(&spec);

	EVP_PKEY_free(pair.key);
	return pair.cert;
}

static void expect_upn(struct der san, enum cert_result want, const char *text)
{
	X509 *cert = with_extension(SAN, san);
	char upn[CERT_TEXT_MAX];

	assert_int_equal(cert_upn(cert, upn), want);
	assert_string_equal(upn, want == CERT_OK ? text : "");
	X509_free(cert);
}

static struct der names(struct der a, struct der b)
{
	return der_tlv(0x30, der_cat(a, b));
}

static const struct der nothing;

static void test_a_upn_is_read_as_it_stands(void **state UNUSED)
{
	expect_upn(names(der_upn(0x0c, DER_TEXT("alice@corp.example")), nothing), CERT_OK,
	    "alice@corp.example");
	expect_upn(names(der_tlv(0x82, DER_TEXT("host.example")),
		       der_upn(0x0c, DER_TEXT("j\xc3\xbcrgen@corp"))),
	    CERT_OK, "j\xc3\xbcrgen@corp");
	expect_upn(names(der_tlv(0x82, DER_TEXT("host.example")), nothing), CERT_ABSENT, "");
}

static void test_31_a_upn_with_a_nul_or_a_control_byte_is_refused(void **state UNUSED)
{
	static const struct strv bad[] = {
		STRV("alice@corp.example\0.evil"),
		STRV("admin@corp\0x"),
		STRV("\0alice@corp"),
		STRV("ali\nce@corp"),
		STRV("alice@corp\r"),
		STRV("ali\x7f"
		     "ce@corp"),
		STRV("ali\xc2\x85"
		     "ce@corp"),
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect_upn(
		    names(der_upn(0x0c, der_raw(bad[i].p, bad[i].n)), nothing), CERT_BAD_TEXT, "");
}

static void test_32_a_upn_counts_only_as_utf8_othername(void **state UNUSED)
{
	/* BMPString, T61String, PrintableString, IA5String, OCTET STRING */
	static const uint8_t tags[] = { 0x1e, 0x14, 0x13, 0x16, 0x04 };

	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		expect_upn(names(der_upn(tags[i], DER_TEXT("ab@c")), nothing), CERT_BAD_TEXT, "");
	/* The same text as rfc822Name, dNSName, URI */
	expect_upn(names(der_tlv(0x81, DER_TEXT("admin@corp")), nothing), CERT_ABSENT, "");
	expect_upn(
	    names(der_tlv(0x82, DER_TEXT("admin@corp")), der_tlv(0x86, DER_TEXT("admin@corp"))),
	    CERT_ABSENT, "");
}

static void test_32_two_upns_are_refused_even_alike(void **state UNUSED)
{
	struct der one = der_upn(0x0c, DER_TEXT("alice@corp"));

	expect_upn(names(one, der_upn(0x0c, DER_TEXT("bob@corp"))), CERT_AMBIGUOUS, "");
	expect_upn(names(one, one), CERT_AMBIGUOUS, "");
}

static void test_33_text_with_a_second_spelling_is_refused(void **state UNUSED)
{
	static const char *const bad[] = {
		" alice@corp",
		"alice@corp ",
		"ali\xc0\xa3"
		"ce@corp", /* overlong */
		"ali\xed\xa0\x80"
		"ce@corp", /* surrogate */
		"ali\xff"
		"ce@corp",
		"\xc5\xbf"
		"ecure@corp", /* long s */
		"\xc4\xb1"
		"van@corp",
		"\xc4\xb0van@corp", /* Turkish i */
		"al\xe2\x80\x8e"
		"ice@corp",
		"al\xe2\x80\xae"
		"ice@corp", /* LRM, RLO */
		"al\xc2\xad"
		"ice@corp",
		"al\xe2\x80\x8b"
		"ice@corp",
		"\xef\xbb\xbf"
		"alice@corp",
		"u\xcc\x88"
		"ser@corp", /* combining diaeresis */
		"\xef\xbd\x81lice@corp",
		"\xe2\x84\xaa"
		"arl@corp",
		"al\xc2\xa0ice@corp",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect_upn(names(der_upn(0x0c, der_raw(bad[i], strlen(bad[i]))), nothing),
		    CERT_BAD_TEXT, "");
}

static void test_a_upn_that_is_no_user_at_domain_is_malformed(void **state UNUSED)
{
	expect_upn(names(der_upn(0x0c, nothing), nothing), CERT_MALFORMED, "");
	expect_upn(names(der_upn(0x0c, DER_TEXT("alice")), nothing), CERT_MALFORMED, "");
	expect_upn(names(der_upn(0x0c, DER_TEXT("@corp")), nothing), CERT_MALFORMED, "");
	expect_upn(names(der_upn(0x0c, DER_TEXT("alice@")), nothing), CERT_MALFORMED, "");
	expect_upn(names(der_upn(0x0c, DER_TEXT("a@b@c")), nothing), CERT_MALFORMED, "");
}

static void test_a_upn_that_does_not_fit_is_refused_and_not_cut(void **state UNUSED)
{
	char text[CERT_TEXT_MAX];

	memset(text, 'a', sizeof(text));
	text[5] = '@';
	expect_upn(names(der_upn(0x0c, der_raw(text, sizeof(text))), nothing), CERT_TOO_LONG, "");
	text[CERT_TEXT_MAX - 1] = '\0';
	expect_upn(names(der_upn(0x0c, der_raw(text, sizeof(text) - 1)), nothing), CERT_OK, text);
}

static void test_a_subject_alt_name_that_is_not_der_is_refused(void **state UNUSED)
{
	struct der good = names(der_upn(0x0c, DER_TEXT("alice@corp")), nothing);
	struct der upn = der_upn(0x0c, DER_TEXT("alice@corp"));
	struct der ber = der_cat(DER_TEXT("\x30\x80"), der_cat(upn, DER_TEXT("\0\0")));
	struct der long_form = der_cat(der_raw((uint8_t[]){ 0x30, 0x81, (uint8_t)upn.n }, 3), upn);

	expect_upn(der_cat(good, DER_TEXT("\0")), CERT_MALFORMED, "");
	expect_upn(der_cat(good, good), CERT_MALFORMED, "");
	expect_upn(ber, CERT_MALFORMED, "");
	expect_upn(long_form, CERT_MALFORMED, "");
	expect_upn(der_raw(good.p, good.n - 1), CERT_MALFORMED, "");
	expect_upn(DER_TEXT("\x05\x00"), CERT_MALFORMED, "");
}

static void test_a_second_subject_alt_name_extension_is_refused(void **state UNUSED)
{
	struct der san = names(der_upn(0x0c, DER_TEXT("alice@corp")), nothing);
	struct pki spec = { .cn = "device", .ext = { { SAN, false, san }, { SAN, false, san } } };
	struct pki_pair pair = pki_make(&spec);
	char text[CERT_TEXT_MAX];

	assert_int_equal(cert_upn(pair.cert, text), CERT_AMBIGUOUS);
	assert_int_equal(cert_email(pair.cert, text), CERT_AMBIGUOUS);
	pki_free(&pair);
}

static void expect_email(struct der san, enum cert_result want, const char *text)
{
	X509 *cert = with_extension(SAN, san);
	char mail[CERT_TEXT_MAX];

	assert_int_equal(cert_email(cert, mail), want);
	assert_string_equal(mail, want == CERT_OK ? text : "");
	X509_free(cert);
}

static void test_an_email_is_one_clean_rfc822_name(void **state UNUSED)
{
	struct der a = der_tlv(0x81, DER_TEXT("a@b.example")),
		   b = der_tlv(0x81, DER_TEXT("c@b.example"));

	expect_email(names(a, nothing), CERT_OK, "a@b.example");
	expect_email(names(a, a), CERT_OK, "a@b.example");
	expect_email(names(a, b), CERT_AMBIGUOUS, "");
	expect_email(names(a, der_tlv(0x81, DER_TEXT("a@b.example\0.evil"))), CERT_BAD_TEXT, "");
	expect_email(
	    names(der_tlv(0x81, DER_TEXT("j\xc3\xbcrgen@b.example")), nothing), CERT_BAD_TEXT, "");
	expect_email(names(der_upn(0x0c, DER_TEXT("a@b")), nothing), CERT_ABSENT, "");
	expect_email(names(der_tlv(0x81, DER_TEXT("a")), nothing), CERT_MALFORMED, "");
}

/* --- the SID extension --- */

static void expect_sid(struct der value, enum cert_result want, const char *text)
{
	X509 *cert = with_extension(SECURITY_EXT, value);
	char sid[CERT_SID_MAX];

	assert_int_equal(cert_sid(cert, sid), want);
	assert_string_equal(sid, want == CERT_OK ? text : "");
	X509_free(cert);
}

static void test_36_the_sid_is_the_text_in_the_security_extension(void **state UNUSED)
{
	expect_sid(der_sid(DER_TEXT(SID)), CERT_OK, SID);
	expect_sid(der_sid(DER_TEXT("S-1-5-18")), CERT_OK, "S-1-5-18");
}

static void test_36_a_sid_that_is_none_is_refused(void **state UNUSED)
{
	static const struct strv bad[] = {
		STRV(""),
		STRV("S"),
		STRV("S-1"),
		STRV("S-1-5"),
		STRV("S-1-5-"),
		STRV("S-1--5-21"),
		STRV("s-1-5-21"),
		STRV("S-2-5-21"),
		STRV("S-1-5-21 "),
		STRV(" S-1-5-21"),
		STRV("S-1-5-021"),
		STRV("S-1-5-4294967296"),
		STRV("S-1-0x5-21"),
		STRV("S-1-5-21\0-500"),
		STRV("S-1-5-21-*"),
		STRV("\x01\x05\x00\x00"),
		STRV("S-1-281474976710656-1"),
		STRV("S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16"),
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect_sid(der_sid(der_raw(bad[i].p, bad[i].n)), CERT_MALFORMED, "");
}

static void test_36_a_security_extension_that_is_not_der_is_refused(void **state UNUSED)
{
	struct der good = der_sid(DER_TEXT(SID));
	struct der other = der_tlv(
	    0xa0, der_cat(DER_TEXT("\x06\x03\x2a\x03\x04"), der_tlv(0xa0, DER_TEXT("\x04\x00"))));
	struct der entry = der_raw(good.p + 2, good.n - 2);
	struct der longer = good;

	expect_sid(der_cat(good, DER_TEXT("\0")), CERT_MALFORMED, "");
	expect_sid(der_raw(good.p, good.n - 1), CERT_MALFORMED, "");
	expect_sid(DER_TEXT(SID), CERT_MALFORMED, "");
	expect_sid(DER_TEXT("\x30\x00"), CERT_MALFORMED, "");
	expect_sid(der_tlv(0x30, other), CERT_MALFORMED, "");
	expect_sid(der_tlv(0x30, der_cat(other, entry)), CERT_OK, SID);
	expect_sid(der_tlv(0x30, der_cat(entry, entry)), CERT_AMBIGUOUS, "");
	/* A length in more bytes than it needs */
	longer = der_cat(der_raw((uint8_t[]){ 0x30, 0x81, (uint8_t)(good.n - 2) }, 3), entry);
	expect_sid(longer, CERT_MALFORMED, "");
	expect_sid(
	    der_tlv(0x30,
		der_tlv(0xa0, der_cat(DER_OID_SID, der_tlv(0xa0, der_tlv(0x0c, DER_TEXT(SID)))))),
	    CERT_MALFORMED, "");
}

static void test_36_a_sid_in_a_san_uri_is_never_read(void **state UNUSED)
{
	struct der uri = der_tlv(0x86, DER_TEXT("tag:microsoft.com,2022-09-14:sid:" SID));
	X509 *cert = with_extension(SAN,
	    names(uri,
		der_tlv(0xa0, der_cat(DER_OID_SID, der_tlv(0xa0, der_tlv(0x04, DER_TEXT(SID)))))));
	char sid[CERT_SID_MAX];

	assert_int_equal(cert_sid(cert, sid), CERT_ABSENT);
	X509_free(cert);
}

static void test_36_two_security_extensions_are_refused(void **state UNUSED)
{
	struct der value = der_sid(DER_TEXT(SID));
	struct pki spec = { .cn = "d",
		.ext = { { SECURITY_EXT, false, value }, { SECURITY_EXT, false, value } } };
	struct pki_pair pair = pki_make(&spec);
	char sid[CERT_SID_MAX];

	assert_int_equal(cert_sid(pair.cert, sid), CERT_AMBIGUOUS);
	pki_free(&pair);
}

/* --- the subject --- */

static enum cert_result subject_cn(const struct pki *spec, char out[CERT_TEXT_MAX])
{
	struct pki_pair pair = pki_make(spec);
	enum cert_result rc = cert_subject_attribute(pair.cert, NID_commonName, out);

	pki_free(&pair);
	return rc;
}

static void test_33_a_subject_attribute_is_text_of_a_good_type_and_there_once(void **state UNUSED)
{
	static const struct {
		int type;
		struct strv text;
		enum cert_result want;
	} cases[] = {
		{ V_ASN1_UTF8STRING, STRV("alice"), CERT_OK },
		{ V_ASN1_PRINTABLESTRING, STRV("alice"), CERT_OK },
		{ V_ASN1_IA5STRING, STRV("alice"), CERT_OK },
		{ V_ASN1_T61STRING, STRV("alice"), CERT_BAD_TEXT },
		{ V_ASN1_BMPSTRING, STRV("\0a\0l"), CERT_BAD_TEXT },
		{ V_ASN1_UNIVERSALSTRING, STRV("\0\0\0a"), CERT_BAD_TEXT },
		{ V_ASN1_UTF8STRING, STRV("alice\0x"), CERT_BAD_TEXT },
		{ V_ASN1_UTF8STRING, STRV("alice\nx"), CERT_BAD_TEXT },
		{ V_ASN1_PRINTABLESTRING, STRV("j\xc3\xbcrgen"), CERT_BAD_TEXT },
		{ V_ASN1_UTF8STRING, STRV(""), CERT_MALFORMED },
	};
	char out[CERT_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pki spec = { .names = {
					{ NID_commonName, cases[i].type, cases[i].text, 0 } } };

		assert_int_equal(subject_cn(&spec, out), cases[i].want);
		assert_string_equal(out, cases[i].want == CERT_OK ? "alice" : "");
	}
}

static void test_33_two_common_names_and_multi_valued_rdns_are_refused(void **state UNUSED)
{
	struct pki two = { .cn = "alice",
		.names = { { NID_commonName, V_ASN1_UTF8STRING, STRV("bob"), 0 } } };
	struct pki joined = { .names = { { NID_organizationName, V_ASN1_UTF8STRING, STRV("o"), 0 },
				  { NID_commonName, V_ASN1_UTF8STRING, STRV("alice"), -1 } } };
	struct pki none = { .names = {
				{ NID_organizationName, V_ASN1_UTF8STRING, STRV("o"), 0 } } };
	char out[CERT_TEXT_MAX];

	assert_int_equal(subject_cn(&two, out), CERT_AMBIGUOUS);
	assert_int_equal(subject_cn(&joined, out), CERT_AMBIGUOUS);
	assert_int_equal(subject_cn(&none, out), CERT_ABSENT);
}

/* --- serials, hashes --- */

static enum cert_result serial_of(struct der contents, struct serial *out)
{
	struct pki spec = { .cn = "d", .serial = contents };
	struct pki_pair pair = pki_make(&spec);
	enum cert_result rc = cert_serial(X509_get0_serialNumber(pair.cert), out);

	pki_free(&pair);
	return rc;
}

static void test_29_a_serial_is_an_unsigned_number_of_at_most_20_bytes(void **state UNUSED)
{
	static const uint8_t twenty[20] = { 0x7f, 1 }, high[21] = { 0, 0xff, 1 },
			     long_one[21] = { 1 };
	struct serial s;

	assert_int_equal(serial_of(DER_TEXT("\x2a"), &s), CERT_OK);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.byte[0], 0x2a);
	assert_int_equal(serial_of(DER_TEXT("\x00\x80"), &s), CERT_OK);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.byte[0], 0x80);
	assert_int_equal(serial_of(der_raw(twenty, 20), &s), CERT_OK);
	assert_int_equal(s.n, 20);
	assert_int_equal(serial_of(der_raw(high, 21), &s), CERT_OK);
	assert_int_equal(s.byte[0], 0xff);
	assert_int_equal(serial_of(der_raw(long_one, 21), &s), CERT_BAD_SERIAL);
	assert_int_equal(serial_of(DER_TEXT("\x00"), &s), CERT_BAD_SERIAL);
	assert_int_equal(serial_of(DER_TEXT("\xff"), &s), CERT_BAD_SERIAL);
	assert_int_equal(serial_of(DER_TEXT("\x80\x01"), &s), CERT_BAD_SERIAL);
	assert_int_equal(cert_serial(NULL, &s), CERT_BAD_SERIAL);
}

static void test_hashes_are_those_of_the_encoded_bytes(void **state UNUSED)
{
	struct pki spec = { .cn = "d" };
	struct pki_pair pair = pki_make(&spec);
	uint8_t ours[SHA256_SIZE], theirs[SHA256_SIZE];
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(pair.key, &der);

	assert_true(n > 0);
	assert_int_equal(EVP_Digest(der, (size_t)n, theirs, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	assert_int_equal(cert_spki_sha256(pair.cert, ours), 0);
	assert_memory_equal(ours, theirs, SHA256_SIZE);
	der = NULL;
	n = i2d_X509(pair.cert, &der);
	assert_int_equal(EVP_Digest(der, (size_t)n, theirs, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	assert_int_equal(cert_sha256(pair.cert, ours), 0);
	assert_memory_equal(ours, theirs, SHA256_SIZE);
	pki_free(&pair);
}

/* --- altSecurityIdentities --- */

static struct pki_pair contoso_ca(void)
{
	struct pki spec = { .cn = "CONTOSO-DC-CA",
		.ca = true,
		.names = { { NID_domainComponent, V_ASN1_IA5STRING, STRV("com"), 0 },
		    { NID_domainComponent, V_ASN1_IA5STRING, STRV("contoso"), 0 } } };

	return pki_make(&spec);
}

static void test_38_issuer_and_serial_stand_in_windows_order(void **state UNUSED)
{
	struct pki_pair ca = contoso_ca();
	struct pki spec = { .cn = "alice",
		.issuer = &ca,
		.serial = DER_TEXT("\x2b\x00\x00\x00\x00\x00\x11\xac\x00\x00\x00\x12") };
	struct pki_pair pair = pki_make(&spec);
	char out[256];

	assert_int_equal(cert_alt_issuer_serial(pair.cert, out, sizeof(out)), CERT_OK);
	assert_string_equal(
	    out, "X509:<I>DC=com,DC=contoso,CN=CONTOSO-DC-CA<SR>12000000AC1100000000002B");
	assert_int_equal(cert_alt_issuer_subject(pair.cert, out, sizeof(out)), CERT_OK);
	assert_string_equal(out, "X509:<I>DC=com,DC=contoso,CN=CONTOSO-DC-CA<S>CN=alice");
	assert_int_equal(cert_alt_subject(pair.cert, out, sizeof(out)), CERT_OK);
	assert_string_equal(out, "X509:<S>CN=alice");
	assert_int_equal(cert_alt_rfc822(pair.cert, out, sizeof(out)), CERT_ABSENT);
	assert_string_equal(out, "");
	assert_int_equal(cert_alt_issuer_serial(pair.cert, out, 40), CERT_TOO_LONG);
	assert_string_equal(out, "");
	pki_free(&pair);
	pki_free(&ca);
}

static void test_38_a_name_cannot_pass_for_another_by_its_commas(void **state UNUSED)
{
	struct pki spec = {
		.names = { { NID_organizationName, V_ASN1_UTF8STRING, STRV("Example, Inc."), 0 },
		    { NID_commonName, V_ASN1_UTF8STRING, STRV("x\",CN=admin<S>CN=admin"), 0 },
		    { NID_userId, V_ASN1_UTF8STRING, STRV("u"), 0 } }
	};
	struct pki bad = { .names = { { NID_commonName, V_ASN1_UTF8STRING, STRV("alice\0"), 0 } } };
	struct pki multi = { .names = { { NID_commonName, V_ASN1_UTF8STRING, STRV("alice"), 0 },
				 { NID_userId, V_ASN1_UTF8STRING, STRV("u"), -1 } } };
	struct pki_pair pair = pki_make(&spec), bad_pair = pki_make(&bad),
			multi_pair = pki_make(&multi);
	char out[256];

	assert_int_equal(cert_alt_subject(pair.cert, out, sizeof(out)), CERT_OK);
	assert_string_equal(out,
	    "X509:<S>O=\"Example, Inc.\",CN=\"x\"\",CN=admin<S>CN=admin\","
	    "OID.0.9.2342.19200300.100.1.1=u");
	assert_int_equal(cert_alt_subject(bad_pair.cert, out, sizeof(out)), CERT_BAD_TEXT);
	assert_int_equal(cert_alt_subject(multi_pair.cert, out, sizeof(out)), CERT_AMBIGUOUS);
	pki_free(&pair);
	pki_free(&bad_pair);
	pki_free(&multi_pair);
}

static void test_38_key_identifiers_are_hex_of_the_right_bytes(void **state UNUSED)
{
	struct pki spec = { .cn = "d", .san = "email:a@b.example" };
	struct pki bare = { .cn = "d", .no_key_ids = true };
	struct pki_pair pair = pki_make(&spec), without = pki_make(&bare);
	const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(pair.cert);
	char out[128], hex[64];

	/* OpenSSL's "hash" is the SHA-1 of the key's BIT STRING: both forms show the same here. */
	text_hex(hex, ASN1_STRING_get0_data(ski), (size_t)ASN1_STRING_length(ski));
	assert_int_equal(cert_alt_ski(pair.cert, out, sizeof(out)), CERT_OK);
	assert_string_equal(out + strlen("X509:<SKI>"), hex);
	assert_memory_equal(out, "X509:<SKI>", 10);
	assert_int_equal(cert_alt_sha1_public_key(pair.cert, out, sizeof(out)), CERT_OK);
	assert_memory_equal(out, "X509:<SHA1-PUKEY>", 17);
	assert_string_equal(out + 17, hex);
	assert_int_equal(cert_alt_rfc822(pair.cert, out, sizeof(out)), CERT_OK);
	assert_string_equal(out, "X509:<RFC822>a@b.example");
	assert_int_equal(cert_alt_ski(without.cert, out, sizeof(out)), CERT_ABSENT);
	pki_free(&pair);
	pki_free(&without);
}

static void test_10_a_name_for_the_log_is_escaped_and_cut_between_characters(void **state UNUSED)
{
	struct pki spec = {
		.names = { { NID_commonName, V_ASN1_UTF8STRING, STRV("a\r\nb\xc3\xbc"), 0 } }
	};
	struct pki_pair pair = pki_make(&spec);
	char out[64];

	cert_name_for_log(X509_get_subject_name(pair.cert), out, sizeof(out));
	assert_string_equal(out, "CN=a\\0D\\0Ab\xc3\xbc");
	cert_name_for_log(X509_get_subject_name(pair.cert), out, 13);
	assert_string_equal(out, "CN=a\\0D\\0Ab");
	pki_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_upn_is_read_as_it_stands),
		cmocka_unit_test(test_31_a_upn_with_a_nul_or_a_control_byte_is_refused),
		cmocka_unit_test(test_32_a_upn_counts_only_as_utf8_othername),
		cmocka_unit_test(test_32_two_upns_are_refused_even_alike),
		cmocka_unit_test(test_33_text_with_a_second_spelling_is_refused),
		cmocka_unit_test(test_a_upn_that_is_no_user_at_domain_is_malformed),
		cmocka_unit_test(test_a_upn_that_does_not_fit_is_refused_and_not_cut),
		cmocka_unit_test(test_a_subject_alt_name_that_is_not_der_is_refused),
		cmocka_unit_test(test_a_second_subject_alt_name_extension_is_refused),
		cmocka_unit_test(test_an_email_is_one_clean_rfc822_name),
		cmocka_unit_test(test_36_the_sid_is_the_text_in_the_security_extension),
		cmocka_unit_test(test_36_a_sid_that_is_none_is_refused),
		cmocka_unit_test(test_36_a_security_extension_that_is_not_der_is_refused),
		cmocka_unit_test(test_36_a_sid_in_a_san_uri_is_never_read),
		cmocka_unit_test(test_36_two_security_extensions_are_refused),
		cmocka_unit_test(test_33_a_subject_attribute_is_text_of_a_good_type_and_there_once),
		cmocka_unit_test(test_33_two_common_names_and_multi_valued_rdns_are_refused),
		cmocka_unit_test(test_29_a_serial_is_an_unsigned_number_of_at_most_20_bytes),
		cmocka_unit_test(test_hashes_are_those_of_the_encoded_bytes),
		cmocka_unit_test(test_38_issuer_and_serial_stand_in_windows_order),
		cmocka_unit_test(test_38_a_name_cannot_pass_for_another_by_its_commas),
		cmocka_unit_test(test_38_key_identifiers_are_hex_of_the_right_bytes),
		cmocka_unit_test(test_10_a_name_for_the_log_is_escaped_and_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
