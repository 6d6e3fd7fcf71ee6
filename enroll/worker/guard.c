/*
 * guard: counters in three tables of fixed size (accounts, invented names, addresses) and a list of addresses known to be an owner's. Keys
 * are hashed with a random key, so that nobody can choose who shares a bucket. Worker process.
 */
#include "enroll/worker/guard.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define BUCKETS 2048
#define WAYS	8
#define KEY_MAX 1024

struct entry {
	uint8_t key[16];
	int64_t start; /* of its window; 0: free */
	uint32_t count;
};

enum table { TABLE_ACCOUNT, TABLE_NAME, TABLE_ADDRESS, TABLE_PAIR, TABLE_KNOWN, TABLES };

struct guard {
	struct guard_limits limits;
	uint8_t secret[SHA256_SIZE];
	struct entry table[TABLES][BUCKETS][WAYS];
};

struct guard *guard_new(const struct guard_limits *limits)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->limits = *limits;
	if (RAND_bytes(g->secret, sizeof(g->secret)) != 1) {
		free(g);
		return NULL;
	}
	return g;
}

void guard_free(struct guard *g) { free(g); }

/* --- tables --- */

/* Of both texts, in lower case; the first's length goes before, so that no two pairs look alike. */
static void hash(const struct guard *g, struct strv a, struct strv b, uint8_t out[SHA256_SIZE])
{
	char text[KEY_MAX];
	unsigned int n = SHA256_SIZE;
	size_t an = a.n < 640 ? a.n : 640, bn = b.n < GUARD_ADDRESS_MAX ? b.n : GUARD_ADDRESS_MAX,
	       at;

	at = (size_t)snprintf(text, sizeof(text), "%zu ", an);
	memcpy(text + at, a.p, an);
	if (bn > 0)
		memcpy(text + at + an, b.p, bn);
	text_lower(text, at + an + bn);
	if (HMAC(EVP_sha256(), g->secret, sizeof(g->secret), (const uint8_t *)text, at + an + bn,
		out, &n) == NULL)
		memset(out, 0, SHA256_SIZE); /* all share one entry: stricter, never laxer */
}

static bool is_over(const struct entry *e, int64_t seconds, int64_t now)
{
	return e->start == 0 || now - e->start >= seconds;
}

/* The entry, or with `make` the least loss in its bucket, emptied. NULL only without `make`. */
static struct entry *find(struct guard *g, enum table table, const uint8_t key[SHA256_SIZE],
    int64_t seconds, int64_t now, bool make)
{
	struct entry *bucket = g->table[table][(key[16] | key[17] << 8) % BUCKETS],
		     *least = &bucket[0];

	for (size_t i = 0; i < WAYS; i++) {
		struct entry *e = &bucket[i];
		bool over = is_over(e, seconds, now), least_over = is_over(least, seconds, now);
		if (!over && memcmp(e->key, key, sizeof(e->key)) == 0)
			return e;
		if (over != least_over ? over :
					 (e->count < least->count ||
					     (e->count == least->count && e->start < least->start)))
			least = e;
	}
	if (!make)
		return NULL;
	memcpy(least->key, key, sizeof(least->key));
	least->start = now;
	least->count = 0;
	return least;
}

static bool has_left(struct guard *g, enum table table, const uint8_t key[SHA256_SIZE],
    uint32_t limit, int64_t now, uint32_t *wait)
{
	const struct entry *e = find(g, table, key, g->limits.window_seconds, now, false);

	if (limit == 0) {
		*wait = g->limits.window_seconds;
		return false;
	}
	if (e == NULL || e->count < limit)
		return true;
	*wait = (uint32_t)(e->start + g->limits.window_seconds - now);
	return false;
}

static void count(struct guard *g, enum table table, const uint8_t key[SHA256_SIZE], int64_t now)
{
	struct entry *e = find(g, table, key, g->limits.window_seconds, now, true);

	if (e->count < UINT32_MAX)
		e->count++;
}

static void uncount(struct guard *g, enum table table, const uint8_t key[SHA256_SIZE], int64_t now)
{
	struct entry *e = find(g, table, key, g->limits.window_seconds, now, false);

	if (e != NULL && e->count > 0)
		e->count--;
}

/* --- what is asked --- */

struct keys {
	uint8_t account[SHA256_SIZE], address[SHA256_SIZE], pair[SHA256_SIZE];
	enum table own;
};

static struct keys keys_of(
    const struct guard *g, struct strv account, bool known, const char *address)
{
	static const struct strv none = { NULL, 0 };
	struct keys k = { .own = known ? TABLE_ACCOUNT : TABLE_NAME };

	hash(g, account, none, k.account);
	hash(g, strv_from(address), none, k.address);
	hash(g, account, strv_from(address), k.pair);
	return k;
}

/* Where this attempt counts for the account: apart for an address that is known to be its owner's. */
static bool is_owners(struct guard *g, const struct keys *k, int64_t now)
{
	return k->own == TABLE_ACCOUNT &&
	    find(g, TABLE_KNOWN, k->pair, GUARD_KNOWN_SECONDS, now, false) != NULL;
}

enum guard_verdict guard_take(struct guard *g, struct strv account, bool known, const char *address,
    int64_t now, uint32_t *wait)
{
	struct keys k = keys_of(g, account, known, address);
	bool owners = is_owners(g, &k, now);

	*wait = 0;
	if (!has_left(g, TABLE_ADDRESS, k.address, g->limits.address_attempts, now, wait))
		return GUARD_ADDRESS;
	if (!has_left(g, owners ? TABLE_PAIR : k.own, owners ? k.pair : k.account,
		g->limits.attempts, now, wait))
		return GUARD_ACCOUNT;
	count(g, TABLE_ADDRESS, k.address, now);
	count(g, owners ? TABLE_PAIR : k.own, owners ? k.pair : k.account, now);
	return GUARD_GO;
}

void guard_give_back(
    struct guard *g, struct strv account, bool known, const char *address, bool right, int64_t now)
{
	struct keys k = keys_of(g, account, known, address);
	bool owners = is_owners(g, &k, now);
	struct entry *e;

	uncount(g, TABLE_ADDRESS, k.address, now);
	uncount(g, owners ? TABLE_PAIR : k.own, owners ? k.pair : k.account, now);
	if (!right || !known)
		return;
	e = find(g, TABLE_KNOWN, k.pair, GUARD_KNOWN_SECONDS, now, true);
	e->start = now;
	e->count = 1;
	/* What the owner mistyped before is forgiven; what others tried stays counted. */
	e = find(g, TABLE_PAIR, k.pair, g->limits.window_seconds, now, false);
	if (e != NULL)
		e->count = 0;
}

void guard_address(const char *client, char out[GUARD_ADDRESS_MAX])
{
	const char *end;
	uint8_t bytes[16];
	char text[INET6_ADDRSTRLEN];
	size_t n;

	if (client[0] == '[' && (end = strchr(client, ']')) != NULL &&
	    (n = (size_t)(end - client - 1)) < sizeof(text)) {
		memcpy(text, client + 1, n);
		text[n] = '\0';
		if (inet_pton(AF_INET6, text, bytes) == 1) {
			memset(bytes + 8, 0, 8);
			(void)inet_ntop(AF_INET6, bytes, out, GUARD_ADDRESS_MAX);
			return;
		}
	}
	end = strrchr(client, ':');
	n = end != NULL && strchr(client, ':') == end ? (size_t)(end - client) : strlen(client);
	snprintf(out, GUARD_ADDRESS_MAX, "%.*s", (int)n, client);
}
