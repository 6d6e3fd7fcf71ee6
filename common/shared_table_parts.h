/*
 * shared_table_parts: how a shared_table lies in memory. Only for shared_table.c and
 * shared_table_map.c.
 *
 * Head, then a stamp for each slot, then the slots way by way: a table that is hardly filled
 * touches few pages. A slot whose stamp is 0 is empty. A writer sets it to 0 first and to the new
 * stamp last, so that a process killed in between leaves an empty slot and nothing half-written;
 * whoever finds its lock counts that shard anew.
 */
#ifndef EASGATE_SHARED_TABLE_PARTS_H
#define EASGATE_SHARED_TABLE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/shared_table.h"

#define WAYS	 16
#define SHARDS	 64
#define TAG_BITS 16

struct shard {
	pthread_mutex_t lock;
	uint64_t clock; /* stamp of the last use; 0 only before the first */
	uint64_t evictions;
	uint64_t count;
} __attribute__((aligned(64)));

struct head {
	uint64_t magic, bytes, sets, slot_size, value_size;
	uint64_t layout;
	uint64_t seed[4]; /* spreads keys; secret, so that nobody aims at one set */
	struct shard shards[SHARDS];
};

/* clock << TAG_BITS | tag of the key, or 0 for an empty slot */
typedef _Atomic uint64_t stamp;

struct slot {
	uint64_t check; /* of key and value: tells slots that a power cut tore */
	uint8_t key[SHARED_TABLE_KEY];
	uint8_t value[];
};

struct shared_table {
	struct head *head;
	stamp *stamps;	/* sets * WAYS, set by set */
	uint8_t *slots; /* WAYS * sets of slot_size bytes, way by way */
	/* Our own copies of what the head says: never read from shared memory again. */
	size_t bytes, sets, slot_size, value_size;
	uint64_t seed[4];
	/* held open for its lock while mapped from a file; else -1 */
	int fd;
};

static inline struct slot *slot_at(struct shared_table *t, size_t set, size_t way)
{
	return (struct slot *)(void *)(t->slots + (way * t->sets + set) * t->slot_size);
}

static inline stamp *stamp_at(struct shared_table *t, size_t set, size_t way)
{
	return &t->stamps[set * WAYS + way];
}

static inline uint64_t slot_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

static inline uint64_t slot_check(const struct shared_table *t, const struct slot *slot)
{
	size_t n = t->slot_size - sizeof(struct slot); /* a multiple of 8; the padding is zero */
	uint64_t word, h = slot->key[0];

	for (size_t i = 0; i < n; i += sizeof(word)) {
		memcpy(&word, slot->value + i, sizeof(word));
		h = slot_mix(h ^ word) + i;
	}
	return h;
}

/* Counts a shard whose lock is ours, or whose table nobody else uses. */
void shard_recount(struct shared_table *t, size_t index);

#endif
