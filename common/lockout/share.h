/*
 * share: what this process counts by itself, whatever the store says: how many wrong passwords it has sent for an account, so that a store
 * that forgets or lies never gets more than one node's share of tries out of it; and where there is no Redis, wrong ones by address.
 * Memory is fixed; seconds are of a clock that nobody sets. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_SHARE_H
#define EASGATE_LOCKOUT_SHARE_H

#include "common/lockout/tag.h"

struct share;

enum share_kind {
	SHARE_ACCOUNT = 0,	/* the count ends a whole window after the last one */
	SHARE_ADDRESS,		/* a window after the first one */
	SHARE_KINDS
};

/* NULL: out of memory. */
struct share *share_new(void);
void share_free(struct share *l);	/* accepts NULL */
/* *until: when the window is over; untouched with 0. */
uint32_t share_count(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG], uint32_t window, int64_t now, int64_t *until);
void share_add(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG], uint32_t window, int64_t now);
void share_give_back(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG], uint32_t n);

#endif
