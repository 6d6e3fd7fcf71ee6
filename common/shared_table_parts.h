/*
 * shared_table_parts: how a shared_table lies in memory. Only for shared_table.c,
 * shared_table_index.c and shared_table_map.c.
 *
 * Head, then the buckets' first links, then the slots. A shard's slots are used from the first one
 * on, and of its buckets there are as many as it holds values (linear hashing); both lie shard
 * beside shard, so that a table of a hundred thousand that holds a hundred touches a few pages.
 *
 * The slots are the truth, everything else follows from them: a writer sets a slot's stamp to 0
 * first and to the new stamp last, so that a process killed in between leaves an empty slot and
 * nothing half-written; whoever finds its lock builds that shard's index anew.
 */
#ifndef EASGATE_SHARED_TABLE_PARTS_H
#define EASGATE_SHARED_TABLE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/shared_table.h"

#define SHARDS 16

/*
 * Other processes write here: a link leads nowhere before it was checked (slot_behind), and no walk
 * is longer than there are slots.
 */
struct shard {
	pthread_mutex_t lock;
	uint64_t clock; /* stamp of the last use; 0 only before the first */
	uint64_t evictions;
	uint32_t count;	  /* values held */
	uint32_t fresh;	  /* slots from here on hold nothing, and never did since the last index */
	uint32_t free;	  /* link to the first empty slot below that */
	uint32_t buckets; /* in use, at least 1 */
	uint32_t hand;	  /* where eviction looks next */
} __attribute__((aligned(64)));

struct head {
	uint64_t magic, bytes, slots_each, slot_size, value_size;
	uint64_t layout;
	uint64_t seed[4]; /* spreads keys; secret, so that nobody aims at one bucket */
	struct shard shards[SHARDS];
};

/* A slot of the same shard: its number + 1; 0: none. */
typedef uint32_t slot_link;

struct slot {
	_Atomic uint64_t used; /* the shard's clock at its last use; 0: empty */
	uint64_t check;	       /* of key and value: tells slots that a power cut tore */
	uint32_t hash;
	slot_link next; /* of its bucket, or of the empty ones */
	uint8_t key[SHARED_TABLE_KEY];
	uint8_t value[];
};

struct shared_table {
	struct head *head;
	slot_link *firsts; /* slots_each * SHARDS, bucket by bucket */
	uint8_t *slots;	   /* slots_each * SHARDS of slot_size bytes, number by number */
	/* Our own copies of what the head says: never read from shared memory again. */
	size_t bytes, slots_each, slot_size, value_size;
	uint64_t seed[4];
	uint64_t held_until_ms[SHARDS];	/* of a lock that could not be had: until then nobody here waits for it */
	/* held open for its lock while mapped from a file; else -1 */
	int fd;
};

static inline struct slot *slot_at(const struct shared_table *t, size_t shard, size_t number)
{
	return (struct slot *)(void *)(t->slots + (number * SHARDS + shard) * t->slot_size);
}

static inline uint32_t read_once(const uint32_t *p)
{
	return *(const volatile uint32_t *)p;
}

/* NULL: there is none. */
static inline struct slot *slot_behind(const struct shared_table *t, size_t shard, slot_link link)
{
	return (size_t)link - 1 < t->slots_each ? slot_at(t, shard, (size_t)link - 1) : NULL;
}

static inline uint64_t slot_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

/* Low 32 bits: slot.hash. The shard is in those above. */
static inline uint64_t slot_hash(const struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY])
{
	uint64_t word[4], h = 0;

	memcpy(word, key, sizeof(word));
	for (size_t i = 0; i < 4; i++)
		h = slot_mix(h ^ word[i] ^ t->seed[i]);
	return h;
}

static inline uint64_t slot_check(const struct shared_table *t, const struct slot *slot)
{
	/* a multiple of 8; the padding is zero */
	size_t n = t->slot_size - offsetof(struct slot, key);
	uint64_t word, h = 0;

	for (size_t i = 0; i < n; i += sizeof(word)) {
		memcpy(&word, slot->key + i, sizeof(word));
		h = slot_mix(h ^ word) + i;
	}
	return h;
}

/* --- shared_table_index.c; the shard is locked, or nobody else has the table --- */

/* The slot that holds the key, or NULL. */
struct slot *slots_find(struct shared_table *t, size_t shard, uint32_t hash, const uint8_t *key);
/* An empty slot in no list: a free one, a fresh one, or that of a value long unused. */
struct slot *slots_take(struct shared_table *t, size_t shard);
/* Into its bucket, by slot->hash. */
void slots_add(struct shared_table *t, size_t shard, struct slot *slot);
/* Out of its bucket and among the empty ones; its stamp is 0 already. */
void slots_remove(struct shared_table *t, size_t shard, struct slot *slot);
/*
 * Builds the index from the slots. `torn`: what is there may come from before a power cut; slots
 * that do not check are emptied.
 */
void slots_index(struct shared_table *t, size_t shard, bool torn);

#endif
