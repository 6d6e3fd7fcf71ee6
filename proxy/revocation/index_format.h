/*
 * index_format: the layout of revocation.idx and the checks that make it safe to read. Private to index*.c and their tests.
 *
 *   head (4096) | rows, one an issuer, by issuer ascending | slots: what changed since the build | sections
 *
 * Head counters, rows' freshness and slots are written in place by the one writer, with atomics; all else never changes
 * after the file got its name. Numbers are in host order: the file never leaves its machine (the magic says so).
 * A section is `count` serials, ascending, each cut to the issuer's longest one (`stride`); of large issuers the first one
 * or two bytes are not stored but are the place in a directory, which pays for itself and makes the search short.
 */
#ifndef EASGATE_REVOCATION_INDEX_FORMAT_H
#define EASGATE_REVOCATION_INDEX_FORMAT_H

#include <assert.h>
#include <stdatomic.h>

#include "proxy/revocation/index.h"
#include "proxy/revocation/index_write.h"

#define INDEX_MAGIC	  0x31584449534745efull	/* another byte order reads another number */
#define INDEX_LAYOUT	  3u
#define INDEX_HEAD	  4096u
#define INDEX_SLOTS	  8192u			/* power of two */
#define INDEX_SLOTS_USED  (INDEX_SLOTS / 2)	/* more: the changes are folded in by a rebuild */
#define INDEX_FILE_MAX	  (1ull << 32)
#define INDEX_DIRECTORY_1 1028u			/* from so many serials on one byte is left to the directory: it then */
#define INDEX_DIRECTORY_2 131074u		/* costs no more than it saves; and two */
#define INDEX_ALL_SOURCES ((1u << INDEX_SOURCES) - 1)

struct index_head {
	uint64_t magic;
	uint32_t layout, issuers;
	uint64_t file_size, rows_at, slots_at, sections_at;
	uint64_t serials;			/* at the build */
	uint64_t built;				/* seconds since the epoch */
	uint8_t check[SHA256_SIZE];		/* over sections and rows' fixed part; the writer verifies it at start */
	uint32_t seed;				/* of the slots' hash */
	_Atomic uint32_t slots_used;
	_Atomic uint32_t replaced;		/* 1: a newer file has the name */
	uint32_t reserved;
	_Atomic uint64_t generation;
	_Atomic int64_t changed_serials;	/* serials gained (or lost) since the build */
	_Atomic int64_t let_in_floor;		/* index_let_in_floor() */
	uint64_t stream_ms, stream_number;	/* index_stream_position(); the writer alone reads them */
};

struct index_section {
	uint64_t entries_at;
	uint64_t directory_at;			/* uint32_t [256^prefix + 1]; 0 when prefix is 0 */
	uint64_t masks_at;			/* one bit a serial for each source, source by source; 0: all have `mask` */
	uint32_t count;
	uint8_t stride, prefix, mask;
	uint8_t sources;			/* that the configuration has for this issuer */
};

struct index_row {
	uint8_t issuer[SHA256_SIZE];
	struct index_section section;
	_Atomic int64_t as_of, fresh_until;
	struct index_source_state source[INDEX_SOURCES];
};

/* What changed: overrides the section. Written whole, then `state` is released; only `state` changes later. */
struct index_slot {
	_Atomic uint32_t state;			/* INDEX_SLOT_USED | mask of the sources that say revoked */
	uint16_t row;
	uint8_t n, reserved;
	uint8_t byte[SERIAL_MAX];
	uint32_t reserved2;
};
#define INDEX_SLOT_USED 0x100u

static_assert(sizeof(struct index_head) <= INDEX_HEAD, "head");
static_assert(sizeof(struct index_slot) == 32, "slot");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "shared memory needs lock-free atomics");

/* A checked mapping. */
struct index_map {
	struct index_head *head;		/* NULL: none; writable only in the writer */
	struct index_row *rows;
	struct index_slot *slots;
	size_t size;
};

/* Maps and checks every length and offset. 0 or -errno (EBADMSG: not such a file). Does not take fd. */
MUST_CHECK int index_map(int fd, bool writable, struct index_map *out);
void index_unmap(struct index_map *m);
/* The checksum over all that never changes. */
MUST_CHECK int index_check_sum(const struct index_map *m, uint8_t out[SHA256_SIZE]);
/* Row number, or -1. */
int index_find_row(const struct index_map *m, const uint8_t issuer[SHA256_SIZE]);
/* Mask of the sources that say revoked: of the section alone. */
unsigned index_section_mask(const struct index_map *m, const struct index_section *s, const struct serial *serial);
/* The slot that holds this serial, or the free one where it would go; NULL: neither (a full or damaged table). */
struct index_slot *index_find_slot(const struct index_map *m, unsigned row, const struct serial *serial, uint32_t *state);
/* Slot over section. */
unsigned index_mask(const struct index_map *m, unsigned row, const struct serial *serial);

/* Walks a section in order. */
struct index_walk {
	const struct index_map *map;
	const struct index_section *section;
	uint32_t i, prefix;
};
/* False at the end. */
bool index_walk_next(struct index_walk *w, uint8_t row[SERIAL_MAX], unsigned *mask);

/* Where the builder's part ends: see index_build.c. */
struct serials;
struct index_build_row {
	uint8_t issuer[SHA256_SIZE];
	uint8_t sources;
	const struct serials *add;		/* NULL: nothing new */
	enum index_source add_source;
	const struct index_source_state *state;	/* of add_source from now on; stands in the file before it gets its name */
	bool replace;				/* what the source said before counts no more */
};
/* Writes the next file from `old` (may be empty) and rows (sorted by issuer), syncs, renames. The new descriptor, or -errno. */
MUST_CHECK int index_build(int dir_fd, const struct index_map *old, const struct index_build_row *rows, unsigned n);

#endif
