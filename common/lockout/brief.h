/*
 * brief: a table of what is remembered for a short time, in this process alone: never in Redis or on disk. Memory is fixed: sets of some
 * places each; where a set is full, the entry that ends first goes. Each table draws a key at its start. Names are hashes with that key, so
 * that nobody can choose whose set is whose. What ends is overwritten, at the latest by brief_tidy(). Seconds are of a clock that nobody sets.
 * *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_BRIEF_H
#define EASGATE_LOCKOUT_BRIEF_H

#include "common/lockout/tag.h"

#define BRIEF_VALUE 32

struct brief_entry {
	uint8_t name[LOCKOUT_TAG];
	uint8_t value[BRIEF_VALUE];	/* the caller's */
	int64_t until;			/* 0: free */
};

struct brief;

/* At least so many entries fit. NULL: out of memory, or no random bytes. */
struct brief *brief_new(size_t entries);
void brief_free(struct brief *b);	/* overwrites it; accepts NULL */
/* HMAC-SHA-256 with the table's key over label and bytes: two of one label and other bytes have nothing in common. 0, or -1: OpenSSL refuses. */
MUST_CHECK int brief_hash(const struct brief *b, const char *label, const void *bytes, size_t n, uint8_t out[SHA256_SIZE]);
/* The same, as a name. */
MUST_CHECK int brief_name(const struct brief *b, const char *label, const void *bytes, size_t n, uint8_t name[LOCKOUT_TAG]);
/* The next entry of that name behind `after` (NULL: the first) that has not ended; NULL: no more. Good until the next brief_make() or brief_tidy(). */
struct brief_entry *brief_next(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t now, const struct brief_entry *after);
/* A place for one more of that name, its value all zero. */
struct brief_entry *brief_make(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t until);
void brief_drop(struct brief_entry *e);
/* Overwrites what is over. */
void brief_tidy(struct brief *b, int64_t now);

#endif
