/*
 * shared_table: fixed-size values by 32-byte key in mapped memory: shards with a robust lock each.
 * Must not allocate. Runs in every process.
 */
#include "common/shared_table_parts.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <time.h>

#define LOCK_MS 500	/* far longer than any use of a shard takes, also on a machine that is very busy */
#define HELD_MS 5000

/* Where a key belongs. */
struct place {
	size_t number; /* of its shard */
	uint32_t hash;
	/* locked; NULL: its lock cannot be had, answer as if nothing were held */
	struct shard *shard;
};

/* --- locks --- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whoever holds a lock for so long is stopped, or captured: the others go on without that shard, and look now and then without waiting. */
static int lock_for_a_while(struct shared_table *t, size_t number)
{
	pthread_mutex_t *lock = &t->head->shards[number].lock;
	int rc = pthread_mutex_trylock(lock);
	struct timespec until;

	if (rc != EBUSY || now_ms() < t->held_until_ms[number])
		return rc;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOCK_MS * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	rc = pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until);
	if (rc == ETIMEDOUT)
		t->held_until_ms[number] = now_ms() + HELD_MS;
	return rc;
}

static struct shard *shard_lock(struct shared_table *t, size_t number)
{
	struct shard *shard = &t->head->shards[number];
	int rc = lock_for_a_while(t, number);

	if (rc == EOWNERDEAD) {
		/* The slots are whole (see shared_table_parts.h), what leads to them may not be. */
		slots_index(t, number, false);
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
	uint64_t h = slot_hash(t, key);
	struct place place = { .number = (size_t)(h >> 32) % SHARDS, .hash = (uint32_t)h };

	place.shard = shard_lock(t, place.number);
	return place;
}

/* --- values; the place is locked --- */

static struct slot *find(struct shared_table *t, const struct place *place, const uint8_t *key)
{
	return slots_find(t, place->number, place->hash, key);
}

static void touch(const struct place *place, struct slot *slot)
{
	atomic_store(&slot->used, ++place->shard->clock);
}

/*
 * The value is written: now it stands. Memory that does not outlive a power cut needs no check of
 * what it tore.
 */
static void stand(struct shared_table *t, const struct place *place, struct slot *slot)
{
	if (t->fd >= 0)
		slot->check = slot_check(t, slot);
	touch(place, slot);
}

static void fill(
    struct shared_table *t, const struct place *place, struct slot *slot, const void *value)
{
	atomic_store(&slot->used, 0);
	memcpy(slot->value, value, t->value_size);
	stand(t, place, slot);
}

/* A slot that carries the key and is found by it, its value not written yet. */
static struct slot *insert(struct shared_table *t, const struct place *place, const uint8_t *key)
{
	struct slot *slot = slots_take(t, place->number);

	slot->hash = place->hash;
	memcpy(slot->key, key, SHARED_TABLE_KEY);
	slots_add(t, place->number, slot);
	return slot;
}

static void empty(struct shared_table *t, size_t number, struct slot *slot)
{
	atomic_store(&slot->used, 0);
	OPENSSL_cleanse(slot->value, t->value_size);
	slots_remove(t, number, slot);
}

/* --- the calls --- */

bool shared_table_get(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], void *out)
{
	struct place place = place_lock(t, key);
	struct slot *slot;

	if (place.shard == NULL)
		return false;
	slot = find(t, &place, key);
	if (slot != NULL) {
		memcpy(out, slot->value, t->value_size);
		touch(&place, slot);
	}
	shard_unlock(place.shard);
	return slot != NULL;
}

bool shared_table_put(
    struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], const void *value)
{
	struct place place = place_lock(t, key);
	struct slot *slot;

	if (place.shard == NULL)
		return false;
	slot = find(t, &place, key);
	if (slot == NULL)
		slot = insert(t, &place, key);
	fill(t, &place, slot, value);
	shard_unlock(place.shard);
	return true;
}

int shared_table_put_new(
    struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], const void *value, void *standing)
{
	struct place place = place_lock(t, key);
	struct slot *slot;

	if (place.shard == NULL)
		return -1;
	slot = find(t, &place, key);
	if (slot != NULL) {
		memcpy(standing, slot->value, t->value_size);
		touch(&place, slot);
	} else {
		fill(t, &place, insert(t, &place, key), value);
	}
	shard_unlock(place.shard);
	return slot != NULL ? 0 : 1;
}

bool shared_table_change(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY],
    void (*change)(void *value, void *arg), void *arg)
{
	struct place place = place_lock(t, key);
	struct slot *slot;

	if (place.shard == NULL)
		return false;
	slot = find(t, &place, key);
	if (slot == NULL) {
		slot = insert(t, &place, key);
		memset(slot->value, 0, t->value_size);
	}
	atomic_store(&slot->used, 0);
	change(slot->value, arg);
	stand(t, &place, slot);
	shard_unlock(place.shard);
	return true;
}

bool shared_table_take(struct shared_table *t, const uint8_t key[SHARED_TABLE_KEY], void *out)
{
	struct place place = place_lock(t, key);
	struct slot *slot;

	if (place.shard == NULL)
		return false;
	slot = find(t, &place, key);
	if (slot != NULL) {
		if (out != NULL)
			memcpy(out, slot->value, t->value_size);
		empty(t, place.number, slot);
	}
	shard_unlock(place.shard);
	return slot != NULL;
}

void shared_table_clear(struct shared_table *t)
{
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *shard = shard_lock(t, i);
		size_t end;

		if (shard == NULL)
			continue;
		end = read_once(&shard->fresh);
		if (end > t->slots_each)
			end = t->slots_each;
		for (size_t k = 0; k < end; k++) {
			struct slot *slot = slot_at(t, i, k);

			if (atomic_load(&slot->used) != 0)
				empty(t, i, slot);
		}
		/* from the first slot again */
		slots_index(t, i, false);
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

void shared_table_each(struct shared_table *t, void (*each)(const uint8_t key[SHARED_TABLE_KEY], const void *value, void *arg), void *arg)
{
	uint64_t copy[(65536 + SHARED_TABLE_KEY) / sizeof(uint64_t)];	/* aligned for any value */
	uint8_t key[SHARED_TABLE_KEY];

	for (size_t number = 0; number < SHARDS; number++) {
		for (size_t i = 0; i < t->slots_each; i++) {
			struct shard *shard = shard_lock(t, number);
			struct slot *slot = slot_at(t, number, i);
			bool last = shard == NULL || i >= read_once(&shard->fresh), there = !last && atomic_load(&slot->used) != 0;

			if (there) {
				memcpy(key, slot->key, sizeof(key));
				memcpy(copy, slot->value, t->value_size);
			}
			if (shard != NULL)
				shard_unlock(shard);
			if (last)
				break;
			if (there)
				each(key, copy, arg);
		}
	}
}
