/*
 * device_rows: one script that reads many records, and what it gives. Runs wherever a loop and a connection are.
 */
#include "common/device_rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define KEY_MAX 400

/* No value is sent that is longer than the longest that a record may have, and one byte, by which it is seen to be too long. */
static const char read_script[] =
    "local out={} for i,k in ipairs(KEYS) do "
    "local v=redis.pcall('HMGET',k,'sid','upn','device','state','last_method','last_command','device_type','user_agent','last_client',"
    "'first_seen','last_seen') "
    "if v.err then out[i]={} else for j=1,11 do v[j]=string.sub(v[j] or '',1,321) end out[i]=v end end return out";

bool device_is_key(const char *hex)
{
	uint8_t bytes[SHA256_SIZE];

	return strlen(hex) == 2 * SHA256_SIZE && text_unhex(bytes, SHA256_SIZE, strv_from(hex)) == 0 && strpbrk(hex, "ABCDEF") == NULL;
}

bool device_key_of(const redisReply *name, const char *before, char out[DEVICE_KEY_HEX])
{
	size_t skip = strlen(before);
	struct strv text;

	if (!redis_text(name, &text) || text.n != skip + 2 * SHA256_SIZE || memcmp(text.p, before, skip) != 0 ||
	    memchr(text.p, '\0', text.n) != NULL)
		return false;
	memcpy(out, text.p + skip, 2 * SHA256_SIZE);
	out[2 * SHA256_SIZE] = '\0';
	return device_is_key(out);
}

/* --- what one record says --- */

static void take_text(const redisReply *value, char *out, size_t size)
{
	struct strv text;

	out[0] = '\0';
	if (redis_text(value, &text) && (!text_is_clean(text) || text_copy(out, size, text) < 0))
		memcpy(out, "?", 2);
}

uint64_t device_figure(const redisReply *value, uint64_t max)
{
	struct strv text;
	uint64_t n = 0;

	if (value != NULL && value->type == REDIS_REPLY_INTEGER)
		return value->integer < 0 ? 0 : (uint64_t)value->integer > max ? max : (uint64_t)value->integer;
	if (!redis_text(value, &text) || text_u64(text, UINT64_MAX, &n) < 0)
		return 0;
	return n > max ? max : n;
}

static int64_t take_time(const redisReply *value)
{
	uint64_t n = device_figure(value, UINT64_MAX);

	return n > DEVICE_TIME_MAX ? 0 : (int64_t)n;
}

bool device_row_read(const redisReply *values, struct device_row *row)
{
	struct strv text;
	bool any = false;

	if (values == NULL || values->type != REDIS_REPLY_ARRAY || values->elements != DEVICE_ROW_FIELDS)
		return false;
	for (size_t i = 0; i < DEVICE_ROW_FIELDS; i++)
		any |= redis_text(values->element[i], &text) && text.n > 0;
	take_text(values->element[0], row->sid, sizeof(row->sid));
	take_text(values->element[1], row->upn, sizeof(row->upn));
	take_text(values->element[2], row->device, sizeof(row->device));
	take_text(values->element[3], row->state, sizeof(row->state));
	take_text(values->element[4], row->method, sizeof(row->method));
	take_text(values->element[5], row->command, sizeof(row->command));
	take_text(values->element[6], row->device_type, sizeof(row->device_type));
	take_text(values->element[7], row->user_agent, sizeof(row->user_agent));
	take_text(values->element[8], row->client, sizeof(row->client));
	row->first_seen = take_time(values->element[9]);
	row->last_seen = take_time(values->element[10]);
	return any;
}

/* --- many of them --- */

static void on_rows(void *arg, enum redis_status status, const redisReply *reply)
{
	struct device_rows *q = arg;
	bool ok = status == REDIS_ANSWER && reply->type == REDIS_REPLY_ARRAY && reply->elements == q->n;
	struct device_row row = { .key = "" };

	for (unsigned i = 0; ok && i < q->n; i++) {
		if (!device_row_read(reply->element[i], &row))
			continue;
		memcpy(row.key, q->keys[i], sizeof(row.key));
		q->each(q->arg, &row, true);
	}
	q->each(q->arg, NULL, ok);
}

int device_rows_ask(struct device_rows *q, struct redis *redis, const char *prefix, const char (*keys)[DEVICE_KEY_HEX], unsigned n,
    device_rows_fn *each, void *arg)
{
	char (*name)[KEY_MAX] = n >= 1 && n <= DEVICE_ROWS_MAX ? calloc(n, sizeof(*name)) : NULL;
	const char *argv[3 + DEVICE_ROWS_MAX] = { "EVAL", read_script };
	char count[16];
	bool sent;

	if (name == NULL)
		return -1;
	q->each = each;
	q->arg = arg;
	q->n = n;
	snprintf(count, sizeof(count), "%u", n);
	argv[2] = count;
	for (unsigned i = 0; i < n; i++) {
		memcpy(q->keys[i], keys[i], sizeof(q->keys[i]));
		snprintf(name[i], sizeof(name[i]), "%sdevice:%s", prefix, keys[i]);
		argv[3 + i] = name[i];
	}
	sent = redis_command(redis, on_rows, q, (int)(3 + n), argv, NULL) != 0;
	free(name);
	return sent ? 0 : -1;
}
