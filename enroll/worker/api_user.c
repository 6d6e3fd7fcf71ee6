/*
 * api_user: a person's own devices: list, add, fetch what a device needs, revoke. Only ever those of the account that signed in: another's is as
 * if it were not there. Worker of easenroll.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "enroll/worker/device_help.h"
#include "enroll/worker/portal_parts.h"
#include "enroll/worker/profile.h"
#include "enroll/worker/publish.h"
#include "enroll/worker/qr.h"
#include "enroll/worker/revoke.h"

#define DEVICES_PATH "/api/devices/"
#define SHOWN_MAX    200

/* --- devices and when they were last seen --- */

struct listing {
	struct enroll_worker *worker;
	struct http_request *request;
	json_t *devices;
	unsigned pending; /* answers awaited, and one for the walk itself */
};

struct asking {
	struct listing *listing;
	json_t *device; /* borrowed from the listing */
};

static void listing_done(struct listing *l)
{
	if (--l->pending > 0)
		return;
	api_reply(l->request, 200, json_pack("{s:o}", "devices", l->devices));
	free(l);
}

static void on_seen(void *arg, const struct publish_seen *seen)
{
	struct asking *a = arg;
	struct listing *l = a->listing;

	if (seen != NULL && seen->last_seen != 0) {
		(void)json_object_set_new(a->device, "last_sync", api_time(seen->last_seen));
		(void)json_object_set_new(a->device, "last_command", api_string(seen->method));
		if (seen->eas_device_id[0] != '\0')
			(void)json_object_set_new(
			    a->device, "eas_device_id", api_string(seen->eas_device_id));
	}
	free(a);
	listing_done(l);
}

struct newest {
	json_t *list;
	bool has_live;
	uint8_t sha256[SHA256_SIZE];
};

static bool add_certificate(void *arg, const struct registry_certificate *row)
{
	struct newest *n = arg;

	if (row->state == REGISTRY_ISSUING)
		return true;
	(void)json_array_append_new(n->list, api_certificate(row));
	if (row->state == REGISTRY_LIVE) {
		n->has_live = true;
		memcpy(n->sha256, row->sha256, SHA256_SIZE);
	}
	return true;
}

/* Fills in certificates, and asks when the newest one was last used. */
static void complete(struct listing *l, json_t *device)
{
	struct newest newest = { .list = json_array() };
	struct asking *a;
	const char *id = json_string_value(json_object_get(device, "id"));

	if (newest.list == NULL || id == NULL)
		return;
	if (registry_certificates(l->worker->registry, id, add_certificate, &newest) < 0)
		newest.has_live = false;
	(void)json_object_set_new(device, "certificates", newest.list);
	if (!newest.has_live || l->worker->publish == NULL)
		return;
	a = malloc(sizeof(*a));
	if (a == NULL)
		return;
	*a = (struct asking){ l, device };
	l->pending++;
	if (publish_ask_seen(l->worker->publish, newest.sha256, on_seen, a) < 0) {
		l->pending--;
		free(a);
	}
}

static bool add_device(
    void *arg, const struct registry_device *row, const struct registry_account *owner)
{
	(void)owner;
	return json_array_append_new(arg, api_device(row)) == 0;
}

/* The account's row, made if need be; false: it has answered. */
static bool own_account(
    struct enroll_worker *w, struct http_request *r, struct registry_account *out)
{
	char actor[REGISTRY_ACTOR_MAX];
	struct registry_by by = portal_by(w, r, false, "", actor);
	enum registry_result result = registry_account_seen(
	    w->registry, &by, &portal_session(r)->account, out);

	if (result != REGISTRY_OK)
		api_registry_error(r, w->registry, result);
	return result == REGISTRY_OK;
}

static void serve_list(struct enroll_worker *w, struct http_request *r)
{
	struct registry_account own;
	enum registry_result known = registry_account_by_sid(
	    w->registry, portal_session(r)->account.sid, &own);
	struct listing *l;
	json_t *device;
	size_t i;

	if (known != REGISTRY_OK) {
		if (known == REGISTRY_NONE) /* has never had one */
			api_reply(r, 200, json_pack("{s:[]}", "devices"));
		else
			api_registry_error(r, w->registry, known);
		return;
	}
	l = calloc(1, sizeof(*l));
	if (l == NULL || (l->devices = json_array()) == NULL ||
	    registry_devices(w->registry, own.id, "", 0, SHOWN_MAX, add_device, l->devices) !=
		REGISTRY_OK) {
		if (l != NULL)
			json_decref(l->devices);
		free(l);
		api_error(
		    r, 503, "unavailable", "The registry does not answer: come again in a moment.");
		return;
	}
	l->worker = w;
	l->request = r;
	l->pending = 1;
	json_array_foreach(l->devices, i, device) complete(l, device);
	listing_done(l);
}

/* --- adding --- */

/* NULL, or why this account may have no device (a word of the interface). */
static const char *may_add(const struct enroll_worker *w, const struct account *a)
{
	switch (profile_allows(
	    &w->rules[w->settings->enroll.scep.profile_index], a, loop_wall(w->loop))) {
	case PROFILE_OK: return NULL;
	case PROFILE_NOT_IN_GROUP: return "not-in-group";
	case PROFILE_NO_UPN:
	case PROFILE_NO_MAIL:
	case PROFILE_NO_SID:
	case PROFILE_NO_NAME: return "account-incomplete";
	default: return "account-not-allowed";
	}
}

static void serve_add(struct enroll_worker *w, struct http_request *r)
{
	const struct enroll_section *e = &w->settings->enroll;
	const char *refused = may_add(w, &portal_session(r)->account);
	char actor[REGISTRY_ACTOR_MAX];
	struct registry_by by = portal_by(w, r, false, "on the portal", actor);
	struct registry_device wanted, made;
	struct registry_account own;
	enum registry_result result;
	enum device_kind kind;
	json_t *body;
	bool good;

	if (refused != NULL) {
		api_error(r, 403, refused, "This account may have no device.");
		return;
	}
	body = api_body(r);
	if (body == NULL)
		return;
	memset(&wanted, 0, sizeof(wanted));
	good = text_copy(wanted.name, sizeof(wanted.name), text_trim(api_text(body, "name"))) ==
		0 &&
	    wanted.name[0] != '\0' && text_is_clean(strv_from(wanted.name)) &&
	    device_kind_parse(api_text(body, "kind"), &kind) == 0;
	if (good)
		snprintf(wanted.kind, sizeof(wanted.kind), "%s", device_kind_name(kind));
	json_decref(body);
	if (!good) {
		api_error(r, 400, "bad-value",
		    "name: 1 to 127 bytes of text; kind: iphone, ipad, mac, android, windows or other.");
		return;
	}
	if (!own_account(w, r, &own))
		return;
	wanted.account = own.id;
	wanted.state = e->profiles[e->scep.profile_index].approve ? REGISTRY_DEVICE_WAITING :
								    REGISTRY_DEVICE_ACTIVE;
	result = registry_device_add(w->registry, &by, &wanted, e->portal.devices_per_user, &made);
	if (result != REGISTRY_OK)
		api_registry_error(r, w->registry, result);
	else
		api_reply(r, 201, json_pack("{s:o}", "device", api_device(&made)));
}

/* --- one device --- */

/* What the path behind DEVICES_PATH names: an own device and a word. False: it has answered. */
static bool own_device(
    struct enroll_worker *w, struct http_request *r, struct registry_device *out, struct strv *word)
{
	struct strv rest = route_rest(r, DEVICES_PATH), id = text_split(&rest, '/');
	char text[REGISTRY_DEVICE];
	uint8_t raw[16];
	struct registry_account own;
	enum registry_result result = REGISTRY_NONE;

	*word = rest;
	if (text_unhex(raw, sizeof(raw), id) == 0 &&
	    registry_account_by_sid(w->registry, portal_session(r)->account.sid, &own) ==
		REGISTRY_OK) {
		text_hex(text, raw, sizeof(raw));
		result = registry_device_get(w->registry, text, out);
		if (result == REGISTRY_OK && out->account != own.id)
			result = REGISTRY_NONE;
	}
	if (result != REGISTRY_OK)
		api_registry_error(r, w->registry, result);
	return result == REGISTRY_OK;
}

static json_t *help_for(const struct enroll_worker *w, const struct registry_device *device,
    const struct account *a, const char *path)
{
	const struct enroll_section *e = &w->settings->enroll;
	struct device_values values = { a->mail, a->upn, e->mail.host, e->public_url, path };
	enum device_kind kind;
	struct buffer text;
	json_t *help = NULL;

	buffer_init(&text, 16384);
	if (device_kind_parse(strv_from(device->kind), &kind) == 0 &&
	    device_help(kind, &values, &text) == 0)
		help = json_loadb(buffer_data(&text), buffer_len(&text), 0, NULL);
	buffer_clear(&text);
	return help != NULL ? help : json_object();
}

static json_t *qr_for(const char *url)
{
	struct buffer svg;
	json_t *text = NULL;

	buffer_init(&svg, QR_SVG_MAX);
	if (qr_svg(url, "QR", &svg) == 0)
		text = json_stringn(buffer_data(&svg), buffer_len(&svg));
	buffer_clear(&svg);
	return text != NULL ? text : json_null();
}

static void deliver(
    struct enroll_worker *w, struct http_request *r, const struct registry_device *device)
{
	struct account account = portal_session(r)->account;
	struct delivery_link link;
	char path[DELIVERY_TOKEN_SIZE + 8], url[768];
	json_t *answer;

	if (device->state != REGISTRY_DEVICE_ACTIVE) {
		api_error(r, 409, device->state == REGISTRY_DEVICE_WAITING ? "waiting" : "revoked",
		    "This device can have no certificate now.");
		return;
	}
	if (delivery_make(portal_of(w)->delivery, &account, device, &link) < 0) {
		api_error(r, 503, "unavailable", "Come again in a moment.");
		return;
	}
	snprintf(path, sizeof(path), DELIVERY_PATH "%s", link.token);
	snprintf(url, sizeof(url), "%s%s", w->settings->enroll.public_url, path);
	answer = json_pack("{s:s,s:s,s:s,s:o,s:o,s:o}", "path", path, "url", url, "password",
	    link.password, "ends", api_time(link.ends), "qr", qr_for(url), "help",
	    help_for(w, device, &account, path));
	OPENSSL_cleanse(&link, sizeof(link));
	OPENSSL_cleanse(url, sizeof(url));
	OPENSSL_cleanse(path, sizeof(path));
	api_reply(r, 200, answer);
}

static void revoke(
    struct enroll_worker *w, struct http_request *r, const struct registry_device *device)
{
	struct registry_device now;
	char actor[REGISTRY_ACTOR_MAX];
	struct registry_by by = portal_by(w, r, false, "by its owner", actor);
	int reason = REVOKE_CESSATION;
	enum registry_result result;
	unsigned n = 0;
	json_t *body;
	struct strv word;

	body = api_body(r);
	if (body == NULL)
		return;
	word = api_text(body, "reason");
	if (word.n > 0 && revoke_reason_parse(word, &reason) < 0) {
		json_decref(body);
		api_error(r, 400, "bad-value", "reason: lost, key-compromise, affiliation-changed, superseded, cessation, privilege-withdrawn or unspecified.");
		return;
	}
	json_decref(body);
	delivery_forget(portal_of(w)->delivery, device->id);
	result = revoke_device(w->revoke, &by, device->id, reason, &n);
	if (result == REGISTRY_OK)
		result = registry_device_get(w->registry, device->id, &now);
	if (result != REGISTRY_OK)
		api_registry_error(r, w->registry, result);
	else
		api_reply(r, 200,
		    json_pack("{s:o,s:I}", "device", api_device(&now), "certificates", (json_int_t)n));
}

static void serve_device(struct enroll_worker *w, struct http_request *r)
{
	struct registry_device device;
	struct strv word;

	if (!own_device(w, r, &device, &word))
		return;
	if (strv_eq(word, STRV("delivery")))
		deliver(w, r, &device);
	else if (strv_eq(word, STRV("revoke")))
		revoke(w, r, &device);
	else
		api_error(r, 404, "not-found", "There is no such thing.");
}

const struct route portal_user_routes[] = {
	{ "GET", "/api/devices", HTTP_WAY_TLS, 0, ROUTE_USER, serve_list },
	{ "POST", "/api/devices", HTTP_WAY_TLS, 0, ROUTE_USER, serve_add },
	{ "POST", DEVICES_PATH, HTTP_WAY_TLS, ROUTE_PREFIX, ROUTE_USER, serve_device },
	{ .methods = NULL },
};
