/*
 * device_redis: the record in Redis. Each change is one atomic act there (a script), so that of two devices that come at the
 * same moment exactly one is bound, or counted as the last one that may. Runs in workers.
 */
#include <stdio.h>
#include <time.h>

#include "common/device_parts.h"
#include "common/log.h"

#define SAY_AGAIN_MS 60000
#define INDEX_SECONDS "34560000"	/* 400 days: longer than any record that ends */
#define TEXT_OF_(n) #n
#define TEXT_OF(n) TEXT_OF_(n)

/*
 * KEYS: the record, the account's devices, those that wait. ARGV: 1 state to make ("" : none), 2 sid, 3 upn, 4 device, 5 now, 6 mac,
 * 7 client, 8 method, 9 command, 10 type, 11 agent, 12 limit, 13 seconds, 14 what stands before a key in its record's name, 15 key.
 * Gives the record as it stood, or what was made. A record is there when it exists: half a record is not taken for "nobody yet".
 * A set of more than any honest limit is somebody's doing: it is cleaned bit by bit, and lets nobody new in until then.
 */
static const char ask_script[] =
    "if redis.call('EXISTS',KEYS[1])==0 then "
    "if ARGV[1]=='' then return {'none'} end "
    "local n,limit=redis.call('SCARD',KEYS[2]),tonumber(ARGV[12]) "
    "if n>=limit then "
    "local some=n>1024 and redis.call('SRANDMEMBER',KEYS[2],128) or redis.call('SMEMBERS',KEYS[2]) "
    "local live=0 "
    "for _,k in ipairs(some) do "
    "local s=redis.pcall('HGET',ARGV[14]..k,'state') "
    "if not s then redis.call('SREM',KEYS[2],k) elseif s~='blocked' then live=live+1 end end "
    "if n>1024 or live>=limit then return {'limit'} end end "
    "redis.call('SADD',KEYS[2],ARGV[15]) "
    "redis.call('EXPIRE',KEYS[2]," INDEX_SECONDS ") "
    "if ARGV[1]=='quarantined' then redis.call('ZADD',KEYS[3],ARGV[5],ARGV[15]) "
    "redis.call('ZREMRANGEBYRANK',KEYS[3],0,-" TEXT_OF(DEVICE_QUARANTINE_MAX) "-1) end "
    "redis.call('HSET',KEYS[1],'sid',ARGV[2],'upn',ARGV[3],'device',ARGV[4],'state',ARGV[1],'first_seen',ARGV[5],"
    "'last_seen',ARGV[5],'mac',ARGV[6],'last_client',ARGV[7],'last_method',ARGV[8],'last_command',ARGV[9],'device_type',ARGV[10],"
    "'user_agent',ARGV[11]) "
    "redis.call('EXPIRE',KEYS[1],ARGV[13]) "
    "return {'made'} end "
    "local v=redis.call('HMGET',KEYS[1],'sid','device','state','mac') "
    "return {'found',v[1] or '',v[2] or '',v[3] or '',v[4] or ''}";

/* KEYS: the record, the account's devices. ARGV: the mac that was judged, device, new mac, now, state, key, seconds ("0": it does not end).
 * 1: bound; 0: the record is another one by now. */
static const char bind_script[] =
    "if redis.call('HGET',KEYS[1],'mac')~=ARGV[1] then return 0 end "
    "redis.call('SADD',KEYS[2],ARGV[6]) redis.call('EXPIRE',KEYS[2]," INDEX_SECONDS ") "
    "redis.call('HSET',KEYS[1],'device',ARGV[2],'mac',ARGV[3],'first_seen',ARGV[4],'last_seen',ARGV[4],'state',ARGV[5]) "
    "if ARGV[7]~='0' then redis.call('EXPIRE',KEYS[1],ARGV[7]) end return 1";

/* KEYS as before, then the day's devices by this method. ARGV: now, client, method, command, type, agent, key, seconds. Never makes a record. */
static const char seen_script[] =
    "if redis.call('EXISTS',KEYS[1])==0 then return 0 end "
    "redis.call('HSET',KEYS[1],'last_seen',ARGV[1],'last_client',ARGV[2],'last_method',ARGV[3],'last_command',ARGV[4],"
    "'device_type',ARGV[5],'user_agent',ARGV[6]) "
    "local s=redis.call('HGET',KEYS[1],'state') "
    "if s=='pinned' or s=='seen' or s=='quarantined' then redis.call('EXPIRE',KEYS[1],ARGV[8]) end "
    "redis.call('PFADD',KEYS[3],ARGV[7]) redis.call('EXPIRE',KEYS[3]," INDEX_SECONDS ") "
    "redis.call('SADD',KEYS[2],ARGV[7]) redis.call('EXPIRE',KEYS[2]," INDEX_SECONDS ") return 1";

/* A secret that was replaced counts no more, whichever Redis still serves. */
static struct strv secret_of(const struct devices *d)
{
	return (struct strv){ d->store->secret, d->store->secret_n };
}

/* The names of what one question is about. */
struct keys {
	char record[400], index[520], waiting[320], before[320];
};

static void name_keys(const struct devices *d, const struct device_op *op, struct keys *k)
{
	const char *prefix = device_store(d)->config.prefix;

	snprintf(k->before, sizeof(k->before), "%sdevice:", prefix);
	snprintf(k->record, sizeof(k->record), "%s%s", k->before, op->hex);
	snprintf(k->index, sizeof(k->index), "%sdevices:%s", prefix, op->sid);
	snprintf(k->waiting, sizeof(k->waiting), "%squarantine", prefix);
}

#define DAY_MAX 16
/* "20261129", UTC. */
static const char *today(const struct devices *d, char out[DAY_MAX])
{
	time_t now = loop_wall(d->loop);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(out, DAY_MAX, "%Y%m%d", &tm);
	return out;
}

static void say_unbelievable(struct devices *d, const struct device_op *op, const char *why)
{
	uint64_t now = loop_now_ms(d->loop);
	struct log_line l;

	if (d->said_unbelievable_ms != 0 && now - d->said_unbelievable_ms < SAY_AGAIN_MS)
		return;
	d->said_unbelievable_ms = now;
	log_begin(&l, LOG_ERROR, "device_record_refused");
	log_cstr(&l, "key", op->hex);
	log_cstr(&l, "message", why);
	log_end(&l);
}

static void bind_device(struct devices *d, struct device_op *op, enum device_state before, struct strv old_mac);

static void take_record(struct devices *d, struct device_op *op, const redisReply *reply)
{
	enum device_answer answer = DEVICE_UNAVAILABLE;
	struct device_view view;

	if (reply->elements != 5 || !redis_text(reply->element[1], &view.sid) || !redis_text(reply->element[2], &view.device) ||
	    !redis_text(reply->element[3], &view.state) || !redis_text(reply->element[4], &view.mac)) {
		device_answer_op(op, DEVICE_UNAVAILABLE);
		return;
	}
	switch (device_judge(secret_of(d), op, &view, &answer)) {
	case DEVICE_JUDGE_BIND:
		bind_device(d, op, device_state_from(view.state), view.mac);
		return;
	case DEVICE_JUDGE_UNBELIEVABLE:
		say_unbelievable(d, op, "its mac is not the fleet's: somebody else wrote it, or the fleet's secret was changed; "
		    "delete the record to let the device bind anew");
		answer = DEVICE_UNAVAILABLE;
		break;
	default:
		device_remember(d, op, device_state_from(view.state), view.sid, view.device);
		if (answer != DEVICE_OTHER)
			device_used(d, op);
	}
	device_answer_op(op, answer);
}

/* Whatever the script found in place of a record. */
static enum device_answer answer_none(const struct device_op *op)
{
	if (op->look_only || (op->binds && op->registered_only))
		return device_new_answer(op, DEVICE_STATE_NONE);
	return DEVICE_OTHER;	/* not made by us: we know of another device although the record has vanished */
}

static void on_record(void *arg, enum redis_status status, const redisReply *reply)
{
	struct device_op *op = arg;
	struct devices *d = op->owner;
	enum device_state made = device_new_state(op);
	struct strv word;

	op->command_number = 0;
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 ||
	    !redis_text(reply->element[0], &word)) {
		if (status == REDIS_ERROR)
			say_unbelievable(d, op, reply->str);
		device_answer_op(op, DEVICE_UNAVAILABLE);
	} else if (strv_eq(word, STRV("made"))) {
		device_remember(d, op, made, strv_from(op->sid), strv_from(op->device));
		device_used(d, op);
		device_answer_op(op, device_new_answer(op, made));
	} else if (strv_eq(word, STRV("limit"))) {
		device_answer_op(op, DEVICE_LIMIT);
	} else if (strv_eq(word, STRV("none"))) {
		device_answer_op(op, answer_none(op));
	} else if (strv_eq(word, STRV("found"))) {
		take_record(d, op, reply);
	} else {
		device_answer_op(op, DEVICE_UNAVAILABLE);
	}
}

static void on_bound(void *arg, enum redis_status status, const redisReply *reply)
{
	struct device_op *op = arg;

	op->command_number = 0;
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_INTEGER) {
		device_answer_op(op, DEVICE_UNAVAILABLE);
		return;
	}
	if (reply->integer == 1) {
		devices_changed(op->owner, op->hex);	/* asked for anew, with its state */
		device_answer_op(op, DEVICE_PINNED);
		return;
	}
	op->second = true;		/* somebody was faster: look once more, bind no more */
	device_ask_redis(op->owner, op);
}

static void send_or_fail(struct devices *d, struct device_op *op, redis_done_fn *done, int argc, const char *const *argv)
{
	op->asked = device_store(d);
	op->command_number = redis_command(op->asked->redis, done, op, argc, argv, NULL);
	if (op->command_number == 0)
		device_answer_op(op, DEVICE_UNAVAILABLE);
}

static void bind_device(struct devices *d, struct device_op *op, enum device_state before, struct strv old_mac)
{
	const char *state = device_state_name(device_bound_state(before));
	char mac[2 * SHA256_SIZE + 1], old[2 * SHA256_SIZE + 1], now[24], seconds[24] = "0";
	struct keys k;
	const char *argv[] = { "EVAL", bind_script, "2", k.record, k.index, old, op->device, mac, now, state, op->hex, seconds };

	/* device_judge() has held it against ours: exactly so long. */
	snprintf(old, sizeof(old), "%.*s", STRV_FMT(old_mac));
	snprintf(now, sizeof(now), "%lld", (long long)loop_wall(d->loop));
	if (device_state_ends(device_bound_state(before)))
		snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)op->days * 86400);
	name_keys(d, op, &k);
	if (device_record_mac(secret_of(d), op->hex, strv_from(op->sid), strv_from(op->device), strv_from(state), mac) < 0)
		device_answer_op(op, DEVICE_UNAVAILABLE);
	else
		send_or_fail(d, op, on_bound, (int)ARRAY_LEN(argv), argv);
}

/* A record that has vanished (flushed, evicted, deleted) does not free the certificate for another device. */
static bool is_anothers(struct devices *d, const struct device_op *op)
{
	const struct device_memory *known = device_recall(d, op->key);
	uint8_t bound[16];

	if (known == NULL || !op->binds || known->state == DEVICE_STATE_SEEN)
		return false;
	device_bound_hash(strv_from(op->sid), strv_from(op->device), bound);
	return memcmp(known->bound, bound, sizeof(bound)) != 0;
}

void device_ask_redis(struct devices *d, struct device_op *op)
{
	const char *state = is_anothers(d, op) ? "" : device_state_name(device_new_state(op));
	char mac[2 * SHA256_SIZE + 1] = "", now[24], limit[16], seconds[24];
	struct keys k;
	const char *argv[] = { "EVAL", ask_script, "3", k.record, k.index, k.waiting, state, op->sid, op->upn, op->device, now, mac, op->client,
		device_method_name(op->method), op->command, op->device_type, op->user_agent, limit, seconds, k.before, op->hex };

	snprintf(now, sizeof(now), "%lld", (long long)loop_wall(d->loop));
	snprintf(limit, sizeof(limit), "%u", op->limit);
	snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)op->days * 86400);
	name_keys(d, op, &k);
	if (d->store->secret_n == 0) {
		say_unbelievable(d, op, "redis.fleet_secret_file is not set: no record of a device can be believed");
		device_answer_op(op, DEVICE_UNAVAILABLE);
	} else if (state[0] != '\0' &&
	    device_record_mac(secret_of(d), op->hex, strv_from(op->sid), strv_from(op->device), strv_from(state), mac) < 0) {
		device_answer_op(op, DEVICE_OTHER);
	} else {
		send_or_fail(d, op, on_record, (int)ARRAY_LEN(argv), argv);
	}
}

void device_write_seen(struct devices *d, const struct device_op *op)
{
	char now[24], seconds[24], daily[400], day[DAY_MAX];
	struct keys k;
	const char *argv[] = { "EVAL", seen_script, "3", k.record, k.index, daily, now, op->client, device_method_name(op->method), op->command,
		op->device_type, op->user_agent, op->hex, seconds };

	snprintf(now, sizeof(now), "%lld", (long long)loop_wall(d->loop));
	snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)op->days * 86400);
	snprintf(daily, sizeof(daily), "%sdaily:%s:%s", device_store(d)->config.prefix, today(d, day), device_method_name(op->method));
	name_keys(d, op, &k);
	/* For people to read: one that is lost is no fault. */
	if (redis_command(device_store(d)->redis, NULL, NULL, (int)ARRAY_LEN(argv), argv, NULL) == 0)
		return;
}

/* --- daily figures --- */

#define DAILY_FIELDS 8
static const char daily_script[] =
    "for i=1,#ARGV,2 do redis.call('HINCRBY',KEYS[1],ARGV[i],ARGV[i+1]) end redis.call('EXPIRE',KEYS[1]," INDEX_SECONDS ") return 1";

bool devices_daily(struct devices *d, const char *const *fields, const uint64_t *counts, unsigned n)
{
	const char *argv[4 + 2 * DAILY_FIELDS] = { "EVAL", daily_script, "1" };
	char key[400], day[DAY_MAX], text[DAILY_FIELDS][24];
	int argc = 4;

	if (d->table != NULL || n > DAILY_FIELDS)
		return false;
	snprintf(key, sizeof(key), "%sdaily:%s", device_store(d)->config.prefix, today(d, day));
	argv[3] = key;
	for (unsigned i = 0; i < n; i++) {
		if (counts[i] == 0)
			continue;
		snprintf(text[i], sizeof(text[i]), "%llu", (unsigned long long)counts[i]);
		argv[argc++] = fields[i];
		argv[argc++] = text[i];
	}
	return argc == 4 || redis_command(device_store(d)->redis, NULL, NULL, argc, argv, NULL) != 0;
}
