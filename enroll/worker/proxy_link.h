/*
 * proxy_link: the way to the proxy of this machine (common/local_revocation.h): one connection to its local socket, made again every second while it is
 * away. Keeps no list: what was not acknowledged is said again by revoke.c. Worker process.
 */
#ifndef EASGATE_ENROLL_PROXY_LINK_H
#define EASGATE_ENROLL_PROXY_LINK_H

#include "common/certificate.h"
#include "common/loop.h"
#include "common/wire.h"

struct proxy_link;

/* run_dir/revocation.sock. up: connected (again): whatever it may not know is to be said. Copies run_dir. NULL: why. */
struct proxy_link *proxy_link_new(struct loop *loop, const char *run_dir, void (*up)(void *arg), void *arg, char *why, size_t why_size);
void proxy_link_free(struct proxy_link *l);	/* no callback runs any more; accepts NULL */
bool proxy_link_is_up(const struct proxy_link *l);

/*
 * This serial is revoked, until a list with a number above `number` says otherwise. issuer: bytes, serial: without leading zeros. 0: done will run
 * (as wire_ask() says), to be read by proxy_link_taken(). -1: not connected, or too many under way.
 */
MUST_CHECK int proxy_link_revoked(struct proxy_link *l, const uint8_t issuer[SHA256_SIZE], const struct serial *serial, uint64_t number,
    wire_done_fn *done, void *arg);
/* The proxy has taken it, or has no use for it. */
bool proxy_link_taken(enum wire_status status, const void *body, size_t n);
/* The list with that number is in its place. Only once for each; nobody waits for an answer. */
void proxy_link_listed(struct proxy_link *l, const uint8_t issuer[SHA256_SIZE], uint64_t number);

#endif
