/*
 * jwt_keys: a JWK Set, member by member. cjose is given only what has its form already: its base64 reader ends the process at text of
 * some lengths (an assertion). Worker and revocation process, and `easproxy check`.
 */
#include "proxy/jwt_keys.h"

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define RSA_E_MAX    8		/* bytes */

void jwt_keys_free(struct jwt_keys *k)
{
	if (k == NULL)
		return;
	for (unsigned i = 0; i < k->n; i++) {
		cjose_jwk_release(k->key[i].jwk);
		free(k->key[i].kid);
		free(k->key[i].alg);
	}
	free(k);
}

static const char *member(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

/* NULL, or what is wrong with it. */
static const char *unusable(const json_t *jwk)
{
	static const char *const private_members[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" };
	const char *kty = member(jwk, "kty");

	if (kty == NULL || (strcmp(kty, "RSA") != 0 && strcmp(kty, "EC") != 0))
		return "a key that is neither RSA nor EC";
	for (size_t i = 0; i < ARRAY_LEN(private_members); i++) {
		if (json_object_get(jwk, private_members[i]) != NULL)
			return "a private key: only public ones belong there";
	}
	return NULL;
}

/* The member as a number of at most `size` bytes, first byte first: how many it has, or -1. */
static long number(const json_t *jwk, const char *name, uint8_t *out, size_t size)
{
	const json_t *value = json_object_get(jwk, name);

	return json_is_string(value) ? text_base64url_decode(out, size, (struct strv){ json_string_value(value), json_string_length(value) }) : -1;
}

/* RFC 7518 §6.3.1. An exponent of 1 would make every text its own signature. */
static json_t *rsa_members(const json_t *jwk, const char **problem)
{
	uint8_t n[RSA_BITS_MAX / 8 + 1], e[RSA_E_MAX];
	long n_bytes = number(jwk, "n", n, sizeof(n)), e_bytes = number(jwk, "e", e, sizeof(e));

	if (n_bytes < 1 || e_bytes < 1 || (e[e_bytes - 1] & 1) == 0 || (e_bytes == 1 && e[0] == 1))
		*problem = "an RSA key without its n and e";
	else if (n_bytes < RSA_BITS_MIN / 8)
		*problem = "an RSA key that has not 2048 to 8192 bits";
	return *problem != NULL ? NULL : json_pack("{s:s,s:O,s:O}", "kty", "RSA", "n", json_object_get(jwk, "n"), "e", json_object_get(jwk, "e"));
}

/* RFC 7518 §6.2.1: both coordinates have the full length of their curve. */
static json_t *ec_members(const json_t *jwk, const char **problem)
{
	static const struct { const char *name; long bytes; } curves[] = { { "P-256", 32 }, { "P-384", 48 }, { "P-521", 66 } };
	const char *crv = member(jwk, "crv");
	uint8_t x[66], y[66];

	for (size_t i = 0; crv != NULL && i < ARRAY_LEN(curves); i++) {
		if (strcmp(crv, curves[i].name) == 0 && number(jwk, "x", x, sizeof(x)) == curves[i].bytes &&
		    number(jwk, "y", y, sizeof(y)) == curves[i].bytes)
			return json_pack("{s:s,s:s,s:O,s:O}", "kty", "EC", "crv", crv, "x", json_object_get(jwk, "x"), "y", json_object_get(jwk, "y"));
	}
	*problem = "an EC key that is no point of P-256, P-384 or P-521";
	return NULL;
}

/* Nothing but the checked members of the public key reaches the library. */
static cjose_jwk_t *import(const json_t *jwk, const char **problem)
{
	json_t *own = strcmp(member(jwk, "kty"), "RSA") == 0 ? rsa_members(jwk, problem) : ec_members(jwk, problem);
	char *text = own != NULL ? json_dumps(own, JSON_COMPACT) : NULL;
	cjose_jwk_t *key = NULL;
	cjose_err error;

	if (text != NULL)
		key = cjose_jwk_import(text, strlen(text), &error);
	if (key == NULL && *problem == NULL)
		*problem = "a key that cannot be read";
	free(text);
	json_decref(own);
	ERR_clear_error();
	return key;
}

static const char *add_key(struct jwt_keys *k, const json_t *jwk)
{
	struct jwt_key *key = &k->key[k->n];
	const char *use = member(jwk, "use"), *kid = member(jwk, "kid"), *alg = member(jwk, "alg"), *problem = unusable(jwk);
	cjose_err error;

	if (problem != NULL)
		return problem;
	if (use != NULL && strcmp(use, "sig") != 0)
		return NULL;
	if (k->n == JWT_KEYS_MAX)
		return "too many keys";
	memset(key, 0, sizeof(*key));
	key->jwk = import(jwk, &problem);
	if (key->jwk == NULL)
		return problem;
	k->n++;
	key->kty = cjose_jwk_get_kty(key->jwk, &error);
	key->bits = cjose_jwk_get_keysize(key->jwk, &error);
	key->kid = kid != NULL ? strdup(kid) : NULL;
	key->alg = alg != NULL ? strdup(alg) : NULL;
	if ((kid != NULL && key->kid == NULL) || (alg != NULL && key->alg == NULL))
		return "out of memory";
	if (key->kty == CJOSE_JWK_KTY_RSA && (key->bits < RSA_BITS_MIN || key->bits > RSA_BITS_MAX))
		return "an RSA key that has not 2048 to 8192 bits";
	return NULL;
}

struct jwt_keys *jwt_keys_read(struct strv json, char *why, size_t size)
{
	json_t *root = json.n <= JWT_KEYS_BYTES_MAX ? json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	json_t *list = json_object_get(root, "keys"), *one;
	struct jwt_keys *k = calloc(1, sizeof(*k));
	const char *problem = root == NULL || !json_is_array(list) ? "expected a JWK Set: {\"keys\": [...]}, at most 256 KiB"
			      : k == NULL			   ? "out of memory"
								   : NULL;
	size_t i;

	for (i = 0; problem == NULL && i < json_array_size(list); i++) {
		one = json_array_get(list, i);
		problem = add_key(k, one);
	}
	if (problem == NULL && k->n == 0)
		problem = "no key for signatures in it";
	json_decref(root);
	if (problem == NULL)
		return k;
	snprintf(why, size, "%s", problem);
	jwt_keys_free(k);
	return NULL;
}

bool jwt_key_fits(const struct jwt_key *key, const char *alg)
{
	if (key->alg != NULL && strcmp(key->alg, alg) != 0)
		return false;
	if (alg[0] == 'R' || alg[0] == 'P')
		return key->kty == CJOSE_JWK_KTY_RSA;
	return key->kty == CJOSE_JWK_KTY_EC && key->bits == (strcmp(alg, "ES256") == 0 ? 256u : strcmp(alg, "ES384") == 0 ? 384u : 521u);
}

void jwt_keys_file(const char *url, char name[JWT_KEYS_FILE])
{
	uint8_t sum[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1];

	SHA256((const uint8_t *)url, strlen(url), sum);
	text_hex(hex, sum, SHA256_SIZE);
	snprintf(name, JWT_KEYS_FILE, "bearer-keys-%.16s.json", hex);
}
