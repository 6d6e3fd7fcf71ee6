/*
 * test_enroll_android: mail apps' managed configuration and the steps for each kind of device, read back with jansson.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>

#include "enroll/worker/android.h"
#include "enroll/worker/device_help.h"

static const struct android_account alice = {
	.host = "mail.example.com", .mail = "alice@example.com", .upn = "alice@corp.example", .display_name = "Al\xc3\xaf" "ce \"</script>\"",
	.alias = "easgate", .eas_device_id = "",
};

static json_t *parsed(struct buffer *b)
{
	json_t *root = json_loadb(buffer_data(b), buffer_len(b), JSON_REJECT_DUPLICATES, NULL);

	assert_non_null(root);
	buffer_clear(b);
	return root;
}

static void expect(json_t *object, const char *key, const char *want)
{
	assert_string_equal(json_string_value(json_object_get(object, key)), want);
}

static json_t *configuration(enum android_app app, const struct android_account *account, bool online)
{
	struct buffer b;

	buffer_init(&b, 4096);
	assert_int_equal(android_configuration(app, account, online, &b), 0);
	return parsed(&b);
}

static void test_gmail_gets_host_user_and_the_keys_alias(void **state UNUSED)
{
	struct android_account with_id = alice;
	json_t *root = configuration(ANDROID_GMAIL, &alice, false), *o = json_object_get(root, "configuration");

	expect(root, "app", "gmail");
	expect(root, "package", "com.google.android.gm");
	expect(o, "email_address", "alice@example.com");
	expect(o, "exchange_host", "mail.example.com");
	expect(o, "exchange_username", "alice@corp.example");
	expect(o, "exchange_login_certificate_alias", "easgate");
	assert_true(json_is_true(json_object_get(o, "exchange_ssl_required")));
	assert_true(json_is_false(json_object_get(o, "exchange_trust_all_certificates")));
	assert_null(json_object_get(o, "exchange_device_id"));
	json_decref(root);
	with_id.eas_device_id = "ANDROID1234";
	root = configuration(ANDROID_GMAIL, &with_id, false);
	expect(json_object_get(root, "configuration"), "exchange_device_id", "ANDROID1234");
	json_decref(root);
}

static void test_samsung_never_accepts_all_certificates(void **state UNUSED)
{
	json_t *root = configuration(ANDROID_SAMSUNG, &alice, false), *o = json_object_get(root, "configuration");

	expect(o, "serverAddress", "mail.example.com");
	expect(o, "certificateAlias", "easgate");
	expect(o, "displayName", alice.display_name);
	assert_true(json_is_true(json_object_get(o, "useSSL")));
	assert_true(json_is_false(json_object_get(o, "acceptAllCertificates")));
	json_decref(root);
}

static void test_outlook_has_modern_sign_in_or_nothing(void **state UNUSED)
{
	json_t *root = configuration(ANDROID_OUTLOOK, &alice, true), *o = json_object_get(root, "configuration");
	struct buffer b;

	expect(o, "com.microsoft.outlook.EmailProfile.AccountType", "ModernAuth");
	expect(o, "com.microsoft.outlook.EmailProfile.EmailUPN", "alice@corp.example");
	json_decref(root);
	buffer_init(&b, 4096);
	assert_int_equal(android_configuration(ANDROID_OUTLOOK, &alice, false, &b), 1);
	assert_int_equal(buffer_len(&b), 0);
}

static void test_unclean_values_are_refused(void **state UNUSED)
{
	struct android_account bad = alice;
	struct buffer b;

	buffer_init(&b, 4096);
	bad.display_name = "a\nb";
	assert_int_equal(android_configuration(ANDROID_GMAIL, &bad, false, &b), -1);
	bad = alice;
	bad.host = "https://mail";
	assert_int_equal(android_configuration(ANDROID_GMAIL, &bad, false, &b), -1);
	bad = alice;
	bad.mail = "";
	assert_int_equal(android_configuration(ANDROID_GMAIL, &bad, false, &b), -1);
	assert_int_equal(android_configuration(ANDROID_APPS, &alice, false, &b), -1);
	assert_int_equal(buffer_len(&b), 0);
}

static void test_every_kind_of_device_has_its_steps_and_values(void **state UNUSED)
{
	static const struct device_values values = {
		"alice@example.com", "alice@corp.example", "mail.example.com", "https://enroll.example.com", "/get/1",
	};
	enum device_kind kind;

	for (unsigned i = 0; i < DEVICE_KINDS; i++) {
		struct buffer b;
		json_t *root, *v;

		buffer_init(&b, 4096);
		assert_int_equal(device_help((enum device_kind)i, &values, &b), 0);
		root = parsed(&b);
		v = json_object_get(root, "values");
		expect(root, "kind", device_kind_name((enum device_kind)i));
		expect(root, "delivery", device_kind_is_apple((enum device_kind)i) ? "profile" : "pkcs12");
		assert_true(json_array_size(json_object_get(root, "steps")) >= 4);
		expect(v, "download", "/get/1");
		expect(v, "host", "mail.example.com");
		assert_int_equal(device_kind_parse(strv_from(device_kind_name((enum device_kind)i)), &kind), 0);
		assert_int_equal(kind, i);
		if (i == DEVICE_WINDOWS)
			expect(v, "est", "https://enroll.example.com/.well-known/est");
		json_decref(root);
	}
	assert_int_equal(device_kind_parse(STRV("toaster"), &kind), -1);
	assert_null(device_kind_name(DEVICE_KINDS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gmail_gets_host_user_and_the_keys_alias),
		cmocka_unit_test(test_samsung_never_accepts_all_certificates),
		cmocka_unit_test(test_outlook_has_modern_sign_in_or_nothing),
		cmocka_unit_test(test_unclean_values_are_refused),
		cmocka_unit_test(test_every_kind_of_device_has_its_steps_and_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
