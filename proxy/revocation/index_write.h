/*
 * index_write: the one writer of revocation.idx, in the revocation process. Single changes go to the change table of the
 * mapped file and are seen by all readers at once; whole sources are written to a new file that takes the old one's name.
 *
 * A serial is revoked while any configured source says so. GOOD is answered until the first of the issuer's configured
 * sources is too old: its next_update has come, or it was last confirmed more than max_age ago.
 */
#ifndef EASGATE_REVOCATION_INDEX_WRITE_H
#define EASGATE_REVOCATION_INDEX_WRITE_H

#include "proxy/revocation/index.h"
#include "proxy/revocation/point.h"

#define INDEX_FILE	  "revocation.idx"
#define INDEX_ISSUERS_MAX 4096

struct serials;

/* INDEX_LOCAL: enrolment on this machine (local.h). It only adds: it has no freshness, and what it says ends by a newer CRL. */
enum index_source { INDEX_CRL = 0, INDEX_REDIS, INDEX_LOCAL, INDEX_SOURCES };
#define INDEX_BIT(source) (1u << (source))

/* What is remembered of a source; 0 and empty when it was never loaded. Lives in the file. */
struct index_source_state {
	int64_t confirmed;		/* when it was last known to be true */
	int64_t this_update;
	int64_t next_update;		/* 0: has none (Redis) */
	uint8_t content[SHA256_SIZE];	/* of the bytes it was loaded from, so that the same need not be read again */
	struct serial number, delta_number;	/* n == 0: none */
	uint8_t points_count;			/* 0: it speaks of all the issuer's certificates */
	struct point points[POINTS_MAX];	/* else only of those that name one of these */
	uint8_t padding[29];
};

struct index_issuer {
	uint8_t issuer[SHA256_SIZE];
	unsigned sources;		/* INDEX_BIT()s that are configured */
};

struct index_writer;

/*
 * Takes up `dir_fd`/revocation.idx where its checksum holds, else begins anew (said in the log). Borrows dir_fd.
 * What the file knows of issuers in `issuers` (n of them) is kept, other issuers are dropped. NULL with errno.
 */
struct index_writer *index_writer_open(int dir_fd, const struct index_issuer *issuers, unsigned n, int64_t max_age);
void index_writer_free(struct index_writer *w);
/* Another configuration. 0 or -errno; then nothing changed. */
MUST_CHECK int index_writer_configure(struct index_writer *w, const struct index_issuer *issuers, unsigned n, int64_t max_age);

/*
 * All that `source` says of the issuer: replaces what it said before, or (keep) adds to it. `list` must be sorted and is
 * borrowed for the call. state: what to remember; its `confirmed` makes the source fresh. 0 or -errno.
 */
MUST_CHECK int index_writer_load(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    const struct serials *list, bool keep, const struct index_source_state *state);
/* One serial. 1: an answer changed, 0: it was so already, or -errno. Microseconds, but for the fold every few thousand changes. */
MUST_CHECK int index_writer_change(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    const struct serial *serial, bool revoked);
/* The source was seen to be as it is in the index. next_update 0: none. */
void index_writer_confirm(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    int64_t confirmed, int64_t next_update);
/* NULL: issuer not configured. */
const struct index_source_state *index_writer_source(const struct index_writer *w, const uint8_t issuer[SHA256_SIZE],
    enum index_source source);

/* Persistent, in place: what index_writer_source() gives as `number` from now on. */
void index_writer_set_number(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source, const struct serial *number);
/* All serials that this source says are revoked, each once. fn must not change the index. */
void index_writer_each(const struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    void (*fn)(void *arg, const struct serial *serial), void *arg);

/* Whether this source (not another) says that the serial is revoked. */
bool index_writer_says(const struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    const struct serial *serial);

/* How often the file was replaced since open: whoever shows REVOCATION_CHANGED compares. */
uint64_t index_writer_replacements(const struct index_writer *w);
/* The writer's own mapping as a reader sees it, until the next call that may rebuild. */
const struct revocation_view *index_writer_view(const struct index_writer *w);

/* Persistent: the newest time of an authentic event that let somebody in (event.h). Never goes back. */
int64_t index_let_in_floor(const struct index_writer *w);
void index_raise_let_in_floor(struct index_writer *w, int64_t time);
/* Persistent: up to where the events in Redis have been taken into this index; 0-0: never followed. */
void index_stream_position(const struct index_writer *w, uint64_t *ms, uint64_t *number);
void index_set_stream_position(struct index_writer *w, uint64_t ms, uint64_t number);

#endif
