/*
 * index: the node's mapped revocation index: sorted serials of each issuer in one file that all workers map.
 * One process writes (*revocation*), all others read; a look-up is a search in mapped memory, no I/O, no lock.
 *
 * Two files in state_dir: `revocation.idx` (replaced by rename when rebuilt: a new generation) and, in its head,
 * a small table of what changed since (so that one revocation reaches all workers without a rebuild).
 * At most 20 bytes per revoked serial for the whole node.
 */
#ifndef EASGATE_REVOCATION_INDEX_H
#define EASGATE_REVOCATION_INDEX_H

#include "common/certificate.h"

enum revocation_answer {
	REVOCATION_UNKNOWN = 0,	/* issuer not covered, never loaded, or too old */
	REVOCATION_GOOD,
	REVOCATION_REVOKED,
};

struct revocation_view;		/* a reader's mapping */

/* Opens `state_dir`/revocation.idx read-only. NULL: not there or malformed (errno). */
struct revocation_view *revocation_view_open(int dir_fd);
/* From a descriptor that was handed over a wire; takes fd. Every length and offset in it is checked once, here. */
struct revocation_view *revocation_view_from_fd(int fd);
void revocation_view_free(struct revocation_view *v);

/*
 * `now`: seconds since the epoch. *as_of: when the answer's data were known to be true (0: never); REVOKED is given
 * however old the data are. Safe against a writer in another process.
 */
enum revocation_answer revocation_lookup(const struct revocation_view *v, const uint8_t issuer[SHA256_SIZE],
    const struct serial *serial, time_t now, int64_t *as_of);
/*
 * The same for a certificate that belongs to `point` (point_of_certificate): where the issuer's CRL covers one distribution point only,
 * GOOD is given to its certificates alone. revocation_lookup() is this without a point.
 */
struct point;
enum revocation_answer revocation_lookup_point(const struct revocation_view *v, const uint8_t issuer[SHA256_SIZE],
    const struct serial *serial, const struct point *point, time_t now, int64_t *as_of);
/* Changes whenever any answer may have changed (one atomic load): cache answers against it and revocation_fresh_until. */
uint64_t revocation_generation(const struct revocation_view *v);
/* Until when GOOD answers of this issuer hold, seconds since the epoch; 0: unknown issuer. Moves on while the source is confirmed. */
int64_t revocation_fresh_until(const struct revocation_view *v, const uint8_t issuer[SHA256_SIZE]);
/* The oldest as_of over all issuers, for metrics; 0: some issuer was never loaded or there is none. Count of serials. */
int64_t revocation_oldest(const struct revocation_view *v);
/* The first moment at which some issuer's GOOD ends; INT64_MAX: there is no issuer. */
int64_t revocation_first_end(const struct revocation_view *v);
uint64_t revocation_count(const struct revocation_view *v);
/* True if the file was replaced by a newer generation (the mapping is still good): open anew. */
bool revocation_is_stale(const struct revocation_view *v);

#endif
