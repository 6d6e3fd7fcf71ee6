/*
 * ocsp_build: OCSP responses (RFC 6960), signed by a delegated signer whose key lives in this process's memory only and whose certificate renews itself.
 */
#ifndef EASGATE_ENROLL_SIGNER_OCSP_BUILD_H
#define EASGATE_ENROLL_SIGNER_OCSP_BUILD_H

#include "enroll/signer/ca_files.h"

/* Of its certificate; a new one, with a new key, after half of it: so what is left is always more than the longest answer (enroll.ca.ocsp_seconds, a week). */
#define OCSP_SIGNER_SECONDS (16 * 86400)

struct ocsp_signer {
	const struct ca_entry *issuer; /* with its key; borrowed */
	X509 *certificate;
	EVP_PKEY *key;
	int64_t renew_at;
};

/* Makes the delegated certificate if there is none or half of its life is over. 0 or -1 with *r; an old one that is still valid stays usable. */
MUST_CHECK int ocsp_signer_keep(struct ocsp_signer *s, int64_t now, struct refusal *r);
void ocsp_signer_clear(struct ocsp_signer *s);

/*
 * One OCSPResponse with all entries. Refuses a CertID of another issuer or with another hash than SHA-1 and SHA-256, statuses and reasons that do not exist,
 * times that are not sane. Returns DER (OPENSSL_free) with *n, or NULL with *r.
 */
unsigned char *ocsp_build(const struct ocsp_signer *s, const struct signer_ocsp *q,
    const struct signer_ocsp_entry *entries, size_t *n, struct refusal *r);

#endif
