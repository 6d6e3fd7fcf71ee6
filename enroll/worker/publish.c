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

#include "common/device_admin.h"
#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/publish_parts.h"

#define RECORD_AFTER 604800	/* seconds that the record of a certificate outlives it */

static void on_state(void *arg, bool up)
{
	struct publish *p = arg;

	/* another server may be master now, and not hold what the one before held */
	memset(p->whole, 0, sizeof(p->whole));
	if (up && p->up != NULL)
		p->up(p->arg);
}

static void on_proxy_up(void *arg)
{
	struct publish *p = arg;

	p->proxy_is_new = true;
	if (p->up != NULL)
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

static struct publish *take_config(const struct publish_config *c, char *why, size_t why_size)
{
	struct publish *p = calloc(1, sizeof(*p));
	uint8_t token[16];

	if (p == NULL || RAND_bytes(token, sizeof(token)) != 1) {
		snprintf(why, why_size, "out of memory");
		free(p);
		return NULL;
	}
	p->up = c->up;
	p->arg = c->arg;
	p->head.next = p->head.prev = &p->head;
	text_hex(p->token, token, sizeof(token));
	return p;
}

struct publish *publish_new(const struct publish_config *c, char *why, size_t why_size)
{
	struct publish *p = take_config(c, why, why_size);
	struct redis_config config = { .loop = c->loop, .settings = c->redis, .name = "enrolment", .state = on_state, .arg = p };

	if (p == NULL)
		return NULL;
	if (c->proxy_run_dir != NULL && (p->link = proxy_link_new(c->loop, c->proxy_run_dir, on_proxy_up, p, why, why_size)) == NULL)
		goto failed;
	if (c->redis == NULL)
		return p;
	p->prefix = strdup(c->redis->prefix);
	if (p->prefix != NULL && take_files(p, c->redis, c->bundle, &config, why, why_size) == 0)
		p->redis = redis_new(&config, why, why_size);
	if (p->redis != NULL)
		return p;
failed:
	publish_free(p);
	return NULL;
}

void publish_free(struct publish *p)
{
	struct publish_op *op;

	if (p == NULL)
		return;
	redis_free(p->redis);
	proxy_link_free(p->link);
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

bool publish_registers(const struct publish *p)
{
	return p->redis != NULL;
}

bool publish_proxy_is_new(struct publish *p)
{
	bool is_new = p->proxy_is_new;

	p->proxy_is_new = false;
	return is_new;
}

/* --- operations: several commands, one answer --- */

struct publish_op *publish_op_new(struct publish *p, publish_done_fn *done, void *arg)
{
	bool up = (p->redis != NULL && redis_is_up(p->redis)) || (p->link != NULL && proxy_link_is_up(p->link));
	struct publish_op *op = p->ops < OPS_MAX && up ? calloc(1, sizeof(*op)) : NULL;

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

void publish_op_drop(struct publish_op *op)
{
	op->next->prev = op->prev;
	op->prev->next = op->next;
	op->p->ops--;
	free(op);
}

void publish_op_end(struct publish_op *op)
{
	publish_done_fn *done = op->done;
	void *arg = op->arg;
	bool ok = op->ok;

	publish_op_drop(op);
	if (done != NULL)
		done(arg, ok);
}

static void on_answer(void *arg, enum redis_status status, const redisReply *reply)
{
	struct publish_op *op = arg;

	if (status != REDIS_ANSWER) {
		op->ok = false;
		if (status == REDIS_ERROR && reply != NULL)
			log_say(LOG_ERROR, "redis_refused", "Redis refused what enrolment says: %.*s", (int)(reply->len < 200 ? reply->len : 200), reply->str);
	}
	if (--op->waiting == 0)
		publish_op_end(op);
}

void publish_put(struct publish_op *op, int argc, const char *const *argv)
{
	if (redis_is_up(op->p->redis) && redis_command_within(op->p->redis, ENTRIES_MS, on_answer, op, argc, argv, NULL) != 0)
		op->waiting++;
	else
		op->ok = false;
}

/* 0: under way. -1: nothing was sent, the op is gone. */
int publish_op_sent(struct publish_op *op)
{
	if (op->waiting > 0)
		return 0;
	publish_op_drop(op);
	return -1;
}

int publish_to_nobody(publish_done_fn *done, void *arg)
{
	if (done != NULL)
		done(arg, true);
	return 0;
}

/* --- what is said --- */

/* Without leading zeros, as DESIGN §6 has it. out: 2 * REGISTRY_SERIAL + 1. */
void publish_serial_text(const uint8_t serial[REGISTRY_SERIAL], char *out)
{
	size_t n;

	text_hex(out, serial, REGISTRY_SERIAL);
	n = strspn(out, "0");
	memmove(out, out + n, 2 * REGISTRY_SERIAL + 1 - n);
}

struct event_text { const char *type, *issuer, *serial, *sid, *certificate; };

/* One entry of the stream with its MAC (proxy/revocation/event.h): type, issuer, serial, sid, certificate, time joined by line ends. */
static int sign(const struct publish *p, const struct event_text *e, const char *now, uint8_t out[SHA256_SIZE])
{
	char text[1024];
	unsigned size = 0;
	int n = snprintf(text, sizeof(text), "%s\n%s\n%s\n%s\n%s\n%s", e->type, e->issuer, e->serial, e->sid, e->certificate, now);

	return n < 0 || (size_t)n >= sizeof(text) ||
		HMAC(EVP_sha256(), p->secret, (int)p->secret_n, (const unsigned char *)text, (size_t)n, out, &size) == NULL ? -1 : 0;
}

/*
 * Held and released twice within a second, a device's two entries would be the same, and who guards against replays believes the second one not at all:
 * the later one then says the next second. Remembers what is said.
 */
static bool said_before(struct publish *p, const uint8_t mac[SHA256_SIZE])
{
	for (size_t i = 0; i < PUBLISH_SAID; i++) {
		if (memcmp(p->said[i], mac, SHA256_SIZE) == 0)
			return true;
	}
	memcpy(p->said[p->said_next++ % PUBLISH_SAID], mac, SHA256_SIZE);
	return false;
}

static void say(struct publish_op *op, const struct event_text *e)
{
	struct publish *p = op->p;
	char key[KEY_MAX], now[24], mac[2 * SHA256_SIZE + 1];
	const char *argv[20] = { "XADD", key, "MAXLEN", "~", STREAM_LENGTH, "*" };
	const char *const pair[] = { "type", e->type, "issuer", e->issuer, "serial", e->serial, "sid", e->sid, "certificate", e->certificate, "time", now,
		"mac", mac };
	uint8_t bytes[SHA256_SIZE];
	int64_t at = time(NULL);
	int argc = 6;

	snprintf(key, sizeof(key), "%sevents", p->prefix);
	do {
		snprintf(now, sizeof(now), "%" PRId64, at);
		if (sign(p, e, now, bytes) < 0) {
			op->ok = false;
			return;
		}
		at++;
	} while (said_before(p, bytes));
	text_hex(mac, bytes, SHA256_SIZE);
	for (size_t i = 0; i < ARRAY_LEN(pair); i += 2) {
		if (pair[i + 1][0] == '\0')
			continue;
		argv[argc++] = pair[i];
		argv[argc++] = pair[i + 1];
	}
	publish_put(op, argc, argv);
}

/* For so long the record of a certificate is of use: beyond its end, by which no clock lets it in any more. */
static int64_t record_seconds(const struct publish_certificate *c)
{
	int64_t now = time(NULL);

	return (c->not_after > now ? c->not_after - now : 0) + RECORD_AFTER;
}

static void revoked_to_redis(struct publish *p, struct publish_op *op, const struct publish_certificate *c)
{
	char key[KEY_MAX], device[KEY_MAX], serial[2 * REGISTRY_SERIAL + 1], value[48], sha256[2 * SHA256_SIZE + 1];
	static const uint8_t zero[SHA256_SIZE];
	const char *revoked[] = { "HSET", key, serial, value };
	char seconds[24];
	const char *blocked[] = { "HSET", device, "state", "blocked" }, *ends[] = { "EXPIRE", device, seconds };
	struct event_text e = { "revoked", c->issuer, serial, "", "" };

	publish_serial_text(c->serial, serial);
	text_hex(sha256, c->sha256, SHA256_SIZE);
	snprintf(key, sizeof(key), "%srevoked:%s", p->prefix, c->issuer);
	snprintf(value, sizeof(value), "%d %" PRId64, c->reason, c->at);
	publish_put(op, (int)ARRAY_LEN(revoked), revoked);
	say(op, &e);
	/* 6: on hold, its record is needed again */
	if (c->reason != 6 && memcmp(c->sha256, zero, SHA256_SIZE) != 0) {
		snprintf(device, sizeof(device), "%sdevice:%s", p->prefix, sha256);
		publish_put(op, (int)ARRAY_LEN(blocked), blocked);
		snprintf(seconds, sizeof(seconds), "%" PRId64, record_seconds(c));
		publish_put(op, (int)ARRAY_LEN(ends), ends);
	}
	publish_tell(op, c->issuer);
}

static void on_proxy_answer(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct publish_op *op = arg;

	op->ok = proxy_link_taken(status, body, n) && op->ok;
	if (--op->waiting == 0)
		publish_op_end(op);
}

static void revoked_to_proxy(struct publish *p, struct publish_op *op, const struct publish_certificate *c)
{
	uint8_t issuer[SHA256_SIZE];
	struct serial serial = { .n = 0 };
	size_t zeros = 0;

	while (zeros < REGISTRY_SERIAL && c->serial[zeros] == 0)
		zeros++;
	serial.n = (uint8_t)(REGISTRY_SERIAL - zeros);
	memcpy(serial.byte, c->serial + zeros, serial.n);
	if (text_unhex(issuer, sizeof(issuer), strv_from(c->issuer)) == 0 &&
	    proxy_link_revoked(p->link, issuer, &serial, c->list_number, on_proxy_answer, op) == 0)
		op->waiting++;
	else
		op->ok = false;
}

int publish_revoked(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg)
{
	struct publish_op *op;

	if (p->redis == NULL && p->link == NULL)
		return publish_to_nobody(done, arg);
	op = publish_op_new(p, done, arg);
	if (op == NULL)
		return -1;
	if (p->redis != NULL)
		revoked_to_redis(p, op, c);
	if (p->link != NULL)
		revoked_to_proxy(p, op, c);
	return publish_op_sent(op);
}

int publish_revoked_again(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg)
{
	struct publish_op *op;

	if (p->link == NULL)
		return publish_to_nobody(done, arg);
	op = publish_op_new(p, done, arg);
	if (op == NULL)
		return -1;
	revoked_to_proxy(p, op, c);
	return publish_op_sent(op);
}

void publish_listed(struct publish *p, const char *issuer, uint64_t number)
{
	uint8_t bytes[SHA256_SIZE];

	if (p->link != NULL && number != 0 && text_unhex(bytes, sizeof(bytes), strv_from(issuer)) == 0)
		proxy_link_listed(p->link, bytes, number);
}

int publish_released(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], serial[2 * REGISTRY_SERIAL + 1];
	const char *argv[] = { "HDEL", key, serial };
	struct event_text e = { "unrevoked", c->issuer, serial, "", "" };
	struct publish_op *op;

	if (p->redis == NULL)
		return publish_to_nobody(done, arg);
	op = publish_op_new(p, done, arg);
	if (op == NULL)
		return -1;
	publish_serial_text(c->serial, serial);
	snprintf(key, sizeof(key), "%srevoked:%s", p->prefix, c->issuer);
	publish_put(op, (int)ARRAY_LEN(argv), argv);
	say(op, &e);
	publish_tell(op, c->issuer);
	return publish_op_sent(op);
}

/* Never over a record that is there: a device may have been bound to it meanwhile. */
static const char register_script[] =
    "if redis.call('EXISTS',KEYS[1])==0 then redis.call('HSET',KEYS[1],'sid',ARGV[1],'upn',ARGV[2],'device','','state','registered',"
    "'first_seen','0','last_seen','0','mac',ARGV[3]) redis.call('EXPIRE',KEYS[1],ARGV[5]) end "
    "redis.call('SADD',KEYS[2],ARGV[4]) redis.call('EXPIRE',KEYS[2],34560000) return 1";

int publish_registered(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], sha256[2 * SHA256_SIZE + 1], mac[2 * SHA256_SIZE + 1];
	char index[KEY_MAX], seconds[24];
	const char *argv[] = { "EVAL", register_script, "2", key, index, c->sid, c->upn, mac, sha256, seconds };
	struct event_text e = { "device", "", "", "", sha256 };
	struct strv secret = { p->secret, p->secret_n };
	struct publish_op *op;

	if (p->redis == NULL)
		return publish_to_nobody(done, arg);
	text_hex(sha256, c->sha256, SHA256_SIZE);
	if (device_record_mac(secret, sha256, strv_from(c->sid), (struct strv){ NULL, 0 }, STRV("registered"), mac) < 0)
		return -1;
	op = publish_op_new(p, done, arg);
	if (op == NULL)
		return -1;
	snprintf(key, sizeof(key), "%sdevice:%s", p->prefix, sha256);
	snprintf(index, sizeof(index), "%sdevices:%s", p->prefix, c->sid);
	snprintf(seconds, sizeof(seconds), "%" PRId64, record_seconds(c));
	publish_put(op, (int)ARRAY_LEN(argv), argv);
	say(op, &e);
	return publish_op_sent(op);
}

/* --- the migration --- */

int publish_switch(struct publish *p, const char *group, bool certificate, int64_t at, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], value[48];
	const char *set[] = { "HSET", key, group, value }, *clear[] = { "HDEL", key, group };
	struct event_text e = { "switch", "", "", "", "" };
	struct publish_op *op = p->redis != NULL ? publish_op_new(p, done, arg) : NULL;

	if (op == NULL)
		return -1;
	snprintf(key, sizeof(key), "%sswitches", p->prefix);
	snprintf(value, sizeof(value), "certificate %" PRId64, at);
	publish_put(op, certificate ? (int)ARRAY_LEN(set) : (int)ARRAY_LEN(clear), certificate ? set : clear);
	say(op, &e);
	return publish_op_sent(op);
}

bool publish_device_admin(struct publish *p, struct device_admin *out)
{
	*out = (struct device_admin){ p->redis, p->prefix, { p->secret, p->secret_n } };
	return p->redis != NULL;
}
