/*
 * der: strict reading of DER (X.690 §10) from bytes that may be hostile and large. Pure, zero-copy.
 * Refused: indefinite and non-minimal lengths, tags above 30, contents that leave their container.
 */
#ifndef EASGATE_DER_H
#define EASGATE_DER_H

#include "common/base.h"

#define DER_BOOLEAN	0x01
#define DER_INTEGER	0x02
#define DER_BIT_STRING	0x03
#define DER_OCTETS	0x04
#define DER_NULL	0x05
#define DER_OID		0x06
#define DER_ENUMERATED	0x0a
#define DER_UTF8_STRING 0x0c
#define DER_PRINTABLE	0x13
#define DER_UTC_TIME	0x17
#define DER_TIME	0x18	/* GeneralizedTime */
#define DER_SEQUENCE	0x30
#define DER_SET		0x31
#define DER_CONTEXT(n)	(0x80 | (n))		/* primitive */
#define DER_CONSTRUCTED(n) (0xa0 | (n))

/* The tag of what comes next in *rest; -1 at the end. */
int der_peek(struct strv rest);
/*
 * Takes the next value off *rest. It must have this tag. *contents: what is inside; *whole (may be NULL): with tag and
 * length. 0, or -1: other tag, malformed, or longer than what holds it (*rest is then untouched).
 */
MUST_CHECK int der_take(struct strv *rest, int tag, struct strv *contents, struct strv *whole);
/* An INTEGER's contents as an unsigned number without zeros in front; empty for 0. -1: negative or not minimal. */
MUST_CHECK int der_unsigned(struct strv contents, struct strv *magnitude);
MUST_CHECK int der_boolean(struct strv contents, bool *out);
/* UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 wants it (Z, seconds, no fraction). Seconds since the epoch. */
MUST_CHECK int der_time(int tag, struct strv contents, int64_t *out);

/* Parts of a certificate (RFC 5280 section 4.1), each whole with tag and length, borrowed from its bytes. Nothing is known of its other parts. */
struct der_certificate {
	struct strv serial, issuer, subject, spki;
};
/* 0, or -1: these bytes are not one certificate to that part, or there are more. */
MUST_CHECK int der_certificate_read(struct strv der, struct der_certificate *out);

#endif
