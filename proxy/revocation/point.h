/*
 * point: distribution points: which part of an issuer's certificates a CRL covers, and which one a certificate belongs to. Pure.
 *
 * A CRL whose issuing distribution point has names (RFC 5280 §5.2.5) covers the certificates that name one of them in their CRL
 * distribution points (§4.2.1.13), and no others. Names are compared by their DER bytes; eight bytes of their hash stand for them.
 */
#ifndef EASGATE_REVOCATION_POINT_H
#define EASGATE_REVOCATION_POINT_H

#include <openssl/x509.h>

#include "common/base.h"

#define POINT_SIZE 8
#define POINTS_MAX 4

struct point {			/* all zero: none */
	uint8_t hash[POINT_SIZE];
};

/*
 * The names of a DistributionPointName (contents of its explicit tag). issuer: the CRL issuer's Name, DER, for names relative to it.
 * How many, at most POINTS_MAX; or -1: malformed, none, or more.
 */
MUST_CHECK int point_names(struct strv name, struct strv issuer, struct point out[POINTS_MAX]);
/*
 * The first name of the certificate's first distribution point that holds all reasons and is its issuer's own. Zero when it has none,
 * or one that cannot be read: then no CRL with a point covers it.
 */
void point_of_certificate(const X509 *cert, struct point *out);

static inline bool point_is_none(const struct point *p)
{
	static const struct point none;

	return memcmp(p, &none, sizeof(none)) == 0;
}

#endif
