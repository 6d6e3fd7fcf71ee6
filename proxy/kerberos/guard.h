/*
 * guard: what all kerberos processes of a node, and those that replace them, know of the keytab:
 * whether the KDC refused it.
 *
 * A wrong key counts as a wrong password: a handful of tries locks the proxy's own account. So only
 * one process logs on at a time, and after a refusal nobody does again with the same keytab for
 * GUARD_SECONDS. One page, shared over fork.
 */
#ifndef EASGATE_KERBEROS_GUARD_H
#define EASGATE_KERBEROS_GUARD_H

#include "common/base.h"

#define GUARD_SECONDS 1800 /* AD's usual lockout observation window */

/* In the master, once, before it forks (again: harmless). Without it each process guards itself
 * alone. 0 or -errno. */
MUST_CHECK int guard_setup(void);

/*
 * Before a logon with the keytab of this hash. True: go on, and guard_leave() when it ended. False:
 * *refused tells whether this keytab was refused lately, or another process was still at it after
 * wait_ms.
 */
MUST_CHECK bool guard_enter(const uint8_t keytab[SHA256_SIZE], unsigned wait_ms, bool *refused);
/* `refused`: the KDC said that the key is wrong. */
void guard_leave(const uint8_t keytab[SHA256_SIZE], bool refused);

#endif
