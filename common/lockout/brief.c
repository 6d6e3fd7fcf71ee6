/*
 * brief: sets of some places each, found by the first bytes of a name. *lockout* process.
 */
#include "common/lockout/brief.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

#define WAYS 8

struct brief {
	uint8_t key[LOCKOUT_KEY];
	size_t sets;
	struct brief_entry entry[];	/* `sets` times WAYS */
};

static size_t size_of(size_t sets)
{
	return sizeof(struct brief) + sets * WAYS * sizeof(struct brief_entry);
}

struct brief *brief_new(size_t entries)
{
	size_t sets = (entries + WAYS - 1) / WAYS;
	struct brief *b = calloc(1, size_of(sets));

	if (b == NULL)
		return NULL;
	b->sets = sets;
	if (RAND_bytes(b->key, sizeof(b->key)) == 1)
		return b;
	free(b);
	return NULL;
}

void brief_free(struct brief *b)
{
	if (b == NULL)
		return;
	OPENSSL_cleanse(b, size_of(b->sets));
	free(b);
}

int brief_hash(const struct brief *b, const char *label, const void *bytes, size_t n, uint8_t out[SHA256_SIZE])
{
	return lockout_mac(b->key, label, bytes, n, out);
}

int brief_name(const struct brief *b, const char *label, const void *bytes, size_t n, uint8_t name[LOCKOUT_TAG])
{
	uint8_t whole[SHA256_SIZE];

	if (brief_hash(b, label, bytes, n, whole) < 0)
		return -1;
	memcpy(name, whole, LOCKOUT_TAG);
	return 0;
}

static struct brief_entry *set_of(struct brief *b, const uint8_t name[LOCKOUT_TAG])
{
	uint32_t number;

	memcpy(&number, name, sizeof(number));
	return b->entry + number % b->sets * WAYS;
}

void brief_drop(struct brief_entry *e)
{
	OPENSSL_cleanse(e, sizeof(*e));
}

struct brief_entry *brief_next(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t now, const struct brief_entry *after)
{
	struct brief_entry *set = set_of(b, name);

	for (struct brief_entry *e = after == NULL ? set : set + (after - set) + 1; e < set + WAYS; e++) {
		if (e->until != 0 && e->until <= now)
			brief_drop(e);
		else if (e->until != 0 && CRYPTO_memcmp(e->name, name, LOCKOUT_TAG) == 0)
			return e;
	}
	return NULL;
}

/* A free one ends first of all. */
struct brief_entry *brief_make(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t until)
{
	struct brief_entry *set = set_of(b, name), *e = set;

	for (size_t i = 1; i < WAYS; i++)
		e = set[i].until < e->until ? &set[i] : e;
	brief_drop(e);
	memcpy(e->name, name, LOCKOUT_TAG);
	e->until = until;
	return e;
}

void brief_tidy(struct brief *b, int64_t now)
{
	for (size_t i = 0; i < b->sets * WAYS; i++) {
		if (b->entry[i].until != 0 && b->entry[i].until <= now)
			brief_drop(&b->entry[i]);
	}
}
