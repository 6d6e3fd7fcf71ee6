/*
 * jwt: form, header, key, signature, claims, in this order: nothing that is not signed is believed but to choose the key. Worker process.
 * cjose is given only what has its form already: its base64 reader ends the process at text of some lengths (an assertion).
 */
#include "proxy/worker/jwt.h"

#include <cjose/cjose.h>
#include <jansson.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define RSA_E_MAX    8		/* bytes */

static const char *const texts[JWT_RESULTS] = {
	[JWT_MALFORMED] = "no signed token in the compact form",
	[JWT_OK] = "good",
	[JWT_ALGORITHM] = "its algorithm is not one of those configured, or not its key's",
	[JWT_UNKNOWN_KEY] = "signed with a key that is not in keys_file",
	[JWT_SIGNATURE] = "its signature is wrong",
	[JWT_ISSUER] = "of another issuer",
	[JWT_AUDIENCE] = "for another audience",
	[JWT_EXPIRED] = "expired, or without an end",
	[JWT_NOT_YET] = "not valid yet",
	[JWT_NO_NAME] = "the claim that names the account is not there, or is no clean text",
};

const char *jwt_result_text(enum jwt_result result)
{
	return texts[(unsigned)result < JWT_RESULTS ? result : JWT_MALFORMED];
}

/* --- keys --- */

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

/* RFC 7518 §3.1: which keys an algorithm goes with. */
static bool fits(const struct jwt_key *key, const char *alg)
{
	if (key->alg != NULL && strcmp(key->alg, alg) != 0)
		return false;
	if (alg[0] == 'R' || alg[0] == 'P')
		return key->kty == CJOSE_JWK_KTY_RSA;
	return key->kty == CJOSE_JWK_KTY_EC && key->bits == (strcmp(alg, "ES256") == 0 ? 256u : strcmp(alg, "ES384") == 0 ? 384u : 521u);
}

/* The one key with that kid, or the only one that fits where the token names none. */
static const struct jwt_key *choose(const struct jwt_keys *keys, const char *kid, const char *alg, enum jwt_result *why)
{
	const struct jwt_key *found = NULL;

	*why = JWT_UNKNOWN_KEY;
	for (unsigned i = 0; i < keys->n; i++) {
		const struct jwt_key *key = &keys->key[i];
		if (kid != NULL && (key->kid == NULL || strcmp(key->kid, kid) != 0))
			continue;
		if (!fits(key, alg)) {
			if (kid != NULL)
				*why = JWT_ALGORITHM;
			continue;
		}
		if (found != NULL)
			return NULL;
		found = key;
	}
	return found;
}

/* --- the token --- */

static bool allowed(const struct bearer_settings *rules, const char *alg)
{
	for (unsigned i = 0; i < rules->algorithms_count; i++) {
		if (strcmp(rules->algorithms[i], alg) == 0)
			return true;
	}
	return false;
}

/*
 * RFC 7515 §7.1, before any library sees a byte: three parts that are not empty, each in the URL-safe alphabet in the one way to write
 * its bytes, without padding. *header: the first one's bytes, into `bytes` of JWT_TOKEN_MAX.
 */
static bool is_compact(struct strv token, uint8_t *bytes, struct strv *header)
{
	uint8_t other[JWT_TOKEN_MAX];
	unsigned parts = 0;
	long n;

	while (token.p != NULL) {
		struct strv part = text_split(&token, '.');
		if (++parts > 3 || (n = text_base64url_decode(parts == 1 ? bytes : other, JWT_TOKEN_MAX, part)) < 1)
			return false;
		if (parts == 1)
			*header = (struct strv){ (const char *)bytes, (size_t)n };
	}
	return parts == 3;
}

/* The protected header, strictly: the library's own reading takes doubled members. */
static json_t *header_of(struct strv token)
{
	uint8_t bytes[JWT_TOKEN_MAX];
	struct strv header = { NULL, 0 };

	return is_compact(token, bytes, &header) ? json_loadb(header.p, header.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static enum jwt_result key_for(const struct jwt_keys *keys, const struct bearer_settings *rules, struct strv token, const struct jwt_key **key)
{
	json_t *header = header_of(token);
	const json_t *kid = json_object_get(header, "kid"), *typ = json_object_get(header, "typ");
	const char *alg = member(header, "alg");
	enum jwt_result rc = JWT_MALFORMED;

	/* crit: something that we do not know must be understood (RFC 7515 §4.1.11) */
	if (!json_is_object(header) || alg == NULL || json_object_get(header, "crit") != NULL || (kid != NULL && !json_is_string(kid)))
		goto out;
	if (typ != NULL && (!json_is_string(typ) || (!text_eq_nocase(strv_from(json_string_value(typ)), STRV("JWT")) &&
						       !text_eq_nocase(strv_from(json_string_value(typ)), STRV("at+jwt")))))
		goto out;
	rc = JWT_ALGORITHM;
	if (!allowed(rules, alg))
		goto out;
	*key = choose(keys, json_string_value(kid), alg, &rc);
	if (*key != NULL)
		rc = JWT_OK;
out:
	json_decref(header);
	return rc;
}

static bool names_audience(const json_t *aud, const char *audience)
{
	for (size_t i = 0; i < json_array_size(aud); i++) {
		const char *one = json_string_value(json_array_get(aud, i));
		if (one != NULL && strcmp(one, audience) == 0)
			return true;
	}
	return json_is_string(aud) && strcmp(json_string_value(aud), audience) == 0;
}

static enum jwt_result check_claims(const json_t *c, const struct bearer_settings *rules, time_t now, struct jwt_facts *out)
{
	const json_t *exp = json_object_get(c, "exp"), *nbf = json_object_get(c, "nbf"), *name = json_object_get(c, rules->claim);
	const char *iss = member(c, "iss");
	double end, leeway = rules->leeway_seconds;

	if (iss == NULL || strcmp(iss, rules->issuer) != 0)
		return JWT_ISSUER;
	if (!names_audience(json_object_get(c, "aud"), rules->audience))
		return JWT_AUDIENCE;
	end = json_number_value(exp) + leeway;
	/* the comparison is false for what is no number, too */
	if (!json_is_number(exp) || !(end > (double)now) || !(end < 1e12))
		return JWT_EXPIRED;
	if (nbf != NULL && (!json_is_number(nbf) || !(json_number_value(nbf) - leeway <= (double)now)))
		return JWT_NOT_YET;
	if (!json_is_string(name) || json_string_length(name) == 0 ||
	    text_copy(out->name, sizeof(out->name), (struct strv){ json_string_value(name), json_string_length(name) }) < 0)
		return JWT_NO_NAME;
	out->until = (int64_t)end;
	return JWT_OK;
}

enum jwt_result jwt_check(const struct jwt_keys *keys, const struct bearer_settings *rules, struct strv token, time_t now,
    struct jwt_facts *out)
{
	const struct jwt_key *key = NULL;
	enum jwt_result rc;
	cjose_jws_t *jws;
	uint8_t *bytes = NULL;
	size_t n = 0;
	cjose_err error;
	json_t *claims;

	memset(out, 0, sizeof(*out));
	if (token.n == 0 || token.n > JWT_TOKEN_MAX)
		return JWT_MALFORMED;
	rc = key_for(keys, rules, token, &key);
	if (rc != JWT_OK)
		return rc;
	jws = cjose_jws_import(token.p, token.n, &error);
	if (jws == NULL)
		return JWT_MALFORMED;
	if (!cjose_jws_verify(jws, key->jwk, &error) || !cjose_jws_get_plaintext(jws, &bytes, &n, &error)) {
		cjose_jws_release(jws);
		ERR_clear_error();
		return JWT_SIGNATURE;
	}
	claims = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, NULL);
	rc = json_is_object(claims) ? check_claims(claims, rules, now, out) : JWT_MALFORMED;
	json_decref(claims);
	cjose_jws_release(jws);
	if (rc != JWT_OK)
		memset(out, 0, sizeof(*out));
	ERR_clear_error();
	return rc;
}
