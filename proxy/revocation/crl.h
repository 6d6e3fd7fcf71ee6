/*
 * crl: reading and verifying one certificate revocation list (RFC 5280 §5), base or delta, as DER bytes. Pure, zero-copy:
 * a list of a million entries costs no memory but its own bytes. Nothing is repaired; what is not understood is refused.
 *
 * Accepted are complete lists of one issuer, and deltas to them; also lists of one distribution point (`points`: they cover only the
 * certificates that name it) and lists that say they are indirect (an entry of another issuer then counts as this one's: too much is
 * refused rather than too little). Refused: lists of some reasons, of CA or attribute certificates only (a list of user certificates
 * only is accepted when the issuer's path length is 0: it has no others), unknown critical extensions, doubled
 * extensions, a missing nextUpdate, SHA-1 and MD5 signatures.
 */
#ifndef EASGATE_REVOCATION_CRL_H
#define EASGATE_REVOCATION_CRL_H

#include <openssl/x509.h>

#include "proxy/revocation/point.h"
#include "proxy/revocation/serials.h"

#define CRL_BYTES_MAX (512u << 20)

enum crl_result {
	CRL_OK = 0,
	CRL_MALFORMED = -400,
	CRL_BAD_ENTRY,		/* an entry's serial, date or extensions */
	CRL_BAD_EXTENSION,	/* malformed or doubled */
	CRL_UNKNOWN_CRITICAL,	/* RFC 5280 §5.2: must not be used */
	CRL_INDIRECT,		/* entries of another issuer in a list that is not indirect */
	CRL_PARTIAL,		/* covers a part of the issuer's certificates only */
	CRL_NO_NEXT_UPDATE,
	CRL_WRONG_ISSUER,	/* name or authority key identifier is not the CA's */
	CRL_NOT_A_CRL_SIGNER,	/* the CA may not sign CRLs (key usage) */
	CRL_BAD_ALGORITHM,	/* unknown, weak, or not the same in both places */
	CRL_BAD_SIGNATURE,
	CRL_NOT_YET_VALID,
	CRL_EXPIRED,
	CRL_ROLLBACK,		/* older than the one that is known */
	CRL_IS_DELTA,		/* a delta where a complete list was expected, or the other way */
	CRL_NOT_A_DELTA,
	CRL_DELTA_BASE,		/* the delta is for a later base than the one at hand */
	CRL_DELTA_SCOPE,	/* the delta covers other certificates than the base */
	CRL_TOO_MANY,		/* entries, or out of memory */
	CRL_BAD_SIGNER,		/* the further key that signed it is not certified, expired, or revoked */
	CRL_SIGNER_UNKNOWN,	/* whether that key is revoked is not known (yet) */
};
const char *crl_result_text(int result);

struct crl {			/* all strv borrow from the bytes that were read */
	struct strv tbs, entries, issuer, algorithm, signature, extensions;
	struct strv scope;		/* issuing distribution point's contents; empty: none */
	struct strv authority_key;	/* authority key identifier's contents; empty: none */
	int64_t this_update, next_update;
	struct serial number;		/* n == 0: none, or the number 0 */
	struct serial base_number;	/* of a delta */
	bool has_number, is_delta, only_user, is_indirect;
	unsigned points_count;		/* 0: covers all of the issuer's certificates */
	struct point points[POINTS_MAX];
	size_t count;			/* entries */
};

/* Reads and checks the form of everything, each entry included. CRL_OK or why not. */
MUST_CHECK int crl_read(struct strv der, struct crl *out);
/*
 * Name, key usage and signature against `signer` (most often the issuer `ca` itself; another certificate of the same name where the CA signs
 * lists with another key), and times against `now`. CRL_EXPIRED is the last check: all else is then right.
 */
MUST_CHECK int crl_verify(const struct crl *crl, X509 *ca, X509 *signer, time_t now);
/* By the first of `certs`, the issuer, else by a further one, another key that it signs with. The first one's reason is given. */
MUST_CHECK int crl_verify_any(const struct crl *crl, const STACK_OF(X509) *certs, time_t now);
/* The check of the times alone. */
MUST_CHECK int crl_times(const struct crl *crl, time_t now);
/* Whether `crl` may take the place of one with this number and thisUpdate: CRL_OK or CRL_ROLLBACK. */
MUST_CHECK int crl_follows(const struct crl *crl, const struct serial *known_number, int64_t known_update);
/* Whether `delta` goes with `base`: both verified. RFC 5280 §5.2.4. */
MUST_CHECK int crl_delta_fits(const struct crl *base, const struct crl *delta);

/*
 * The serials that are revoked by base and (NULL: none) delta, sorted, into *out (cleared before). A delta that is not newer than
 * the base adds nothing. CRL_OK or CRL_TOO_MANY.
 */
MUST_CHECK int crl_collect(const struct crl *base, const struct crl *delta, struct serials *out);
/* -1, 0, 1. */
int serial_compare(const struct serial *a, const struct serial *b);

#endif
