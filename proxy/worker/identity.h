/*
 * identity: what a certificate says of its user. Pure: reads fields, decides nothing (policy), asks nobody (directory).
 */
#ifndef EASGATE_IDENTITY_H
#define EASGATE_IDENTITY_H

#include "common/certificate.h"
#include "proxy/settings.h"

#define CLAIM_VALUE_MAX 640

/* Flat: travels to the directory process and lives in shared records. Texts end with NUL and are clean UTF-8. */
struct claim {
	uint32_t kind;			/* enum claim_kind; CLAIM_NONE: unusable */
	char value[CLAIM_VALUE_MAX];
	char sid[CERT_SID_MAX];		/* the SID extension whenever the certificate has one, whatever `kind` is: the
					 * account found must have this SID (KB5014754). "" : none */
};

/*
 * Walks `order` (count entries): the first kind that the certificate has decides. A kind that is there but
 * unusable (NUL in a name, two UPNs, empty SID) ends the walk: the certificate is refused, not read further.
 * CERT_OK with *out filled; CERT_ABSENT: nothing in the list is there; else why not. *bad_kind says which entry failed.
 */
enum cert_result identity_from_certificate(const X509 *cert, const enum claim_kind *order, unsigned count,
    struct claim *out, enum claim_kind *bad_kind);

#endif
