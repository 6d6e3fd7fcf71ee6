/*
 * stale: passwords that were refused lately, so that the memory-hard work is done once for each and not at every retry of a phone that keeps it.
 * Nothing here lets a password in, or says that one is wrong: it gives back what lockout_stretch() gave, and the record decides as ever.
 *
 * A table of brief.h with STALE_ENTRIES. An entry is found by a keyed hash over SID and password, and lives STALE_SECONDS. Only refused
 * passwords are put in. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_STALE_H
#define EASGATE_LOCKOUT_STALE_H

#include "common/lockout/brief.h"

#define STALE_SECONDS 3600
#define STALE_ENTRIES 8192

/* What an entry is found by: may be kept where the password may not. 0, or -1: OpenSSL refuses. */
MUST_CHECK int stale_name(const struct brief *b, const char *sid, struct strv password, uint8_t name[LOCKOUT_TAG]);
bool stale_find(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t now, uint8_t stretched[LOCKOUT_STRETCHED]);
/* Does nothing for one that is known: its time is not made longer. */
void stale_keep(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t now, const uint8_t stretched[LOCKOUT_STRETCHED]);

#endif
