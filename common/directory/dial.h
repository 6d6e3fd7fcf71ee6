/*
 * dial: a TCP connection to a named host without blocking: names by evdns, every address in turn,
 * one deadline.
 */
#ifndef EASGATE_DIRECTORY_DIAL_H
#define EASGATE_DIRECTORY_DIAL_H

#include <event2/dns.h>

#include "common/loop.h"

struct dial;

/* fd >= 0: connected, non-blocking, close-on-exec, and the callee's. Else `why` (valid for the
 * call) says what failed. */
typedef void dial_done_fn(void *arg, int fd, const char *why);

/* From /etc/resolv.conf and /etc/hosts as they are now: call before child_confine(). NULL: out of
 * memory. */
struct evdns_base *dial_dns_new(struct loop *loop);

/*
 * `done` runs exactly once, from the loop, unless dial_cancel() came before. Copies host.
 * timeout_ms covers names and all addresses. NULL: out of memory.
 */
struct dial *dial_start(struct loop *loop, struct evdns_base *dns, const char *host, uint16_t port,
    unsigned timeout_ms, dial_done_fn *done, void *arg);
/* Accepts NULL. Not after `done` ran. */
void dial_cancel(struct dial *d);

#endif
