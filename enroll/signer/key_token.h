/*
 * key_token: keys in a PKCS#11 token. Tries the engine "pkcs11" (libengine-pkcs11-openssl), then the provider "pkcs11" (pkcs11-provider).
 */
#ifndef EASGATE_ENROLL_SIGNER_KEY_TOKEN_H
#define EASGATE_ENROLL_SIGNER_KEY_TOKEN_H

#include <openssl/evp.h>

#include "enroll/signer/refusal.h"

/* pin may be NULL (the URI has it, or the token asks for none). The module is chosen by the first call. NULL: *r. */
EVP_PKEY *key_token_load(const char *uri, const char *module, const char *pin, struct refusal *r);

#endif
