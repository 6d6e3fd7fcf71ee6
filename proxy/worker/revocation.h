/*
 * revocation: chain → good, revoked or unknown, from the node's mapped index. A search in memory; answers are kept per
 * session and hold as long as the index's generation stands.
 */
#ifndef EASGATE_WORKER_REVOCATION_H
#define EASGATE_WORKER_REVOCATION_H

#include "proxy/revocation/index.h"
#include "proxy/worker/handshake.h"

struct revocation;

/* Opens the index in state_dir (which the process may read); it need not be there yet. NULL: out of memory. */
struct revocation *revocation_new(const char *state_dir);
void revocation_free(struct revocation *r);
/* The index file was replaced: map the new one. */
void revocation_remap(struct revocation *r);

/* What a session remembers of its last answer. Zero: nothing. */
struct revocation_memo {
	uint64_t generation;
	int64_t until;			/* GOOD holds until then, seconds since the epoch */
	uint8_t answer;			/* enum revocation_answer */
};
/*
 * Every certificate of the chain must be good; one revoked makes it revoked. A peer without certificate is GOOD.
 */
enum revocation_answer revocation_check(struct revocation *r, const struct peer *peer, time_t now, struct revocation_memo *memo);
/* For /readyz and metrics: seconds since the oldest data were known to be true; -1: some issuer never loaded. */
int64_t revocation_age(struct revocation *r, time_t now);
uint64_t revocation_serials(struct revocation *r);
/* For /readyz: some issuer's data are out of date (its list's nextUpdate has passed, or they are older than max_age). */
bool revocation_is_out_of_date(struct revocation *r, time_t now);
/* True if GOOD can be answered now for at least one issuer, or none is configured. */
bool revocation_is_loaded(struct revocation *r);

#endif
