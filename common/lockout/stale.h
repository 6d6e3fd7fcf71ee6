/*
 * stale: passwords that were refused lately, so that the memory-hard work is done once for each and not at every retry of a phone that keeps it.
 * Nothing here lets a password in, or says that one is wrong: it gives back what lockout_stretch() gave, and the record decides as ever.
 *
 * An entry is found by HMAC-SHA-256 over SID and password, with a key that this process drew at its start; it lives STALE_SECONDS and is then
 * overwritten. Only refused passwords are put in. Memory is fixed, in this process alone, never in Redis or on disk. Seconds are of a clock that
 * nobody sets. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_STALE_H
#define EASGATE_LOCKOUT_STALE_H

#include "common/lockout/tag.h"

#define STALE_SECONDS 3600
#define STALE_ENTRIES 8192

struct stale;

/* NULL: out of memory, or no random bytes. */
struct stale *stale_new(void);
void stale_free(struct stale *s);	/* overwrites it; accepts NULL */
/* What an entry is found by: may be kept where the password may not. 0, or -1: OpenSSL refuses. */
MUST_CHECK int stale_name(const struct stale *s, const char *sid, struct strv password, uint8_t name[LOCKOUT_TAG]);
bool stale_find(struct stale *s, const uint8_t name[LOCKOUT_TAG], int64_t now, uint8_t stretched[LOCKOUT_STRETCHED]);
/* Does nothing for one that is known: its time is not made longer. */
void stale_keep(struct stale *s, const uint8_t name[LOCKOUT_TAG], int64_t now, const uint8_t stretched[LOCKOUT_STRETCHED]);
/* Overwrites what is over. */
void stale_tidy(struct stale *s, int64_t now);

#endif
