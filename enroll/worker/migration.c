/*
 * migration: the part's life, its routes, and the overview: what the last survey found for each group, and which of them are switched now. Worker of easenroll.
 */
#include "enroll/worker/migration.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"

#define RECORDS_PATH "/api/admin/records/"
#define BOTH	     (HTTP_WAY_TLS | HTTP_WAY_LOCAL)
#define KEY_MAX	     400

struct migration *migration_new(struct enroll_worker *w)
{
	const struct survey_config config = { .loop = w->loop, .directory = w->directory, .redis = w->settings->common.redis, .bundle = w->files,
		.migration = &w->settings->enroll.migration };
	struct migration *m = calloc(1, sizeof(*m));
	char why[512] = "out of memory";

	if (m == NULL)
		return NULL;
	m->worker = w;
	if (w->settings->common.redis == NULL || (m->survey = survey_new(&config, why, sizeof(why))) != NULL)
		return m;
	log_say(LOG_ERROR, "start_failed", "migration: %s", why);
	free(m);
	return NULL;
}

void migration_free(struct migration *m)
{
	if (m != NULL)
		survey_free(m->survey);
	free(m);
}

void migration_tidy(struct migration *m)
{
	if (m->survey != NULL)
		survey_tidy(m->survey);
}

struct survey *migration_survey(const struct enroll_worker *w, struct http_request *r)
{
	const struct migration *m = w->migration;

	if (m->survey == NULL)
		api_error(r, 409, "no-redis", "What devices do is known here only where the nodes share a Redis: the section redis is missing.");
	return m->survey;
}

const struct enroll_group *migration_group(const struct enroll_worker *w, struct strv dn)
{
	const struct enroll_migration *m = &w->settings->enroll.migration;

	for (unsigned i = 0; i < m->all_n; i++) {
		if (strv_eq(dn, strv_from(m->all[i].dn)))
			return &m->all[i];
	}
	return NULL;
}

bool migration_switch_read(const redisReply *value, int64_t *at)
{
	struct strv text, word;
	uint64_t n = 0;

	*at = 0;
	if (value == NULL || value->type == REDIS_REPLY_NIL)
		return false;
	/* whatever else stands there, proxies take it for a switch */
	if (!redis_text(value, &text))
		return true;
	word = text_split(&text, ' ');
	if (strv_eq(word, STRV("certificate")) && text_u64(text, DEVICE_TIME_MAX, &n) == 0)
		*at = (int64_t)n;
	return true;
}

/* --- the overview --- */

struct overview {
	struct enroll_worker *worker;
	struct http_request *request;
};

/* KEYS: switches, those that wait. ARGV: groups; the first is none. A field that is there is a text, cut; one that is not is false (nil). */
static const char overview_script[] =
    "local v=redis.pcall('HMGET',KEYS[1],unpack(ARGV)) if v.err then return v end "
    "for i=1,#ARGV do if v[i] then v[i]=string.sub(v[i],1,48) end end "
    "local n=redis.pcall('ZCARD',KEYS[2]) if type(n)~='number' then n=0 end "
    "return {redis.call('HLEN',KEYS[1]),n,v}";

static json_t *group_json(const struct enroll_group *g, const struct survey_group *n, const redisReply *value, unsigned *switched)
{
	int64_t at = 0;
	bool is = migration_switch_read(value, &at);

	*switched += is;
	/* left out where nobody could say who is in the group */
	return json_pack("{s:o,s:b,s:b,s:o,s:I,s:I,s:I,s:I,s:I,s:o*}", "group", api_string(g->dn), "switchable", g->switchable, "switched", is, "since", api_time(at),
	    "users", (json_int_t)n->users, "ready", (json_int_t)n->ready, "unready", (json_int_t)(n->users - n->ready), "devices", (json_int_t)n->devices,
	    "holding", (json_int_t)n->holding, "without", n->unlisted ? NULL : json_integer(n->without));
}

static json_t *survey_json(const struct survey_state *s, bool there)
{
	return json_pack("{s:b,s:I,s:I,s:b,s:o,s:o}", "running", s->running, "number", (json_int_t)s->number, "looked_at", (json_int_t)s->looked_at, "whole",
	    there && s->whole, "at", api_time(there ? s->at : 0), "problem", api_string(s->problem));
}

static json_t *counts_json(const struct survey_totals *t)
{
	json_t *counts = json_object();

	for (unsigned v = 0; v < SURVEY_VERDICTS; v++)
		(void)json_object_set_new(counts, survey_verdict_text((enum survey_verdict)v), json_integer(t->verdicts[v]));
	return counts;
}

static json_t *overview_json(struct enroll_worker *w, const redisReply *reply)
{
	static const struct survey_totals none;
	const struct enroll_migration *m = &w->settings->enroll.migration;
	const redisReply *values = reply->element[2];
	const struct survey_totals *t = NULL;
	struct survey *survey = ((struct migration *)w->migration)->survey;
	bool there = survey_found(survey, &t) != NULL;
	uint64_t all = device_figure(reply->element[0], UINT32_MAX);
	struct survey_state state;
	unsigned switched = 0;
	json_t *groups = json_array();

	t = there ? t : &none;
	survey_get_state(survey, &state);
	for (unsigned i = 0; i < m->all_n; i++)
		(void)json_array_append_new(groups, group_json(&m->all[i], &t->groups[i], values->element[i + 1], &switched));
	return json_pack("{s:o,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:I}", "survey", survey_json(&state, there), "days", (json_int_t)m->days, "devices",
	    counts_json(t), "users", (json_int_t)t->users, "without", (json_int_t)t->without, "unknown_users", (json_int_t)t->unknown_users, "unknown_holding", (json_int_t)t->unknown_holding,
	    "absorbed", (json_int_t)t->absorbed, "prevented", (json_int_t)t->prevented, "quarantined", (json_int_t)device_figure(reply->element[1], UINT32_MAX),
	    "groups", groups, "other_switches", (json_int_t)(all > switched ? all - switched : 0));
}

static void on_overview(void *arg, enum redis_status status, const redisReply *reply)
{
	struct overview *o = arg;
	struct enroll_worker *w = o->worker;
	struct http_request *r = o->request;
	size_t n = w->settings->enroll.migration.all_n + 1u;

	free(o);
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 || reply->element[2]->type != REDIS_REPLY_ARRAY ||
	    reply->element[2]->elements != n) {
		api_error(r, 503, "unavailable", "Redis does not answer: come again in a moment.");
		return;
	}
	api_reply(r, 200, overview_json(w, reply));
}

/* Begins a survey where the last one is old, or with ?fresh=true. */
static void serve_overview(struct enroll_worker *w, struct http_request *r)
{
	const struct enroll_migration *m = &w->settings->enroll.migration;
	char switches[KEY_MAX], waiting[KEY_MAX];
	const char *argv[6 + ENROLL_MIGRATION_GROUPS] = { "EVAL", overview_script, "2", switches, waiting, "" };
	struct survey *survey = migration_survey(w, r);
	struct overview *o;
	struct strv fresh;

	if (survey == NULL)
		return;
	survey_begin(survey, http_request_query(r, "fresh", &fresh) && strv_eq(fresh, STRV("true")));
	snprintf(switches, sizeof(switches), "%sswitches", w->settings->common.redis->prefix);
	snprintf(waiting, sizeof(waiting), "%squarantine", w->settings->common.redis->prefix);
	for (unsigned i = 0; i < m->all_n; i++)
		argv[6 + i] = m->all[i].dn;
	o = malloc(sizeof(*o));
	if (o != NULL) {
		*o = (struct overview){ w, r };
		if (survey_redis(survey) != NULL && redis_command(survey_redis(survey), on_overview, o, (int)(6 + m->all_n), argv, NULL) != 0)
			return;
		free(o);
	}
	api_error(r, 503, "unavailable", "Redis does not answer: come again in a moment.");
}

const struct route migration_routes[] = {
	{ "GET", "/api/admin/migration", BOTH, 0, ROUTE_ADMIN, serve_overview },
	{ "GET", "/api/admin/migration/devices", BOTH, 0, ROUTE_ADMIN, migration_serve_devices },
	{ "GET", "/api/admin/migration/without", BOTH, 0, ROUTE_ADMIN, migration_serve_without },
	{ "GET", "/api/admin/migration/days", BOTH, 0, ROUTE_ADMIN, migration_serve_days },
	{ "POST", "/api/admin/migration/switch", BOTH, 0, ROUTE_ADMIN, migration_serve_switch },
	{ "GET", "/api/admin/records", BOTH, 0, ROUTE_ADMIN, migration_serve_records },
	{ "POST", RECORDS_PATH, BOTH, ROUTE_PREFIX, ROUTE_ADMIN, migration_serve_record_act },
	{ .methods = NULL },
};
