/*
 * untried: passwords that were not tried lately, because a budget or the limit stood against it, so that a phone that brings one again costs no
 * memory-hard work as long as nothing has changed. Nothing here lets a password in, or refuses one: it only says that this one was in no list of
 * the record when the record was such and such, and the record is read, and judges, as ever.
 *
 * One of them may be the owner's right one. So what is kept of it is one byte of HMAC-SHA-256 under the table's key and
 * a number drawn for this entry, for UNTRIED_SECONDS: whoever reads this memory can strike 255 of 256 guesses, and prove none. The price: of 256 other
 * passwords of the account from that address one is taken for it, and not tried for as long. So it is asked only where no password is known to
 * be right: there that one would not be tried either, or is known to be wrong.
 *
 * The record does not tell where the domain controller's own count stood against it (directory's margin): that refusal is kept beside, for
 * UNTRIED_GUARDED_SECONDS, since the owner may clear that count elsewhere any time; then the controller is asked again.
 * A table of brief.h with UNTRIED_ENTRIES. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_UNTRIED_H
#define EASGATE_LOCKOUT_UNTRIED_H

#include "common/lockout/brief.h"
#include "common/lockout/record.h"

#define UNTRIED_SECONDS 300
#define UNTRIED_ENTRIES 4096
#define UNTRIED_GUARDED_SECONDS 30

/* What is kept of one password. */
struct untried_entry {
	uint64_t number;	/* drawn for this entry: two of one password have nothing in common */
	int64_t guarded_until;	/* 0: nothing but the record stood against it */
	uint8_t byte;
	bool person;		/* `guarded_until` holds for who types, too */
	uint8_t spare[6];
	uint8_t known[8];	/* untried_known() of the record */
};

/* Where the entries of an account, as its password was last set, from an address lie. 0, or -1: OpenSSL refuses. */
MUST_CHECK int untried_place(const struct brief *b, const char *sid, int64_t generation, const uint8_t address[LOCKOUT_TAG],
    uint8_t place[LOCKOUT_TAG]);
/* What the record knew: another, once any password was found right or wrong. 0, or -1. */
MUST_CHECK int untried_known(const struct brief *b, const struct lockout_record *r, uint8_t known[8]);
/* All of an entry but what the record knew, and what was guarded: for whoever has the password now, and not any more when it is known. 0, or -1. */
MUST_CHECK int untried_note(const struct brief *b, struct strv password, struct untried_entry *e);
/* True: this one, or one of 256 others, was not tried there. */
bool untried_find(struct brief *b, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now, struct untried_entry *e);
/* That one is not asked for again. */
void untried_drop(struct brief *b, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now);
/* It lives UNTRIED_SECONDS. */
void untried_keep(struct brief *b, const uint8_t place[LOCKOUT_TAG], int64_t now, const struct untried_entry *e);

#endif
