/*
 * record: what is known of the passwords of one account, and its form as bytes. The bytes end in a MAC by the fleet's key over the SID
 * and all of them: what lies in Redis is ours, of this account, or it is not believed. Times are seconds by the store's clock.
 * Pure. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_RECORD_H
#define EASGATE_LOCKOUT_RECORD_H

#include "common/lockout/tag.h"

#define RECORD_BAD	 24
#define RECORD_GOOD	 6
#define RECORD_PENDING	 8
#define RECORD_ADDRESSES 4
#define RECORD_BYTES_MAX 1280

struct record_bad {			/* refused by AD */
	uint8_t tag[LOCKOUT_TAG];
	int64_t used;			/* when it was last sent to us */
};
struct record_good {			/* accepted by AD */
	uint8_t tag[LOCKOUT_TAG];
	int64_t generation, made, expires;	/* what is over still tells an old password from a new one */
};
struct record_pending {			/* being tried by some node */
	uint8_t tag[LOCKOUT_TAG];
	int64_t until;			/* later nobody waits for it any more */
};
struct record_address {			/* from where the right password came */
	uint8_t tag[LOCKOUT_TAG];
	int64_t used;
};

struct lockout_record {
	uint32_t count;			/* as AD counts: wrong ones (or under way) with never a whole window between two */
	int64_t last;			/* the last of them */
	uint32_t tries, own_tries;	/* sent since `since`, `own_since`; own: from an address of the owner's */
	int64_t since, own_since;
	uint32_t bad_n, good_n, pending_n, addresses_n;
	struct record_bad bad[RECORD_BAD];
	struct record_good good[RECORD_GOOD];
	struct record_pending pending[RECORD_PENDING];
	struct record_address address[RECORD_ADDRESSES];
};

/* The number of bytes, or -1. */
MUST_CHECK long lockout_record_write(const struct lockout_record *r, const uint8_t key[LOCKOUT_KEY], const char *sid,
    uint8_t out[RECORD_BYTES_MAX]);
/* 0; or -1 for anything but the bytes that lockout_record_write() made with this key and SID; then *r is all zero. */
MUST_CHECK int lockout_record_read(struct lockout_record *r, const uint8_t key[LOCKOUT_KEY], const char *sid, struct strv bytes);

#endif
