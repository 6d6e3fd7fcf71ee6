/*
 * device_redis: the record in Redis. Each change is one atomic act there (a script), so that of two devices that come at the
 * same moment exactly one is bound. Runs in workers.
 */
#include <stdio.h>

#include "common/device_parts.h"
#include "common/log.h"

#define SAY_AGAIN_MS 60000

/*
 * KEYS[1] the record; ARGV: may bind, sid, upn, device, now, mac, client, method. Gives the record as it stood, or what was made.
 * A record is there when it has a state: half a record (sid without state) is not taken for "nobody yet".
 */
static const char pin_script[] =
    "if redis.call('EXISTS',KEYS[1])==0 then "
    "if ARGV[1]~='1' then return {'none'} end "
    "redis.call('HSET',KEYS[1],'sid',ARGV[2],'upn',ARGV[3],'device',ARGV[4],'state','pinned','first_seen',ARGV[5],"
    "'last_seen',ARGV[5],'mac',ARGV[6],'last_client',ARGV[7],'last_method',ARGV[8]) "
    "return {'pinned'} end "
    "local v=redis.call('HMGET',KEYS[1],'sid','device','state','mac') "
    "return {'found',v[1] or '',v[2] or '',v[3] or '',v[4] or ''}";

/* ARGV: the mac that was judged, device, new mac, now. 1: bound; 0: the record is another one by now. */
static const char bind_script[] =
    "if redis.call('HGET',KEYS[1],'mac')~=ARGV[1] then return 0 end "
    "redis.call('HSET',KEYS[1],'device',ARGV[2],'mac',ARGV[3],'first_seen',ARGV[4],'last_seen',ARGV[4]) return 1";

/* ARGV: now, client, method. Never makes a record. */
static const char seen_script[] =
    "if redis.call('EXISTS',KEYS[1])==1 then redis.call('HSET',KEYS[1],'last_seen',ARGV[1],'last_client',ARGV[2],"
    "'last_method',ARGV[3]) end return 1";

/* A secret that was replaced counts no more, whichever Redis still serves. */
static struct strv secret_of(const struct devices *d)
{
	return (struct strv){ d->store->secret, d->store->secret_n };
}

static void record_key(const struct devices *d, const struct device_op *op, char *out, size_t size)
{
	snprintf(out, size, "%sdevice:%s", device_store(d)->config.prefix, op->hex);
}

static void say_unbelievable(struct devices *d, const struct device_op *op, const char *why)
{
	uint64_t now = loop_now_ms(d->loop);
	struct log_line l;

	if (d->said_unbelievable_ms != 0 && now - d->said_unbelievable_ms < SAY_AGAIN_MS)
		return;
	d->said_unbelievable_ms = now;
	log_begin(&l, LOG_ERROR, "device_record_refused");
	log_cstr(&l, "certificate", op->hex);
	log_cstr(&l, "message", why);
	log_end(&l);
}

static void bind_device(struct devices *d, struct device_op *op, struct strv old_mac);

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
		bind_device(d, op, view.mac);
		return;
	case DEVICE_JUDGE_UNBELIEVABLE:
		say_unbelievable(d, op, "its mac is not the fleet's: somebody else wrote it, or the fleet's secret was changed; "
		    "delete the record to let the device bind anew");
		answer = DEVICE_UNAVAILABLE;
		break;
	default:
		device_remember(d, op, device_state_from(view.state), view.sid, view.device);
	}
	device_answer_op(op, answer);
}

static void on_record(void *arg, enum redis_status status, const redisReply *reply)
{
	struct device_op *op = arg;
	struct devices *d = op->owner;
	struct strv word;

	op->command = 0;
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 ||
	    !redis_text(reply->element[0], &word)) {
		if (status == REDIS_ERROR)
			say_unbelievable(d, op, reply->str);
		device_answer_op(op, DEVICE_UNAVAILABLE);
	} else if (strv_eq(word, STRV("pinned"))) {
		device_remember(d, op, DEVICE_STATE_PINNED, strv_from(op->sid), strv_from(op->device));
		device_answer_op(op, DEVICE_PINNED);
	} else if (strv_eq(word, STRV("none"))) {
		/* Not bound by us: registration is demanded, or we know of another device although the record has vanished. */
		device_answer_op(op, op->registered_only ? DEVICE_UNREGISTERED : DEVICE_OTHER);
	} else if (strv_eq(word, STRV("found"))) {
		take_record(d, op, reply);
	} else {
		device_answer_op(op, DEVICE_UNAVAILABLE);
	}
}

static void on_bound(void *arg, enum redis_status status, const redisReply *reply)
{
	struct device_op *op = arg;

	op->command = 0;
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_INTEGER) {
		device_answer_op(op, DEVICE_UNAVAILABLE);
	} else if (reply->integer == 1) {
		device_remember(op->owner, op, DEVICE_STATE_REGISTERED, strv_from(op->sid), strv_from(op->device));
		device_answer_op(op, DEVICE_PINNED);
	} else {
		op->second = true;		/* somebody was faster: look once more, bind no more */
		device_ask_redis(op->owner, op);
	}
}

static void send_or_fail(struct devices *d, struct device_op *op, redis_done_fn *done, int argc, const char *const *argv)
{
	op->asked = device_store(d);
	op->command = redis_command(op->asked->redis, done, op, argc, argv, NULL);
	if (op->command == 0)
		device_answer_op(op, DEVICE_UNAVAILABLE);
}

static void bind_device(struct devices *d, struct device_op *op, struct strv old_mac)
{
	char key[400], mac[2 * SHA256_SIZE + 1], old[2 * SHA256_SIZE + 1], now[24];
	const char *argv[] = { "EVAL", bind_script, "1", key, old, op->device, mac, now };

	/* device_judge() has held it against ours: exactly so long. */
	snprintf(old, sizeof(old), "%.*s", STRV_FMT(old_mac));
	snprintf(now, sizeof(now), "%lld", (long long)loop_wall(d->loop));
	record_key(d, op, key, sizeof(key));
	if (device_record_mac(secret_of(d), op->hex, strv_from(op->sid), strv_from(op->device), STRV("registered"), mac) < 0)
		device_answer_op(op, DEVICE_UNAVAILABLE);
	else
		send_or_fail(d, op, on_bound, (int)ARRAY_LEN(argv), argv);
}

void device_ask_redis(struct devices *d, struct device_op *op)
{
	const struct device_memory *known = device_recall(d, op->certificate);
	char key[400], mac[2 * SHA256_SIZE + 1], now[24];
	uint8_t bound[16];
	bool may_bind = !op->registered_only;
	const char *argv[] = { "EVAL", pin_script, "1", key, "0", op->sid, op->upn, op->device, now, mac, op->client, op->method };

	/* A record that has vanished (flushed, evicted, deleted) does not free the certificate for another device. */
	device_bound_hash(strv_from(op->sid), strv_from(op->device), bound);
	if (known != NULL && memcmp(known->bound, bound, sizeof(bound)) != 0)
		may_bind = false;
	if (may_bind)
		argv[4] = "1";
	snprintf(now, sizeof(now), "%lld", (long long)loop_wall(d->loop));
	record_key(d, op, key, sizeof(key));
	if (d->store->secret_n == 0) {
		say_unbelievable(d, op, "redis.fleet_secret_file is not set: no record of a device can be believed");
		device_answer_op(op, DEVICE_UNAVAILABLE);
	} else if (device_record_mac(secret_of(d), op->hex, strv_from(op->sid), strv_from(op->device), STRV("pinned"), mac) < 0) {
		device_answer_op(op, DEVICE_OTHER);
	} else {
		send_or_fail(d, op, on_record, (int)ARRAY_LEN(argv), argv);
	}
}

void device_write_seen(struct devices *d, const struct device_op *op)
{
	char key[400], now[24];
	const char *argv[] = { "EVAL", seen_script, "1", key, now, op->client, op->method };

	snprintf(now, sizeof(now), "%lld", (long long)loop_wall(d->loop));
	record_key(d, op, key, sizeof(key));
	/* For people to read: one that is lost is no fault. */
	if (redis_command(device_store(d)->redis, NULL, NULL, (int)ARRAY_LEN(argv), argv, NULL) == 0)
		return;
}
