/*
 * store_redis: the record in Redis, by two scripts: one reads with Redis' own clock, one writes if nobody has written since. What Redis
 * says is bounded before it is read and believed only with its MAC. *lockout* process.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/lockout/store_parts.h"
#include "common/log.h"
#include "common/text.h"

#define KEEP_SECONDS  3456000	/* 40 days since the last password of the account came by; longer where AD counts for longer */
#define KEEP_SPARE    86400
#define DAILY_SECONDS "34560000"	/* 400 days */
#define KEY_MAX	      400

/*
 * KEYS: record, address; ARGV: the longest state, the address's window. An address's counter that never ends (not of ours) gets an end.
 */
static const char read_script[] =
    "if redis.call('HSTRLEN',KEYS[1],'state')>tonumber(ARGV[1]) or redis.call('STRLEN',KEYS[2])>20 then return {'large'} end "
    "local a=redis.call('GET',KEYS[2]) local t=redis.call('TTL',KEYS[2]) "
    "if a and t<0 then redis.call('EXPIRE',KEYS[2],ARGV[2]) t=tonumber(ARGV[2]) end "
    "return {'read',redis.call('TIME')[1],redis.call('HGET',KEYS[1],'state') or '',a or '0',tostring(t)}";

/*
 * KEYS: record, address, day; ARGV: 1 state as read, 2 new state, 3 how long to keep it, 4 address: + - 0,
 * 5 its limit, 6 its window, 7 absorbed, 8 prevented, 9 last_bad or "", 10 field of the day or "", 11 by how much, 12 how long to keep it.
 * What is only for people must not keep the rest from being written.
 */
static const char write_script[] =
    "if ARGV[4]=='+' and tonumber(redis.call('GET',KEYS[2]) or '0')>=tonumber(ARGV[5]) then return 2 end "
    "if (redis.call('HGET',KEYS[1],'state') or '')~=ARGV[1] then return 0 end "
    "redis.call('HSET',KEYS[1],'state',ARGV[2]) redis.call('EXPIRE',KEYS[1],ARGV[3]) "
    "if ARGV[7]=='1' then redis.pcall('HINCRBY',KEYS[1],'absorbed',1) end "
    "if ARGV[8]=='1' then redis.pcall('HINCRBY',KEYS[1],'prevented',1) end "
    "if ARGV[9]~='' then redis.call('HSET',KEYS[1],'last_bad',ARGV[9]) end "
    "if ARGV[4]=='+' then redis.call('INCR',KEYS[2]) "
    "if redis.call('TTL',KEYS[2])<0 then redis.call('EXPIRE',KEYS[2],ARGV[6]) end "
    "elseif ARGV[4]=='-' and tonumber(redis.call('GET',KEYS[2]) or '0')>0 then redis.call('DECR',KEYS[2]) end "
    "if ARGV[10]~='' then redis.pcall('HINCRBY',KEYS[3],ARGV[10],ARGV[11]) redis.pcall('EXPIRE',KEYS[3],ARGV[12]) end "
    "return 1";

static void record_key(const struct store_item *item, char out[KEY_MAX])
{
	snprintf(out, KEY_MAX, "%slockout:%s", item->store->setup.redis->prefix, item->sid);
}

/* Names of nobody are not kept for as long: anybody may make them up. */
static uint64_t keep_seconds(const struct store_item *item)
{
	uint64_t window = item->window > item->address_window ? item->window : item->address_window;

	if (item->sid[0] == '?')
		return 2 * (window < KEEP_SECONDS ? window : KEEP_SECONDS);
	return window + KEEP_SPARE > KEEP_SECONDS ? window + KEEP_SPARE : KEEP_SECONDS;
}

static void address_key(const struct store_item *item, char out[KEY_MAX])
{
	char hex[2 * LOCKOUT_TAG + 1];

	text_hex(hex, item->address, LOCKOUT_TAG);
	snprintf(out, KEY_MAX, "%slockout-address:%s", item->store->setup.redis->prefix, hex);
}

static void day_key(const struct store_item *item, char out[KEY_MAX])
{
	time_t now = loop_wall(item->store->setup.loop);
	char day[16] = "";
	struct tm t;

	if (gmtime_r(&now, &t) != NULL)
		(void)strftime(day, sizeof(day), "%Y%m%d", &t);
	snprintf(out, KEY_MAX, "%sdaily:%s", item->store->setup.redis->prefix, day);
}

/* --- reading --- */

/* -1: this is no answer of the script. */
static int take_answer(struct store_item *item, const redisReply *reply)
{
	int64_t wall = (int64_t)loop_wall(item->store->setup.loop);
	struct strv word, time, state, tries, ttl;
	uint64_t now, n, left = 0;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 || !redis_text(reply->element[0], &word))
		return -1;
	if (reply->elements != 5 || !strv_eq(word, STRV("read")) || !redis_text(reply->element[1], &time) ||
	    !redis_text(reply->element[2], &state) || !redis_text(reply->element[3], &tries) || !redis_text(reply->element[4], &ttl))
		return -1;
	if (text_u64(time, INT32_MAX * 8ull, &now) < 0 || state.n > sizeof(item->bytes))
		return -1;
	item->now = (int64_t)now;
	item->late = item->now > wall ? item->now : wall;
	if (state.n > 0)
		memcpy(item->bytes, state.p, state.n);
	item->n = state.n;
	item->address_tries = text_u64(tries, UINT32_MAX, &n) == 0 ? (uint32_t)n : UINT32_MAX;
	if (text_u64(ttl, INT32_MAX, &left) < 0 || left > item->address_window)
		left = item->address_window;
	item->address_until = item->now + (int64_t)left;
	store_take_bytes(item);
	return 0;
}

static void on_read(void *arg, enum redis_status status, const redisReply *reply)
{
	struct store_item *item = arg;

	if (status == REDIS_ERROR)
		store_complain(item->store, "lockout:%s: Redis cannot read it (%.80s): delete the key if it is none of ours, or correct the "
		    "rights of redis.username", item->sid, reply->str);
	if (status != REDIS_ANSWER) {
		store_answer(item, STORE_FAILED);
	} else if (take_answer(item, reply) < 0) {
		store_complain(item->store, "lockout:%s: what is there is no record of ours: no password of the account is tried; delete the key",
		    item->sid);
		store_answer(item, STORE_FAILED);
	} else {
		store_answer(item, STORE_DONE);
	}
}

static void command(struct store_item *item, redis_done_fn *done, int argc, const char *const *argv, const size_t *lens)
{
	item->command = redis_command(item->store->redis, done, item, argc, argv, lens);
	if (item->command == 0)
		store_answer(item, STORE_FAILED);
}

void store_redis_read(struct store_item *item)
{
	char record[KEY_MAX], address[KEY_MAX], max[16], window[16];
	const char *argv[] = { "EVAL", read_script, "2", record, address, max, window };

	record_key(item, record);
	address_key(item, address);
	snprintf(max, sizeof(max), "%d", RECORD_BYTES_MAX);
	snprintf(window, sizeof(window), "%u", item->address_window);
	command(item, on_read, (int)ARRAY_LEN(argv), argv, NULL);
}

/* --- writing --- */

static void on_written(void *arg, enum redis_status status, const redisReply *reply)
{
	struct store_item *item = arg;

	if (status == REDIS_ERROR)
		store_complain(item->store, "lockout:%s: Redis cannot write it (%.80s): delete the key if it is none of ours, or correct the "
		    "rights of redis.username", item->sid, reply->str);
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_INTEGER)
		store_answer(item, STORE_FAILED);
	else
		store_answer(item, reply->integer == 1 ? STORE_DONE : reply->integer == 2 ? STORE_ADDRESS : STORE_BEATEN);
}

void store_redis_write(struct store_item *item, const uint8_t *bytes, size_t n, const struct store_effects *e)
{
	char record[KEY_MAX], address[KEY_MAX], day[KEY_MAX], limit[16], window[16], bad[24] = "", by[16],
		keep[16];
	const char *argv[] = { "EVAL", write_script, "3", record, address, day, (const char *)item->bytes, (const char *)bytes, keep,
		e->address > 0 ? "+" : e->address < 0 ? "-" : "0", limit, window, e->absorbed ? "1" : "0", e->prevented ? "1" : "0", bad,
		e->daily != NULL ? e->daily : "", by, DAILY_SECONDS };
	size_t lens[ARRAY_LEN(argv)];

	record_key(item, record);
	address_key(item, address);
	day_key(item, day);
	snprintf(limit, sizeof(limit), "%u", e->address_limit);
	snprintf(window, sizeof(window), "%u", item->address_window);
	/* of names that nobody has, only as long as a budget lasts */
	snprintf(keep, sizeof(keep), "%llu", (unsigned long long)keep_seconds(item));
	snprintf(by, sizeof(by), "%u", e->daily_n);
	if (e->last_bad != 0)
		snprintf(bad, sizeof(bad), "%lld", (long long)e->last_bad);
	for (size_t i = 0; i < ARRAY_LEN(argv); i++)
		lens[i] = i == 6 ? item->n : i == 7 ? n : strlen(argv[i]);
	command(item, on_written, (int)ARRAY_LEN(argv), argv, lens);
}

/* --- the connection --- */

static void on_state(void *arg, bool up)
{
	struct lockout_store *s = arg;

	if (up)
		log_say(LOG_INFO, "lockout_store_up", "Redis answers: passwords can be checked");
	else
		log_say(LOG_ERROR, "lockout_store_down", "Redis does not answer: no password is checked or tried until it does: %s",
		    redis_problem(s->redis));
}

int store_redis_open(struct lockout_store *s)
{
	const struct config_redis *c = s->setup.redis;
	struct redis_config config = { .loop = s->setup.loop, .settings = c, .name = "lockout", .dns = s->setup.dns, .state = on_state,
		.arg = s };
	char why[320] = "";

	if (c->password_file[0] != '\0' && !bundle_get_secret(s->setup.bundle, c->password_file, &config.password))
		snprintf(why, sizeof(why), "redis.password_file: %s: missing or empty: expected the password in the first line", c->password_file);
	else if (c->ca[0] != '\0' && !bundle_get(s->setup.bundle, c->ca, &config.ca_pem))
		snprintf(why, sizeof(why), "redis.ca: %s: missing: expected CA certificates as PEM", c->ca);
	else
		s->redis = redis_new(&config, why, sizeof(why));
	if (s->redis == NULL) {
		log_say(LOG_ERROR, "redis_unusable", "%s", why);
		return -1;
	}
	redis_count(s->redis, s->setup.metrics);
	return 0;
}
