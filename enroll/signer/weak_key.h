/*
 * weak_key: public keys that must never be certified. Pure functions on a public key.
 * Keys that are weak only because others know them, such as those that Debian's OpenSSL of 2006 to 2008 could make, are known_keys.h's.
 */
#ifndef EASGATE_ENROLL_SIGNER_WEAK_KEY_H
#define EASGATE_ENROLL_SIGNER_WEAK_KEY_H

#include <openssl/bn.h>
#include <openssl/evp.h>

#include "common/base.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192

/* NULL: nothing known against it. Else a literal that says what is wrong: kind, size, curve, exponent, ROCA (CVE-2017-15361), close primes, a point off its curve. */
const char *weak_key(EVP_PKEY *key);
/* The modulus bears the mark of ROCA keys (false alarm: one in 2^27 or fewer). */
bool weak_key_roca(const BIGNUM *n);
/* The modulus falls to Fermat's method within 100 steps (CVE-2022-26320). */
bool weak_key_close_primes(const BIGNUM *n);

#endif
