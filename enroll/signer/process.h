/*
 * process: the *signer* role's life. It has no listener and no wire but those to workers.
 */
#ifndef EASGATE_ENROLL_SIGNER_PROCESS_H
#define EASGATE_ENROLL_SIGNER_PROCESS_H

#include "enroll/signer/setup.h"

struct child;
/* Called by the master's fork. Returns the exit status. setup and all that it points to outlive it. */
int signer_process(struct child *child, const struct signer_setup *setup);

#endif
