/*
 * apple_seal: bytes encrypted to one device's certificate. Decides nothing; who that device is was settled by ota.h.
 * Runs in the worker of easenroll.
 */
#ifndef EASGATE_ENROLL_APPLE_SEAL_H
#define EASGATE_ENROLL_APPLE_SEAL_H

#include <openssl/x509.h>

#include "common/buffer.h"

/*
 * CMS EnvelopedData (RFC 5652 §6) in DER, AES-256-CBC, for the RSA key (2048 bits or more) of `recipient`, appended to `out`.
 * 0, or -1: another kind of key, key usage without keyEncipherment, or past the buffer's ceiling.
 */
MUST_CHECK int apple_seal(struct strv bytes, X509 *recipient, struct buffer *out);

#endif
