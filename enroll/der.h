/*
 * der: DER (X.690) put together where its parts are bytes already, and walked through where a few of its parts matter. OpenSSL 3.0 makes an object of each
 * part, and of the key in a certificate one that costs more than it costs to verify a signature. Pure. Worker and signer.
 *
 * Written from the end to the front: what is put stands before all that was put earlier, and all since a mark is enclosed in a value by a head before it, so that no length has
 * to be known ahead. What does not fit is not written, and der_done() says so.
 */
#ifndef EASGATE_ENROLL_DER_H
#define EASGATE_ENROLL_DER_H

#include "common/base.h"

/* Identifier octets (X.690 section 8.1.2). */
#define DER_INTEGER	    0x02
#define DER_BIT_STRING	    0x03
#define DER_OCTET_STRING    0x04
#define DER_NULL	    0x05
#define DER_OID		    0x06
#define DER_UTF8_STRING	    0x0c
#define DER_PRINTABLE	    0x13
#define DER_SEQUENCE	    0x30
#define DER_SET		    0x31
#define DER_CONTEXT(n)	    (0x80 | (n)) /* [n] IMPLICIT of what is primitive */
#define DER_CONTEXT_LIST(n) (0xa0 | (n)) /* [n] of what is constructed, EXPLICIT or not */

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
/* What stands since the mark, in the room. */
struct strv der_since(const struct der_writer *d, size_t mark);
/* All of it, in the room; n == 0: it did not fit. */
struct strv der_done(const struct der_writer *d);

/*
 * Takes the value at the front of *in: whole with its head, and what is inside. False, and nothing is taken: it is another one, is cut, or has a length
 * that is not definite.
 */
MUST_CHECK bool der_take(struct strv *in, uint8_t identifier, struct strv *whole, struct strv *inside);

/* Parts of a certificate (RFC 5280 section 4.1), each whole with its head, borrowed from its bytes. Of no other part is anything known. */
struct der_certificate {
	struct strv serial, issuer, subject, spki;
};
MUST_CHECK bool der_certificate_read(struct strv der, struct der_certificate *out);

#endif
