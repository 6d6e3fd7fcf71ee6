/*
 * message_sign: CMS SignedData by the RA (CertRep, GetNextCACert) and by the profile key (Apple profiles).
 */
#ifndef EASGATE_ENROLL_SIGNER_MESSAGE_SIGN_H
#define EASGATE_ENROLL_SIGNER_MESSAGE_SIGN_H

#include "enroll/signer/ca_files.h"

/*
 * All return ContentInfo(SignedData) DER (OPENSSL_free) with *n, or NULL with *r.
 */

/* CertRep (RFC 8894 section 3.3.2): attributes from q and no others, signatureAlgorithm rsaEncryption, content an OCTET STRING that may be empty but never absent. */
unsigned char *message_cert_rep(struct ca_files *ca, const struct signer_scep_sign *q,
    const void *content, size_t *n, struct refusal *r);
/* The bytes signed by the current profile key, with the issuing CA's certificate beside its own. */
unsigned char *message_profile(
    struct ca_files *ca, const void *bytes, size_t bytes_n, size_t *n, struct refusal *r);
/* The next issuing CA's and RA's certificates (and the root, when it is another) as certificates only, signed by the current RA. */
unsigned char *message_next_ca(struct ca_files *ca, size_t *n, struct refusal *r);

#endif
