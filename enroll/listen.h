/*
 * listen: the sockets of easenroll's plan: TCP listeners, the admin's, and run_dir/easenroll.sock. Master process.
 */
#ifndef EASGATE_ENROLL_LISTEN_H
#define EASGATE_ENROLL_LISTEN_H

#include <pwd.h>

#include "common/master.h"

#define ENROLL_TAG_ADMIN 1000	/* tags below are indexes of enroll.listeners */
#define ENROLL_TAG_LOCAL 1001

/* Fills plan->sockets. pw: who gets the local socket; NULL: us. 0 or -1 (logged). */
MUST_CHECK int enroll_listen_all(struct plan *plan, const struct passwd *pw);

#endif
