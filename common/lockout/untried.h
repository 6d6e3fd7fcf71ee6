/*
 * untried: passwords that were not tried lately, because a budget or the limit stood against it, so that a phone that brings one again costs no
 * memory-hard work as long as nothing has changed. Nothing here lets a password in, or refuses one: it only says that this one was in no list of
 * the record when the record was such and such, and the record is read, and judges, as ever.
 *
 * One of them may be the owner's right one. So what is kept of it is one byte of HMAC-SHA-256 under a key drawn at the start of the process and
 * a number drawn for this entry, for UNTRIED_SECONDS: whoever reads this memory can strike 255 of 256 guesses, and prove none. The price: of 256 other
 * passwords of the account from that address one is taken for it, and not tried for as long. So it is asked only where no password is known to
 * be right: there that one would not be tried either, or is known to be wrong.
 * Memory is fixed, in this process alone, never in Redis or on disk. Seconds are of a clock that nobody sets. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_UNTRIED_H
#define EASGATE_LOCKOUT_UNTRIED_H

#include "common/lockout/record.h"

#define UNTRIED_SECONDS 300
#define UNTRIED_ENTRIES 4096

struct untried;

/* NULL: out of memory, or no random bytes. */
struct untried *untried_new(void);
void untried_free(struct untried *u);	/* overwrites it; accepts NULL */
/* Where the entries of an account, as its password was last set, from an address lie. 0, or -1: OpenSSL refuses. */
MUST_CHECK int untried_place(const struct untried *u, const char *sid, int64_t generation, const uint8_t address[LOCKOUT_TAG],
    uint8_t place[LOCKOUT_TAG]);
/* What the record knew: another, once any password was found right or wrong. 0, or -1. */
MUST_CHECK int untried_known(const struct untried *u, const struct lockout_record *r, uint8_t known[LOCKOUT_TAG]);
/* True: this one, or one of 256 others, was not tried there; *known is what the record knew then. */
bool untried_find(struct untried *u, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now, uint8_t known[LOCKOUT_TAG]);
/* Does nothing for one that is there with the same knowledge: its time is not made longer. */
void untried_keep(struct untried *u, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now, const uint8_t known[LOCKOUT_TAG]);
/* Overwrites what is over. */
void untried_tidy(struct untried *u, int64_t now);

#endif
