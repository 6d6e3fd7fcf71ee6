/*
 * store: one interface over Redis and the table, and answers told from the loop. *lockout* process.
 */
#include "common/lockout/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/lockout/decide.h"
#include "common/lockout/store_parts.h"
#include "common/log.h"

#define SAY_AGAIN_MS 60000

static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct lockout_store *s = arg;
	struct store_item *item;

	(void)fd;
	(void)what;
	while ((item = s->first) != NULL) {
		s->first = item->next;
		if (s->first == NULL)
			s->end = &s->first;
		item->store = NULL;
		item->done(item->arg, item->status);
	}
}

void store_answer(struct store_item *item, enum store_status status)
{
	static const struct timeval now = { 0, 0 };
	struct lockout_store *s = item->store;

	item->status = status;
	item->command = 0;
	item->next = NULL;
	*s->end = item;
	s->end = &item->next;
	(void)event_add(s->deliver, &now);
}

void store_cancel(struct store_item *item)
{
	struct lockout_store *s = item->store;

	if (s == NULL)
		return;
	redis_cancel(s->redis, item->command);
	for (struct store_item **at = &s->first; *at != NULL; at = &(*at)->next) {
		if (*at != item)
			continue;
		*at = item->next;
		if (*at == NULL)
			s->end = at;
		break;
	}
	item->command = 0;
	item->store = NULL;
}

void store_complain(struct lockout_store *s, const char *fmt, ...)
{
	uint64_t now = loop_now_ms(s->setup.loop);
	char text[sizeof(s->said)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (s->said_ms != 0 && now - s->said_ms < SAY_AGAIN_MS && strcmp(text, s->said) == 0)
		return;
	s->said_ms = now;
	memcpy(s->said, text, sizeof(text));
	log_say(LOG_ERROR, "lockout_record_refused", "%s", text);
}

void store_take_bytes(struct store_item *item)
{
	struct lockout_store *s = item->store;

	memset(&item->record, 0, sizeof(item->record));
	if (item->n == 0)
		return;
	if (lockout_record_read(&item->record, s->setup.key, item->sid, (struct strv){ (const char *)item->bytes, item->n }) == 0)
		return;
	store_complain(s, "lockout:%s: its state is not the fleet's: somebody else wrote it, or the fleet's secret was changed; no new "
	    "password of the account is tried for a window", item->sid);
	lockout_assume_worst(&item->record, item->now);
}

void store_read(struct lockout_store *s, struct store_item *item, store_done_fn *done, void *arg)
{
	item->store = s;
	item->done = done;
	item->arg = arg;
	if (s->redis != NULL)
		store_redis_read(item);
	else
		store_table_read(item);
}

void store_write(struct lockout_store *s, struct store_item *item, const struct store_effects *effects, store_done_fn *done, void *arg)
{
	uint8_t bytes[RECORD_BYTES_MAX];
	long n;

	item->store = s;
	item->done = done;
	item->arg = arg;
	n = lockout_record_write(&item->record, s->setup.key, item->sid, bytes);
	if (n < 0)
		store_answer(item, STORE_FAILED);
	else if (s->redis != NULL)
		store_redis_write(item, bytes, (size_t)n, effects);
	else
		store_table_write(item, bytes, (size_t)n, effects);
}

struct lockout_store *lockout_store_new(const struct lockout_store_setup *setup)
{
	struct lockout_store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->setup = *setup;
	s->end = &s->first;
	s->deliver = event_new(loop_base(setup->loop), -1, 0, on_deliver, s);
	if (s->deliver == NULL || (setup->redis != NULL && store_redis_open(s) < 0)) {
		lockout_store_free(s);
		return NULL;
	}
	s->setup.bundle = NULL;
	return s;
}

void lockout_store_free(struct lockout_store *s)
{
	if (s == NULL)
		return;
	redis_free(s->redis);
	if (s->deliver != NULL)
		event_free(s->deliver);
	free(s);
}
