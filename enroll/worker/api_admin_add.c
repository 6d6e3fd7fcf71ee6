/*
 * api_admin_add: what an administrator makes for somebody else: a device, a one-time secret. The account is asked of the directory first, by the name
 * given. Worker of easenroll.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/claim_kind.h"
#include "common/text.h"
#include "enroll/worker/device_help.h"
#include "enroll/worker/portal_parts.h"

struct making {
	struct enroll_worker *worker;
	struct http_request *request;
	json_t *body;
	char actor[REGISTRY_ACTOR_MAX]; /* the session may have ended by then */
	/* Answers. */
	void (*make)(struct making *m, const struct registry_by *by,
	    const struct registry_account *owner, const struct account *account);
};

static void making_free(struct making *m)
{
	json_decref(m->body);
	free(m);
}

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct making *m = arg;
	struct enroll_worker *w = m->worker;
	struct registry_by by = {
		.actor = m->actor, .detail = "by an administrator", .at = loop_wall(w->loop)
	};
	struct registry_account owner;
	struct directory_found found;
	enum registry_result result;

	memset(&found, 0, sizeof(found));
	if (status == WIRE_OK && n == sizeof(found))
		memcpy(&found, body, sizeof(found));
	if (found.result == ACCOUNT_UNAVAILABLE) {
		api_error(m->request, 503, "unavailable",
		    "The directory does not answer: come again in a moment.");
	} else if (found.result != ACCOUNT_FOUND) {
		api_error(m->request, 404, account_result_text(found.result),
		    "The directory has not exactly one account of this name.");
	} else {
		result = registry_account_seen(w->registry, &by, &found.account, &owner);
		if (result == REGISTRY_OK)
			m->make(m, &by, &owner, &found.account);
		else
			api_registry_error(m->request, w->registry, result);
	}
	making_free(m);
}

static void start(struct enroll_worker *w, struct http_request *r,
    void (*make)(struct making *, const struct registry_by *, const struct registry_account *,
	const struct account *))
{
	json_t *body = api_body(r);
	struct directory_find find;
	struct making *m;
	struct strv name;

	if (body == NULL)
		return;
	memset(&find, 0, sizeof(find));
	name = api_text(body, "account");
	find.kind = name.n > 4 && memcmp(name.p, "S-1-", 4) == 0 ? CLAIM_SID : CLAIM_USER;
	find.fresh = 1;
	m = calloc(1, sizeof(*m));
	if (m == NULL || name.n == 0 || text_copy(find.value, sizeof(find.value), name) < 0) {
		api_error(r, 400, "bad-value", "account: a user name, UPN or SID.");
		json_decref(body);
		free(m);
		return;
	}
	*m = (struct making){ .worker = w, .request = r, .body = body, .make = make };
	(void)portal_by(w, r, true, "", m->actor);
	if (asker_ask(w->directory, DIRECTORY_FIND, &find, sizeof(find), DIRECTORY_TIMEOUT_MS,
		on_found, m) == 0) {
		api_error(r, 503, "unavailable", "Come again in a moment.");
		making_free(m);
	}
}

/* --- a device --- */

static void make_device(struct making *m, const struct registry_by *by,
    const struct registry_account *owner, const struct account *account)
{
	struct enroll_worker *w = m->worker;
	struct registry_device wanted, made;
	enum registry_result result;
	enum device_kind kind;
	json_t *device;

	(void)account;
	memset(&wanted, 0, sizeof(wanted));
	if (text_copy(wanted.name, sizeof(wanted.name), text_trim(api_text(m->body, "name"))) < 0 ||
	    wanted.name[0] == '\0' || device_kind_parse(api_text(m->body, "kind"), &kind) < 0) {
		api_error(m->request, 400, "bad-value",
		    "name: 1 to 127 bytes of text; kind: iphone, ipad, mac, android, windows or other.");
		return;
	}
	snprintf(wanted.kind, sizeof(wanted.kind), "%s", device_kind_name(kind));
	wanted.account = owner->id;
	wanted.state = REGISTRY_DEVICE_ACTIVE;
	result = registry_device_add(
	    w->registry, by, &wanted, w->settings->enroll.portal.devices_per_user, &made);
	if (result != REGISTRY_OK) {
		api_registry_error(m->request, w->registry, result);
		return;
	}
	device = api_device(&made);
	(void)json_object_set_new(device, "owner", api_registry_account(owner));
	api_reply(m->request, 201, json_pack("{s:o}", "device", device));
}

void admin_serve_add(struct enroll_worker *w, struct http_request *r) { start(w, r, make_device); }

/* --- a one-time secret --- */

static void make_secret(struct making *m, const struct registry_by *by,
    const struct registry_account *owner, const struct account *account)
{
	struct enroll_worker *w = m->worker;
	const struct enroll_section *e = &w->settings->enroll;
	char device[REGISTRY_DEVICE] = "", purpose[REGISTRY_KIND_MAX] = "scep",
	     profile[REGISTRY_PROFILE_MAX], text[SECRET_TEXT_MAX] = "";
	struct secret_for wanted = { .account = owner->id,
		.device = device,
		.profile = profile,
		.purpose = purpose,
		.seconds = e->secrets.seconds,
		.form = SECRET_GROUPS,
		.limit = 64 };
	struct strv d = api_text(m->body, "device"), p = api_text(m->body, "purpose"),
		    f = api_text(m->body, "profile");
	struct registry_device row;
	enum registry_result result;
	bool good;

	(void)account;
	snprintf(profile, sizeof(profile), "%s", e->profiles[e->scep.profile_index].name);
	good = (d.n == 0 || text_copy(device, sizeof(device), d) == 0) &&
	    (f.n == 0 || text_copy(profile, sizeof(profile), f) == 0) &&
	    (p.n == 0 || strv_eq(p, STRV("scep")) || strv_eq(p, STRV("est"))) &&
	    enroll_profile_find(w->settings, profile) != NULL;
	if (!good) {
		api_error(m->request, 400, "bad-value",
		    "device: its id; profile: its name; purpose: scep or est.");
		return;
	}
	if (p.n > 0)
		snprintf(purpose, sizeof(purpose), "%.*s", STRV_FMT(p));
	if (d.n > 0 &&
	    (registry_device_get(w->registry, device, &row) != REGISTRY_OK ||
		row.account != owner->id)) {
		api_error(m->request, 404, "not-found", "The account has no such device.");
		return;
	}
	result = secret_make(w->registry, &w->secret_key, by, &wanted, text);
	if (result == REGISTRY_OK)
		api_reply(m->request, 201,
		    json_pack("{s:s,s:s,s:s,s:o}", "secret", text, "purpose", purpose, "profile",
			profile, "ends", api_time(by->at + wanted.seconds)));
	else
		api_registry_error(m->request, w->registry, result);
	OPENSSL_cleanse(text, sizeof(text));
}

void admin_serve_secret(struct enroll_worker *w, struct http_request *r)
{
	start(w, r, make_secret);
}
