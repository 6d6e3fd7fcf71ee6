/*
 * certificate_build: a device's certificate from a question that profile_check let pass. Nothing but the public key comes from outside the directory.
 */
#ifndef EASGATE_ENROLL_SIGNER_CERTIFICATE_BUILD_H
#define EASGATE_ENROLL_SIGNER_CERTIFICATE_BUILD_H

#include "enroll/der_write.h"
#include "enroll/signer/profile_check.h"

/* The certificate in DER, signed by `issuer` (current, with its key), for OPENSSL_free(). notAfter is cut to the issuer's. NULL with *r. */
unsigned char *certificate_build(const struct signer_setup *setup, const struct ca_entry *issuer,
    const struct signer_issue *q, const struct issue_order *order, size_t *n, struct refusal *r);
/*
 * The subject, a Name in DER, in front of what was put: template "KEY=text,KEY=text" where text may hold {display_name} {sam} {upn} {mail} {device}. Values go in
 * as they are, never parsed, so that a comma in a name stays in it. A part whose value is empty is left out; a value longer than X.520 allows is refused, not
 * cut. Each is of the string type that OpenSSL gives its attribute. 0, or -1 with *r.
 */
MUST_CHECK int certificate_subject(
    struct der_writer *d, const char *template, const struct signer_issue *q, struct refusal *r);
/* The SID extension's value (MS-WCCE 2.2.2.7.7.4), byte for byte as AD CS writes it. Returns its length, 0: does not fit. */
size_t certificate_sid_value(const char *sid, uint8_t *out, size_t size);

#endif
