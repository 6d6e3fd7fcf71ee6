/*
 * known_keys: public keys that somebody else knows the private half of, from a file that the administrator keeps. Loaded once, then read only.
 *
 * A line each, `#` begins a comment: 64 hex digits, the SHA-256 of a SubjectPublicKeyInfo; or 20, a line of Debian's openssl-blacklist (CVE-2008-0166): the
 * last 80 bits of the SHA-1 of "Modulus=", the RSA modulus in upper-case hex, and a line end.
 */
#ifndef EASGATE_ENROLL_SIGNER_KNOWN_KEYS_H
#define EASGATE_ENROLL_SIGNER_KNOWN_KEYS_H

#include <openssl/evp.h>
#include <stdio.h>

#include "common/base.h"
#include "enroll/signer/refusal.h"

#define KNOWN_KEYS_MAX 900000u	/* lines of a file */

struct known_keys;

/* NULL with *r: unreadable, too many, or a line (which is told) that is neither. */
struct known_keys *known_keys_read(const char *path, struct refusal *r);
/* The same of what an open stream brings; name: for *r. */
struct known_keys *known_keys_from(FILE *f, const char *name, struct refusal *r);
void known_keys_free(struct known_keys *k);	/* accepts NULL */
size_t known_keys_count(const struct known_keys *k);
/* 1: the key of these n bytes (DER) is in the file; 0: it is not; -1: that cannot be found out (out of memory). k NULL: 0. */
MUST_CHECK int known_keys_has(const struct known_keys *k, const uint8_t *spki, size_t n, EVP_PKEY *key);

#endif
