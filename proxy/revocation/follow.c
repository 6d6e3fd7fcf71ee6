/*
 * follow: the connection to Redis and the order of things: look where the stream stands, catch up, load what must be loaded,
 * follow. Events are follow_events.c's, hashes follow_load.c's. Runs in the revocation process.
 */
#include "proxy/revocation/follow.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/metric_table.h"
#include "proxy/revocation/follow_parts.h"

#define RETRY_MS 1000
#define ROUND_MS 2000		/* how often the stream's ends and crl:<issuer> are looked at */
#define SKEW	 300		/* seconds, as in event.c */

void follow_key(const struct follow *f, char *out, size_t size, const char *what, const char *issuer_hex)
{
	snprintf(out, size, "%s%s%s", f->c.redis->prefix, what, issuer_hex);
}

static void on_retry(struct deadline *d)
{
	follow_begin(CONTAINER_OF(d, struct follow, retry));
}

void follow_failed(struct follow *f, const char *what, enum redis_status status, const redisReply *reply)
{
	char text[sizeof(f->problem)];

	if (status == REDIS_DOWN)
		return;			/* on_state() hears of it */
	if (status == REDIS_ERROR)
		snprintf(text, sizeof(text), "Redis: %s: %.*s", what, (int)(reply->len < 100 ? reply->len : 100), reply->str);
	else
		snprintf(text, sizeof(text), "Redis: %s: %s", what, status == REDIS_TIMEOUT ? "no answer within the time limit" :
		    "not the answer that it must be");
	if (strcmp(text, f->problem) != 0)
		log_say(LOG_ERROR, "redis_follow_failed", "%s; revocations known so far stay, the rest grows old", text);
	memcpy(f->problem, text, sizeof(text));
	/* A batch that is lost by this was not taken: the position stands before it. */
	redis_cancel(f->redis, f->chain);
	redis_cancel(f->redis, f->look);
	serials_clear(&f->list);
	f->stage = FOLLOW_DOWN;
	deadline_disarm(&f->round);
	deadline_arm(f->c.loop, &f->retry, RETRY_MS, on_retry);
	f->c.changed(f->c.arg);
}

void follow_ask(struct follow *f, uint64_t *slot, unsigned timeout_ms, redis_done_fn *done, int argc, const char *const *argv)
{
	*slot = redis_command_within(f->redis, timeout_ms, done, f, argc, argv, NULL);
	if (*slot == 0 && redis_is_up(f->redis))
		follow_failed(f, argv[0], REDIS_ANSWER, NULL);
}

/* --- where the stream stands --- */

/* The id of the one entry asked for; 0-0 when there is none. -1: not such a reply. */
static int take_id(const redisReply *reply, struct stream_id *out)
{
	struct strv text;

	*out = (struct stream_id){ 0 };
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements > 1)
		return -1;
	if (reply->elements == 0)
		return 0;
	reply = reply->element[0];
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !redis_text(reply->element[0], &text))
		return -1;
	return stream_id_read(text, out);
}

/*
 * What is left of the stream must reach back to where this node stood at the look before: a reader that waits while many
 * entries are added and trimmed at once gets the last ones only, and cannot tell.
 */
enum gap {
	GAP_NONE = 0,
	GAP_TRIMMED,		/* older entries than the ones that are left were not seen */
	GAP_OTHER_STREAM,	/* this node never followed, or the stream was flushed or replaced */
};

static enum gap find_gap(const struct follow *f)
{
	static const struct stream_id zero;

	if (stream_id_compare(f->position, zero) == 0 || stream_id_compare(f->last, f->position) < 0)
		return GAP_OTHER_STREAM;
	return stream_id_compare(f->first, f->checked) > 0 ? GAP_TRIMMED : GAP_NONE;
}

/* What was missed is in the hashes. */
static void cross_gap(struct follow *f, enum gap gap)
{
	int64_t floor = (int64_t)loop_wall(f->c.loop) - SKEW;

	if (f->checked.ms != 0)
		log_say(LOG_WARNING, "events_missed", "the events stream in Redis %s %llu-%llu: loading all revocations anew",
		    gap == GAP_TRIMMED ? "was trimmed beyond" : "is another one, it does not know",
		    (unsigned long long)f->checked.ms, (unsigned long long)f->checked.number);
	f->load_all = true;
	if (gap == GAP_TRIMMED)
		return;			/* what is left is read in order */
	/* In a stream that began anew the order says nothing: an `unrevoked` from before now may be a replay. */
	if (floor > f->guard.floor)
		f->guard.floor = floor;
	f->position = f->last;
	index_set_stream_position(f->c.index, f->position.ms, f->position.number);
}

static void on_first(void *arg, enum redis_status status, const redisReply *reply)
{
	struct follow *f = arg;
	enum gap gap;
	bool may_cross;

	if (status != REDIS_ANSWER || take_id(reply, &f->first) < 0) {
		follow_failed(f, "XRANGE events", status, reply);
		return;
	}
	gap = find_gap(f);
	may_cross = f->stage == FOLLOW_LOOKING || (f->stage == FOLLOW_FOLLOWING && f->position.ms != 0);
	if (gap != GAP_NONE && may_cross)
		cross_gap(f, gap);	/* a reader that waits comes back within a second and loads */
	if (gap == GAP_NONE || may_cross)
		f->checked = gap == GAP_OTHER_STREAM ? f->position : f->looked_from;
	if (f->stage == FOLLOW_LOOKING) {
		f->stage = FOLLOW_CATCHING_UP;
		follow_read(f);
	}
}

static void on_last(void *arg, enum redis_status status, const redisReply *reply)
{
	struct follow *f = arg;
	char key[320];
	const char *argv[] = { "XRANGE", key, "-", "+", "COUNT", "1" };

	if (status != REDIS_ANSWER || take_id(reply, &f->last) < 0) {
		follow_failed(f, "XREVRANGE events", status, reply);
		return;
	}
	follow_key(f, key, sizeof(key), "events", "");
	follow_ask(f, &f->look, f->c.redis->timeout_ms, on_first, (int)ARRAY_LEN(argv), argv);
}

static void look(struct follow *f)
{
	char key[320];
	const char *argv[] = { "XREVRANGE", key, "+", "-", "COUNT", "1" };

	f->looked_from = f->position;
	follow_key(f, key, sizeof(key), "events", "");
	follow_ask(f, &f->look, f->c.redis->timeout_ms, on_last, (int)ARRAY_LEN(argv), argv);
}

static void on_round(struct deadline *d)
{
	struct follow *f = CONTAINER_OF(d, struct follow, round);

	deadline_arm(f->c.loop, &f->round, ROUND_MS, on_round);
	if (f->stage != FOLLOW_FOLLOWING)
		return;
	follow_confirm(f);
	look(f);
}

void follow_begin(struct follow *f)
{
	if (!redis_is_up(f->redis) || f->stage != FOLLOW_DOWN)
		return;
	f->stage = FOLLOW_LOOKING;
	deadline_arm(f->c.loop, &f->round, ROUND_MS, on_round);
	look(f);
}

static void on_state(void *arg, bool up)
{
	struct follow *f = arg;

	f->stage = FOLLOW_DOWN;
	deadline_disarm(&f->retry);
	deadline_disarm(&f->round);
	serials_clear(&f->list);
	if (up)
		follow_begin(f);
	else
		f->c.changed(f->c.arg);
}

bool follow_is_up(const struct follow *f)
{
	return f != NULL && f->stage == FOLLOW_FOLLOWING;
}

const char *follow_problem(const struct follow *f)
{
	unsigned i;

	if (f == NULL)
		return "";
	if (!redis_is_up(f->redis))
		return redis_problem(f->redis);
	for (i = 0; i < f->issuers_count && f->problem[0] == '\0'; i++)
		if (f->issuers[i].published < 0)
			return "Redis: crl:<issuer> is missing for an issuer: nobody publishes its revocations there";
	return f->problem;
}

static int take_issuers(struct follow *f, const struct follow_config *c)
{
	unsigned i;

	f->issuers = calloc(c->issuers_count + 1u, sizeof(*f->issuers));
	if (f->issuers == NULL)
		return -1;
	for (i = 0; i < c->issuers_count; i++) {
		struct follow_issuer *issuer = &f->issuers[f->issuers_count];

		if ((c->issuers[i].sources & INDEX_BIT(INDEX_REDIS)) == 0)
			continue;
		memcpy(issuer->key, c->issuers[i].issuer, SHA256_SIZE);
		text_hex(issuer->hex, issuer->key, SHA256_SIZE);
		f->issuers_count++;
	}
	return 0;
}

struct follow *follow_new(const struct follow_config *config, char *why, size_t why_size)
{
	static const struct redis_metrics metrics = { M_REDIS_COMMANDS, M_REDIS_CONNECTIONS };
	struct redis_config redis = { .loop = config->loop, .settings = config->redis, .password = config->password,
		.ca_pem = config->ca_pem, .name = "revocation", .patience_ms = FOLLOW_BLOCK_MS, .state = on_state };
	struct follow *f = calloc(1, sizeof(*f));

	if (f == NULL || take_issuers(f, config) < 0) {
		snprintf(why, why_size, "out of memory");
		free(f);
		return NULL;
	}
	f->c = *config;
	redis.arg = f;
	f->guard.floor = index_let_in_floor(config->index);
	index_stream_position(config->index, &f->position.ms, &f->position.number);
	f->checked = f->position;
	f->redis = redis_new(&redis, why, why_size);
	if (f->redis == NULL) {
		follow_free(f);
		return NULL;
	}
	redis_count(f->redis, &metrics);
	if (config->secret.n == 0)
		log_say(LOG_WARNING, "no_fleet_secret", "redis.fleet_secret_file is not set: events that take a revocation back, "
		    "change a device or ask for a reload are not believed");
	return f;
}

void follow_free(struct follow *f)
{
	if (f == NULL)
		return;
	deadline_disarm(&f->retry);
	deadline_disarm(&f->round);
	redis_free(f->redis);
	serials_clear(&f->list);
	free(f->issuers);
	free(f);
}
