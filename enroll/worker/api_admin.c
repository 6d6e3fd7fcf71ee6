/*
 * api_admin: what administrators see and do, on the portal's admin pages and by the command line over the local socket, in the same words: people, devices,
 * audit trail, the CA's state. Who may come here, route.c and portal_admit() have decided. Worker of easenroll.
 */
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "enroll/worker/chain.h"
#include "enroll/worker/portal_parts.h"
#include "enroll/worker/revoke.h"

#define DEVICES_PATH "/api/admin/devices/"
#define PEOPLE_PATH  "/api/admin/accounts/"
#define BOTH	     (HTTP_WAY_TLS | HTTP_WAY_LOCAL)
#define LIMIT_MAX    ADMIN_LIMIT_MAX
#define SKIP_MAX     1000000

/* --- what is asked for --- */

static bool number_of(
    const struct http_request *r, const char *name, uint64_t max, unsigned usual, unsigned *out)
{
	struct strv raw;
	uint64_t n;

	*out = usual;
	if (!http_request_query(r, name, &raw))
		return true;
	if (text_u64(raw, max, &n) < 0)
		return false;
	*out = (unsigned)n;
	return true;
}

bool admin_page_of(struct http_request *r, const char *key, struct admin_page *out)
{
	struct strv raw;
	bool good = number_of(r, "skip", SKIP_MAX, 0, &out->skip) &&
	    number_of(r, "limit", LIMIT_MAX, 50, &out->limit);

	out->text[0] = '\0';
	if (good && http_request_query(r, key, &raw) && raw.n > 0)
		good = http_request_query_text(r, key, out->text, sizeof(out->text)) >= 0 &&
		    text_is_clean(strv_from(out->text));
	if (!good)
		api_error(r, 400, "bad-value",
		    "skip, limit: whole numbers, limit at most 500; texts: UTF-8.");
	return good;
}

void admin_reply_list(struct enroll_worker *w, struct http_request *r, enum registry_result result,
    const char *key, json_t *list)
{
	if (result == REGISTRY_OK || result == REGISTRY_NONE) {
		api_reply(r, 200, list != NULL ? json_pack("{s:o}", key, list) : NULL);
		return;
	}
	json_decref(list);
	api_registry_error(r, w->registry, result);
}

/* --- people --- */

static bool add_account(void *arg, const struct registry_account *row)
{
	return json_array_append_new(arg, api_registry_account(row)) == 0;
}

static void serve_accounts(struct enroll_worker *w, struct http_request *r)
{
	json_t *list;
	struct admin_page page;

	if (!admin_page_of(r, "text", &page))
		return;
	list = json_array();
	admin_reply_list(w, r,
	    registry_accounts(w->registry, page.text, page.skip, page.limit, add_account, list),
	    "accounts", list);
}

static bool reason_of(struct http_request *r, int usual, int *out)
{
	json_t *body = api_body(r);
	struct strv word;
	bool good;

	*out = usual;
	if (body == NULL)
		return false;
	word = api_text(body, "reason");
	good = word.n == 0 || revoke_reason_parse(word, out) == 0;
	json_decref(body);
	if (!good)
		api_error(r, 400, "bad-value",
		    "reason: lost, key-compromise, affiliation-changed, superseded, cessation, privilege-withdrawn or unspecified.");
	return good;
}

/* POST /api/admin/accounts/<sid>/revoke */
static void serve_account(struct enroll_worker *w, struct http_request *r)
{
	struct strv rest = route_rest(r, PEOPLE_PATH), sid = text_split(&rest, '/');
	char actor[REGISTRY_ACTOR_MAX], text[ACCOUNT_SID_MAX];
	struct registry_by by = portal_by(w, r, true, "all devices of the account", actor);
	struct registry_account account;
	enum registry_result result;
	unsigned n = 0;
	int reason;

	if (!strv_eq(rest, STRV("revoke")) || text_copy(text, sizeof(text), sid) < 0) {
		api_error(r, 404, "not-found", "There is no such thing.");
		return;
	}
	if (!reason_of(r, REVOKE_PRIVILEGE_WITHDRAWN, &reason))
		return;
	result = registry_account_by_sid(w->registry, text, &account);
	if (result == REGISTRY_OK)
		result = revoke_account(w->revoke, &by, account.id, reason, &n);
	if (result == REGISTRY_OK)
		api_reply(r, 200, json_pack("{s:I}", "certificates", (json_int_t)n));
	else
		api_registry_error(r, w->registry, result);
}

/* --- devices --- */

static bool add_device(
    void *arg, const struct registry_device *row, const struct registry_account *owner)
{
	json_t *device = api_device(row);

	if (device != NULL && owner != NULL)
		(void)json_object_set_new(device, "owner", api_registry_account(owner));
	return json_array_append_new(arg, device) == 0;
}

static bool look_at_state(void *arg, const struct registry_certificate *row)
{
	(void)admin_note_record(arg, row);
	if (row->state == REGISTRY_LIVE)
		(void)json_object_set_new(arg, "live", json_true());
	else if (row->state == REGISTRY_HOLD)
		(void)json_object_set_new(arg, "held", json_true());
	return true;
}

/* Which of them have a certificate that is good now, or on hold. */
static enum registry_result add_states(struct enroll_worker *w, json_t *devices)
{
	enum registry_result result = REGISTRY_OK;
	json_t *device;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		(void)json_object_set_new(device, "live", json_false());
		(void)json_object_set_new(device, "held", json_false());
		result = registry_certificates(w->registry,
		    json_string_value(json_object_get(device, "id")), look_at_state, device);
		if (result != REGISTRY_OK && result != REGISTRY_NONE)
			return result;
	}
	return REGISTRY_OK;
}

/* ?state=; 0: any. False: there is no such state. */
static bool state_of(const struct http_request *r, enum registry_device_state *out)
{
	struct strv word;

	*out = 0;
	if (!http_request_query(r, "state", &word))
		return true;
	for (int i = REGISTRY_DEVICE_WAITING; i <= REGISTRY_DEVICE_REVOKED; i++) {
		enum registry_device_state state = (enum registry_device_state)i;
		if (strv_eq(word, strv_from(registry_device_state_text(state))))
			*out = state;
	}
	return *out != 0;
}

static void serve_devices(struct enroll_worker *w, struct http_request *r)
{
	struct registry_account account = { .id = 0 };
	enum registry_device_state state;
	enum registry_result result;
	char sid[ACCOUNT_SID_MAX];
	struct strv raw;
	json_t *list;
	struct admin_page page;

	if (!admin_page_of(r, "text", &page))
		return;
	if (!state_of(r, &state)) {
		api_error(r, 400, "bad-value", "state: waiting, active or revoked.");
		return;
	}
	if (http_request_query(r, "sid", &raw) &&
	    (http_request_query_text(r, "sid", sid, sizeof(sid)) <= 0 ||
		registry_account_by_sid(w->registry, sid, &account) != REGISTRY_OK)) {
		api_error(r, 404, "not-found", "There is no such account.");
		return;
	}
	list = json_array();
	result = registry_devices_in(
	    w->registry, state, account.id, page.text, page.skip, page.limit, add_device, list);
	if (result == REGISTRY_OK)
		result = add_states(w, list);
	if (result == REGISTRY_OK || result == REGISTRY_NONE)
		admin_reply_seen(w, r, json_pack("{s:O}", "devices", list), list);
	else
		admin_reply_list(w, r, result, "devices", list);
}

static bool add_certificate(void *arg, const struct registry_certificate *row)
{
	(void)admin_note_record(arg, row);
	return json_array_append_new(json_object_get(arg, "certificates"), api_certificate(row)) == 0;
}

/* The device of the path, and the word behind it ("" : none). False: it has answered. */
static bool device_of(
    struct enroll_worker *w, struct http_request *r, struct registry_device *out, struct strv *word)
{
	struct strv rest = route_rest(r, DEVICES_PATH), id = text_split(&rest, '/');
	char text[REGISTRY_DEVICE];
	uint8_t raw[16];
	enum registry_result result = REGISTRY_NONE;

	*word = rest;
	if (text_unhex(raw, sizeof(raw), id) == 0) {
		text_hex(text, raw, sizeof(raw));
		result = registry_device_get(w->registry, text, out);
	}
	if (result != REGISTRY_OK)
		api_registry_error(r, w->registry, result);
	return result == REGISTRY_OK;
}

static void serve_device(struct enroll_worker *w, struct http_request *r)
{
	struct registry_device device;
	struct registry_account owner;
	enum registry_result result;
	json_t *object;
	struct strv word;

	if (!device_of(w, r, &device, &word))
		return;
	if (word.n > 0) {
		api_error(r, 404, "not-found", "There is no such thing.");
		return;
	}
	object = api_device(&device);
	(void)json_object_set_new(object, "certificates", json_array());
	result = registry_account_by_id(w->registry, device.account, &owner);
	if (result == REGISTRY_OK)
		result = registry_certificates(w->registry, device.id, add_certificate, object);
	if (result != REGISTRY_OK && result != REGISTRY_NONE) {
		json_decref(object);
		api_registry_error(r, w->registry, result);
		return;
	}
	(void)json_object_set_new(object, "owner", api_registry_account(&owner));
	admin_reply_seen(w, r, json_pack("{s:O}", "device", object), json_pack("[o]", object));
}

/* What is to be done to a device; certificates: how many it concerned. */
static enum registry_result do_act(struct enroll_worker *w, const struct registry_by *by,
    const struct registry_device *device, struct strv word, int reason, unsigned *certificates)
{
	struct registry_by rejected = *by;

	*certificates = 0;
	if (strv_eq(word, STRV("approve")))
		return device->state == REGISTRY_DEVICE_WAITING ?
		    registry_device_set_state(w->registry, by, device->id, REGISTRY_DEVICE_ACTIVE) :
		    REGISTRY_STATE;
	if (strv_eq(word, STRV("reject"))) {
		if (device->state != REGISTRY_DEVICE_WAITING)
			return REGISTRY_STATE;
		rejected.detail = "rejected";
		by = &rejected;
	}
	if (strv_eq(word, STRV("hold")))
		return revoke_hold_device(w->revoke, by, device->id, certificates);
	if (strv_eq(word, STRV("release")))
		return revoke_release_device(w->revoke, by, device->id, certificates);
	if (!strv_eq(word, STRV("revoke")) && !strv_eq(word, STRV("reject")))
		return REGISTRY_NONE;
	delivery_forget(portal_of(w)->delivery, device->id);
	return revoke_device(w->revoke, by, device->id, reason, certificates);
}

static void serve_act(struct enroll_worker *w, struct http_request *r)
{
	char actor[REGISTRY_ACTOR_MAX];
	struct registry_by by = portal_by(w, r, true, "", actor);
	struct registry_device device;
	enum registry_result result;
	struct strv word;
	unsigned n = 0;
	int reason;

	if (!device_of(w, r, &device, &word) || !reason_of(r, REVOKE_UNSPECIFIED, &reason))
		return;
	result = do_act(w, &by, &device, word, reason, &n);
	if (result == REGISTRY_OK)
		result = registry_device_get(w->registry, device.id, &device);
	if (result == REGISTRY_OK)
		api_reply(r, 200,
		    json_pack(
			"{s:o,s:I}", "device", api_device(&device), "certificates", (json_int_t)n));
	else
		api_registry_error(r, w->registry, result);
}

/* --- the CA's state --- */

static const char *kind_text(enum signer_chain_kind kind)
{
	switch (kind) {
	case SIGNER_CHAIN_RA: return "scep";
	case SIGNER_CHAIN_ISSUING: return "issuing";
	case SIGNER_CHAIN_ROOT: return "root";
	case SIGNER_CHAIN_OLD_ISSUING: return "old issuing";
	case SIGNER_CHAIN_NEXT_ISSUING: return "next issuing";
	case SIGNER_CHAIN_OLD_RA: return "old scep";
	case SIGNER_CHAIN_PROFILE: return "profile";
	}
	return "other";
}

static json_t *ca_certificate(const struct chain_entry *e)
{
	char subject[512] = "";
	struct tm tm;
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes;
	long n;

	if (out != NULL &&
	    X509_NAME_print_ex(out, X509_get_subject_name(e->certificate), 0, XN_FLAG_RFC2253) >=
		0) {
		n = BIO_get_mem_data(out, &bytes);
		if (text_copy(subject, sizeof(subject),
			(struct strv){ bytes, n > 0 ? (size_t)n : 0 }) < 0)
			snprintf(subject, sizeof(subject), "(not printable)");
	}
	BIO_free(out);
	memset(&tm, 0, sizeof(tm));
	return json_pack("{s:s,s:o,s:s,s:o}", "kind", kind_text(e->kind), "subject",
	    api_string(subject), "issuer", e->name, "not_after",
	    api_time(
		ASN1_TIME_to_tm(X509_get0_notAfter(e->certificate), &tm) == 1 ? timegm(&tm) : 0));
}

static void serve_state(struct enroll_worker *w, struct http_request *r)
{
	struct registry_counts n;
	struct revoke_state lists;
	enum registry_result result = registry_count(w->registry, &n);
	const struct chain_entry *e;
	json_t *ca, *facts;

	if (result != REGISTRY_OK) {
		api_registry_error(r, w->registry, result);
		return;
	}
	memset(&lists, 0, sizeof(lists));
	if (w->revoke != NULL)
		revoke_get_state(w->revoke, &lists);
	ca = json_array();
	for (size_t i = 0; (e = chain_at(w->chain, i)) != NULL; i++)
		(void)json_array_append_new(ca, ca_certificate(e));
	facts = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "accounts",
	    (json_int_t)n.accounts, "devices", (json_int_t)n.devices, "live", (json_int_t)n.live,
	    "held", (json_int_t)n.held, "revoked", (json_int_t)n.revoked, "waiting",
	    (json_int_t)n.waiting, "undone", (json_int_t)lists.undone, "list_number",
	    (json_int_t)lists.list_number, "list_ends", api_time(lists.list_ends), "problem",
	    api_string(lists.problem));
	api_reply(r, 200, json_pack("{s:o,s:o}", "facts", facts, "ca", ca));
}

const struct route portal_admin_routes[] = {
	{ "GET", "/api/admin/accounts", BOTH, 0, ROUTE_ADMIN, serve_accounts },
	{ "POST", PEOPLE_PATH, BOTH, ROUTE_PREFIX, ROUTE_ADMIN, serve_account },
	{ "GET", "/api/admin/devices", BOTH, 0, ROUTE_ADMIN, serve_devices },
	{ "POST", "/api/admin/devices", BOTH, 0, ROUTE_ADMIN, admin_serve_add },
	{ "GET", "/api/admin/secrets", BOTH, 0, ROUTE_ADMIN, admin_serve_secrets },
	{ "POST", "/api/admin/secrets", BOTH, 0, ROUTE_ADMIN, admin_serve_secret },
	{ "POST", ADMIN_SECRETS_PATH, BOTH, ROUTE_PREFIX, ROUTE_ADMIN, admin_serve_secret_act },
	{ "GET", DEVICES_PATH, BOTH, ROUTE_PREFIX, ROUTE_ADMIN, serve_device },
	{ "POST", DEVICES_PATH, BOTH, ROUTE_PREFIX, ROUTE_ADMIN, serve_act },
	{ "GET", "/api/admin/audit", BOTH, 0, ROUTE_ADMIN, admin_serve_audit },
	{ "GET", "/api/admin/state", BOTH, 0, ROUTE_ADMIN, serve_state },
	{ .methods = NULL },
};
