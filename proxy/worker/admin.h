/*
 * admin: /healthz, /readyz, /metrics and /status on the admin listener and the local socket. Read only; loopback by default.
 */
#ifndef EASGATE_ADMIN_H
#define EASGATE_ADMIN_H

#include "proxy/worker/worker.h"

MUST_CHECK int admin_start(struct worker *w);
void admin_free(struct worker *w);

#endif
