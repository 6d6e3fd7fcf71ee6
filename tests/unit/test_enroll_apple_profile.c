/*
 * test_enroll_apple_profile: profiles, read back with libplist and OpenSSL. `test_enroll_apple_profile write DIR` writes samples for
 * tests/e2e/test_enroll_delivery.py, which reads them with other people's programs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/cms.h>

#include "enroll/worker/apple_profile.h"
#include "tests/unit/pki.h"

#define ID  "00112233445566778899aabbccddeeff"
#define SID "S-1-5-21-1004336348-1177238915-682003330-1107"

static struct pki_pair root_ca, issuing_ca;
static struct strv trust[2];
static struct apple_site site = {
	.identifier = "com.example.mail", .organization = "Example & Sons <Ltd>", .display_name = "Company mail",
};
static const struct apple_device alice = {
	.id = ID, .display_name = "Al\xc3\xaf" "ce \"O'Neil\" <&>", .upn = "alice@corp.example", .mail = "alice@example.com", .sid = SID,
};
static struct apple_scep scep = {
	.url = "http://enroll.example.com/scep", .name = "easgate", .challenge = "K3LM-7QAB-ZZ42-9XYP",
};
static const struct apple_mail mail = {
	.host = "mail.example.com", .user = "alice@corp.example", .address = "alice@example.com", .past_days = 7,
};
static const struct apple_content with_scep = { .scep = &scep, .mail = &mail };

static struct strv der_of(X509 *cert)
{
	unsigned char *p = NULL;
	int n = i2d_X509(cert, &p);

	MUST(n > 0);
	return (struct strv){ (char *)p, (size_t)n };
}

static int make_pki(void **state UNUSED)
{
	struct pki root = { .cn = "Example Root", .ca = true }, sub = { .cn = "Example Devices", .ca = true, .issuer = &root_ca };

	root_ca = pki_make(&root);
	issuing_ca = pki_make(&sub);
	trust[0] = der_of(root_ca.cert);
	trust[1] = der_of(issuing_ca.cert);
	site.trust = trust;
	site.trust_n = 2;
	scep.ca_top = trust[0];
	return 0;
}

static int drop_pki(void **state UNUSED)
{
	OPENSSL_free((void *)(uintptr_t)trust[0].p);
	OPENSSL_free((void *)(uintptr_t)trust[1].p);
	pki_free(&root_ca);
	pki_free(&issuing_ca);
	return 0;
}

static plist_t parsed(struct buffer *b)
{
	plist_t root = NULL;

	plist_from_xml(buffer_data(b), (uint32_t)buffer_len(b), &root);
	assert_non_null(root);
	buffer_clear(b);
	return root;
}

static plist_t whole(const struct apple_content *content)
{
	char why[APPLE_WHY_MAX] = "?";
	struct buffer b;

	buffer_init(&b, APPLE_PROFILE_MAX);
	assert_int_equal(apple_profile_whole(&site, &alice, content, NULL, &b, why), 0);
	assert_string_equal(why, "");
	return parsed(&b);
}

static void expect_text(plist_t dict, const char *key, const char *want)
{
	plist_t node = plist_dict_get_item(dict, key);

	assert_non_null(node);
	assert_int_equal(plist_get_node_type(node), PLIST_STRING);
	assert_string_equal(plist_get_string_ptr(node, NULL), want);
}

static void expect_number(plist_t dict, const char *key, uint64_t want)
{
	plist_t node = plist_dict_get_item(dict, key);
	uint64_t got = UINT64_MAX;

	assert_non_null(node);
	assert_int_equal(plist_get_node_type(node), PLIST_UINT);
	plist_get_uint_val(node, &got);
	assert_int_equal(got, want);
}

static void expect_bool(plist_t dict, const char *key, bool want)
{
	plist_t node = plist_dict_get_item(dict, key);
	uint8_t got = 2;

	assert_non_null(node);
	assert_int_equal(plist_get_node_type(node), PLIST_BOOLEAN);
	plist_get_bool_val(node, &got);
	assert_int_equal(got, want);
}

static void expect_bytes(plist_t dict, const char *key, const void *want, size_t n)
{
	plist_t node = plist_dict_get_item(dict, key);
	uint64_t got = 0;
	const char *p;

	assert_non_null(node);
	p = plist_get_data_ptr(node, &got);
	assert_int_equal(got, n);
	assert_memory_equal(p, want, n);
}

/* The n-th payload of that type, or NULL. */
static plist_t payload(plist_t array, const char *type, unsigned nth)
{
	for (uint32_t i = 0; i < plist_array_get_size(array); i++) {
		plist_t item = plist_array_get_item(array, i), name = plist_dict_get_item(item, "PayloadType");

		if (strcmp(plist_get_string_ptr(name, NULL), type) == 0 && nth-- == 0)
			return item;
	}
	return NULL;
}

static const char *text_of(plist_t dict, const char *key)
{
	plist_t node = plist_dict_get_item(dict, key);

	assert_non_null(node);
	return plist_get_string_ptr(node, NULL);
}

static void test_the_scep_payload_asks_for_an_rsa_key_and_names_the_person(void **state UNUSED)
{
	plist_t root = whole(&with_scep), array = plist_dict_get_item(root, "PayloadContent"), content, alt, subject, cn;
	uint8_t sha1[20];

	content = plist_dict_get_item(payload(array, "com.apple.security.scep", 0), "PayloadContent");
	expect_text(content, "URL", "http://enroll.example.com/scep");
	expect_text(content, "Name", "easgate");
	expect_text(content, "Challenge", "K3LM-7QAB-ZZ42-9XYP");
	expect_number(content, "Keysize", 2048);
	expect_text(content, "Key Type", "RSA");
	expect_number(content, "Key Usage", 5);
	expect_bool(content, "KeyIsExtractable", false);
	assert_int_equal(EVP_Digest(trust[0].p, trust[0].n, sha1, NULL, EVP_sha1(), NULL), 1);
	expect_bytes(content, "CAFingerprint", sha1, sizeof(sha1));
	alt = plist_dict_get_item(content, "SubjectAltName");
	expect_text(alt, "ntPrincipalName", "alice@corp.example");
	expect_text(alt, "rfc822Name", "alice@example.com");
	expect_text(alt, "uniformResourceIdentifier", "tag:microsoft.com,2022-09-14:sid:" SID);
	subject = plist_dict_get_item(content, "Subject");
	assert_int_equal(plist_array_get_size(subject), 2);
	cn = plist_array_get_item(plist_array_get_item(subject, 1), 0);
	assert_string_equal(plist_get_string_ptr(plist_array_get_item(cn, 0), NULL), "CN");
	assert_string_equal(plist_get_string_ptr(plist_array_get_item(cn, 1), NULL), alice.display_name);
	plist_free(root);
}

static void test_the_account_is_tied_to_the_certificate_of_the_same_profile(void **state UNUSED)
{
	plist_t root = whole(&with_scep), array = plist_dict_get_item(root, "PayloadContent");
	plist_t account = payload(array, "com.apple.eas.account", 0);

	expect_text(root, "PayloadType", "Configuration");
	expect_text(root, "PayloadIdentifier", "com.example.mail." ID);
	expect_text(root, "PayloadOrganization", "Example & Sons <Ltd>");
	expect_bool(root, "PayloadRemovalDisallowed", false);
	expect_text(account, "PayloadCertificateUUID", text_of(payload(array, "com.apple.security.scep", 0), "PayloadUUID"));
	expect_text(account, "Host", "mail.example.com");
	expect_text(account, "UserName", "alice@corp.example");
	expect_text(account, "EmailAddress", "alice@example.com");
	expect_bool(account, "SSL", true);
	expect_number(account, "MailNumberOfPastDaysToSync", 7);
	assert_null(plist_dict_get_item(account, "OAuth"));
	assert_null(plist_dict_get_item(account, "Password"));
	plist_free(root);
}

static void test_exchange_online_gets_oauth_and_no_certificate_in_the_account(void **state UNUSED)
{
	struct apple_mail online = mail;
	struct apple_content content = { .scep = &scep, .mail = &online };
	plist_t root, account;

	online.kind = APPLE_MAIL_ONLINE;
	online.oauth_sign_in_url = "https://login.example.com/authorize";
	root = whole(&content);
	account = payload(plist_dict_get_item(root, "PayloadContent"), "com.apple.eas.account", 0);
	expect_bool(account, "OAuth", true);
	expect_text(account, "OAuthSignInURL", "https://login.example.com/authorize");
	assert_null(plist_dict_get_item(account, "OAuthTokenRequestURL"));
	assert_null(plist_dict_get_item(account, "PayloadCertificateUUID"));
	assert_null(plist_dict_get_item(account, "Password"));
	plist_free(root);
}

static void test_roots_and_intermediates_are_payloads_of_their_own_kind(void **state UNUSED)
{
	plist_t root = whole(&with_scep), array = plist_dict_get_item(root, "PayloadContent");
	plist_t anchor = payload(array, "com.apple.security.root", 0), sub = payload(array, "com.apple.security.pkcs1", 0);

	assert_int_equal(plist_array_get_size(array), 4);
	expect_bytes(anchor, "PayloadContent", trust[0].p, trust[0].n);
	expect_text(anchor, "PayloadDisplayName", "Example Root");
	expect_bytes(sub, "PayloadContent", trust[1].p, trust[1].n);
	plist_free(root);
}

static void test_a_pkcs12_takes_the_place_of_scep(void **state UNUSED)
{
	struct apple_pkcs12 p12 = { .bytes = STRV("0\x03\x02\x01\x03") };
	struct apple_content content = { .pkcs12 = &p12, .mail = &mail };
	plist_t root = whole(&content), array = plist_dict_get_item(root, "PayloadContent");
	plist_t item = payload(array, "com.apple.security.pkcs12", 0);

	assert_null(payload(array, "com.apple.security.scep", 0));
	expect_bytes(item, "PayloadContent", p12.bytes.p, p12.bytes.n);
	assert_null(plist_dict_get_item(item, "Password"));
	expect_text(payload(array, "com.apple.eas.account", 0), "PayloadCertificateUUID", text_of(item, "PayloadUUID"));
	plist_free(root);
	p12.password = "K7QM-2XRA-9PPP-AAAA-BBBB";
	root = whole(&content);
	item = payload(plist_dict_get_item(root, "PayloadContent"), "com.apple.security.pkcs12", 0);
	expect_text(item, "Password", p12.password);
	plist_free(root);
}

static void test_names_stay_with_the_device_and_differ_between_payloads_and_devices(void **state UNUSED)
{
	static const char *const what[] = { "profile", "scep", "pkcs12", "mail", "service", "enrol", "trust.00" };
	char uuid[ARRAY_LEN(what)][APPLE_UUID_SIZE], again[APPLE_UUID_SIZE];
	struct apple_device bob = alice;

	for (size_t i = 0; i < ARRAY_LEN(what); i++) {
		assert_int_equal(apple_profile_uuid(&site, &alice, what[i], uuid[i]), 0);
		assert_int_equal(strlen(uuid[i]), 36);
		assert_int_equal(uuid[i][14], '8');
		assert_int_equal(strspn(uuid[i], "0123456789ABCDEF-"), 36);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(uuid[i], uuid[k]);
	}
	assert_int_equal(apple_profile_uuid(&site, &alice, "profile", again), 0);
	assert_string_equal(again, uuid[0]);
	bob.id = "00112233445566778899aabbccddeefe";
	assert_int_equal(apple_profile_uuid(&site, &bob, "profile", again), 0);
	assert_string_not_equal(again, uuid[0]);
}

static void test_the_first_phase_asks_for_the_devices_attributes(void **state UNUSED)
{
	char why[APPLE_WHY_MAX];
	plist_t root, content, names;
	struct buffer b;

	buffer_init(&b, APPLE_PROFILE_MAX);
	assert_int_equal(apple_profile_service(&site, &alice, "https://enroll.example.com/ota", "SECRET", &b, why), 0);
	root = parsed(&b);
	expect_text(root, "PayloadType", "Profile Service");
	expect_number(root, "PayloadVersion", 1);
	content = plist_dict_get_item(root, "PayloadContent");
	assert_int_equal(plist_get_node_type(content), PLIST_DICT);
	expect_text(content, "URL", "https://enroll.example.com/ota");
	expect_text(content, "Challenge", "SECRET");
	names = plist_dict_get_item(content, "DeviceAttributes");
	assert_int_equal(plist_array_get_size(names), 6);
	plist_free(root);
}

static void test_the_second_phase_has_the_scep_payload_alone(void **state UNUSED)
{
	char why[APPLE_WHY_MAX];
	plist_t root, array;
	struct buffer b;

	buffer_init(&b, APPLE_PROFILE_MAX);
	assert_int_equal(apple_profile_enrol(&site, &alice, &scep, &b, why), 0);
	root = parsed(&b);
	array = plist_dict_get_item(root, "PayloadContent");
	assert_int_equal(plist_array_get_size(array), 1);
	assert_non_null(payload(array, "com.apple.security.scep", 0));
	/* another profile than the final one: it does not take that one's place */
	assert_string_not_equal(text_of(root, "PayloadIdentifier"), "com.example.mail." ID);
	plist_free(root);
}

static struct pki_pair phone_pair(const char *key, const char *usage)
{
	struct pki spec = { .cn = "phone", .issuer = &issuing_ca, .key = key, .key_usage = usage };

	return pki_make(&spec);
}

static void test_the_third_phase_is_readable_by_the_device_alone(void **state UNUSED)
{
	struct pki_pair phone = phone_pair("RSA-2048", "critical,digitalSignature,keyEncipherment");
	char why[APPLE_WHY_MAX], *inside = NULL;
	const unsigned char *der;
	uint64_t n = 0;
	CMS_ContentInfo *cms;
	plist_t root, array = NULL;
	struct buffer b;
	BIO *plain = BIO_new(BIO_s_mem());
	long got;

	buffer_init(&b, APPLE_PROFILE_MAX);
	assert_int_equal(apple_profile_whole(&site, &alice, &with_scep, phone.cert, &b, why), 0);
	assert_null(memmem(buffer_data(&b), buffer_len(&b), "K3LM", 4));
	root = parsed(&b);
	expect_bool(root, "IsEncrypted", true);
	assert_null(plist_dict_get_item(root, "PayloadContent"));
	der = (const unsigned char *)plist_get_data_ptr(plist_dict_get_item(root, "EncryptedPayloadContent"), &n);
	cms = d2i_CMS_ContentInfo(NULL, &der, (long)n);
	assert_non_null(cms);
	assert_int_equal(CMS_decrypt(cms, phone.key, phone.cert, NULL, plain, 0), 1);
	got = BIO_get_mem_data(plain, &inside);
	plist_from_xml(inside, (uint32_t)got, &array);
	assert_non_null(array);
	assert_int_equal(plist_get_node_type(array), PLIST_ARRAY);
	assert_non_null(payload(array, "com.apple.eas.account", 0));
	plist_free(array);
	plist_free(root);
	CMS_ContentInfo_free(cms);
	BIO_free(plain);
	pki_free(&phone);
}

static void test_nothing_is_encrypted_to_a_certificate_that_cannot_decrypt(void **state UNUSED)
{
	static const char *const kinds[][2] = {
		{ "P-256", "critical,digitalSignature" }, { "RSA-1024", "keyEncipherment" }, { "RSA-2048", "critical,digitalSignature" },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct pki_pair phone = phone_pair(kinds[i][0], kinds[i][1]);
		char why[APPLE_WHY_MAX];
		struct buffer b;

		buffer_init(&b, APPLE_PROFILE_MAX);
		assert_int_equal(apple_profile_whole(&site, &alice, &with_scep, phone.cert, &b, why), -1);
		assert_non_null(strstr(why, "EncryptedPayloadContent"));
		assert_int_equal(buffer_len(&b), 0);
		pki_free(&phone);
	}
}

static void refused(const struct apple_site *s, const struct apple_device *d, const struct apple_content *c, const char *word)
{
	char why[APPLE_WHY_MAX] = "";
	struct buffer b;

	buffer_init(&b, APPLE_PROFILE_MAX);
	assert_int_equal(apple_profile_whole(s, d, c, NULL, &b, why), -1);
	assert_non_null(strstr(why, word));
	assert_int_equal(buffer_len(&b), 0);
	buffer_clear(&b);
}

static void test_control_characters_and_broken_texts_are_refused_not_written(void **state UNUSED)
{
	static const char *const bad[] = { "a\nb", "a\x01", "\xff", "\xc2\x85", "a\xe2\x80\xae", "" };
	char long_name[APPLE_TEXT_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct apple_device d = alice;

		d.display_name = bad[i];
		refused(&site, &d, &with_scep, "CN");
		d = alice;
		d.upn = bad[i];
		refused(&site, &d, &with_scep, "ntPrincipalName");
	}
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	refused(&site, &(struct apple_device){ ID, long_name, "u@x", "", "" }, &with_scep, "CN");
}

static void test_what_is_no_sid_no_url_no_device_id_and_no_certificate_is_refused(void **state UNUSED)
{
	static const char *const urls[] = { "ftp://x/", "https://", "https://a b/", "javascript:alert(1)", "https://u@h/", "http://h/\"" };
	static const struct strv junk[] = { STRV("not a certificate") };
	struct apple_device d = alice;
	struct apple_site s = site;

	d.sid = "S-1-5-21<x>";
	refused(&site, &d, &with_scep, "sid");
	d = alice;
	d.id = "../../etc/passwd";
	refused(&site, &d, &with_scep, "device id");
	s.identifier = "com..example";
	refused(&s, &alice, &with_scep, "identifier");
	s = site;
	s.trust = junk;
	s.trust_n = 1;
	refused(&s, &alice, &with_scep, "trust");
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct apple_scep bad = scep;

		bad.url = urls[i];
		refused(&site, &alice, &(struct apple_content){ .scep = &bad, .mail = &mail }, "URL");
	}
	refused(&site, &alice, &(struct apple_content){ .mail = &mail }, "exactly one");
}

static void test_mail_values_that_devices_would_misread_are_refused(void **state UNUSED)
{
	struct apple_mail bad = mail;
	struct apple_content content = { .scep = &scep, .mail = &bad };

	bad.past_days = 8;
	refused(&site, &alice, &content, "PastDays");
	bad = mail;
	bad.host = "https://mail.example.com/";
	refused(&site, &alice, &content, "Host");
}

static void test_the_identifier_is_the_servers_name_turned_round(void **state UNUSED)
{
	char out[64];

	assert_int_equal(apple_profile_identifier("https://Enroll.Example.com:8443/x", out, sizeof(out)), 0);
	assert_string_equal(out, "com.example.enroll");
	assert_int_equal(apple_profile_identifier("https://localhost", out, sizeof(out)), 0);
	assert_string_equal(out, "localhost");
	assert_int_equal(apple_profile_identifier("enroll.example.com", out, sizeof(out)), -1);
	assert_int_equal(apple_profile_identifier("https://a..b", out, sizeof(out)), -1);
	assert_int_equal(apple_profile_identifier("https://enroll.example.com", out, 8), -1);
}

static void write_file(const char *dir, const char *name, struct strv bytes)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	MUST(f != NULL && fwrite(bytes.p, 1, bytes.n, f) == bytes.n && fclose(f) == 0);
}

/* profile.xml, service.xml, final.xml with phone.pem (certificate and key) */
static int write_samples(const char *dir)
{
	struct pki_pair phone;
	char why[APPLE_WHY_MAX], path[4096];
	struct buffer b;

	make_pki(NULL);
	phone = phone_pair("RSA-2048", "critical,digitalSignature,keyEncipherment");
	buffer_init(&b, APPLE_PROFILE_MAX);
	MUST(apple_profile_whole(&site, &alice, &with_scep, NULL, &b, why) == 0);
	write_file(dir, "profile.xml", buffer_view(&b));
	buffer_clear(&b);
	MUST(apple_profile_service(&site, &alice, "https://enroll.example.com/ota", "SECRET", &b, why) == 0);
	write_file(dir, "service.xml", buffer_view(&b));
	buffer_clear(&b);
	MUST(apple_profile_whole(&site, &alice, &with_scep, phone.cert, &b, why) == 0);
	write_file(dir, "final.xml", buffer_view(&b));
	buffer_clear(&b);
	snprintf(path, sizeof(path), "%s/phone.pem", dir);
	pki_write(path, &phone.cert, 1, phone.key);
	pki_free(&phone);
	drop_pki(NULL);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_scep_payload_asks_for_an_rsa_key_and_names_the_person),
		cmocka_unit_test(test_the_account_is_tied_to_the_certificate_of_the_same_profile),
		cmocka_unit_test(test_exchange_online_gets_oauth_and_no_certificate_in_the_account),
		cmocka_unit_test(test_roots_and_intermediates_are_payloads_of_their_own_kind),
		cmocka_unit_test(test_a_pkcs12_takes_the_place_of_scep),
		cmocka_unit_test(test_names_stay_with_the_device_and_differ_between_payloads_and_devices),
		cmocka_unit_test(test_the_first_phase_asks_for_the_devices_attributes),
		cmocka_unit_test(test_the_second_phase_has_the_scep_payload_alone),
		cmocka_unit_test(test_the_third_phase_is_readable_by_the_device_alone),
		cmocka_unit_test(test_nothing_is_encrypted_to_a_certificate_that_cannot_decrypt),
		cmocka_unit_test(test_control_characters_and_broken_texts_are_refused_not_written),
		cmocka_unit_test(test_what_is_no_sid_no_url_no_device_id_and_no_certificate_is_refused),
		cmocka_unit_test(test_mail_values_that_devices_would_misread_are_refused),
		cmocka_unit_test(test_the_identifier_is_the_servers_name_turned_round),
	};

	if (argc == 3 && strcmp(argv[1], "write") == 0)
		return write_samples(argv[2]);
	return cmocka_run_group_tests(tests, make_pki, drop_pki);
}
