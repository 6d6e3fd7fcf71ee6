/*
 * fuzz_key: an RSA key of 2048 bits that is the same in every run, so that what a fuzzer found stays good: its primes are the first ones behind two
 * hashes. It is no secret and stands nowhere.
 */
#ifndef EASGATE_TESTS_FUZZ_KEY_H
#define EASGATE_TESTS_FUZZ_KEY_H

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/sha.h>

#include "fuzz.h"

static inline BIGNUM *fuzz_prime(unsigned which, BN_CTX *ctx)
{
	BIGNUM *p = BN_new();
	uint8_t bytes[128];

	for (unsigned i = 0; i < sizeof(bytes) / 32; i++) {
		uint8_t seed[] = { 'f', 'u', 'z', 'z', (uint8_t)which, (uint8_t)i };

		SHA256(seed, sizeof(seed), bytes + 32 * i);
	}
	bytes[0] |= 0xc0;
	bytes[sizeof(bytes) - 1] |= 1;
	FUZZ_CHECK(p != NULL && BN_bin2bn(bytes, sizeof(bytes), p) != NULL);
	while (BN_check_prime(p, ctx, NULL) != 1 || BN_mod_word(p, 65537) == 1)
		FUZZ_CHECK(BN_add_word(p, 2));
	return p;
}

static inline EVP_PKEY *fuzz_key_make(void)
{
	static const char *const names[] = { OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E, OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1,
		OSSL_PKEY_PARAM_RSA_FACTOR2, OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1 };
	EVP_PKEY *key = NULL;
	BN_CTX *ctx = BN_CTX_new();
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	BIGNUM *v[ARRAY_LEN(names)], *p1 = BN_new(), *q1 = BN_new(), *phi = BN_new();
	OSSL_PARAM *params;

	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		v[i] = i == 3 || i == 4 ? fuzz_prime((unsigned)i, ctx) : BN_new();
	FUZZ_CHECK(BN_set_word(v[1], 65537) && BN_mul(v[0], v[3], v[4], ctx) && BN_copy(p1, v[3]) && BN_sub_word(p1, 1) && BN_copy(q1, v[4]) &&
	    BN_sub_word(q1, 1) && BN_mul(phi, p1, q1, ctx) && BN_mod_inverse(v[2], v[1], phi, ctx) && BN_mod(v[5], v[2], p1, ctx) &&
	    BN_mod(v[6], v[2], q1, ctx) && BN_mod_inverse(v[7], v[4], v[3], ctx));
	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		FUZZ_CHECK(OSSL_PARAM_BLD_push_BN(build, names[i], v[i]));
	params = OSSL_PARAM_BLD_to_param(build);
	FUZZ_CHECK(params != NULL && EVP_PKEY_fromdata_init(maker) == 1 && EVP_PKEY_fromdata(maker, &key, EVP_PKEY_KEYPAIR, params) == 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		BN_free(v[i]);
	BN_free(p1);
	BN_free(q1);
	BN_free(phi);
	BN_CTX_free(ctx);
	EVP_PKEY_CTX_free(maker);
	return key;
}

/* Lives as long as the program. */
static inline EVP_PKEY *fuzz_key(void)
{
	static EVP_PKEY *key;

	if (key == NULL)
		key = fuzz_key_make();
	return key;
}

#endif
