/*
 * survey: the rounds of one survey: SCAN and the records of each page; then, person by person, the lockout guard's figures; then the directory: in which groups
 * they are, and, page by page, who else is in these. At most one page, and some questions to the directory, are under way, so that nobody who signs in waits
 * behind them. Worker of easenroll.
 */
#include "enroll/worker/survey.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ask.h"
#include "common/directory/claim_kind.h"
#include "common/log.h"
#include "common/text.h"

#define KEY_MAX	     400
#define PAGE	     "1000"
#define PEOPLE	     48		/* of one question about the lockout guard */
#define ASKED	     16		/* questions to the directory under way */
#define ASK_MS	     20000
#define GROUPS_KEPT  600	/* seconds that what the directory said of somebody serves the next survey */
#define KEPT	     3600	/* seconds after it was asked for last */

struct survey {
	struct survey_config c;
	struct redis *redis;
	char *prefix;
	struct survey_table *table, *found;	/* being filled; the last one */
	struct survey_totals totals, found_totals;
	struct survey_state state;
	char problem[256];
	int64_t began, used;
	bool full;
	char cursor[24];
	char (*keys)[DEVICE_KEY_HEX];	/* of the page */
	size_t keys_n, keys_at;
	size_t next;			/* person */
	struct device_rows rows;
	struct survey_question { struct survey *survey; struct survey_user *user; } questions[ASKED];	/* user NULL: free */
	unsigned asked;			/* of them, under way */
	unsigned group;			/* whose members are listed */
	bool listing;			/* its first page was asked for */
	struct deadline go_on;
};

/* --- the end of one --- */

static void drop_page(struct survey *s)
{
	free(s->keys);
	s->keys = NULL;
	s->keys_n = s->keys_at = 0;
}

static void end(struct survey *s, const char *problem)
{
	drop_page(s);
	deadline_disarm(&s->go_on);
	s->state.running = false;
	s->state.number++;
	snprintf(s->problem, sizeof(s->problem), "%s", problem);
	if (problem[0] != '\0') {
		log_say(LOG_WARNING, "survey_failed", "the devices could not be gone through: %s", problem);
		survey_table_free(s->table);
		s->table = NULL;
		return;
	}
	survey_table_free(s->found);
	s->found = s->table;
	s->table = NULL;
	s->found_totals = s->totals;
	s->state.at = s->began;
	s->state.whole = !s->full;
}

static const char *why_not(const struct survey *s, enum redis_status status, const redisReply *reply)
{
	return status == REDIS_ERROR ? reply->str : status == REDIS_TIMEOUT ? "Redis does not answer in time" :
		!redis_is_up(s->redis) ? redis_problem(s->redis) : "Redis answers what cannot be";
}

/* --- fourth: who is in the groups --- */

static bool is_sid(const char *text)
{
	return strncmp(text, "S-1-", 4) == 0 && text[4 + strspn(text + 4, "0123456789-")] == '\0';
}

static void ask_members(struct survey *s);

/* The process that parses what servers send is believed no more than they are. */
static bool is_sound(const struct directory_member_page *p, size_t n)
{
	size_t head = offsetof(struct directory_member_page, member);

	if (n < head || p->result != ACCOUNT_FOUND || p->n > DIRECTORY_MEMBERS_MAX || n != head + p->n * sizeof(p->member[0]))
		return false;
	for (unsigned i = 0; i < p->n; i++) {
		const struct directory_member *m = &p->member[i];
		if (memchr(m->sid, '\0', sizeof(m->sid)) == NULL || memchr(m->name, '\0', sizeof(m->name)) == NULL || !is_sid(m->sid))
			return false;
	}
	return true;
}

static void on_members(void *arg, enum wire_status status, const void *body, size_t n)
{
	static struct directory_member_page page;	/* 50 kB that no stack needs; used within this call only */
	struct survey *s = arg;
	struct survey_group *g = &s->totals.groups[s->group];
	bool good = status == WIRE_OK && n <= sizeof(page);

	if (good)
		memcpy(&page, body, n);
	good = good && is_sound(&page, n);
	for (unsigned i = 0; good && i < page.n && !s->full; i++)
		s->full = !survey_table_list(s->table, page.member[i].sid, page.member[i].name, s->group, &s->totals);
	g->unlisted |= !good || page.cut != 0 || s->full;
	if (!good || page.more == 0 || s->full) {
		s->group++;
		s->listing = false;
	}
	ask_members(s);
}

static void on_members_later(struct deadline *d)
{
	ask_members(CONTAINER_OF(d, struct survey, go_on));
}

static void ask_members(struct survey *s)
{
	const struct enroll_migration *m = s->c.migration;
	struct directory_members ask = { .begin = !s->listing };

	if (s->group >= m->all_n || s->group >= ENROLL_GROUPS_MAX) {
		end(s, survey_table_arrange(s->table) < 0 ? "out of memory" : "");
		return;
	}
	ask.group = m->all[s->group].bit;
	if (asker_ask(s->c.directory, DIRECTORY_MEMBERS, &ask, sizeof(ask), ASK_MS, on_members, s) == 0)
		deadline_arm(s->c.loop, &s->go_on, 200, on_members_later);	/* as many as there may be wait: later */
	else
		s->listing = true;
}

/* --- third: the directory --- */

static void ask_directory(struct survey *s);

static void judge(struct survey *s, struct survey_user *u)
{
	survey_table_judge(u, s->c.migration, s->began - (int64_t)s->c.migration->days * 86400, &s->totals);
}

static void on_account(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct survey_question *q = arg;
	struct survey *s = q->survey;
	struct directory_found found = { .result = ACCOUNT_UNAVAILABLE };

	if (status == WIRE_OK && n == sizeof(found))
		memcpy(&found, body, sizeof(found));
	q->user->known = found.result == ACCOUNT_FOUND && strcmp(found.account.sid, q->user->sid) == 0 ? SURVEY_KNOWN :
		found.result == ACCOUNT_UNAVAILABLE ? SURVEY_UNAVAILABLE : SURVEY_NOBODY;
	q->user->groups = found.account.groups;
	q->user->groups_at = s->began;
	judge(s, q->user);
	q->user = NULL;
	s->asked--;
	ask_directory(s);
}

/* True: nobody needs to be asked. */
static bool groups_are_known(struct survey *s, struct survey_user *u)
{
	const struct survey_user *before = s->found != NULL ? survey_table_find(s->found, u->sid) : NULL;

	if (s->c.migration->all_n == 0 || !is_sid(u->sid)) {
		u->known = SURVEY_NOBODY;
		return true;
	}
	if (before == NULL || before->known != SURVEY_KNOWN || before->groups_at < s->began - GROUPS_KEPT)
		return false;
	u->known = before->known;
	u->groups = before->groups;
	u->groups_at = before->groups_at;
	return true;
}

static bool put_question(struct survey *s, struct survey_user *u)
{
	struct directory_find find;
	struct survey_question *q = s->questions;

	while (q->user != NULL)		/* one is free: fewer than ASKED are under way */
		q++;
	memset(&find, 0, sizeof(find));
	find.kind = CLAIM_SID;
	snprintf(find.value, sizeof(find.value), "%s", u->sid);
	if (asker_ask(s->c.directory, DIRECTORY_FIND, &find, sizeof(find), ASK_MS, on_account, q) == 0)
		return false;
	*q = (struct survey_question){ s, u };
	return true;
}

static void on_go_on(struct deadline *d)
{
	ask_directory(CONTAINER_OF(d, struct survey, go_on));
}

static void ask_directory(struct survey *s)
{
	struct survey_user *u;
	unsigned turn = 0;

	while (s->asked < ASKED && (u = survey_table_user(s->table, s->next)) != NULL) {
		if (++turn > 2000) {		/* others are on this loop, too */
			deadline_arm(s->c.loop, &s->go_on, 0, on_go_on);
			return;
		}
		if (groups_are_known(s, u)) {
			judge(s, u);
		} else if (!put_question(s, u)) {
			deadline_arm(s->c.loop, &s->go_on, 200, on_go_on);	/* as many as there may be wait: later */
			return;
		} else {
			s->asked++;
		}
		s->next++;
	}
	if (s->asked == 0 && survey_table_user(s->table, s->next) == NULL) {
		s->group = 0;
		s->listing = false;
		ask_members(s);
	}
}

/* --- second: the lockout guard's figures --- */

static const char figures_script[] =
    "local out={} for i,k in ipairs(KEYS) do local v=redis.pcall('HMGET',k,'absorbed','prevented','last_bad') "
    "if v.err then out[i]={} else for j=1,3 do v[j]=string.sub(v[j] or '',1,20) end out[i]=v end end return out";

static void ask_figures(struct survey *s);

static void on_figures(void *arg, enum redis_status status, const redisReply *reply)
{
	struct survey *s = arg;
	struct survey_user *u;

	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 || reply->elements > PEOPLE) {
		end(s, why_not(s, status, reply));
		return;
	}
	for (size_t i = 0; i < reply->elements && (u = survey_table_user(s->table, s->next)) != NULL; i++, s->next++) {
		const redisReply *values = reply->element[i];
		if (values->type != REDIS_REPLY_ARRAY || values->elements != 3)
			continue;
		u->absorbed = device_figure(values->element[0], SURVEY_FIGURE);
		u->prevented = device_figure(values->element[1], SURVEY_FIGURE);
		u->last_bad = (int64_t)device_figure(values->element[2], DEVICE_TIME_MAX);
	}
	ask_figures(s);
}

static void ask_figures(struct survey *s)
{
	char (*key)[KEY_MAX] = calloc(PEOPLE, sizeof(*key)), count[16];
	const char *argv[3 + PEOPLE] = { "EVAL", figures_script, count };
	const struct survey_user *u;
	unsigned n = 0;
	bool sent = true;

	for (; key != NULL && n < PEOPLE && (u = survey_table_user(s->table, s->next + n)) != NULL; n++) {
		snprintf(key[n], sizeof(key[n]), "%slockout:%s", s->prefix, u->sid);
		argv[3 + n] = key[n];
	}
	snprintf(count, sizeof(count), "%u", n);
	if (n > 0)
		sent = redis_command(s->redis, on_figures, s, (int)(3 + n), argv, NULL) != 0;
	free(key);
	if (key == NULL || !sent) {
		end(s, key == NULL ? "out of memory" : "Redis does not answer");
	} else if (n == 0) {
		s->next = 0;
		ask_directory(s);
	}
}

/* --- first: the records --- */

static void next_rows(struct survey *s);

static void on_row(void *arg, const struct device_row *row, bool ok)
{
	struct survey *s = arg;

	if (row != NULL) {
		if (!survey_table_add(s->table, row))
			s->full = true;
		s->state.looked_at = survey_table_devices(s->table);
	} else if (!ok) {
		end(s, redis_is_up(s->redis) ? "Redis cannot read the records of devices" : redis_problem(s->redis));
	} else {
		next_rows(s);
	}
}

static void on_page(void *arg, enum redis_status status, const redisReply *reply)
{
	struct survey *s = arg;
	const redisReply *list;
	struct strv cursor;
	char before[KEY_MAX];

	drop_page(s);
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !redis_text(reply->element[0], &cursor) ||
	    text_copy(s->cursor, sizeof(s->cursor), cursor) < 0 || reply->element[1]->type != REDIS_REPLY_ARRAY) {
		end(s, why_not(s, status, reply));
		return;
	}
	list = reply->element[1];
	snprintf(before, sizeof(before), "%sdevice:", s->prefix);
	s->keys = calloc(list->elements + 1, sizeof(*s->keys));
	for (size_t i = 0; s->keys != NULL && i < list->elements; i++)
		s->keys_n += device_key_of(list->element[i], before, s->keys[s->keys_n]);
	if (s->keys == NULL)
		end(s, "out of memory");
	else
		next_rows(s);
}

static bool next_page(struct survey *s)
{
	char match[KEY_MAX];
	const char *argv[] = { "SCAN", s->cursor, "MATCH", match, "COUNT", PAGE };

	snprintf(match, sizeof(match), "%sdevice:*", s->prefix);
	return redis_command(s->redis, on_page, s, (int)ARRAY_LEN(argv), argv, NULL) != 0;
}

static void next_rows(struct survey *s)
{
	size_t at = s->keys_at, n = s->keys_n - at < DEVICE_ROWS_MAX ? s->keys_n - at : DEVICE_ROWS_MAX;

	if (s->full || (n == 0 && strcmp(s->cursor, "0") == 0)) {
		drop_page(s);
		s->next = 0;
		if (survey_table_arrange(s->table) < 0)
			end(s, "out of memory");
		else
			ask_figures(s);
	} else if (n > 0) {
		s->keys_at += n;
		if (device_rows_ask(&s->rows, s->redis, s->prefix, (const char (*)[DEVICE_KEY_HEX])(s->keys + at), (unsigned)n, on_row, s) < 0)
			end(s, "Redis does not answer");
	} else if (!next_page(s)) {
		end(s, "Redis does not answer");
	}
}

void survey_begin(struct survey *s, bool fresh)
{
	int64_t now = loop_wall(s->c.loop);

	s->used = now;
	if (s->state.running || (!fresh && s->found != NULL && now - s->state.at < SURVEY_FRESH_SECONDS && s->problem[0] == '\0'))
		return;
	s->table = survey_table_new();
	s->state.running = true;
	s->state.looked_at = 0;
	s->full = false;
	s->began = now;
	memset(&s->totals, 0, sizeof(s->totals));
	memcpy(s->cursor, "0", 2);
	if (s->table == NULL)
		end(s, "out of memory");
	else if (!redis_is_up(s->redis))
		end(s, redis_problem(s->redis));
	else if (!next_page(s))
		end(s, "Redis does not answer");
}

/* --- life --- */

struct survey *survey_new(const struct survey_config *config, char *why, size_t why_size)
{
	struct redis_config c = { .loop = config->loop, .settings = config->redis, .name = "migration" };
	struct survey *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->prefix = strdup(config->redis->prefix)) == NULL) {
		snprintf(why, why_size, "out of memory");
		free(s);
		return NULL;
	}
	s->c = *config;
	if (config->redis->password_file[0] != '\0')
		(void)!bundle_get_secret(config->bundle, config->redis->password_file, &c.password);
	if (config->redis->ca[0] != '\0')
		(void)!bundle_get(config->bundle, config->redis->ca, &c.ca_pem);
	s->redis = redis_new(&c, why, why_size);
	if (s->redis != NULL)
		return s;
	survey_free(s);
	return NULL;
}

void survey_free(struct survey *s)
{
	if (s == NULL)
		return;
	deadline_disarm(&s->go_on);
	redis_free(s->redis);
	drop_page(s);
	survey_table_free(s->table);
	survey_table_free(s->found);
	free(s->prefix);
	free(s);
}

void survey_tidy(struct survey *s)
{
	if (s->found == NULL || loop_wall(s->c.loop) - s->used < KEPT)
		return;
	survey_table_free(s->found);
	s->found = NULL;
	s->state.at = 0;
}

void survey_get_state(const struct survey *s, struct survey_state *out)
{
	*out = s->state;
	out->problem = s->problem;
}

struct survey_table *survey_found(struct survey *s, const struct survey_totals **totals)
{
	s->used = loop_wall(s->c.loop);
	if (totals != NULL)
		*totals = &s->found_totals;
	return s->found;
}

struct redis *survey_redis(struct survey *s)
{
	return redis_is_up(s->redis) ? s->redis : NULL;
}
