/*
 * accept: which connections become sessions: limits, descriptors, and who must begin with a PROXY header.
 */
#ifndef EASGATE_ACCEPT_H
#define EASGATE_ACCEPT_H

#include "proxy/worker/worker.h"

#define SOCKET_TAG_ADMIN 1000	/* tags below are indexes of proxy.listeners */
#define SOCKET_TAG_ADMIN_LOCAL 1001

/* Starts accepting on this worker's sockets. 0 or -1 (logged). */
MUST_CHECK int accept_start(struct worker *w);
/* The networks to believe are read anew from w->now. */
void accept_reload(struct worker *w);
/* Closes the listening sockets of this worker: draining. */
void accept_stop(struct worker *w);
void accept_free(struct worker *w);
/* Accepting goes on where it was paused for want of room. */
void accept_resume(struct worker *w);

#endif
