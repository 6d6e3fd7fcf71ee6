/*
 * api_admin_seen: adds to devices of the registry what the proxies saw of them last, from their records in Redis: some of one question, on the survey's
 * connection. Where Redis does not answer, the devices are told without. Worker of easenroll.
 */
#include <stdlib.h>

#include "common/text.h"
#include "enroll/worker/migration.h"

struct seeing {
	struct enroll_worker *worker;
	struct http_request *request;
	json_t *answer, *devices;	/* devices: an array in the answer, or of its one device; ours too */
	struct device_rows rows;
	size_t at, asked;		/* devices */
};

static void ask_some(struct seeing *s);

static const char *record_of(const struct seeing *s, size_t i)
{
	return json_string_value(json_object_get(json_array_get(s->devices, i), "record"));
}

static void on_row(void *arg, const struct device_row *row, bool ok)
{
	struct seeing *s = arg;

	if (row == NULL) {
		s->at = ok ? s->at + s->asked : json_array_size(s->devices);
		ask_some(s);
		return;
	}
	for (size_t i = s->at; i < s->at + s->asked; i++) {
		json_t *device = json_array_get(s->devices, i);
		const char *record = record_of(s, i);
		if (record == NULL || strcmp(record, row->key) != 0)
			continue;
		if (row->last_seen != 0)
			(void)json_object_set_new(device, "last_sync", api_time(row->last_seen));
		if (row->command[0] != '\0')
			(void)json_object_set_new(device, "last_command", api_string(row->command));
		if (row->method[0] != '\0')
			(void)json_object_set_new(device, "last_method", api_string(row->method));
		if (row->device[0] != '\0')
			(void)json_object_set_new(device, "eas_device_id", api_string(row->device));
	}
}

static void seeing_end(struct seeing *s)
{
	json_decref(s->devices);
	api_reply(s->request, 200, s->answer);
	free(s);
}

static void ask_some(struct seeing *s)
{
	const struct migration *m = s->worker->migration;
	struct redis *redis = m->survey != NULL ? survey_redis(m->survey) : NULL;
	char keys[DEVICE_ROWS_MAX][DEVICE_KEY_HEX];
	size_t left = json_array_size(s->devices) - s->at;
	unsigned n = 0;

	s->asked = left < DEVICE_ROWS_MAX ? left : DEVICE_ROWS_MAX;
	for (size_t i = s->at; i < s->at + s->asked; i++) {
		const char *record = record_of(s, i);
		if (record != NULL && record[0] != '\0')
			memcpy(keys[n++], record, DEVICE_KEY_HEX);
	}
	if (n == 0 && left > s->asked) {
		s->at += s->asked;
		ask_some(s);	/* at most a dozen deep: a list has ADMIN_LIMIT_MAX devices */
	} else if (n == 0 || redis == NULL ||
	    device_rows_ask(&s->rows, redis, s->worker->settings->common.redis->prefix, (const char (*)[DEVICE_KEY_HEX])keys, n, on_row, s) < 0) {
		seeing_end(s);
	}
}

void admin_reply_seen(struct enroll_worker *w, struct http_request *r, json_t *answer, json_t *devices)
{
	struct seeing *s = calloc(1, sizeof(*s));

	if (s == NULL || answer == NULL) {
		free(s);
		json_decref(devices);
		api_reply(r, 200, answer);
		return;
	}
	*s = (struct seeing){ .worker = w, .request = r, .answer = answer, .devices = devices };
	ask_some(s);
}

bool admin_note_record(json_t *device, const struct registry_certificate *row)
{
	char key[2 * SHA256_SIZE + 1];

	if (row->state != REGISTRY_LIVE && row->state != REGISTRY_HOLD)
		return false;
	text_hex(key, row->sha256, SHA256_SIZE);
	return json_object_set_new(device, "record", json_string(key)) == 0;
}
