/*
 * publish: commands to Redis for what happened to a certificate, and what their answers mean. Worker process.
 */
#include "enroll/worker/publish.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/device.h"
#include "common/log.h"
#include "common/redis.h"
#include "common/text.h"

#define SECRET_MAX	512
#define KEY_MAX		400
#define OPS_MAX		512
#define WHOLE_MAX	16
#define STREAM_LENGTH	"100000"
#define ENTRIES_MS	10000

struct op {
	struct op *next, *prev;
	struct publish *p;
	unsigned waiting;
	bool ok;
	char issuer[REGISTRY_HEX];	/* of a list */
	publish_done_fn *done;
	publish_seen_fn *seen;
	void *arg;
};

struct publish {
	struct loop *loop;
	struct redis *redis;		/* NULL: one machine */
	char *prefix;
	void (*up)(void *arg);
	void *arg;
	struct op head;
	unsigned ops;
	char token[33];			/* of this process: who else wrote crl:<issuer> does not have it */
	char whole[WHOLE_MAX][REGISTRY_HEX], lost[WHOLE_MAX][REGISTRY_HEX];
	size_t secret_n;
	char secret[SECRET_MAX];
};

static void on_state(void *arg, bool up)
{
	struct publish *p = arg;

	/* another server may be master now, and not hold what the one before held */
	memset(p->whole, 0, sizeof(p->whole));
	if (up && p->up != NULL)
		p->up(p->arg);
}

static int take_files(struct publish *p, const struct config_redis *c, struct bundle *bundle, struct redis_config *out, char *why, size_t why_size)
{
	struct strv secret = { NULL, 0 };

	if (c->password_file[0] != '\0' && !bundle_get_secret(bundle, c->password_file, &out->password)) {
		snprintf(why, why_size, "redis.password_file %s is missing or empty", c->password_file);
		return -1;
	}
	if (c->ca[0] != '\0' && !bundle_get(bundle, c->ca, &out->ca_pem)) {
		snprintf(why, why_size, "redis.ca %s is missing", c->ca);
		return -1;
	}
	if (c->fleet_secret_file[0] == '\0' || !bundle_get_secret(bundle, c->fleet_secret_file, &secret) || secret.n > SECRET_MAX) {
		snprintf(why, why_size, "redis.fleet_secret_file is missing, empty or too long: without it no proxy believes what enrolment says");
		return -1;
	}
	memcpy(p->secret, secret.p, secret.n);
	p->secret_n = secret.n;
	return 0;
}

struct publish *publish_new(struct loop *loop, const struct config_redis *redis, struct bundle *bundle, void (*up)(void *arg), void *arg, char *why,
    size_t why_size)
{
	struct publish *p = calloc(1, sizeof(*p));
	struct redis_config config = { .loop = loop, .settings = redis, .name = "enrolment", .state = on_state, .arg = p };
	uint8_t token[16];

	if (p == NULL || RAND_bytes(token, sizeof(token)) != 1) {
		snprintf(why, why_size, "out of memory");
		free(p);
		return NULL;
	}
	p->loop = loop;
	p->up = up;
	p->arg = arg;
	p->head.next = p->head.prev = &p->head;
	text_hex(p->token, token, sizeof(token));
	if (redis == NULL)
		return p;
	p->prefix = strdup(redis->prefix);
	if (p->prefix != NULL && take_files(p, redis, bundle, &config, why, why_size) == 0)
		p->redis = redis_new(&config, why, why_size);
	if (p->redis == NULL) {
		publish_free(p);
		return NULL;
	}
	return p;
}

void publish_free(struct publish *p)
{
	struct op *op;

	if (p == NULL)
		return;
	redis_free(p->redis);
	while ((op = p->head.next) != &p->head) {
		p->head.next = op->next;
		free(op);
	}
	free(p->prefix);
	OPENSSL_cleanse(p, sizeof(*p));
	free(p);
}

bool publish_is_up(const struct publish *p)
{
	return p->redis == NULL || redis_is_up(p->redis);
}

/* --- operations: several commands, one answer --- */

static struct op *op_new(struct publish *p, publish_done_fn *done, void *arg)
{
	struct op *op = p->ops < OPS_MAX && redis_is_up(p->redis) ? calloc(1, sizeof(*op)) : NULL;

	if (op == NULL)
		return NULL;
	op->p = p;
	op->ok = true;
	op->done = done;
	op->arg = arg;
	op->next = &p->head;
	op->prev = p->head.prev;
	op->prev->next = op->next->prev = op;
	p->ops++;
	return op;
}

static void op_drop(struct op *op)
{
	op->next->prev = op->prev;
	op->prev->next = op->next;
	op->p->ops--;
	free(op);
}

static void op_end(struct op *op)
{
	publish_done_fn *done = op->done;
	void *arg = op->arg;
	bool ok = op->ok;

	op_drop(op);
	if (done != NULL)
		done(arg, ok);
}

static void on_answer(void *arg, enum redis_status status, const redisReply *reply)
{
	struct op *op = arg;

	if (status != REDIS_ANSWER) {
		op->ok = false;
		if (status == REDIS_ERROR && reply != NULL)
			log_say(LOG_ERROR, "redis_refused", "Redis refused what enrolment says: %.*s", (int)(reply->len < 200 ? reply->len : 200), reply->str);
	}
	if (--op->waiting == 0)
		op_end(op);
}

static void put(struct op *op, int argc, const char *const *argv)
{
	if (redis_command_within(op->p->redis, ENTRIES_MS, on_answer, op, argc, argv, NULL) != 0)
		op->waiting++;
	else
		op->ok = false;
}

/* 0: under way. -1: nothing was sent, the op is gone. */
static int op_sent(struct op *op)
{
	if (op->waiting > 0)
		return 0;
	op_drop(op);
	return -1;
}

static int one_machine(publish_done_fn *done, void *arg)
{
	if (done != NULL)
		done(arg, true);
	return 0;
}

/* --- what is said --- */

/* Without leading zeros, as DESIGN §6 has it. out: 2 * REGISTRY_SERIAL + 1. */
static void serial_text(const uint8_t serial[REGISTRY_SERIAL], char *out)
{
	size_t n;

	text_hex(out, serial, REGISTRY_SERIAL);
	n = strspn(out, "0");
	memmove(out, out + n, 2 * REGISTRY_SERIAL + 1 - n);
}

struct event_text { const char *type, *issuer, *serial, *sid, *certificate; };

/* One entry of the stream with its MAC (proxy/revocation/event.h): type, issuer, serial, sid, certificate, time joined by line ends. */
static void say(struct op *op, const struct event_text *e)
{
	struct publish *p = op->p;
	char key[KEY_MAX], now[24], text[1024], mac[2 * SHA256_SIZE + 1];
	const char *argv[20] = { "XADD", key, "MAXLEN", "~", STREAM_LENGTH, "*" };
	const char *const pair[] = { "type", e->type, "issuer", e->issuer, "serial", e->serial, "sid", e->sid, "certificate", e->certificate, "time", now,
		"mac", mac };
	uint8_t bytes[SHA256_SIZE];
	unsigned size = 0;
	int n, argc = 6;

	snprintf(key, sizeof(key), "%sevents", p->prefix);
	snprintf(now, sizeof(now), "%" PRId64, (int64_t)time(NULL));
	n = snprintf(text, sizeof(text), "%s\n%s\n%s\n%s\n%s\n%s", e->type, e->issuer, e->serial, e->sid, e->certificate, now);
	if (n < 0 || (size_t)n >= sizeof(text) || HMAC(EVP_sha256(), p->secret, (int)p->secret_n, (const unsigned char *)text, (size_t)n, bytes,
	    &size) == NULL) {
		op->ok = false;
		return;
	}
	text_hex(mac, bytes, SHA256_SIZE);
	for (size_t i = 0; i < ARRAY_LEN(pair); i += 2) {
		if (pair[i + 1][0] == '\0')
			continue;
		argv[argc++] = pair[i];
		argv[argc++] = pair[i + 1];
	}
	put(op, argc, argv);
}

int publish_revoked(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], device[KEY_MAX], serial[2 * REGISTRY_SERIAL + 1], value[48], sha256[2 * SHA256_SIZE + 1];
	static const uint8_t zero[SHA256_SIZE];
	const char *revoked[] = { "HSET", key, serial, value };
	const char *blocked[] = { "HSET", device, "state", "blocked" };
	struct event_text e = { "revoked", c->issuer, serial, "", "" };
	struct op *op;

	if (p->redis == NULL)
		return one_machine(done, arg);
	op = op_new(p, done, arg);
	if (op == NULL)
		return -1;
	serial_text(c->serial, serial);
	text_hex(sha256, c->sha256, SHA256_SIZE);
	snprintf(key, sizeof(key), "%srevoked:%s", p->prefix, c->issuer);
	snprintf(value, sizeof(value), "%d %" PRId64, c->reason, c->at);
	put(op, (int)ARRAY_LEN(revoked), revoked);
	say(op, &e);
	/* 6: on hold, its record is needed again */
	if (c->reason != 6 && memcmp(c->sha256, zero, SHA256_SIZE) != 0) {
		snprintf(device, sizeof(device), "%sdevice:%s", p->prefix, sha256);
		put(op, (int)ARRAY_LEN(blocked), blocked);
	}
	return op_sent(op);
}

int publish_released(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], serial[2 * REGISTRY_SERIAL + 1];
	const char *argv[] = { "HDEL", key, serial };
	struct event_text e = { "unrevoked", c->issuer, serial, "", "" };
	struct op *op;

	if (p->redis == NULL)
		return one_machine(done, arg);
	op = op_new(p, done, arg);
	if (op == NULL)
		return -1;
	serial_text(c->serial, serial);
	snprintf(key, sizeof(key), "%srevoked:%s", p->prefix, c->issuer);
	put(op, (int)ARRAY_LEN(argv), argv);
	say(op, &e);
	return op_sent(op);
}

/* Never over a record that is there: a device may have been bound to it meanwhile. */
static const char register_script[] =
    "if redis.call('EXISTS',KEYS[1])==0 then redis.call('HSET',KEYS[1],'sid',ARGV[1],'upn',ARGV[2],'device','','state','registered',"
    "'first_seen','0','last_seen','0','mac',ARGV[3]) end return 1";

int publish_registered(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], sha256[2 * SHA256_SIZE + 1], mac[2 * SHA256_SIZE + 1];
	const char *argv[] = { "EVAL", register_script, "1", key, c->sid, c->upn, mac };
	struct event_text e = { "device", "", "", "", sha256 };
	struct strv secret = { p->secret, p->secret_n };
	struct op *op;

	if (p->redis == NULL)
		return one_machine(done, arg);
	text_hex(sha256, c->sha256, SHA256_SIZE);
	if (device_record_mac(secret, sha256, strv_from(c->sid), (struct strv){ NULL, 0 }, STRV("registered"), mac) < 0)
		return -1;
	op = op_new(p, done, arg);
	if (op == NULL)
		return -1;
	snprintf(key, sizeof(key), "%sdevice:%s", p->prefix, sha256);
	put(op, (int)ARRAY_LEN(argv), argv);
	say(op, &e);
	return op_sent(op);
}

/* --- lists --- */

static char *slot(char table[WHOLE_MAX][REGISTRY_HEX], const char *issuer)
{
	for (unsigned i = 0; i < WHOLE_MAX; i++)
		if (strcmp(table[i], issuer) == 0)
			return table[i];
	return NULL;
}

static void mark(char table[WHOLE_MAX][REGISTRY_HEX], const char *issuer)
{
	char *at = slot(table, issuer);

	if (at == NULL)
		at = slot(table, "");
	if (at != NULL)
		memcpy(at, issuer, strlen(issuer) + 1);
}

bool publish_has_lost(const struct publish *p, const char *issuer)
{
	for (unsigned i = 0; i < WHOLE_MAX; i++)
		if (strcmp(p->lost[i], issuer) == 0)
			return true;
	return false;
}

void publish_whole(struct publish *p, const char *issuer)
{
	char *lost = slot(p->lost, issuer);

	if (lost != NULL)
		lost[0] = '\0';
	mark(p->whole, issuer);
}

/* Freshness is said only where our own token stands (a flushed server has lost it), or where all was written just now. */
static const char list_script[] =
    "if ARGV[1]~='1' and redis.call('HGET',KEYS[1],'publisher')~=ARGV[2] then return 0 end "
    "redis.call('HSET',KEYS[1],'this_update',ARGV[3],'next_update',ARGV[4],'number',ARGV[5],'loaded_at',ARGV[6],'publisher',ARGV[2]) return 1";

static void on_list(void *arg, enum redis_status status, const redisReply *reply)
{
	struct op *op = arg;
	struct publish *p = op->p;
	char *whole = slot(p->whole, op->issuer);

	op->ok = status == REDIS_ANSWER && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
	if (op->ok && whole != NULL)
		whole[0] = '\0';
	if (status == REDIS_ANSWER && !op->ok)
		mark(p->lost, op->issuer);
	op_end(op);
}

int publish_list(struct publish *p, const struct registry_crl *crl, int64_t now, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], number[24], from[24], to[24], at[24];
	const char *argv[] = { "EVAL", list_script, "1", key, slot(p->whole, crl->issuer) != NULL ? "1" : "0", p->token, from, to, number, at };
	struct op *op;

	if (p->redis == NULL)
		return one_machine(done, arg);
	op = op_new(p, done, arg);
	if (op == NULL)
		return -1;
	memcpy(op->issuer, crl->issuer, sizeof(op->issuer));
	snprintf(key, sizeof(key), "%scrl:%s", p->prefix, crl->issuer);
	snprintf(from, sizeof(from), "%" PRId64, crl->this_update);
	snprintf(to, sizeof(to), "%" PRId64, crl->next_update);
	snprintf(number, sizeof(number), "%" PRIu64, crl->number);
	snprintf(at, sizeof(at), "%" PRId64, now);
	op->waiting = redis_command(p->redis, on_list, op, (int)ARRAY_LEN(argv), argv, NULL) != 0;
	return op_sent(op);
}

int publish_entries(struct publish *p, const char *issuer, const struct registry_entry *entries, unsigned n, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], text[PUBLISH_ENTRIES][2][48];
	const char *argv[2 + 2 * PUBLISH_ENTRIES] = { "HSET", key };
	struct op *op;

	if (p->redis == NULL)
		return one_machine(done, arg);
	if (n == 0 || n > PUBLISH_ENTRIES)
		return -1;
	op = op_new(p, done, arg);
	if (op == NULL)
		return -1;
	snprintf(key, sizeof(key), "%srevoked:%s", p->prefix, issuer);
	for (unsigned i = 0; i < n; i++) {
		serial_text(entries[i].serial, text[i][0]);
		snprintf(text[i][1], sizeof(text[i][1]), "%d %" PRId64, entries[i].reason, entries[i].when);
		argv[2 + 2 * i] = text[i][0];
		argv[3 + 2 * i] = text[i][1];
	}
	put(op, (int)(2 + 2 * n), argv);
	return op_sent(op);
}

/* --- what proxies saw --- */

static void copy(const redisReply *reply, const char *field, char *out, size_t size)
{
	struct strv text;

	out[0] = '\0';
	if (redis_field(reply, strv_from(field), &text) && text_copy(out, size, text) < 0)
		out[0] = '\0';
}

static int64_t number(const redisReply *reply, const char *field)
{
	struct strv text;
	uint64_t n = 0;

	return redis_field(reply, strv_from(field), &text) && text_u64(text, INT64_MAX / 2, &n) == 0 ? (int64_t)n : 0;
}

static void on_seen(void *arg, enum redis_status status, const redisReply *reply)
{
	struct op *op = arg;
	struct publish_seen seen = { 0 };
	publish_seen_fn *done = op->seen;
	void *theirs = op->arg;
	bool known = status == REDIS_ANSWER && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0;

	if (known) {
		seen.first_seen = number(reply, "first_seen");
		seen.last_seen = number(reply, "last_seen");
		copy(reply, "last_client", seen.client, sizeof(seen.client));
		copy(reply, "last_method", seen.method, sizeof(seen.method));
		copy(reply, "device", seen.eas_device_id, sizeof(seen.eas_device_id));
	}
	op_drop(op);
	done(theirs, known ? &seen : NULL);
}

int publish_ask_seen(struct publish *p, const uint8_t sha256[SHA256_SIZE], publish_seen_fn *done, void *arg)
{
	char key[KEY_MAX], hex[2 * SHA256_SIZE + 1];
	const char *argv[] = { "HGETALL", key };
	struct op *op = p->redis != NULL ? op_new(p, NULL, arg) : NULL;

	if (op == NULL)
		return -1;
	op->seen = done;
	text_hex(hex, sha256, SHA256_SIZE);
	snprintf(key, sizeof(key), "%sdevice:%s", p->prefix, hex);
	op->waiting = redis_command(p->redis, on_seen, op, (int)ARRAY_LEN(argv), argv, NULL) != 0;
	return op_sent(op);
}
