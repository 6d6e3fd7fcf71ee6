/*
 * ocsp_build: OCSP responses (RFC 6960), signed by a delegated signer whose key lives in this process's memory only and whose certificate renews itself.
 */
#ifndef EASGATE_ENROLL_SIGNER_OCSP_BUILD_H
#define EASGATE_ENROLL_SIGNER_OCSP_BUILD_H

#include "enroll/signer/ca_files.h"

#define OCSP_SIGNER_RETRY 60 /* seconds, after one could not be made */

struct ocsp_signer {
	const struct ca_entry *issuer; /* with its key; borrowed */
	/* Life of its certificate. A new one, with a new key, comes after half of it: what is left is at least as long as the longest answer (settings.c). */
	uint32_t seconds;
	X509 *certificate;
	EVP_PKEY *key;
	int64_t not_before, renew_at;
};

/*
 * Makes the delegated certificate if there is none, half of its life is over, or the clock was set back before its begin. Cheap when there is nothing to do:
 * to be called before each answer, as nobody else notices that a machine slept or its clock was wrong. 0, or -1 with *r: none was made; an old one that is still
 * valid stays usable, and for OCSP_SIGNER_RETRY it is not tried again (0).
 */
MUST_CHECK int ocsp_signer_keep(struct ocsp_signer *s, int64_t now, struct refusal *r);
void ocsp_signer_clear(struct ocsp_signer *s);

/*
 * One OCSPResponse with all entries. Refuses a CertID of another issuer or with another hash than SHA-1 and SHA-256, statuses and reasons that do not exist,
 * times that are not sane, and to sign with a certificate that is not valid now or ends before the answer. Returns DER (OPENSSL_free) with *n, or NULL with *r.
 */
unsigned char *ocsp_build(const struct ocsp_signer *s, const struct signer_ocsp *q,
    const struct signer_ocsp_entry *entries, int64_t now, size_t *n, struct refusal *r);

#endif
