/*
 * shared_table_index: which slot of a shard holds a key: chained buckets that grow one at a time.
 * Must not trust a link, a count or a bucket number in shared memory. Runs in every process.
 */
#include "common/shared_table_parts.h"

#include <openssl/crypto.h>

#define SAMPLE 16 /* the least recently used of so many goes */
/*
 * So many slots behind the last known one are looked at too in a file: they may have reached the
 * disk before a power cut when the head, which says how many there are, did not.
 */
#define BEYOND 64

static slot_link link_to(const struct shared_table *t, const struct slot *slot)
{
	size_t at = (size_t)((const uint8_t *)slot - t->slots) / t->slot_size;

	return (slot_link)(at / SHARDS + 1);
}

/* --- buckets --- */

static uint32_t buckets_of(const struct shared_table *t, const struct shard *shard)
{
	uint32_t n = read_once(&shard->buckets);

	return n >= 1 && n <= t->slots_each ? n : 1;
}

/*
 * Linear hashing: of the buckets that the next power of two would make, those that are not there
 * yet are still one with a lower one.
 */
static uint32_t bucket_of(uint32_t hash, uint32_t buckets)
{
	uint32_t mask = buckets == 1 ? 0 : UINT32_MAX >> __builtin_clz(buckets - 1);
	uint32_t bucket = hash & mask;

	return bucket < buckets ? bucket : bucket & (mask >> 1);
}

static slot_link *first_of(struct shared_table *t, size_t shard, uint32_t bucket)
{
	return &t->firsts[(size_t)bucket * SHARDS + shard];
}

static void push(struct shared_table *t, slot_link *first, struct slot *slot)
{
	slot->next = *first;
	*first = link_to(t, slot);
}

/* One bucket more, and what belongs there now from the one that it was one with. */
static void split(struct shared_table *t, size_t shard_n)
{
	struct shard *shard = &t->head->shards[shard_n];
	uint32_t n = buckets_of(t, shard);
	slot_link *at, *to;
	struct slot *slot;

	if (n >= t->slots_each)
		return;
	at = first_of(t, shard_n, n - (1u << (31 - __builtin_clz(n))));
	to = first_of(t, shard_n, n);
	*to = 0;
	shard->buckets = n + 1;
	for (size_t steps = 0; steps < t->slots_each; steps++) {
		slot = slot_behind(t, shard_n, read_once(at));
		if (slot == NULL)
			break;
		if (bucket_of(slot->hash, n + 1) != n) {
			at = &slot->next;
			continue;
		}
		*at = slot->next;
		push(t, to, slot);
	}
}

static void enter(struct shared_table *t, size_t shard_n, struct slot *slot)
{
	struct shard *shard = &t->head->shards[shard_n];

	push(t, first_of(t, shard_n, bucket_of(slot->hash, buckets_of(t, shard))), slot);
	if (++shard->count > buckets_of(t, shard))
		split(t, shard_n);
}

static void leave(struct shared_table *t, size_t shard_n, const struct slot *slot)
{
	struct shard *shard = &t->head->shards[shard_n];
	slot_link *at = first_of(t, shard_n, bucket_of(slot->hash, buckets_of(t, shard)));
	struct slot *here;

	for (size_t steps = 0; steps < t->slots_each; steps++) {
		here = slot_behind(t, shard_n, read_once(at));
		if (here == NULL)
			return;
		if (here == slot) {
			*at = slot->next;
			shard->count--;
			return;
		}
		at = &here->next;
	}
}

/* --- what shared_table.c calls --- */

struct slot *slots_find(struct shared_table *t, size_t shard_n, uint32_t hash, const uint8_t *key)
{
	const struct shard *shard = &t->head->shards[shard_n];
	slot_link at = read_once(first_of(t, shard_n, bucket_of(hash, buckets_of(t, shard))));
	struct slot *slot;

	for (size_t steps = 0; steps < t->slots_each; steps++) {
		slot = slot_behind(t, shard_n, at);
		if (slot == NULL)
			break;
		if (slot->hash == hash && CRYPTO_memcmp(slot->key, key, SHARED_TABLE_KEY) == 0)
			return slot;
		at = read_once(&slot->next);
	}
	return NULL;
}

/* The least recently used of the next few: over time everyone's turn comes. */
static struct slot *evict(struct shared_table *t, size_t shard_n)
{
	struct shard *shard = &t->head->shards[shard_n];
	uint64_t least = UINT64_MAX;
	struct slot *victim = NULL;

	for (unsigned i = 0; victim == NULL || i < SAMPLE; i++) {
		struct slot *slot = slot_at(t, shard_n, shard->hand++ % t->slots_each);
		uint64_t used = atomic_load(&slot->used);

		if (victim == NULL || used < least) {
			least = used;
			victim = slot;
		}
	}
	leave(t, shard_n, victim);
	shard->evictions++;
	atomic_store(&victim->used, 0);
	return victim;
}

struct slot *slots_take(struct shared_table *t, size_t shard_n)
{
	struct shard *shard = &t->head->shards[shard_n];
	struct slot *slot = slot_behind(t, shard_n, read_once(&shard->free));
	uint32_t fresh = read_once(&shard->fresh);

	if (slot != NULL) {
		shard->free = slot->next;
	} else if (fresh < t->slots_each) {
		slot = slot_at(t, shard_n, fresh);
		shard->fresh = fresh + 1;
	} else {
		slot = evict(t, shard_n);
	}
	return slot;
}

void slots_add(struct shared_table *t, size_t shard_n, struct slot *slot)
{
	enter(t, shard_n, slot);
}

void slots_remove(struct shared_table *t, size_t shard_n, struct slot *slot)
{
	leave(t, shard_n, slot);
	push(t, &t->head->shards[shard_n].free, slot);
}

static bool is_whole(const struct shared_table *t, struct slot *slot, bool torn)
{
	if (atomic_load(&slot->used) == 0)
		return false;
	if (!torn || slot->check == slot_check(t, slot))
		return true;
	atomic_store(&slot->used, 0);
	return false;
}

/* From the last slot to the first: the empty ones are handed out from the first on. */
void slots_index(struct shared_table *t, size_t shard_n, bool torn)
{
	struct shard *shard = &t->head->shards[shard_n];
	size_t end = read_once(&shard->fresh);

	if (torn)
		end += BEYOND;
	if (end > t->slots_each)
		end = t->slots_each;
	shard->fresh = shard->free = shard->count = 0;
	shard->buckets = 1;
	*first_of(t, shard_n, 0) = 0;
	while (end > 0) {
		struct slot *slot = slot_at(t, shard_n, --end);

		if (is_whole(t, slot, torn)) {
			if (shard->fresh == 0)
				shard->fresh = (uint32_t)end + 1;
			if (atomic_load(&slot->used) > shard->clock)
				shard->clock = atomic_load(&slot->used);
			slot->hash = (uint32_t)slot_hash(t, slot->key);
			enter(t, shard_n, slot);
		} else if (shard->fresh != 0) {
			push(t, &shard->free, slot);
		}
	}
}
