/*
 * crl: reading and verifying one certificate revocation list (RFC 5280 §5), base or delta, as DER bytes. Pure, zero-copy:
 * a list of a million entries costs no memory but its own bytes. Nothing is repaired; what is not understood is refused.
 *
 * Accepted are complete lists, and deltas to them, that cover every certificate of one issuer. Refused: indirect lists,
 * lists of one distribution point or of some reasons, of CA or attribute certificates only (a list of user certificates
 * only is accepted when the issuer's path length is 0: it has no others), unknown critical extensions, doubled
 * extensions, a missing nextUpdate, SHA-1 and MD5 signatures.
 */
#ifndef EASGATE_REVOCATION_CRL_H
#define EASGATE_REVOCATION_CRL_H

#include <openssl/x509.h>

#include "proxy/revocation/serials.h"

#define CRL_BYTES_MAX (512u << 20)

enum crl_result {
	CRL_OK = 0,
	CRL_MALFORMED = -400,
	CRL_BAD_ENTRY,		/* an entry's serial, date or extensions */
	CRL_BAD_EXTENSION,	/* malformed or doubled */
	CRL_UNKNOWN_CRITICAL,	/* RFC 5280 §5.2: must not be used */
	CRL_INDIRECT,
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
};
const char *crl_result_text(int result);

struct crl {			/* all strv borrow from the bytes that were read */
	struct strv tbs, entries, issuer, algorithm, signature, extensions;
	struct strv scope;		/* issuing distribution point's contents; empty: none */
	struct strv authority_key;	/* authority key identifier's contents; empty: none */
	int64_t this_update, next_update;
	struct serial number;		/* n == 0: none, or the number 0 */
	struct serial base_number;	/* of a delta */
	bool has_number, is_delta, only_user;
	size_t count;			/* entries */
};

/* Reads and checks the form of everything, each entry included. CRL_OK or why not. */
MUST_CHECK int crl_read(struct strv der, struct crl *out);
/* Issuer, key usage and signature against `ca`, and times against `now`. CRL_EXPIRED is the last check: all else is then right. */
MUST_CHECK int crl_verify(const struct crl *crl, X509 *ca, time_t now);
/* As above, the check of the times alone. */
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
