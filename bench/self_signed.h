/*
 * self_signed: a certificate for the parts of `make bench` that need any at all.
 */
#ifndef BENCH_SELF_SIGNED_H
#define BENCH_SELF_SIGNED_H

#include <openssl/x509.h>

/* Version 3, serial 1, this common name, good for a day, signed by its own key with SHA-256. NULL: OpenSSL's errors say why. The caller frees it. */
X509 *self_signed(EVP_PKEY *key, const char *name);

#endif
