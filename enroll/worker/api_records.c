/*
 * api_records: records of devices as the proxies keep them in Redis: those that wait in quarantine, and what an administrator does with one: release, block,
 * forget (common/device_admin.h). Each act is in the audit trail before it is done. Worker of easenroll.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/device_admin.h"
#include "common/text.h"
#include "enroll/worker/migration.h"
#include "enroll/worker/publish.h"

#define RECORDS_PATH "/api/admin/records/"

/* --- those that wait --- */

struct listing {
	struct device_admin admin;
	struct http_request *request;
	json_t *list;
};

static json_t *record_json(const struct device_row *row)
{
	return json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "key", row->key, "sid", api_string(row->sid), "upn", api_string(row->upn),
	    "device", api_string(row->device), "device_type", api_string(row->device_type), "user_agent", api_string(row->user_agent), "state",
	    api_string(row->state), "method", api_string(row->method), "command", api_string(row->command), "client", api_string(row->client), "first_seen",
	    api_time(row->first_seen), "last_seen", api_time(row->last_seen));
}

static void on_record(void *arg, const struct device_row *row, bool ok)
{
	struct listing *l = arg;

	if (row != NULL) {
		(void)json_array_append_new(l->list, record_json(row));
		return;
	}
	if (ok) {
		api_reply(l->request, 200, json_pack("{s:o}", "records", l->list));
	} else {
		json_decref(l->list);
		api_error(l->request, 503, "unavailable", "Redis does not answer: come again in a moment.");
	}
	free(l);
}

void migration_serve_records(struct enroll_worker *w, struct http_request *r)
{
	struct admin_page page;
	struct listing *l;

	if (migration_survey(w, r) == NULL || !admin_page_of(r, "text", &page))
		return;
	if (page.limit == 0) {
		api_reply(r, 200, json_pack("{s:[]}", "records"));
		return;
	}
	l = calloc(1, sizeof(*l));
	if (l != NULL && publish_device_admin(w->publish, &l->admin) && (l->list = json_array()) != NULL) {
		l->request = r;
		if (device_admin_list(&l->admin, DEVICE_LIST_WAITING, page.skip, page.limit, on_record, l) == 0)
			return;
		json_decref(l->list);
	}
	free(l);
	api_error(r, 503, "unavailable", "Redis does not answer: come again in a moment.");
}

/* --- acts --- */

static const struct act_word { const char *word, *action, *state; enum device_act act; } words[] = {
	{ "release", "record-released", "registered", DEVICE_RELEASE },
	{ "block", "record-blocked", "blocked", DEVICE_BLOCK },
	{ "forget", "record-forgotten", "", DEVICE_FORGET },
};

struct acting {
	struct device_admin admin;
	struct enroll_worker *worker;
	struct http_request *request;
	const struct act_word *word;
	char key[DEVICE_KEY_HEX];
};

/* False: it has answered. */
static bool note(struct acting *a, const char *action, const char *detail)
{
	char actor[REGISTRY_ACTOR_MAX], object[REGISTRY_ACTOR_MAX];
	struct registry_by by = portal_by(a->worker, a->request, true, detail, actor);
	enum registry_result result;

	snprintf(object, sizeof(object), "record %s", a->key);
	result = registry_audit(a->worker->registry, &by, action, object);
	if (result != REGISTRY_OK)
		api_registry_error(a->request, a->worker->registry, result);
	return result == REGISTRY_OK;
}

static void on_acted(void *arg, enum device_act_result result)
{
	struct acting *a = arg;

	if (result == DEVICE_ACT_DONE)
		api_reply(a->request, 200, json_pack("{s:s,s:s}", "key", a->key, "state", a->word->state));
	else if (!note(a, "record-act-failed", device_act_result_text(result)))
		;
	else if (result == DEVICE_ACT_NOBODY)
		api_error(a->request, 404, "not-found", "There is no such record.");
	else if (result == DEVICE_ACT_FOREIGN)
		api_error(a->request, 409, "record-foreign", "Its mac is not the fleet's: it can be blocked or forgotten, not let in.");
	else
		api_error(a->request, 503, "unavailable", result == DEVICE_ACT_CHANGED ? "The record has changed meanwhile: look again." :
			"Redis does not answer: come again in a moment.");
	free(a);
}

/* Key and word of the path; NULL: no such thing. */
static struct acting *read_path(struct enroll_worker *w, struct http_request *r)
{
	struct strv rest = route_rest(r, RECORDS_PATH), key = text_split(&rest, '/');
	struct acting *a = calloc(1, sizeof(*a));

	for (size_t i = 0; a != NULL && i < ARRAY_LEN(words); i++) {
		if (strv_eq(rest, strv_from(words[i].word)))
			a->word = &words[i];
	}
	if (a == NULL || a->word == NULL || text_copy(a->key, sizeof(a->key), key) < 0 || !device_is_key(a->key)) {
		free(a);
		return NULL;
	}
	a->worker = w;
	a->request = r;
	return a;
}

/* POST /api/admin/records/<key>/release | block | forget */
void migration_serve_record_act(struct enroll_worker *w, struct http_request *r)
{
	struct acting *a;
	json_t *body;

	if (migration_survey(w, r) == NULL || (body = api_body(r)) == NULL)
		return;
	json_decref(body);
	a = read_path(w, r);
	if (a == NULL) {
		api_error(r, 404, "not-found", "There is no such record.");
	} else if (!publish_device_admin(w->publish, &a->admin) || !note(a, a->word->action, "")) {
		free(a);
	} else if (device_admin_act(&a->admin, a->key, a->word->act, (int64_t)loop_wall(w->loop), on_acted, a) < 0) {
		on_acted(a, DEVICE_ACT_DOWN);
	}
}
