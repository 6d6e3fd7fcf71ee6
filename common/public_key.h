/*
 * public_key: a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) becomes OpenSSL's key object. To OpenSSL 3.0's own decoders that costs as much as two signatures on
 * P-256 and more than the verification that follows; here it costs a tenth of it for the kinds that devices have: RSA (RFC 3279 §2.3.1) and EC on P-256,
 * P-384 and P-521 (RFC 5480), in DER to the last bit. All other bytes go to OpenSSL. No I/O; keeps a few objects until the process ends.
 */
#ifndef EASGATE_PUBLIC_KEY_H
#define EASGATE_PUBLIC_KEY_H

#include <openssl/evp.h>

#include "common/base.h"

#define PUBLIC_KEY_BYTES_MAX 4096

/* NULL: no key that OpenSSL knows, bytes behind it, or more than PUBLIC_KEY_BYTES_MAX. EC: the point is on its curve. The caller frees. */
EVP_PKEY *public_key_read(struct strv spki);
/* Whether it is of one of the kinds read here: the only encoding there is of that key and its point. */
bool public_key_is_plain(struct strv spki);
/*
 * A number of a key (OSSL_PKEY_PARAM_RSA_N, ..._E) of at most `bytes_max` bytes, no more than PUBLIC_KEY_BYTES_MAX. NULL: there is none, it is longer, no
 * memory. The caller frees. OpenSSL 3.0's own EVP_PKEY_get_bn_param() fills and reads 2 KiB for each: as much as a third of a signature on P-256.
 */
BIGNUM *public_key_number(const EVP_PKEY *key, const char *name, size_t bytes_max);

#endif
