/*
 * store_table: the record in the node's shared memory; its clock is the machine's monotonic one. *lockout* process.
 */
#include <openssl/evp.h>

#include "common/lockout/store_parts.h"

static int64_t seconds(const struct lockout_store *s)
{
	return (int64_t)(loop_now_ms(s->setup.loop) / 1000);
}

static int key_of(const struct store_item *item, uint8_t out[SHARED_TABLE_KEY])
{
	return EVP_Digest(item->sid, strlen(item->sid), out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

static void read_address(struct store_item *item)
{
	item->address_until = item->now;
	item->address_tries = share_count(item->store->setup.share, SHARE_ADDRESS, item->address, item->address_window, item->now,
	    &item->address_until);
}

void store_table_read(struct store_item *item)
{
	struct lockout_slot slot = { .n = 0 };
	uint8_t key[SHARED_TABLE_KEY];

	item->now = item->late = seconds(item->store);
	item->n = 0;
	read_address(item);
	if (key_of(item, key) < 0) {
		store_answer(item, STORE_FAILED);
		return;
	}
	if (shared_table_get(item->store->setup.table, key, &slot) && slot.n <= sizeof(slot.bytes)) {
		memcpy(item->bytes, slot.bytes, slot.n);
		item->n = slot.n;
	}
	store_take_bytes(item);
	store_answer(item, STORE_DONE);
}

struct exchange {
	const struct store_item *item;
	const uint8_t *bytes;
	size_t n;
	bool done;
};

static void exchange(void *value, void *arg)
{
	struct lockout_slot *slot = value;
	struct exchange *x = arg;

	if (slot->n != x->item->n || memcmp(slot->bytes, x->item->bytes, slot->n) != 0)
		return;
	slot->n = (uint32_t)x->n;
	memcpy(slot->bytes, x->bytes, x->n);
	x->done = true;
}

void store_table_write(struct store_item *item, const uint8_t *bytes, size_t n, const struct store_effects *effects)
{
	struct lockout_store *s = item->store;
	struct exchange x = { item, bytes, n, false };
	uint8_t key[SHARED_TABLE_KEY];
	int64_t now = seconds(s), until;

	if (effects->address > 0 &&
	    share_count(s->setup.share, SHARE_ADDRESS, item->address, item->address_window, now, &until) >= effects->address_limit) {
		store_answer(item, STORE_ADDRESS);
		return;
	}
	if (key_of(item, key) < 0 || !shared_table_change(s->setup.table, key, exchange, &x)) {
		store_answer(item, STORE_FAILED);
		return;
	}
	if (x.done && effects->address > 0)
		share_add(s->setup.share, SHARE_ADDRESS, item->address, item->address_window, now);
	else if (x.done && effects->address < 0)
		share_give_back(s->setup.share, SHARE_ADDRESS, item->address, 1);
	store_answer(item, x.done ? STORE_DONE : STORE_BEATEN);
}
