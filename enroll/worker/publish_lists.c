/*
 * publish_lists: what Redis is told of whole lists, all entries anew where it has lost them, and what proxies saw. Worker process.
 */
#include "enroll/worker/publish.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/text.h"
#include "enroll/worker/publish_parts.h"

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

static struct publish_told *told_of(struct publish *p, const char *issuer)
{
	for (unsigned i = 0; i < WHOLE_MAX; i++)
		if (strcmp(p->told[i].issuer, issuer) == 0)
			return &p->told[i];
	return NULL;
}

void publish_told_text(struct publish *p, const char *issuer, char out[24])
{
	const struct publish_told *told = told_of(p, issuer);

	snprintf(out, 24, "%" PRIu64, told != NULL ? told->n : 0);
}

void publish_tell(struct publish_op *op, const char *issuer)
{
	struct publish *p = op->p;
	struct publish_told *told = told_of(p, issuer);
	char key[KEY_MAX], n[24];
	const char *argv[] = { "HSET", key, "told", n };

	if (told == NULL && (told = told_of(p, "")) != NULL)
		memcpy(told->issuer, issuer, strlen(issuer) + 1);
	if (told == NULL)
		return;		/* more issuers than there can be lists */
	told->n++;
	publish_told_text(p, issuer, n);
	snprintf(key, sizeof(key), "%scrl:%s", p->prefix, issuer);
	publish_put(op, (int)ARRAY_LEN(argv), argv);
}

/*
 * Freshness is said only where our own token stands (a flushed server has lost it) and as many changes as we have told (one with an older copy has lost
 * the last of them), or where all was written just now.
 */
static const char list_script[] =
    "if ARGV[1]~='1' and (redis.call('HGET',KEYS[1],'publisher')~=ARGV[2] or redis.call('HGET',KEYS[1],'told')~=ARGV[7]) then return 0 end "
    "redis.call('HSET',KEYS[1],'this_update',ARGV[3],'next_update',ARGV[4],'number',ARGV[5],'loaded_at',ARGV[6],'publisher',ARGV[2],'told',ARGV[7]) return 1";

static void on_list(void *arg, enum redis_status status, const redisReply *reply)
{
	struct publish_op *op = arg;
	struct publish *p = op->p;
	char *whole = slot(p->whole, op->issuer);

	op->ok = status == REDIS_ANSWER && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
	if (op->ok && whole != NULL)
		whole[0] = '\0';
	if (status == REDIS_ANSWER && !op->ok)
		mark(p->lost, op->issuer);
	publish_op_end(op);
}

int publish_list(struct publish *p, const struct registry_crl *crl, int64_t now, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], number[24], from[24], to[24], at[24], told[24];
	const char *argv[] = { "EVAL", list_script, "1", key, slot(p->whole, crl->issuer) != NULL ? "1" : "0", p->token, from, to, number, at, told };
	struct publish_op *op;

	if (p->redis == NULL)
		return publish_to_nobody(done, arg);
	op = publish_op_new(p, done, arg);
	if (op == NULL)
		return -1;
	memcpy(op->issuer, crl->issuer, sizeof(op->issuer));
	snprintf(key, sizeof(key), "%scrl:%s", p->prefix, crl->issuer);
	snprintf(from, sizeof(from), "%" PRId64, crl->this_update);
	snprintf(to, sizeof(to), "%" PRId64, crl->next_update);
	snprintf(number, sizeof(number), "%" PRIu64, crl->number);
	snprintf(at, sizeof(at), "%" PRId64, now);
	publish_told_text(p, crl->issuer, told);
	op->waiting = redis_command(p->redis, on_list, op, (int)ARRAY_LEN(argv), argv, NULL) != 0;
	return publish_op_sent(op);
}

int publish_entries(struct publish *p, const char *issuer, const struct registry_entry *entries, unsigned n, publish_done_fn *done, void *arg)
{
	char key[KEY_MAX], text[PUBLISH_ENTRIES][2][48];
	const char *argv[2 + 2 * PUBLISH_ENTRIES] = { "HSET", key };
	struct publish_op *op;

	if (p->redis == NULL)
		return publish_to_nobody(done, arg);
	if (n == 0 || n > PUBLISH_ENTRIES)
		return -1;
	op = publish_op_new(p, done, arg);
	if (op == NULL)
		return -1;
	snprintf(key, sizeof(key), "%srevoked:%s", p->prefix, issuer);
	for (unsigned i = 0; i < n; i++) {
		publish_serial_text(entries[i].serial, text[i][0]);
		snprintf(text[i][1], sizeof(text[i][1]), "%d %" PRId64, entries[i].reason, entries[i].when);
		argv[2 + 2 * i] = text[i][0];
		argv[3 + 2 * i] = text[i][1];
	}
	publish_put(op, (int)(2 + 2 * n), argv);
	return publish_op_sent(op);
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
	struct publish_op *op = arg;
	struct publish_seen seen = { 0 };
	publish_seen_fn *done = op->seen;
	void *theirs = op->arg;
	bool known = status == REDIS_ANSWER && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0;

	if (known) {
		seen.first_seen = number(reply, "first_seen");
		seen.last_seen = number(reply, "last_seen");
		copy(reply, "last_client", seen.client, sizeof(seen.client));
		copy(reply, "last_command", seen.method, sizeof(seen.method));
		copy(reply, "device", seen.eas_device_id, sizeof(seen.eas_device_id));
	}
	publish_op_drop(op);
	done(theirs, known ? &seen : NULL);
}

int publish_ask_seen(struct publish *p, const uint8_t sha256[SHA256_SIZE], publish_seen_fn *done, void *arg)
{
	char key[KEY_MAX], hex[2 * SHA256_SIZE + 1];
	const char *argv[] = { "HGETALL", key };
	struct publish_op *op = p->redis != NULL ? publish_op_new(p, NULL, arg) : NULL;

	if (op == NULL)
		return -1;
	op->seen = done;
	text_hex(hex, sha256, SHA256_SIZE);
	snprintf(key, sizeof(key), "%sdevice:%s", p->prefix, hex);
	op->waiting = redis_command(p->redis, on_seen, op, (int)ARRAY_LEN(argv), argv, NULL) != 0;
	return publish_op_sent(op);
}
