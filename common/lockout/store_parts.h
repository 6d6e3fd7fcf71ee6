/*
 * store_parts: what store*.c share. Private to them.
 */
#ifndef EASGATE_LOCKOUT_STORE_PARTS_H
#define EASGATE_LOCKOUT_STORE_PARTS_H

#include "common/lockout/store.h"

struct lockout_store {
	struct lockout_store_setup setup;
	struct redis *redis;		/* NULL: the table */
	struct event *deliver;
	struct store_item *first, **end;	/* answered, not yet told */
	uint64_t said_ms;
	char said[160];
};

/* --- store.c --- */
/* The answer is told from the loop. */
void store_answer(struct store_item *item, enum store_status status);
/* The bytes at item->bytes to item->record; what is not ours counts as the worst. */
void store_take_bytes(struct store_item *item);
/* Not more often than once a minute, unless it is another text. */
PRINTF(2, 3) void store_complain(struct lockout_store *s, const char *fmt, ...);

/* --- store_redis.c --- */
MUST_CHECK int store_redis_open(struct lockout_store *s);
void store_redis_read(struct store_item *item);
void store_redis_write(struct store_item *item, const uint8_t *bytes, size_t n, const struct store_effects *effects);

/* --- store_table.c --- */
void store_table_read(struct store_item *item);
void store_table_write(struct store_item *item, const uint8_t *bytes, size_t n, const struct store_effects *effects);

#endif
