/*
 * der_write: DER (X.690) put together where its parts are bytes already. OpenSSL 3.0 makes an object of each part. Pure. Worker and signer.
 *
 * Written from the end to the front: what is put stands before all that was put earlier, and all since a mark is enclosed in a value by a head before
 * it, so that no length has to be known ahead. What does not fit is not written, and der_done() says so.
 */
#ifndef EASGATE_ENROLL_DER_WRITE_H
#define EASGATE_ENROLL_DER_WRITE_H

#include "common/der.h"

struct der_writer {
	uint8_t *room;
	size_t size, at; /* what was put stands from `at` to the end of the room */
	bool full;
};

/* Borrows the room until der_done(). */
void der_start(struct der_writer *d, void *room, size_t size);
static inline size_t der_mark(const struct der_writer *d) { return d->at; }
void der_put(struct der_writer *d, const void *p, size_t n);
/* All that was put since the mark becomes the inside of one value. */
void der_enclose(struct der_writer *d, uint8_t identifier, size_t mark);
/* A whole value. */
void der_value(struct der_writer *d, uint8_t identifier, const void *p, size_t n);
void der_oid(struct der_writer *d, int nid);
/* The inside of an INTEGER (X.690 section 8.3) that is this unsigned number: no zeros in front but the one that keeps it from being negative. out: n + 1 bytes. */
size_t der_integer_inside(uint8_t *out, const uint8_t *p, size_t n);
/* What stands since the mark, in the room. */
struct strv der_since(const struct der_writer *d, size_t mark);
/* All of it, in the room; n == 0: it did not fit. */
struct strv der_done(const struct der_writer *d);

#endif
