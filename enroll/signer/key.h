/*
 * key: the private keys of the signer: made, written, and loaded from PEM files (0600, encrypted if there is a password) or from a PKCS#11 token, which
 * OpenSSL 3.0 reaches through the engine "pkcs11" and later ones through the provider of that name, whichever is installed.
 */
#ifndef EASGATE_ENROLL_SIGNER_KEY_H
#define EASGATE_ENROLL_SIGNER_KEY_H

#include <openssl/evp.h>

#include "enroll/signer/refusal.h"

/* Where passwords and tokens are. All borrowed; "" or NULL: none. */
struct key_source {
	const char *password_file;
	const char *pkcs11_module, *pin_file;
};

enum key_kind { KEY_EC_P256 = 0, KEY_EC_P384, KEY_RSA_2048, KEY_RSA_3072, KEY_RSA_4096 };

/* True for "pkcs11:..." (RFC 7512): the key stays in its token. */
bool key_is_token(const char *reference);
/* NULL: *r says why. */
EVP_PKEY *key_make(enum key_kind kind, struct refusal *r);
/* PKCS#8 PEM, mode 0600, AES-256-CBC under the password (scrypt is not read everywhere: PBKDF2) if source has one. 0 or -1. */
MUST_CHECK int key_write(
    const char *path, EVP_PKEY *key, const struct key_source *source, struct refusal *r);
/* reference: a path, or a token's URI. NULL: *r names file or URI, the reason and the cure. A key in a token stays usable until the process ends. */
EVP_PKEY *key_load(const char *reference, const struct key_source *source, struct refusal *r);
/* The digest that signatures of this key are made with: SHA-256, for P-384 SHA-384, for P-521 SHA-512. */
const EVP_MD *key_digest(const EVP_PKEY *key);
/*
 * The signature of these bytes with that digest into out, at most *n bytes; then *n is its length. What signing needs beside the key is kept from one call
 * to the next of the same key (and the key with it, until another one signs). 0 or -1, OpenSSL's errors say why.
 */
MUST_CHECK int key_sign(EVP_PKEY *key, struct strv bytes, uint8_t *out, size_t *n);
/* The AlgorithmIdentifier of its signatures with that hash (RFC 4055 section 5, RFC 5758 section 3.2) in DER, malloc()ed. NULL: out of memory. */
uint8_t *key_algorithm(const EVP_PKEY *key, size_t *n);

#endif
