/*
 * cache: what the directory said, by claim; forgotten by account. Bounded; the least recently used
 * answer leaves first. Keys are keyed hashes, so that nobody outside can choose names that fall on
 * one another. Knows no time limits: says how old, and whether changes may have been missed since.
 */
#ifndef EASGATE_DIRECTORY_CACHE_H
#define EASGATE_DIRECTORY_CACHE_H

#include "common/base.h"
#include "common/directory/ask.h"

struct cache;

struct cached {
	uint32_t result;	/* enum account_result */
	bool doubtful;		/* cache_doubt_all() was called since: to be asked again */
	uint64_t fetched_ms;	/* when, on the monotonic clock */
	struct account account; /* all zero unless ACCOUNT_FOUND */
};

/* entries >= 1. NULL: out of memory or of randomness. */
struct cache *cache_new(size_t entries);
void cache_free(struct cache *c);
/* The claim's name in the cache: kind and value (ASCII case does not count). Also of use as a key
 * for searches under way. */
/* -1: out of memory. */
int cache_key(const struct cache *c, uint32_t kind, const char *value, uint8_t out[SHA256_SIZE]);
/* Marks it used and copies it. False: not there. */
MUST_CHECK bool cache_get(struct cache *c, const uint8_t key[SHA256_SIZE], struct cached *out);
/* Puts or replaces. Out of memory: the old one is gone and nothing is kept. */
void cache_put(struct cache *c, const uint8_t key[SHA256_SIZE], const struct cached *item);
/* Forgets every answer that names this account. Returns how many there were. */
size_t cache_forget_sid(struct cache *c, const char *sid);
void cache_forget_all(struct cache *c);
/* Everything there is doubtful from now on; it stays, with its age. */
void cache_doubt_all(struct cache *c);
size_t cache_count(const struct cache *c);

#endif
