/*
 * shared_table: a bounded table of fixed-size values by 32-byte key, in memory that processes share.
 *
 * Made by the master before it forks (anonymous), or backed by a file (MAP_SHARED) so that it outlives a
 * restart. Values lie densely: memory is touched as the table fills, not as large as it may become.
 * A full table evicts what was not used for long (the least recently used of a sample). Sharded robust
 * process-shared locks: a process killed while holding one costs at most the value it was writing, one that keeps it costs the others
 * half a second now and then, and that shard: nothing is found there, nothing put, until it lets go.
 */
#ifndef EASGATE_SHARED_TABLE_H
#define EASGATE_SHARED_TABLE_H

#include "common/base.h"

#define SHARED_TABLE_KEY 32

struct shared_table;

struct shared_table_config {
	size_t entries;		/* at least so many values fit; rounded up */
	size_t value_size;	/* bytes, 1..65536 */
	const char *file;	/* NULL: anonymous. Else made 0600 where missing; its directory must exist */
	uint32_t layout;	/* the caller's version of the value: a file of another layout or size starts empty */
};

/* NULL with errno. Borrows nothing after return. */
struct shared_table *shared_table_new(const struct shared_table_config *config);
/* Unmaps in this process only. Accepts NULL. */
void shared_table_free(struct shared_table *t);

/* Copies the value to out (value_size bytes) and marks it used. False: not there. Constant time in the key. */
MUST_CHECK bool shared_table_get(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], void *out);
/* Puts or replaces. False only when a lock cannot be had (a broken process-shared mutex, or one that somebody keeps). */
bool shared_table_put(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], const void *value);
/*
 * Puts only where nothing stands: returns 1 when put, 0 when there was a value (copied to `standing`), -1 on failure.
 * One act under the lock: of two processes exactly one gets 1.
 */
MUST_CHECK int shared_table_put_new(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], const void *value,
    void *standing);
/*
 * Changes the value in place in one act under the lock; a key that is not there is put first, its
 * value all zero. `change` must not call the table. Returns as shared_table_put().
 */
bool shared_table_change(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY],
    void (*change)(void *value, void *arg), void *arg);
/* Takes the value away, copying it to out when out != NULL. True: it was there (exactly one of two racers gets true). */
bool shared_table_take(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], void *out);
/* Each value that stands, in no order, a copy of it; a value that comes or goes meanwhile may be left out. `each` may call the table. */
void shared_table_each(struct shared_table *t, void (*each)(const uint8_t key[SHARED_TABLE_KEY], const void *value, void *arg), void *arg);
/* Forgets all. */
void shared_table_clear(struct shared_table *t);
/* Values held now, and evictions so far. */
size_t shared_table_count(struct shared_table *t);
uint64_t shared_table_evictions(struct shared_table *t);

#endif
