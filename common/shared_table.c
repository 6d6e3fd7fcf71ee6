/*
 * shared_table: fixed-size values by 32-byte key in mapped memory: shards with a robust lock each,
 * sets of 16 ways. Must not allocate. Runs in every process.
 */
#include "common/shared_table_parts.h"

#include <errno.h>
#include <openssl/crypto.h>

/* Where a key stands: its set, the shard that guards it, and what its stamps end with. */
struct place {
	size_t set;
	uint64_t tag;
	/* locked; NULL: its lock is lost for good, answer as if nothing were held */
	struct shard *shard;
};

/* --- locks --- */

void shard_recount(struct shared_table *t, size_t index)
{
	struct shard *shard = &t->head->shards[index];
	uint64_t count = 0;

	for (size_t set = index; set < t->sets; set += SHARDS) {
		for (size_t way = 0; way < WAYS; way++)
			count += atomic_load(stamp_at(t, set, way)) != 0;
	}
	shard->count = count;
}

static struct shard *shard_lock(struct shared_table *t, size_t index)
{
	struct shard *shard = &t->head->shards[index];
	int rc = pthread_mutex_lock(&shard->lock);

	if (rc == EOWNERDEAD) {
		/* The slots are whole (see shared_table_parts.h), the count may not be. */
		shard_recount(t, index);
		rc = pthread_mutex_consistent(&shard->lock);
		if (rc != 0)
			pthread_mutex_unlock(&shard->lock);
	}
	return rc == 0 ? shard : NULL;
}

static void shard_unlock(struct shard *shard)
{
	pthread_mutex_unlock(&shard->lock);
}

static struct place place_lock(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY])
{
	uint64_t word[4], h = 0;
	struct place place;

	memcpy(word, key, sizeof(word));
	for (size_t i = 0; i < 4; i++)
		h = slot_mix(h ^ word[i] ^ t->seed[i]);
	place.set = (size_t)((h >> TAG_BITS) % t->sets);
	place.tag = h & ((1u << TAG_BITS) - 1);
	place.shard = shard_lock(t, place.set % SHARDS);
	return place;
}

/* --- values; the place is locked --- */

static void touch(struct shared_table *t, const struct place *place, size_t way)
{
	atomic_store(stamp_at(t, place->set, way), ++place->shard->clock << TAG_BITS | place->tag);
}

/* WAYS: not there. */
static size_t find(struct shared_table *t, const struct place *place, const uint8_t *key)
{
	for (size_t way = 0; way < WAYS; way++) {
		uint64_t used = atomic_load(stamp_at(t, place->set, way));

		if (used == 0 || (used & ((1u << TAG_BITS) - 1)) != place->tag)
			continue;
		if (CRYPTO_memcmp(slot_at(t, place->set, way)->key, key, SHARED_TABLE_KEY) == 0)
			return way;
	}
	return WAYS;
}

static void fill(struct shared_table *t, const struct place *place, size_t way, const uint8_t *key,
    const void *value)
{
	struct slot *slot = slot_at(t, place->set, way);

	atomic_store(stamp_at(t, place->set, way), 0);
	memcpy(slot->key, key, SHARED_TABLE_KEY);
	memcpy(slot->value, value, t->value_size);
	slot->check = slot_check(t, slot);
	touch(t, place, way);
}

/* Into an empty slot, else over the least recently used one. */
static void insert(
    struct shared_table *t, const struct place *place, const uint8_t *key, const void *value)
{
	uint64_t least = UINT64_MAX;
	size_t victim = 0;

	for (size_t way = 0; way < WAYS; way++) {
		uint64_t used = atomic_load(stamp_at(t, place->set, way));

		if (used < least) {
			least = used;
			victim = way;
		}
	}
	if (least != 0)
		place->shard->evictions++;
	else
		place->shard->count++;
	fill(t, place, victim, key, value);
}

static void empty(struct shared_table *t, struct shard *shard, size_t set, size_t way)
{
	atomic_store(stamp_at(t, set, way), 0);
	OPENSSL_cleanse(slot_at(t, set, way)->value, t->value_size);
	shard->count--;
}

/* --- the calls --- */

bool shared_table_get(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], void *out)
{
	struct place place = place_lock(t, key);
	size_t way;

	if (place.shard == NULL)
		return false;
	way = find(t, &place, key);
	if (way < WAYS) {
		memcpy(out, slot_at(t, place.set, way)->value, t->value_size);
		touch(t, &place, way);
	}
	shard_unlock(place.shard);
	return way < WAYS;
}

bool shared_table_put(
    struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], const void *value)
{
	struct place place = place_lock(t, key);
	size_t way;

	if (place.shard == NULL)
		return false;
	way = find(t, &place, key);
	if (way < WAYS)
		fill(t, &place, way, key, value);
	else
		insert(t, &place, key, value);
	shard_unlock(place.shard);
	return true;
}

int shared_table_put_new(
    struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], const void *value, void *standing)
{
	struct place place = place_lock(t, key);
	size_t way;

	if (place.shard == NULL)
		return -1;
	way = find(t, &place, key);
	if (way < WAYS) {
		memcpy(standing, slot_at(t, place.set, way)->value, t->value_size);
		touch(t, &place, way);
	} else {
		insert(t, &place, key, value);
	}
	shard_unlock(place.shard);
	return way < WAYS ? 0 : 1;
}

bool shared_table_take(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], void *out)
{
	struct place place = place_lock(t, key);
	size_t way;

	if (place.shard == NULL)
		return false;
	way = find(t, &place, key);
	if (way < WAYS) {
		if (out != NULL)
			memcpy(out, slot_at(t, place.set, way)->value, t->value_size);
		empty(t, place.shard, place.set, way);
	}
	shard_unlock(place.shard);
	return way < WAYS;
}

void shared_table_clear(struct shared_table *t)
{
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *shard = shard_lock(t, i);

		if (shard == NULL)
			continue;
		for (size_t set = i; set < t->sets; set += SHARDS) {
			for (size_t way = 0; way < WAYS; way++) {
				if (atomic_load(stamp_at(t, set, way)) != 0)
					empty(t, shard, set, way);
			}
		}
		shard_unlock(shard);
	}
}

size_t shared_table_count(struct shared_table *t)
{
	size_t count = 0;

	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *shard = shard_lock(t, i);

		if (shard == NULL)
			continue;
		count += (size_t)shard->count;
		shard_unlock(shard);
	}
	return count;
}

uint64_t shared_table_evictions(struct shared_table *t)
{
	uint64_t evictions = 0;

	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *shard = shard_lock(t, i);

		if (shard == NULL)
			continue;
		evictions += shard->evictions;
		shard_unlock(shard);
	}
	return evictions;
}
