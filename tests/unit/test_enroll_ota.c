/*
 * test_enroll_ota: what devices post to the over-the-air service, and above all what is refused of it. The "device CA" is made here, as
 * the real one is: short RSA, SHA-1, long out of date.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>
#include <openssl/cms.h>

#include "enroll/worker/ota.h"
#include "enroll/worker/ota_plist.h"
#include "tests/unit/pki.h"

#define YEAR (365L * 86400)
#define HEAD                                                                                       \
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"                                             \
	"<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n" \
	"<plist version=\"1.0\">\n<dict>\n"
#define TAIL "</dict>\n</plist>\n"
#define GOOD                                                                                       \
	HEAD "\t<key>CHALLENGE</key>\n\t<string>K3LM-7QAB&amp;x</string>\n"                       \
	     "\t<key>IMEI</key>\n\t<string>01 234567 890123 4</string>\n\t<key>LANGUAGE</key><string>de</string>\n" \
	     "\t<key>PRODUCT</key>\n\t<string>iPhone15,2</string>\n\t<key>SERIAL</key><string>F2LXK0ABCD</string>\n" \
	     "\t<key>UDID</key>\n\t<string>00008120-001A2B3C4D5E6F70</string>\n\t<key>VERSION</key>\n\t<string>22B91</string>\n" TAIL

static struct pki_pair device_ca, our_ca, strange_ca, built_in, enrolled, stranger;
static struct ota *ota;

static struct strv pem_of(X509 *cert, BIO **bio)
{
	char *p = NULL;
	long n;

	*bio = BIO_new(BIO_s_mem());
	MUST(PEM_write_bio_X509(*bio, cert) == 1);
	n = BIO_get_mem_data(*bio, &p);
	return (struct strv){ p, (size_t)n };
}

static int make_pki(void **state UNUSED)
{
	struct pki device = { .cn = "Example iPhone Device CA", .ca = true, .key = "RSA-1024", .md = EVP_sha1(), .from = -19 * YEAR, .to = -12 * YEAR };
	struct pki ours = { .cn = "Example Devices", .ca = true }, strange = { .cn = "Strange CA", .ca = true };
	struct pki one = { .cn = "12345678-AAAA", .issuer = &device_ca, .key = "RSA-1024", .md = EVP_sha1(), .from = -10 * YEAR, .to = -9 * YEAR, .eku = "" };
	struct pki two = { .cn = "alice", .issuer = &our_ca, .key = "RSA-2048" };
	struct pki three = { .cn = "mallory", .issuer = &strange_ca, .key = "RSA-2048" };
	BIO *a, *b;

	device_ca = pki_make(&device);
	our_ca = pki_make(&ours);
	strange_ca = pki_make(&strange);
	built_in = pki_make(&one);
	enrolled = pki_make(&two);
	stranger = pki_make(&three);
	ota = ota_new(pem_of(device_ca.cert, &a), pem_of(our_ca.cert, &b));
	BIO_free(a);
	BIO_free(b);
	return ota == NULL ? -1 : 0;
}

static int drop_pki(void **state UNUSED)
{
	struct pki_pair *const all[] = { &device_ca, &our_ca, &strange_ca, &built_in, &enrolled, &stranger };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		pki_free(all[i]);
	ota_free(ota);
	return 0;
}

/* A message as a device signs it. Freed with OPENSSL_free(). */
static struct strv signed_by(const struct pki_pair *who, struct strv text, const EVP_MD *md, unsigned flags)
{
	BIO *in = BIO_new_mem_buf(text.p, (int)text.n);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, in, CMS_BINARY | CMS_PARTIAL | (flags & CMS_DETACHED));
	unsigned char *der = NULL;
	int n;

	MUST(cms != NULL && CMS_add1_signer(cms, who->cert, who->key, md, CMS_BINARY | (flags & CMS_NOCERTS)) != NULL);
	MUST(CMS_final(cms, in, NULL, CMS_BINARY | flags) == 1);
	n = i2d_CMS_ContentInfo(cms, &der);
	MUST(n > 0);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	return (struct strv){ (char *)der, (size_t)n };
}

static void expect(struct strv body, enum ota_result want)
{
	struct ota_post post, none;

	memset(&none, 0, sizeof(none));
	assert_string_equal(ota_result_text(ota_open(ota, body, time(NULL), &post)), ota_result_text(want));
	if (want != OTA_OK)
		assert_memory_equal(&post, &none, sizeof(none));
	ota_post_clear(&post);
}

static void expect_list(struct strv text, enum ota_result want)
{
	struct strv body = signed_by(&built_in, text, EVP_sha1(), 0);

	expect(body, want);
	OPENSSL_free((void *)(uintptr_t)body.p);
}

static void test_a_post_signed_with_the_built_in_certificate_says_which_device(void **state UNUSED)
{
	struct strv body = signed_by(&built_in, STRV(GOOD), EVP_sha1(), 0);
	struct ota_post post;

	assert_int_equal(ota_open(ota, body, time(NULL), &post), OTA_OK);
	assert_int_equal(post.phase, OTA_BUILT_IN);
	assert_string_equal(post.challenge, "K3LM-7QAB&x");
	assert_string_equal(post.imei, "012345678901234");
	assert_string_equal(post.product, "iPhone15,2");
	assert_string_equal(post.serial, "F2LXK0ABCD");
	assert_string_equal(post.udid, "00008120-001A2B3C4D5E6F70");
	assert_string_equal(post.version, "22B91");
	assert_string_equal(post.meid, "");
	assert_int_equal(X509_cmp(post.signer, built_in.cert), 0);
	ota_post_clear(&post);
	assert_string_equal(post.challenge, "");
	OPENSSL_free((void *)(uintptr_t)body.p);
}

static void test_a_post_signed_with_our_certificate_is_the_third_phase(void **state UNUSED)
{
	struct strv body = signed_by(&enrolled, STRV(GOOD), EVP_sha256(), 0);
	struct ota_post post;

	assert_int_equal(ota_open(ota, body, time(NULL), &post), OTA_OK);
	assert_int_equal(post.phase, OTA_ENROLLED);
	assert_int_equal(X509_cmp(post.signer, enrolled.cert), 0);
	ota_post_clear(&post);
	OPENSSL_free((void *)(uintptr_t)body.p);
}

static void test_our_own_certificates_are_checked_with_time_and_strength(void **state UNUSED)
{
	struct strv body = signed_by(&enrolled, STRV(GOOD), EVP_sha256(), 0), weak = signed_by(&enrolled, STRV(GOOD), EVP_sha1(), 0);
	struct ota_post post;

	assert_int_equal(ota_open(ota, body, time(NULL) + 2 * 86400, &post), OTA_UNTRUSTED);
	expect(weak, OTA_DIGEST);
	OPENSSL_free((void *)(uintptr_t)body.p);
	OPENSSL_free((void *)(uintptr_t)weak.p);
}

static void test_what_our_ca_certified_for_something_else_is_no_device(void **state UNUSED)
{
	struct pki spec = { .cn = "server", .issuer = &our_ca, .key = "RSA-2048", .eku = "serverAuth" };
	struct pki_pair server = pki_make(&spec);
	struct strv body = signed_by(&server, STRV(GOOD), EVP_sha256(), 0);

	expect(body, OTA_UNTRUSTED);
	OPENSSL_free((void *)(uintptr_t)body.p);
	pki_free(&server);
}

static void test_a_stranger_is_refused_also_with_the_name_of_a_known_ca(void **state UNUSED)
{
	struct pki fake_ours = { .cn = "Example Devices", .ca = true }, fake_device = { .cn = "Example iPhone Device CA", .ca = true };
	struct pki_pair fakes[2] = { pki_make(&fake_ours), pki_make(&fake_device) };
	struct strv body = signed_by(&stranger, STRV(GOOD), EVP_sha256(), 0);

	expect(body, OTA_UNTRUSTED);
	OPENSSL_free((void *)(uintptr_t)body.p);
	for (size_t i = 0; i < ARRAY_LEN(fakes); i++) {
		struct pki leaf = { .cn = "alice", .issuer = &fakes[i], .key = "RSA-2048", .no_key_ids = true };
		struct pki_pair pair = pki_make(&leaf);

		body = signed_by(&pair, STRV(GOOD), EVP_sha256(), 0);
		expect(body, OTA_UNTRUSTED);
		OPENSSL_free((void *)(uintptr_t)body.p);
		pki_free(&pair);
		pki_free(&fakes[i]);
	}
}

static void test_without_device_cas_the_first_phase_is_shut(void **state UNUSED)
{
	struct strv body = signed_by(&built_in, STRV(GOOD), EVP_sha1(), 0);
	struct ota_post post;
	BIO *bio;
	struct strv pem = pem_of(our_ca.cert, &bio);
	struct ota *closed = ota_new((struct strv){ NULL, 0 }, pem);

	assert_non_null(closed);
	assert_int_equal(ota_open(closed, body, time(NULL), &post), OTA_UNTRUSTED);
	ota_free(closed);
	assert_null(ota_new(STRV("junk"), pem));
	assert_null(ota_new((struct strv){ NULL, 0 }, STRV("junk")));
	assert_null(ota_new((struct strv){ NULL, 0 }, (struct strv){ NULL, 0 }));
	BIO_free(bio);
	OPENSSL_free((void *)(uintptr_t)body.p);
}

static void test_43_every_flipped_bit_and_every_cut_is_refused_or_changes_nothing(void **state UNUSED)
{
	struct strv body = signed_by(&enrolled, STRV(GOOD), EVP_sha256(), 0);
	struct ota_post post;
	char *copy = malloc(body.n);

	assert_non_null(copy);
	for (size_t i = 0; i < body.n; i++) {
		memcpy(copy, body.p, body.n);
		copy[i] = (char)(copy[i] ^ (1 << (i % 8)));
		/* what is outside of the signature (an unused certificate's bit, a tag's form) may change; what is read may not */
		if (ota_open(ota, (struct strv){ copy, body.n }, time(NULL), &post) == OTA_OK) {
			assert_string_equal(post.udid, "00008120-001A2B3C4D5E6F70");
			assert_string_equal(post.challenge, "K3LM-7QAB&x");
			assert_int_equal(post.phase, OTA_ENROLLED);
		}
		ota_post_clear(&post);
	}
	for (size_t n = 0; n < body.n; n += 7)
		assert_int_not_equal(ota_open(ota, (struct strv){ body.p, n }, time(NULL), &post), OTA_OK);
	free(copy);
	OPENSSL_free((void *)(uintptr_t)body.p);
}

static void test_43_changed_content_behind_a_good_signature_is_refused(void **state UNUSED)
{
	struct strv body = signed_by(&enrolled, STRV(GOOD), EVP_sha256(), 0);
	char *at = memmem(body.p, body.n, "F2LXK0", 6);

	assert_non_null(at);
	at[0] = 'G';
	expect(body, OTA_SIGNATURE);
	OPENSSL_free((void *)(uintptr_t)body.p);
}

static void test_43_messages_without_content_signer_or_certificate_are_refused(void **state UNUSED)
{
	struct strv detached = signed_by(&enrolled, STRV(GOOD), EVP_sha256(), CMS_DETACHED);
	struct strv bare = signed_by(&enrolled, STRV(GOOD), EVP_sha256(), CMS_NOCERTS);
	struct strv body = signed_by(&enrolled, STRV(GOOD), EVP_sha256(), 0);
	char *longer = malloc(OTA_POST_MAX + 1);

	assert_non_null(longer);
	memset(longer, 0, OTA_POST_MAX + 1);
	memcpy(longer, body.p, body.n);
	expect(detached, OTA_NOT_CMS);
	expect(bare, OTA_SIGNERS);
	expect((struct strv){ NULL, 0 }, OTA_NOT_CMS);
	expect(STRV(GOOD), OTA_NOT_CMS);
	expect((struct strv){ longer, body.n + 1 }, OTA_NOT_CMS);
	expect((struct strv){ longer, OTA_POST_MAX + 1 }, OTA_TOO_LARGE);
	free(longer);
	OPENSSL_free((void *)(uintptr_t)detached.p);
	OPENSSL_free((void *)(uintptr_t)bare.p);
	OPENSSL_free((void *)(uintptr_t)body.p);
}

static void test_43_two_signers_are_one_too_many(void **state UNUSED)
{
	BIO *in = BIO_new_mem_buf(GOOD, -1);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, in, CMS_BINARY | CMS_PARTIAL);
	unsigned char *der = NULL;
	int n;

	MUST(CMS_add1_signer(cms, enrolled.cert, enrolled.key, EVP_sha256(), CMS_BINARY) != NULL);
	MUST(CMS_add1_signer(cms, stranger.cert, stranger.key, EVP_sha256(), CMS_BINARY) != NULL);
	MUST(CMS_final(cms, in, NULL, CMS_BINARY) == 1);
	n = i2d_CMS_ContentInfo(cms, &der);
	expect((struct strv){ (char *)der, (size_t)n }, OTA_SIGNERS);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
}

static void test_48_lists_with_entities_of_their_own_nesting_and_doubles_are_refused(void **state UNUSED)
{
	static const struct strv lists[] = {
		STRV("<?xml version=\"1.0\"?><!DOCTYPE plist [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><plist version=\"1.0\"><dict><key>UDID</key>"
		     "<string>&a;</string></dict></plist>"),
		STRV("bplist00\xd1\x01\x02"),
		STRV(HEAD "<key>UDID</key><dict><key>a</key><string>b</string></dict>" TAIL),
		STRV(HEAD "<key>UDID</key><array><string>b</string></array>" TAIL),
		STRV(HEAD "<key>UDID</key><string>a<!-- x -->b</string>" TAIL),
		STRV(HEAD "<key>UDID</key><string><![CDATA[x]]></string>" TAIL),
		STRV(HEAD "<key>UDID</key><string>a</string>"),
		STRV(HEAD "<key>UDID</key><string>a</string>" TAIL "more"),
		STRV(HEAD "<key>UDID</key>" TAIL),
		STRV(HEAD "<key></key><string>a</string>" TAIL),
		STRV("<plist version=\"1.0\"><array></array></plist>"),
	};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		expect_list(lists[i], OTA_LIST);
}

static void test_fields_that_are_double_long_of_another_kind_or_unclean_are_refused(void **state UNUSED)
{
	static const struct strv lists[] = {
		STRV(HEAD "<key>UDID</key><string>a</string><key>UDID</key><string>b</string>" TAIL),
		STRV(HEAD "<key>UDID</key><integer>5</integer>" TAIL),
		STRV(HEAD "<key>UDID</key><string>../../etc</string>" TAIL),
		STRV(HEAD "<key>UDID</key><string>a&#10;b</string>" TAIL),
		STRV(HEAD "<key>UDID</key><string>a&#0;</string>" TAIL),
		STRV(HEAD "<key>UDID</key><string>a&lol;</string>" TAIL),
		STRV(HEAD "<key>UDID</key><string>a\xff</string>" TAIL),
		STRV(HEAD "<key>SERIAL</key><string>&lt;script&gt;</string>" TAIL),
		STRV(HEAD "<key>PRODUCT</key><string>iPhone</string>" TAIL),
		STRV(HEAD TAIL),
	};
	char text[1024];

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		expect_list(lists[i], OTA_FIELD);
	snprintf(text, sizeof(text), HEAD "<key>UDID</key><string>%0128d</string>" TAIL, 0);
	expect_list(strv_from(text), OTA_FIELD);
	snprintf(text, sizeof(text), HEAD "<key>UDID</key><string>%0127d</string>" TAIL, 0);
	expect_list(strv_from(text), OTA_OK);
}

static void test_what_is_not_asked_for_is_passed_over(void **state UNUSED)
{
	expect_list(STRV(HEAD "<key>A</key><true/><key>B</key><data>AAAA</data><key>C</key><integer>3</integer><key>D</key>"
			      "<string/><key>UDID</key><string>abc</string>" TAIL), OTA_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_post_signed_with_the_built_in_certificate_says_which_device),
		cmocka_unit_test(test_a_post_signed_with_our_certificate_is_the_third_phase),
		cmocka_unit_test(test_our_own_certificates_are_checked_with_time_and_strength),
		cmocka_unit_test(test_what_our_ca_certified_for_something_else_is_no_device),
		cmocka_unit_test(test_a_stranger_is_refused_also_with_the_name_of_a_known_ca),
		cmocka_unit_test(test_without_device_cas_the_first_phase_is_shut),
		cmocka_unit_test(test_43_every_flipped_bit_and_every_cut_is_refused_or_changes_nothing),
		cmocka_unit_test(test_43_changed_content_behind_a_good_signature_is_refused),
		cmocka_unit_test(test_43_messages_without_content_signer_or_certificate_are_refused),
		cmocka_unit_test(test_43_two_signers_are_one_too_many),
		cmocka_unit_test(test_48_lists_with_entities_of_their_own_nesting_and_doubles_are_refused),
		cmocka_unit_test(test_fields_that_are_double_long_of_another_kind_or_unclean_are_refused),
		cmocka_unit_test(test_what_is_not_asked_for_is_passed_over),
	};

	return cmocka_run_group_tests(tests, make_pki, drop_pki);
}
