/*
 * android: mail apps' managed configuration as JSON. Pure. Runs in the worker of easenroll.
 */
#include "enroll/worker/android.h"

#include <jansson.h>
#include <stdlib.h>
#include <openssl/crypto.h>

#include "common/text.h"

#define VALUE_MAX 512
#define OUTLOOK	  "com.microsoft.outlook.EmailProfile."

typedef json_t *configuration_fn(const struct android_account *account);

static json_t *gmail(const struct android_account *a)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b}", "email_address", a->mail, "exchange_host", a->host,
	    "exchange_username", a->upn, "exchange_login_certificate_alias", a->alias, "exchange_ssl_required", 1,
	    "exchange_trust_all_certificates", 0, "allow_unmanaged_accounts", 0);

	if (o != NULL && a->eas_device_id[0] != '\0' && json_object_set_new(o, "exchange_device_id", json_string(a->eas_device_id)) < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static json_t *samsung(const struct android_account *a)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b}", "displayName", a->display_name, "emailAddress", a->mail,
	    "easUser", a->upn, "easDomain", "", "serverAddress", a->host, "certificateAlias", a->alias, "useSSL", 1,
	    "acceptAllCertificates", 0, "isDefault", 1);
}

static json_t *outlook(const struct android_account *a)
{
	return json_pack("{s:s, s:s, s:s, s:s}", OUTLOOK "EmailAccountName", a->display_name, OUTLOOK "EmailAddress", a->mail,
	    OUTLOOK "EmailUPN", a->upn, OUTLOOK "AccountType", "ModernAuth");
}

static const struct app {
	const char *name, *package;
	configuration_fn *configuration;
	bool online_only;
} apps[ANDROID_APPS] = {
	[ANDROID_GMAIL] = { "gmail", "com.google.android.gm", gmail, false },
	[ANDROID_SAMSUNG] = { "samsung", "com.samsung.android.email.provider", samsung, false },
	[ANDROID_OUTLOOK] = { "outlook", "com.microsoft.office.outlook", outlook, true },
};

const char *android_app_name(enum android_app app)
{
	return (unsigned)app < ANDROID_APPS ? apps[app].name : NULL;
}

static bool values_are_good(const struct android_account *a)
{
	const char *const all[] = { a->host, a->mail, a->upn, a->display_name, a->alias };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct strv text = strv_from(all[i]);

		if (text.n == 0 || text.n > VALUE_MAX || !text_is_clean(text))
			return false;
	}
	return a->eas_device_id != NULL && strlen(a->eas_device_id) <= VALUE_MAX && text_is_clean(strv_from(a->eas_device_id)) &&
	    strpbrk(a->host, "/ @?#") == NULL;
}

int android_configuration(enum android_app app, const struct android_account *account, bool online, struct buffer *out)
{
	json_t *configuration, *root;
	char *text;
	int r = -1;

	if ((unsigned)app >= ANDROID_APPS || !values_are_good(account))
		return -1;
	if (apps[app].online_only && !online)
		return 1;
	configuration = apps[app].configuration(account);
	/* "o" takes the reference, also when it fails */
	root = configuration == NULL ? NULL :
		json_pack("{s:s, s:s, s:o}", "app", apps[app].name, "package", apps[app].package, "configuration", configuration);
	text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
	if (text != NULL)
		r = buffer_add(out, text, strlen(text));
	free(text);
	json_decref(root);
	return r;
}
