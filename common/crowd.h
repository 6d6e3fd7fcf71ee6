/*
 * crowd: who calls from where: how many connections each address has, and which of them waits longest. An IPv6 address counts as its /64:
 * whoever has one address of it has all of them. A v4-mapped one is the IPv4 address that it is.
 *
 * Ownership: a crowd_member lies in the connection that it is of and must not move while it is in; members borrow the crowd.
 * Costs nothing but the table until somebody enters; all calls take the same time, however many are in.
 */
#ifndef EASGATE_CROWD_H
#define EASGATE_CROWD_H

#include "common/base.h"

#include <sys/socket.h>

struct crowd;
struct crowd_place;

/* Zero-initialised it is in nowhere. */
struct crowd_member {
	struct crowd_place *place;			/* NULL: not in */
	struct crowd_member *newer, *older;		/* of those that wait */
	bool waits;
};

/* For some 32 times `buckets` (a power of two) addresses at once. NULL: no memory, or no randomness. */
struct crowd *crowd_new(unsigned buckets);
/* Nobody is in it any more. Accepts NULL. */
void crowd_free(struct crowd *c);

/* How many this address has. */
unsigned crowd_count(struct crowd *c, const struct sockaddr *from);
/* m is in from now on, and waits. -1: no memory, m is not in. */
MUST_CHECK int crowd_enter(struct crowd *c, struct crowd_member *m, const struct sockaddr *from);
/* Nothing for one that is not in; so the next two. */
void crowd_leave(struct crowd *c, struct crowd_member *m);
/* It has had its turn: it waits from now on, so that all others of its address have waited longer. */
void crowd_waits(struct crowd_member *m);
/* Something is done for it: it does not wait. */
void crowd_served(struct crowd_member *m);
/* Who of this address has waited longest; NULL: nobody waits. */
struct crowd_member *crowd_longest(struct crowd *c, const struct sockaddr *from);

#endif
