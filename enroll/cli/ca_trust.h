/*
 * ca_trust: would anybody believe what an issuing CA signs?
 */
#ifndef EASGATE_ENROLL_CLI_CA_TRUST_H
#define EASGATE_ENROLL_CLI_CA_TRUST_H

#include "enroll/signer/ca_files.h"

/*
 * Verifies the RA's certificate of that issuing CA's generation up to a root of the folder (RFC 5280 section 6), as a proxy verifies a device's: signatures and
 * keys of 112 bits or more, dates, path lengths, key usages, client authentication not ruled out, name constraints. 0, or -1 with *r, which begins with `path`.
 */
MUST_CHECK int ca_trust_check(struct ca_files *f, const struct ca_entry *issuing, const char *path, struct refusal *r);

#endif
