/*
 * api_migration: the devices of the last survey, and the switch of a group. Worker of easenroll.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "enroll/worker/migration.h"
#include "enroll/worker/publish.h"

/* --- devices --- */

static json_t *groups_of(const struct enroll_migration *m, const struct survey_user *u)
{
	json_t *list = json_array();

	for (unsigned i = 0; u->known == SURVEY_KNOWN && i < m->all_n; i++) {
		if ((u->groups & (UINT64_C(1) << m->all[i].bit)) != 0)
			(void)json_array_append_new(list, api_string(m->all[i].dn));
	}
	return list;
}

static const char *known_text(enum survey_known known)
{
	return known == SURVEY_KNOWN ? "known" : known == SURVEY_NOBODY ? "none" : "unavailable";
}

/* Absorbed, prevented and last_bad are of the account: all its devices together. */
static json_t *device_json(const struct enroll_migration *m, const struct survey_device *d)
{
	const struct survey_user *u = d->user;
	char key[DEVICE_KEY_HEX];
	json_t *row, *more;

	text_hex(key, d->key, SHA256_SIZE);
	row = json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:s,s:s,s:o,s:o}", "key", key, "sid", api_string(u->sid), "upn", api_string(u->text), "device",
	    api_string(d->id), "device_type", api_string(d->type), "user_agent", api_string(d->agent), "state", device_state_name((enum device_state)d->state),
	    "method", device_method_name((enum device_method)d->method), "command", api_string(d->command), "client", api_string(d->client));
	more = json_pack("{s:o,s:o,s:s,s:b,s:I,s:I,s:o,s:s,s:o}", "first_seen", api_time(d->first_seen), "last_seen", api_time(d->last_seen), "verdict",
	    survey_verdict_text((enum survey_verdict)d->verdict), "holds_back", survey_holds_back((enum survey_verdict)d->verdict), "absorbed",
	    (json_int_t)u->absorbed, "prevented", (json_int_t)u->prevented, "last_bad", api_time(u->last_bad), "directory", known_text(u->known), "groups",
	    groups_of(m, u));
	(void)json_object_update(row, more);
	json_decref(more);
	return row;
}

struct wanted {
	const char *text;
	const struct enroll_group *group;	/* NULL: any */
	bool holding;
};

static bool user_is_wanted(const struct wanted *want, const struct survey_user *u)
{
	if (want->group != NULL && (u->known != SURVEY_KNOWN || (u->groups & (UINT64_C(1) << want->group->bit)) == 0))
		return false;
	return !want->holding || u->holding > 0;
}

static bool is_wanted(const struct wanted *want, const struct survey_device *d)
{
	if (want->holding && !survey_holds_back((enum survey_verdict)d->verdict))
		return false;
	return want->text[0] == '\0' || strcasestr(d->user->upn, want->text) != NULL || strcasestr(d->id, want->text) != NULL ||
	    strcasestr(d->type, want->text) != NULL || strcasestr(d->agent, want->text) != NULL || strcmp(d->user->sid, want->text) == 0;
}

/* group and holding of the query. False: it has answered. */
static bool wanted_of(struct enroll_worker *w, struct http_request *r, struct wanted *want)
{
	char dn[640];
	struct strv raw;

	want->holding = http_request_query(r, "holding", &raw) && strv_eq(raw, STRV("true"));
	if (!http_request_query(r, "group", &raw) || raw.n == 0)
		return true;
	if (http_request_query_text(r, "group", dn, sizeof(dn)) >= 0)
		want->group = migration_group(w, strv_from(dn));
	if (want->group == NULL)
		api_error(r, 404, "not-found", "No configuration names this group.");
	return want->group != NULL;
}

/* --- people without a device --- */

static bool is_without(const struct enroll_migration *m, const struct wanted *want, const struct survey_user *u)
{
	uint64_t of = want->group != NULL ? UINT64_C(1) << (want->group - m->all) : UINT64_MAX;

	return u->seen == 0 && (u->listed & of) != 0 &&
	    (want->text[0] == '\0' || strcasestr(u->upn, want->text) != NULL || strcmp(u->sid, want->text) == 0);
}

/* old: devices that were not seen lately, or are blocked. */
static json_t *person_json(const struct enroll_migration *m, const struct survey_user *u)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->all_n; i++) {
		if ((u->listed >> i & 1) != 0)
			(void)json_array_append_new(list, api_string(m->all[i].dn));
	}
	return json_pack("{s:o,s:o,s:I,s:o}", "sid", api_string(u->sid), "upn", api_string(u->text), "old", (json_int_t)u->devices_n, "groups", list);
}

/* False: it has answered. */
static bool is_there(struct http_request *r, const struct survey_table *table)
{
	if (table == NULL)
		api_error(r, 503, "unavailable", "The devices have not been gone through yet: /api/admin/migration begins that, and says how far it is.");
	return table != NULL;
}

void migration_serve_without(struct enroll_worker *w, struct http_request *r)
{
	const struct enroll_migration *m = &w->settings->enroll.migration;
	struct survey *survey = migration_survey(w, r);
	struct survey_table *table = survey != NULL ? survey_found(survey, NULL) : NULL;
	struct admin_page page;
	struct wanted want = { .text = page.text };
	const struct survey_user *u;
	struct survey_state state;
	json_int_t total = 0;
	json_t *list;

	if (survey == NULL || !admin_page_of(r, "text", &page) || !wanted_of(w, r, &want) || !is_there(r, table))
		return;
	list = json_array();
	for (size_t i = 0; (u = survey_table_user(table, i)) != NULL; i++) {
		if (!is_without(m, &want, u))
			continue;
		if (total >= page.skip && total < (json_int_t)page.skip + page.limit)
			(void)json_array_append_new(list, person_json(m, u));
		total++;
	}
	survey_get_state(survey, &state);
	api_reply(r, 200, json_pack("{s:o,s:I,s:I}", "people", list, "total", total, "number", (json_int_t)state.number));
}

/* --- the devices --- */

void migration_serve_devices(struct enroll_worker *w, struct http_request *r)
{
	const struct enroll_migration *m = &w->settings->enroll.migration;
	struct survey *survey = migration_survey(w, r);
	struct survey_table *table = survey != NULL ? survey_found(survey, NULL) : NULL;
	struct admin_page page;
	struct wanted want = { .text = page.text };
	const struct survey_user *u;
	struct survey_state state;
	json_int_t total = 0;
	json_t *list;

	if (survey == NULL || !admin_page_of(r, "text", &page) || !wanted_of(w, r, &want) || !is_there(r, table))
		return;
	list = json_array();
	for (size_t i = 0; (u = survey_table_user(table, i)) != NULL; i++) {
		if (!user_is_wanted(&want, u))
			continue;
		for (const struct survey_device *d = u->devices; d != NULL; d = d->next) {
			if (!is_wanted(&want, d))
				continue;
			if (total >= page.skip && total < (json_int_t)page.skip + page.limit)
				(void)json_array_append_new(list, device_json(m, d));
			total++;
		}
	}
	survey_get_state(survey, &state);
	api_reply(r, 200, json_pack("{s:o,s:I,s:I}", "devices", list, "total", total, "number", (json_int_t)state.number));
}

/* --- the switch --- */

struct switching {
	struct enroll_worker *worker;
	struct http_request *request;
	const struct enroll_group *group;
	bool certificate;
	int64_t at;
	unsigned shut_out;
};

/* `group` is at most 500 bytes: what the trail's object has no room for stands in its detail. False: it has answered. */
static bool note(struct enroll_worker *w, struct http_request *r, const struct switching *s, const char *action)
{
	char actor[REGISTRY_ACTOR_MAX], object[REGISTRY_ACTOR_MAX], detail[REGISTRY_DETAIL_MAX] = "";
	struct registry_by by = portal_by(w, r, true, detail, actor);
	enum registry_result result;

	snprintf(object, sizeof(object), "group %s", s->group->dn);
	if (s->certificate)
		snprintf(detail, sizeof(detail), "to certificates, %u devices shut out", s->shut_out);
	else
		snprintf(detail, sizeof(detail), "back");
	if (strlen(s->group->dn) + sizeof("group ") > sizeof(object))
		snprintf(object, sizeof(object), "group %.*s...", (int)sizeof(object) - 16, s->group->dn);
	result = registry_audit(w->registry, &by, action, object);
	if (result != REGISTRY_OK)
		api_registry_error(r, w->registry, result);
	return result == REGISTRY_OK;
}

static void on_switched(void *arg, bool ok)
{
	struct switching *s = arg;
	struct http_request *r = s->request;

	if (ok) {
		api_reply(r, 200, json_pack("{s:o,s:b,s:o,s:I}", "group", api_string(s->group->dn), "switched", s->certificate, "since",
		    api_time(s->certificate ? s->at : 0), "shut_out", (json_int_t)s->shut_out));
	} else if (note(s->worker, r, s, "switch-failed")) {
		api_error(r, 503, "unavailable", "Redis did not take it: look whether the group is switched, and come again.");
	}
	free(s);
}

static void do_switch(struct switching *s)
{
	if (!note(s->worker, s->request, s, "group-switched")) {
		free(s);
		return;
	}
	if (publish_switch(s->worker->publish, s->group->dn, s->certificate, s->at, on_switched, s) < 0)
		on_switched(s, false);
}

/* How many devices the switch shuts out, at most: those of people whose groups nobody could say are counted with them. -1: it has answered. */
static long shut_out_by(struct enroll_worker *w, struct http_request *r, const struct enroll_group *g)
{
	const struct enroll_migration *m = &w->settings->enroll.migration;
	struct survey *survey = ((struct migration *)w->migration)->survey;
	const struct survey_totals *t = NULL;
	struct survey_state state;

	survey_begin(survey, false);
	survey_get_state(survey, &state);
	if (survey_found(survey, &t) == NULL || state.problem[0] != '\0' || (state.running && loop_wall(w->loop) - state.at > 10 * SURVEY_FRESH_SECONDS)) {
		api_error(r, 503, "unavailable", state.problem[0] != '\0' ? state.problem :
			"The devices are being gone through, so that it can be said whom this shuts out: come again in a moment.");
		return -1;
	}
	return (long)t->groups[g - m->all].holding + (long)t->unknown_holding;
}

static void refuse_shut_out(struct http_request *r, long n)
{
	char text[200];

	snprintf(text, sizeof(text), "%ld devices that come by password or token now would get no mail: accept that number, or wait until they have certificates.", n);
	api_reply(r, 409, json_pack("{s:s,s:s,s:I}", "error", "shuts-out", "text", text, "devices", (json_int_t)n));
}

/* What the body asks for. False: it has answered. accept: so many devices may be shut out. */
static bool read_switch(struct enroll_worker *w, struct http_request *r, struct switching *s, json_int_t *accept)
{
	json_t *body = api_body(r), *number = json_object_get(body, "accept");
	struct strv to = api_text(body, "to");
	bool good = strv_eq(to, STRV("certificate")) || strv_eq(to, STRV("back"));

	if (body == NULL)
		return false;
	s->group = migration_group(w, api_text(body, "group"));
	s->certificate = strv_eq(to, STRV("certificate"));
	*accept = json_is_integer(number) ? json_integer_value(number) : 0;
	json_decref(body);
	if (!good)
		api_error(r, 400, "bad-value", "to: certificate or back; accept: a number of devices.");
	else if (s->group == NULL)
		api_error(r, 404, "group-unknown", "No configuration names this group: write it as proxy.policies[].methods or enroll.migration.groups do.");
	else if (!s->group->switchable)
		api_error(r, 409, "group-without-rule", "No rule of proxy.policies[].methods is for this group, so a switch would change nothing: add such a rule first.");
	return good && s->group != NULL && s->group->switchable;
}

void migration_serve_switch(struct enroll_worker *w, struct http_request *r)
{
	struct switching wish = { .worker = w, .request = r, .at = loop_wall(w->loop) }, *s;
	json_int_t accept;
	long n = 0;

	if (migration_survey(w, r) == NULL || !read_switch(w, r, &wish, &accept))
		return;
	if (wish.certificate && (n = shut_out_by(w, r, wish.group)) < 0)
		return;
	if (n > accept) {
		refuse_shut_out(r, n);
		return;
	}
	wish.shut_out = (unsigned)n;
	s = malloc(sizeof(*s));
	if (s == NULL) {
		api_error(r, 503, "unavailable", "Come again in a moment.");
		return;
	}
	*s = wish;
	do_switch(s);
}
