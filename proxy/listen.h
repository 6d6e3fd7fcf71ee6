/*
 * listen: the sockets of a plan: bound here, or handed over by systemd (socket activation). Master process.
 */
#ifndef EASGATE_PROXY_LISTEN_H
#define EASGATE_PROXY_LISTEN_H

#include <pwd.h>

#include "common/master.h"

/* Fills plan->sockets: each listener once per worker (SO_REUSEPORT), the admin's likewise, and the local sockets in run_dir. 0 or -1 (logged). */
MUST_CHECK int listen_all(struct plan *plan, const struct passwd *pw);

#endif
