/*
 * api_days: the daily figures that proxies and guards keep in Redis (daily:<YYYYMMDD>), for graphs: some days of one question, at most 400 in all. What Redis
 * holds is anybody's: a figure that is no number is 0, one that is too large is cut. Worker of easenroll.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/text.h"
#include "enroll/worker/migration.h"

#define KEY_MAX 400
#define SOME	14	/* days of one question: four keys each */
#define USUAL	90

static const char *const fields[] = { "requests_certificate", "requests_password", "requests_bearer", "stale_absorbed", "lockouts_prevented", "binds_wrong",
	"binds_right", "seen_certificate", "seen_password", "seen_bearer" };
#define FIELDS ARRAY_LEN(fields)

/* KEYS: of each day the hash and the devices by certificate, password and token. */
static const char days_script[] =
    "local out={} for i=1,#KEYS,4 do local v=redis.pcall('HMGET',KEYS[i],'requests_certificate','requests_password','requests_bearer','stale_absorbed',"
    "'lockouts_prevented','binds_wrong','binds_right') if v.err then v={} end "
    "for j=1,7 do v[j]=string.sub(v[j] or '',1,20) end "
    "for j=1,3 do local n=redis.pcall('PFCOUNT',KEYS[i+j]) v[7+j]=type(n)=='number' and n or 0 end "
    "out[#out+1]=v end return out";

struct days {
	struct enroll_worker *worker;
	struct http_request *request;
	struct survey *survey;
	json_t *list;
	int64_t day;		/* days since the epoch: the next one */
	unsigned left, asked;
};

static void days_end(struct days *d, bool ok)
{
	if (ok) {
		api_reply(d->request, 200, json_pack("{s:o}", "days", d->list));
	} else {
		json_decref(d->list);
		api_error(d->request, 503, "unavailable", "Redis does not answer: come again in a moment.");
	}
	free(d);
}

static void name_day(int64_t day, bool dashes, char *out, size_t size)
{
	time_t t = (time_t)(day * 86400);
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || (dashes ? strftime(out, size, "%Y-%m-%d", &tm) : strftime(out, size, "%Y%m%d", &tm)) == 0)
		out[0] = '\0';
}

/* Days before the first one with a figure are left out. */
static void take_day(struct days *d, const redisReply *values)
{
	json_t *row = json_object();
	uint64_t any = 0, n;
	char name[32];

	name_day(d->day, true, name, sizeof(name));
	(void)json_object_set_new(row, "day", json_string(name));
	for (size_t i = 0; i < FIELDS; i++) {
		n = values->type == REDIS_REPLY_ARRAY && values->elements == FIELDS ? device_figure(values->element[i], SURVEY_FIGURE) : 0;
		any |= n;
		(void)json_object_set_new(row, fields[i], json_integer((json_int_t)n));
	}
	if (any == 0 && json_array_size(d->list) == 0)
		json_decref(row);
	else
		(void)json_array_append_new(d->list, row);
}

static bool ask_days(struct days *d);

static void on_days(void *arg, enum redis_status status, const redisReply *reply)
{
	struct days *d = arg;

	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements != d->asked) {
		days_end(d, false);
		return;
	}
	for (unsigned i = 0; i < d->asked; i++, d->day++)
		take_day(d, reply->element[i]);
	d->left -= d->asked;
	if (d->left == 0)
		days_end(d, true);
	else if (!ask_days(d))
		days_end(d, false);
}

static bool ask_days(struct days *d)
{
	static const char *const kinds[4] = { "", ":certificate", ":password", ":bearer" };
	char (*key)[KEY_MAX] = calloc(4 * SOME, sizeof(*key)), count[16], day[16];
	const char *argv[3 + 4 * SOME] = { "EVAL", days_script, count };
	bool sent = false;

	d->asked = d->left < SOME ? d->left : SOME;
	for (unsigned i = 0; key != NULL && i < 4 * d->asked; i++) {
		name_day(d->day + i / 4, false, day, sizeof(day));
		snprintf(key[i], sizeof(key[i]), "%sdaily:%s%s", d->worker->settings->common.redis->prefix, day, kinds[i % 4]);
		argv[3 + i] = key[i];
	}
	snprintf(count, sizeof(count), "%u", 4 * d->asked);
	if (key != NULL && survey_redis(d->survey) != NULL)
		sent = redis_command(survey_redis(d->survey), on_days, d, (int)(3 + 4 * d->asked), argv, NULL) != 0;
	free(key);
	return sent;
}

/* ?days=: so many, today (UTC) being the last. */
void migration_serve_days(struct enroll_worker *w, struct http_request *r)
{
	struct survey *survey = migration_survey(w, r);
	uint64_t n = USUAL;
	struct strv raw;
	struct days *d;

	if (survey == NULL)
		return;
	if (http_request_query(r, "days", &raw) && (text_u64(raw, MIGRATION_DAYS_MAX, &n) < 0 || n == 0)) {
		api_error(r, 400, "bad-value", "days: 1 to 400.");
		return;
	}
	d = calloc(1, sizeof(*d));
	if (d == NULL || (d->list = json_array()) == NULL) {
		free(d);
		api_error(r, 503, "unavailable", "Come again in a moment.");
		return;
	}
	d->worker = w;
	d->request = r;
	d->survey = survey;
	d->left = (unsigned)n;
	d->day = (int64_t)loop_wall(w->loop) / 86400 - (int64_t)n + 1;
	if (!ask_days(d))
		days_end(d, false);
}
