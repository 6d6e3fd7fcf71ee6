/*
 * kdc: one Kerberos message to a KDC and its answer, over TCP (RFC 4120 7.2.2), without blocking.
 */
#ifndef EASGATE_DIRECTORY_KDC_H
#define EASGATE_DIRECTORY_KDC_H

#include "common/directory/dial.h"

#define KDC_ANSWER_MAX (1u << 20)

struct kdc_exchange;

struct kdc_list {
	const char *const
	    *hosts; /* "host", "host:port" or "[v6]:port"; port 88 by default. Borrowed. */
	unsigned count;
	unsigned best;	     /* which one answered last: asked first */
	unsigned timeout_ms; /* for one KDC, from the name to the last byte */
};

/* answer.p NULL: no KDC answered, `why` says it of the last one. Both valid for the call. */
typedef void kdc_done_fn(void *arg, struct strv answer, const char *why);

/* Copies message. Each KDC of the list is tried once. `done` runs once, from the loop, unless
 * cancelled. NULL: out of memory. */
struct kdc_exchange *kdc_ask(struct loop *loop, struct evdns_base *dns, struct kdc_list *list,
    struct strv message, kdc_done_fn *done, void *arg);
void kdc_cancel(struct kdc_exchange *x); /* accepts NULL; not after `done` ran */

#endif
