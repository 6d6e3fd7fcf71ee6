/*
 * record: fixed numbers, then each list behind its length, then the MAC. Little endian. Pure. *lockout* process.
 */
#include "common/lockout/record.h"

#include <openssl/crypto.h>

#define RECORD_VERSION 1
#define TIME_MAX	       ((uint64_t)1 << 40) /* seconds: no clock shows as much, and sums of them stay numbers */

struct cursor {
	uint8_t *p;
	size_t n, at;
	bool bad;
};

static void put(struct cursor *c, uint64_t value, size_t bytes)
{
	if (c->n - c->at < bytes) {
		c->bad = true;
		return;
	}
	for (size_t i = 0; i < bytes; i++)
		c->p[c->at++] = (uint8_t)(value >> (8 * i));
}

static void put_tag(struct cursor *c, const uint8_t tag[LOCKOUT_TAG])
{
	if (c->n - c->at < LOCKOUT_TAG) {
		c->bad = true;
		return;
	}
	memcpy(c->p + c->at, tag, LOCKOUT_TAG);
	c->at += LOCKOUT_TAG;
}

long lockout_record_write(const struct lockout_record *r, const uint8_t key[LOCKOUT_KEY], const char *sid, uint8_t out[RECORD_BYTES_MAX])
{
	struct cursor c = { .p = out, .n = RECORD_BYTES_MAX - SHA256_SIZE };

	put(&c, RECORD_VERSION, 1);
	put(&c, r->count, 4);
	put(&c, (uint64_t)r->last, 8);
	put(&c, r->tries, 4);
	put(&c, (uint64_t)r->since, 8);
	put(&c, r->own_tries, 4);
	put(&c, (uint64_t)r->own_since, 8);
	put(&c, r->bad_n, 1);
	for (uint32_t i = 0; i < r->bad_n && i < RECORD_BAD; i++) {
		put_tag(&c, r->bad[i].tag);
		put(&c, (uint64_t)r->bad[i].used, 8);
	}
	put(&c, r->good_n, 1);
	for (uint32_t i = 0; i < r->good_n && i < RECORD_GOOD; i++) {
		put_tag(&c, r->good[i].tag);
		put(&c, (uint64_t)r->good[i].generation, 8);
		put(&c, (uint64_t)r->good[i].made, 8);
		put(&c, (uint64_t)r->good[i].expires, 8);
	}
	put(&c, r->pending_n, 1);
	for (uint32_t i = 0; i < r->pending_n && i < RECORD_PENDING; i++) {
		put_tag(&c, r->pending[i].tag);
		put(&c, (uint64_t)r->pending[i].until, 8);
	}
	put(&c, r->addresses_n, 1);
	for (uint32_t i = 0; i < r->addresses_n && i < RECORD_ADDRESSES; i++) {
		put_tag(&c, r->address[i].tag);
		put(&c, (uint64_t)r->address[i].used, 8);
	}
	if (c.bad || lockout_mac(key, sid, out, c.at, out + c.at) < 0)
		return -1;
	return (long)(c.at + SHA256_SIZE);
}

/* --- reading --- */

static uint64_t get(struct cursor *c, size_t bytes)
{
	uint64_t value = 0;

	if (c->n - c->at < bytes) {
		c->bad = true;
		c->at = c->n;
		return 0;
	}
	for (size_t i = 0; i < bytes; i++)
		value |= (uint64_t)c->p[c->at++] << (8 * i);
	return value;
}

static void get_tag(struct cursor *c, uint8_t tag[LOCKOUT_TAG])
{
	if (c->n - c->at < LOCKOUT_TAG) {
		c->bad = true;
		c->at = c->n;
		return;
	}
	memcpy(tag, c->p + c->at, LOCKOUT_TAG);
	c->at += LOCKOUT_TAG;
}

static int64_t get_time(struct cursor *c)
{
	uint64_t value = get(c, 8);

	if (value > TIME_MAX)
		c->bad = true;
	return c->bad ? 0 : (int64_t)value;
}

static uint32_t get_count(struct cursor *c, uint32_t max)
{
	uint32_t n = (uint32_t)get(c, 1);

	if (n > max)
		c->bad = true;
	return c->bad ? 0 : n;
}

static void get_lists(struct cursor *c, struct lockout_record *r)
{
	r->bad_n = get_count(c, RECORD_BAD);
	for (uint32_t i = 0; i < r->bad_n; i++) {
		get_tag(c, r->bad[i].tag);
		r->bad[i].used = get_time(c);
	}
	r->good_n = get_count(c, RECORD_GOOD);
	for (uint32_t i = 0; i < r->good_n; i++) {
		get_tag(c, r->good[i].tag);
		r->good[i].generation = (int64_t)get(c, 8);
		r->good[i].made = get_time(c);
		r->good[i].expires = get_time(c);
	}
	r->pending_n = get_count(c, RECORD_PENDING);
	for (uint32_t i = 0; i < r->pending_n; i++) {
		get_tag(c, r->pending[i].tag);
		r->pending[i].until = get_time(c);
	}
	r->addresses_n = get_count(c, RECORD_ADDRESSES);
	for (uint32_t i = 0; i < r->addresses_n; i++) {
		get_tag(c, r->address[i].tag);
		r->address[i].used = get_time(c);
	}
}

int lockout_record_read(struct lockout_record *r, const uint8_t key[LOCKOUT_KEY], const char *sid, struct strv bytes)
{
	uint8_t copy[RECORD_BYTES_MAX], mac[SHA256_SIZE];
	struct cursor c = { .p = copy };

	memset(r, 0, sizeof(*r));
	if (bytes.n < SHA256_SIZE || bytes.n > sizeof(copy))
		return -1;
	memcpy(copy, bytes.p, bytes.n);
	c.n = bytes.n - SHA256_SIZE;
	if (lockout_mac(key, sid, copy, c.n, mac) < 0 || CRYPTO_memcmp(mac, copy + c.n, SHA256_SIZE) != 0)
		return -1;
	if (get(&c, 1) != RECORD_VERSION)
		return -1;
	r->count = (uint32_t)get(&c, 4);
	r->last = get_time(&c);
	r->tries = (uint32_t)get(&c, 4);
	r->since = get_time(&c);
	r->own_tries = (uint32_t)get(&c, 4);
	r->own_since = get_time(&c);
	get_lists(&c, r);
	if (c.bad || c.at != c.n) {
		memset(r, 0, sizeof(*r));
		return -1;
	}
	return 0;
}
