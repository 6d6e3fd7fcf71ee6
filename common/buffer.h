/*
 * buffer: a growing run of bytes with a ceiling that must be named, and the pool of blocks it lives in.
 * Bytes enter at the end and leave at the front. An empty buffer holds no memory.
 */
#ifndef EASGATE_BUFFER_H
#define EASGATE_BUFFER_H

#include "common/base.h"

struct buffer {
	char *base;	/* NULL while empty and released */
	size_t start;	/* first byte that counts */
	size_t end;	/* behind the last one */
	size_t size;	/* of base */
	size_t max;	/* ceiling, set once */
	size_t high;	/* behind the last byte of base that ever held data: what a release wipes */
};

/* Caller's storage; nothing is allocated. max > 0. */
void buffer_init(struct buffer *b, size_t max);
/* Wipes (OPENSSL_cleanse) and frees. The buffer may be used again. */
void buffer_clear(struct buffer *b);
/* As buffer_clear, but only if nothing is held: what idle sessions call. */
void buffer_release_empty(struct buffer *b);

static inline size_t buffer_len(const struct buffer *b)
{
	return b->end - b->start;
}

static inline char *buffer_data(const struct buffer *b)
{
	return b->base ? b->base + b->start : NULL;
}

static inline struct strv buffer_view(const struct buffer *b)
{
	return (struct strv){ buffer_data(b), buffer_len(b) };
}

static inline size_t buffer_room(const struct buffer *b)
{
	return b->max - buffer_len(b);
}

/*
 * Makes room for at least `want` bytes at the end (moves held bytes to the front if that suffices, else
 * grows: pointers into the buffer end) and returns where to write, *got = room there. NULL: past the
 * ceiling or out of memory. Say with buffer_added() how many came. *got never leads past the ceiling; a want
 * of 0 counts as 1.
 */
char *buffer_reserve(struct buffer *b, size_t want, size_t *got);
void buffer_added(struct buffer *b, size_t n);
/* Appends; 0 or -1 (nothing appended) past the ceiling or out of memory. */
MUST_CHECK int buffer_add(struct buffer *b, const void *bytes, size_t n);
MUST_CHECK int buffer_addv(struct buffer *b, struct strv text);
MUST_CHECK PRINTF(2, 3) int buffer_printf(struct buffer *b, const char *fmt, ...);
/* Takes n bytes from the front; n <= buffer_len. */
void buffer_eat(struct buffer *b, size_t n);

/*
 * Blocks that idle buffers gave back and this process keeps for the next one (wiped; at most 256 of each of the two
 * sizes, 4 and 16 KiB; none under AddressSanitizer). Trims to at most `keep` blocks of each size.
 */
void buffer_pool_trim(size_t keep);

#endif
