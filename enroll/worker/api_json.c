/*
 * api_json: between jansson and HTTP. Decides nothing about anybody. Worker of easenroll.
 */
#include "enroll/worker/api_json.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

static void wiping_free(void *p)
{
	if (p != NULL)
		OPENSSL_cleanse(p, malloc_usable_size(p));
	free(p);
}

void api_json_wipe(void) { json_set_alloc_funcs(malloc, wiping_free); }

json_t *api_body(struct http_request *r)
{
	json_error_t error;
	json_t *object;

	if (!http_request_is(r, "application/json")) {
		api_error(r, 415, "json-wanted", "The body must be of type application/json.");
		return NULL;
	}
	if (r->body.n > API_BODY_MAX) {
		api_error(r, 413, "too-large", "The body is too large.");
		return NULL;
	}
	object = json_loadb(
	    r->body.p != NULL ? r->body.p : "", r->body.n, JSON_REJECT_DUPLICATES, &error);
	if (object == NULL || !json_is_object(object)) {
		json_decref(object);
		api_error(r, 400, "json-bad", "The body is no JSON object.");
		return NULL;
	}
	return object;
}

struct strv api_text(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value))
		return (struct strv){ NULL, 0 };
	return (struct strv){ json_string_value(value), json_string_length(value) };
}

void api_reply(struct http_request *r, unsigned status, json_t *object)
{
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	if (text == NULL) {
		http_reply_text(r, 500, "out of memory");
		return;
	}
	http_reply(r, status, "application/json", strv_from(text));
	wiping_free(text);
}

void api_error(struct http_request *r, unsigned status, const char *word, const char *text)
{
	if (status == 503)
		http_reply_field(r, "Retry-After", "%u", API_RETRY_SECONDS);
	api_reply(r, status, json_pack("{s:s,s:s}", "error", word, "text", text));
}

void api_registry_error(
    struct http_request *r, const struct registry *registry, enum registry_result result)
{
	switch (result) {
	case REGISTRY_NONE:
	case REGISTRY_FOREIGN: api_error(r, 404, "not-found", "There is no such thing."); return;
	case REGISTRY_BAD: api_error(r, 400, "bad-value", registry_problem(registry)); return;
	case REGISTRY_LIMIT:
		api_error(
		    r, 409, "too-many", "There are as many as one may have: revoke one first.");
		return;
	case REGISTRY_TAKEN:
	case REGISTRY_STATE:
	case REGISTRY_EXPIRED:
		api_error(r, 409, "wrong-state", "That cannot be done in this state.");
		return;
	default:
		api_error(
		    r, 503, "unavailable", "The registry does not answer: come again in a moment.");
	}
}

json_t *api_string(const char *text)
{
	json_t *s = json_string(text);

	return s != NULL ? s : json_string("");
}

json_t *api_time(int64_t at)
{
	char text[32];
	time_t t = (time_t)at;
	struct tm tm;

	if (at == 0 || gmtime_r(&t, &tm) == NULL ||
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return json_null();
	return json_string(text);
}

json_t *api_account(const struct account *a)
{
	return json_pack("{s:s,s:o,s:o,s:o,s:o}", "sid", a->sid, "name", api_string(a->sam), "upn",
	    api_string(a->upn), "mail", api_string(a->mail), "display_name",
	    api_string(a->display_name));
}

json_t *api_registry_account(const struct registry_account *a)
{
	return json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "sid", a->sid, "name", api_string(a->sam),
	    "upn", api_string(a->upn), "mail", api_string(a->mail), "display_name",
	    api_string(a->display_name), "first_seen", api_time(a->first_seen), "last_seen",
	    api_time(a->last_seen));
}

json_t *api_device(const struct registry_device *d)
{
	return json_pack("{s:s,s:o,s:o,s:s,s:o,s:o,s:o}", "id", d->id, "name", api_string(d->name),
	    "kind", api_string(d->kind), "state", registry_device_state_text(d->state), "created",
	    api_time(d->created), "last_seen", api_time(d->last_seen), "eas_device_id",
	    api_string(d->eas_device_id));
}

json_t *api_certificate(const struct registry_certificate *c)
{
	char serial[2 * REGISTRY_SERIAL + 1];

	text_hex(serial, c->serial, REGISTRY_SERIAL);
	return json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:b}", "serial", serial, "issuer", c->issuer,
	    "profile", c->profile, "state", registry_state_text(c->state), "not_before",
	    api_time(c->not_before), "not_after", api_time(c->not_after), "revoked",
	    api_time(c->revoked_at), "replaced", c->replaced);
}
