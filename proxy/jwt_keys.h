/*
 * jwt_keys: the public keys of whoever issues bearer tokens: a JWK Set (RFC 7517), from a file or from what *revocation* has fetched.
 * Pure but for memory.
 */
#ifndef EASGATE_PROXY_JWT_KEYS_H
#define EASGATE_PROXY_JWT_KEYS_H

#include <cjose/cjose.h>

#include "common/base.h"

#define JWT_KEYS_MAX	   64
#define JWT_KEYS_BYTES_MAX (256u << 10)
#define JWT_KEYS_FILE	   64	/* with its NUL */

struct jwt_key {
	cjose_jwk_t *jwk;
	cjose_jwk_kty_t kty;
	size_t bits;
	char *kid, *alg;	/* NULL: it has none */
};

struct jwt_keys {
	struct jwt_key key[JWT_KEYS_MAX];
	unsigned n;
};

/*
 * A JWK Set. Refused as a whole where one key is symmetric or private, is RSA of less than 2048 bits, or cannot be read: a file that
 * holds such a thing is the wrong file. Keys for encryption are left out. NULL with why.
 */
struct jwt_keys *jwt_keys_read(struct strv json, char *why, size_t size);
void jwt_keys_free(struct jwt_keys *k);	/* accepts NULL */

/* RFC 7518 §3.1: whether an algorithm (of jwt_algorithms[]) goes with the key. */
bool jwt_key_fits(const struct jwt_key *key, const char *alg);

/* What the set of that URL is called in state_dir: *revocation* writes it there, workers read it. */
void jwt_keys_file(const char *url, char name[JWT_KEYS_FILE]);

#endif
