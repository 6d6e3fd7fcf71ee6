/*
 * device_admin: acts on records, and lists of them, in Redis. Runs wherever a loop and a connection are.
 */
#include "common/device_admin.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define KEY_MAX 400
#define PAGE	"200"

const char *device_act_result_text(enum device_act_result result)
{
	static const char *const texts[] = {
		[DEVICE_ACT_DOWN] = "Redis does not answer", [DEVICE_ACT_DONE] = "done", [DEVICE_ACT_NOBODY] = "no such device",
		[DEVICE_ACT_FOREIGN] = "the record is not the fleet's (its mac is wrong): forget it, and let the device come again",
		[DEVICE_ACT_CHANGED] = "the record has changed meanwhile: look again",
	};

	return (size_t)result < ARRAY_LEN(texts) ? texts[result] : "?";
}

/* --- acts --- */

/*
 * KEYS: record, set of those that wait, events, the account's devices. ARGV: 1 state and 2 mac that were judged, 3 the new state ("" : delete),
 * 4 its mac, 5 key, 6 time, 7 the event's mac, 8 its number.
 */
static const char act_script[] =
    "local v=redis.call('HMGET',KEYS[1],'state','mac') "
    "if (v[1] or '')~=ARGV[1] or (v[2] or '')~=ARGV[2] then return 0 end "
    "if ARGV[3]=='' then redis.call('DEL',KEYS[1]) else redis.call('HSET',KEYS[1],'state',ARGV[3],'mac',ARGV[4]) redis.call('PERSIST',KEYS[1]) end "
    "redis.call('ZREM',KEYS[2],ARGV[5]) "
    "if ARGV[3]~='registered' then redis.call('SREM',KEYS[4],ARGV[5]) else redis.call('SADD',KEYS[4],ARGV[5]) end "
    "redis.call('XADD',KEYS[3],'MAXLEN','~','10000','*','type','device','serial',ARGV[8],'certificate',ARGV[5],'time',ARGV[6],'mac',ARGV[7]) return 1";

struct act_op {
	const struct device_admin *a;
	enum device_act act;
	int64_t now;
	device_act_fn *done;
	void *arg;
	char key[DEVICE_KEY_HEX];
};

static void act_end(struct act_op *op, enum device_act_result result)
{
	device_act_fn *done = op->done;
	void *arg = op->arg;

	free(op);
	done(arg, result);
}

static void on_acted(void *arg, enum redis_status status, const redisReply *reply)
{
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_INTEGER)
		act_end(arg, DEVICE_ACT_DOWN);
	else
		act_end(arg, reply->integer == 1 ? DEVICE_ACT_DONE : DEVICE_ACT_CHANGED);
}

#define NUMBER_MAX 17
/* type, issuer, serial, sid, certificate, time: DESIGN §6. A number in place of a serial: two acts of one second are two events, no replay. */
static int event_mac(struct strv secret, const char *key, const char *now, char number[NUMBER_MAX], char out[2 * SHA256_SIZE + 1])
{
	uint8_t mac[SHA256_SIZE], random[(NUMBER_MAX - 1) / 2];
	unsigned size = 0;
	char text[192];
	int n;

	if (RAND_bytes(random, sizeof(random)) != 1)
		return -1;
	random[0] |= 0x80;	/* no leading zero */
	text_hex(number, random, sizeof(random));
	n = snprintf(text, sizeof(text), "device\n\n%s\n\n%s\n%s", number, key, now);
	if (secret.n == 0 || HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)text, (size_t)n, mac, &size) == NULL)
		return -1;
	text_hex(out, mac, SHA256_SIZE);
	return 0;
}

/* What was read: sid, device, state, mac. False: not the fleet's. */
static bool is_ours(const struct act_op *op, const struct strv v[4])
{
	char mac[2 * SHA256_SIZE + 1];

	return device_record_mac(op->a->secret, op->key, v[0], v[1], v[2], mac) == 0 && v[3].n == 2 * SHA256_SIZE &&
	    CRYPTO_memcmp(mac, v[3].p, 2 * SHA256_SIZE) == 0;
}

static bool send_act(struct act_op *op, const struct strv v[4])
{
	const char *state = op->act == DEVICE_RELEASE ? "registered" : op->act == DEVICE_BLOCK ? "blocked" : "";
	char record[KEY_MAX], waiting[KEY_MAX], events[KEY_MAX], index[KEY_MAX + DEVICE_SID_MAX], was[33], old[2 * SHA256_SIZE + 1];
	char mac[2 * SHA256_SIZE + 1] = "", said[2 * SHA256_SIZE + 1], now[24], number[NUMBER_MAX];
	const char *argv[] = { "EVAL", act_script, "4", record, waiting, events, index, was, old, state, mac, op->key, now, said, number };
	size_t lens[ARRAY_LEN(argv)];

	snprintf(record, sizeof(record), "%sdevice:%s", op->a->prefix, op->key);
	snprintf(waiting, sizeof(waiting), "%squarantine", op->a->prefix);
	snprintf(events, sizeof(events), "%sevents", op->a->prefix);
	snprintf(index, sizeof(index), "%sdevices:%.*s", op->a->prefix, (int)(v[0].n < DEVICE_SID_MAX ? v[0].n : 0), v[0].n > 0 ? v[0].p : "");
	snprintf(now, sizeof(now), "%" PRId64, op->now);
	/* a record that nobody vouches for is blocked without a mac: it needs none, and gets none */
	if (op->act == DEVICE_RELEASE || (op->act == DEVICE_BLOCK && is_ours(op, v))) {
		if (device_record_mac(op->a->secret, op->key, v[0], v[1], strv_from(state), mac) < 0)
			return false;
	}
	if (event_mac(op->a->secret, op->key, now, number, said) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(argv); i++)
		lens[i] = strlen(argv[i]);
	argv[7] = v[2].n > 0 ? v[2].p : "";
	lens[7] = v[2].n;
	argv[8] = v[3].n > 0 ? v[3].p : "";
	lens[8] = v[3].n;
	return redis_command(op->a->redis, on_acted, op, (int)ARRAY_LEN(argv), argv, lens) != 0;
}

static void on_read(void *arg, enum redis_status status, const redisReply *reply)
{
	struct act_op *op = arg;
	struct strv v[4] = { { NULL, 0 } };

	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements != 4) {
		act_end(op, DEVICE_ACT_DOWN);
		return;
	}
	for (size_t i = 0; i < 4; i++)
		(void)!redis_text(reply->element[i], &v[i]);
	if (v[2].n == 0)
		act_end(op, DEVICE_ACT_NOBODY);
	else if (op->act == DEVICE_RELEASE && !is_ours(op, v))
		act_end(op, DEVICE_ACT_FOREIGN);
	else if (!send_act(op, v))
		act_end(op, DEVICE_ACT_DOWN);
}

int device_admin_act(const struct device_admin *a, const char *key_hex, enum device_act act, int64_t now, device_act_fn *done, void *arg)
{
	struct act_op *op = device_is_key(key_hex) ? calloc(1, sizeof(*op)) : NULL;
	char record[KEY_MAX];
	const char *argv[] = { "HMGET", record, "sid", "device", "state", "mac" };

	if (op == NULL)
		return -1;
	*op = (struct act_op){ a, act, now, done, arg, "" };
	memcpy(op->key, key_hex, sizeof(op->key));
	snprintf(record, sizeof(record), "%sdevice:%s", a->prefix, key_hex);
	if (redis_command(a->redis, on_read, op, (int)ARRAY_LEN(argv), argv, NULL) != 0)
		return 0;
	free(op);
	return -1;
}

/* --- lists --- */

struct list_op {
	const struct device_admin *a;
	enum device_list what;
	unsigned skip, limit;
	device_list_fn *each;
	void *arg;
	char cursor[24];		/* "0": the last page is here */
	char (*keys)[DEVICE_KEY_HEX];	/* of this page */
	size_t n, at, told;
	struct device_rows rows;
};

static void list_end(struct list_op *op, bool ok)
{
	device_list_fn *each = op->each;
	void *arg = op->arg;

	free(op->keys);
	free(op);
	each(arg, NULL, ok);
}

static void next_rows(struct list_op *op);

static void on_row(void *arg, const struct device_row *row, bool ok)
{
	struct list_op *op = arg;

	if (row != NULL) {
		op->told++;
		op->each(op->arg, row, true);
	} else if (!ok) {
		list_end(op, false);
	} else {
		next_rows(op);
	}
}

static bool take_keys(struct list_op *op, const redisReply *list)
{
	char before[KEY_MAX] = "";

	if (op->what == DEVICE_LIST_ALL)
		snprintf(before, sizeof(before), "%sdevice:", op->a->prefix);
	free(op->keys);
	op->n = op->at = 0;
	op->keys = calloc(list->elements + 1, sizeof(*op->keys));
	for (size_t i = 0; op->keys != NULL && i < list->elements; i++)
		op->n += device_key_of(list->element[i], before, op->keys[op->n]);
	return op->keys != NULL;
}

static void on_page(void *arg, enum redis_status status, const redisReply *reply)
{
	struct list_op *op = arg;
	const redisReply *list = reply;
	struct strv cursor = STRV("0");

	if (status == REDIS_ANSWER && op->what == DEVICE_LIST_ALL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	    redis_text(reply->element[0], &cursor))
		list = reply->element[1];
	if (status != REDIS_ANSWER || list->type != REDIS_REPLY_ARRAY || text_copy(op->cursor, sizeof(op->cursor), cursor) < 0 ||
	    !take_keys(op, list))
		list_end(op, false);
	else
		next_rows(op);
}

static bool next_page(struct list_op *op)
{
	char key[KEY_MAX], first[16], last[16];
	const char *scan[] = { "SCAN", op->cursor, "MATCH", key, "COUNT", PAGE };
	const char *range[] = { "ZRANGE", key, first, last };

	snprintf(key, sizeof(key), op->what == DEVICE_LIST_ALL ? "%sdevice:*" : "%squarantine", op->a->prefix);
	snprintf(first, sizeof(first), "%u", op->skip);
	snprintf(last, sizeof(last), "%u", op->skip + op->limit - 1);
	if (op->what == DEVICE_LIST_ALL)
		return redis_command(op->a->redis, on_page, op, (int)ARRAY_LEN(scan), scan, NULL) != 0;
	return redis_command(op->a->redis, on_page, op, (int)ARRAY_LEN(range), range, NULL) != 0;
}

static void next_rows(struct list_op *op)
{
	size_t at = op->at, n = op->n - at < DEVICE_ROWS_MAX ? op->n - at : DEVICE_ROWS_MAX;

	if (op->told >= DEVICE_LIST_MAX) {
		list_end(op, false);
	} else if (n > 0) {
		op->at += n;
		if (device_rows_ask(&op->rows, op->a->redis, op->a->prefix, (const char (*)[DEVICE_KEY_HEX])(op->keys + at), (unsigned)n, on_row, op) < 0)
			list_end(op, false);
	} else if (strcmp(op->cursor, "0") == 0) {
		list_end(op, true);
	} else if (!next_page(op)) {
		list_end(op, false);
	}
}

int device_admin_list(const struct device_admin *a, enum device_list what, unsigned skip, unsigned limit, device_list_fn *each, void *arg)
{
	struct list_op *op = limit > 0 ? calloc(1, sizeof(*op)) : NULL;

	if (op == NULL)
		return -1;
	*op = (struct list_op){ .a = a, .what = what, .skip = skip, .limit = limit, .each = each, .arg = arg, .cursor = "0" };
	if (next_page(op))
		return 0;
	free(op);
	return -1;
}
