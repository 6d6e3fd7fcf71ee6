/*
 * device_help: what a person does on a device of each kind, as data. Pure. Runs in the worker of easenroll.
 */
#include "enroll/worker/device_help.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define VALUE_MAX 512
#define STEPS_MAX 8

static const struct kind {
	const char *name;
	bool profile, est;
	const char *steps[STEPS_MAX];	/* ends with NULL */
} kinds[DEVICE_KINDS] = {
	[DEVICE_IPHONE] = { "iphone", true, false,
	    { "scan-code", "open-in-safari", "allow-download", "open-settings", "install-profile", "open-mail" } },
	[DEVICE_IPAD] = { "ipad", true, false,
	    { "scan-code", "open-in-safari", "allow-download", "open-settings", "install-profile", "open-mail" } },
	[DEVICE_MAC] = { "mac", true, false, { "download-profile", "open-system-settings", "install-profile", "open-mail" } },
	[DEVICE_ANDROID] = { "android", false, false,
	    { "scan-code", "download-certificate", "type-password", "name-certificate", "add-exchange-account", "choose-certificate" } },
	[DEVICE_WINDOWS] = { "windows", false, true, { "download-certificate", "import-certificate", "type-password", "add-exchange-account" } },
	[DEVICE_OTHER] = { "other", false, true, { "download-certificate", "type-password", "import-certificate", "add-exchange-account" } },
};

const char *device_kind_name(enum device_kind kind)
{
	return (unsigned)kind < DEVICE_KINDS ? kinds[kind].name : NULL;
}

int device_kind_parse(struct strv name, enum device_kind *out)
{
	for (unsigned i = 0; i < DEVICE_KINDS; i++)
		if (strv_eq(name, strv_from(kinds[i].name))) {
			*out = (enum device_kind)i;
			return 0;
		}
	return -1;
}

bool device_kind_is_apple(enum device_kind kind)
{
	return (unsigned)kind < DEVICE_KINDS && kinds[kind].profile;
}

static bool is_good(const char *text, bool may_be_empty)
{
	struct strv v = strv_from(text);

	return text != NULL && (v.n > 0 || may_be_empty) && v.n <= VALUE_MAX && text_is_clean(v);
}

static json_t *steps_of(const struct kind *kind)
{
	json_t *steps = json_array();

	for (size_t i = 0; steps != NULL && i < STEPS_MAX && kind->steps[i] != NULL; i++)
		if (json_array_append_new(steps, json_string(kind->steps[i])) < 0) {
			json_decref(steps);
			steps = NULL;
		}
	return steps;
}

static json_t *values_of(const struct kind *kind, const struct device_values *v)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "mail", v->mail, "user", v->upn, "host", v->host, "server", v->public_url);
	bool bad = o == NULL;
	char est[VALUE_MAX + 32];

	if (!bad && v->download[0] != '\0')
		bad = json_object_set_new(o, "download", json_string(v->download)) < 0;
	if (!bad && kind->est) {
		snprintf(est, sizeof(est), "%s/.well-known/est", v->public_url);
		bad = json_object_set_new(o, "est", json_string(est)) < 0;
	}
	if (bad) {
		json_decref(o);
		return NULL;
	}
	return o;
}

int device_help(enum device_kind kind, const struct device_values *v, struct buffer *out)
{
	json_t *root = NULL;
	char *text = NULL;
	int r = -1;

	if ((unsigned)kind >= DEVICE_KINDS || !is_good(v->mail, false) || !is_good(v->upn, false) || !is_good(v->host, false) ||
	    !is_good(v->public_url, false) || !is_good(v->download, true))
		return -1;
	/* "o" takes the references; NULL among them makes it NULL */
	root = json_pack("{s:s, s:s, s:o, s:o}", "kind", kinds[kind].name, "delivery", kinds[kind].profile ? "profile" : "pkcs12",
	    "steps", steps_of(&kinds[kind]), "values", values_of(&kinds[kind], v));
	if (root != NULL)
		text = json_dumps(root, JSON_COMPACT);
	if (text != NULL)
		r = buffer_add(out, text, strlen(text));
	free(text);
	json_decref(root);
	return r;
}
