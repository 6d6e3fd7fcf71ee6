/*
 * jwt: form, header, key, signature, claims, in this order: nothing that is not signed is believed but to choose the key. jwt_read() leaves out
 * key and signature, and what it gives is believed by nobody. Worker process.
 * cjose is given only what has its form already: its base64 reader ends the process at text of some lengths (an assertion).
 */
#include "proxy/worker/jwt.h"

#include <cjose/cjose.h>
#include <jansson.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

static const char *const texts[JWT_RESULTS] = {
	[JWT_MALFORMED] = "no signed token in the compact form",
	[JWT_OK] = "good",
	[JWT_OPAQUE] = "opaque: no JWT of three parts, so that nobody here could say whose it is",
	[JWT_ALGORITHM] = "its algorithm is not one of those configured, or not its key's",
	[JWT_UNKNOWN_KEY] = "signed with a key that the issuer does not publish",
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

static const char *member(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
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
		if (!jwt_key_fits(key, alg)) {
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

/* What stands in a token, decoded: none of it believed yet. */
struct parts {
	uint8_t bytes[2][JWT_TOKEN_MAX];
	struct strv header, claims;	/* into bytes */
};

/*
 * RFC 7515 §7.1, before any library sees a byte: three parts that are not empty, each in the URL-safe alphabet in the one way to write
 * its bytes, without padding.
 */
static enum jwt_result split(struct strv token, struct parts *out)
{
	uint8_t signature[JWT_TOKEN_MAX];
	uint8_t *const into[3] = { out->bytes[0], out->bytes[1], signature };
	struct strv *const part[3] = { &out->header, &out->claims, &(struct strv){ NULL, 0 } };
	unsigned dots = 0;

	if (token.n == 0 || token.n > JWT_TOKEN_MAX)
		return JWT_MALFORMED;
	for (size_t i = 0; i < token.n; i++)
		dots += token.p[i] == '.';
	if (dots != 2)
		return JWT_OPAQUE;
	for (unsigned i = 0; i < 3; i++) {
		long n = text_base64url_decode(into[i], JWT_TOKEN_MAX, text_split(&token, '.'));
		if (n < 1)
			return JWT_MALFORMED;
		*part[i] = (struct strv){ (const char *)into[i], (size_t)n };
	}
	return JWT_OK;
}

/* The library's own reading takes doubled members. */
static json_t *strict_json(struct strv text)
{
	return json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
}

static enum jwt_result check_header(const json_t *header, const struct bearer_settings *rules)
{
	const json_t *kid = json_object_get(header, "kid"), *typ = json_object_get(header, "typ");
	const char *alg = member(header, "alg");

	/* crit: something that we do not know must be understood (RFC 7515 §4.1.11) */
	if (!json_is_object(header) || alg == NULL || json_object_get(header, "crit") != NULL || (kid != NULL && !json_is_string(kid)))
		return JWT_MALFORMED;
	if (typ != NULL && (!json_is_string(typ) || (!text_eq_nocase(strv_from(json_string_value(typ)), STRV("JWT")) &&
						       !text_eq_nocase(strv_from(json_string_value(typ)), STRV("at+jwt")))))
		return JWT_MALFORMED;
	return allowed(rules, alg) ? JWT_OK : JWT_ALGORITHM;
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

/* JWT_OK: the signature is that key's. *claims: what it is over, for the caller to let go. */
static enum jwt_result verify(const struct jwt_key *key, struct strv token, json_t **claims)
{
	enum jwt_result rc = JWT_SIGNATURE;
	cjose_err error;
	cjose_jws_t *jws = cjose_jws_import(token.p, token.n, &error);
	uint8_t *bytes = NULL;
	size_t n = 0;

	if (jws == NULL)
		return JWT_MALFORMED;
	if (cjose_jws_verify(jws, key->jwk, &error) && cjose_jws_get_plaintext(jws, &bytes, &n, &error)) {
		*claims = strict_json((struct strv){ (const char *)bytes, n });
		rc = JWT_OK;
	}
	cjose_jws_release(jws);
	ERR_clear_error();
	return rc;
}

enum jwt_result jwt_check(const struct jwt_keys *keys, const struct bearer_settings *rules, struct strv token, time_t now,
    struct jwt_facts *out)
{
	const struct jwt_key *key = NULL;
	json_t *header = NULL, *claims = NULL;
	struct parts parts;
	enum jwt_result rc;

	memset(out, 0, sizeof(*out));
	rc = split(token, &parts);
	if (rc != JWT_OK)
		return rc;
	header = strict_json(parts.header);
	rc = check_header(header, rules);
	if (rc == JWT_OK) {
		key = choose(keys, member(header, "kid"), member(header, "alg"), &rc);
		rc = key != NULL ? verify(key, token, &claims) : rc;
	}
	if (rc == JWT_OK)
		rc = json_is_object(claims) ? check_claims(claims, rules, now, out) : JWT_MALFORMED;
	json_decref(claims);
	json_decref(header);
	if (rc != JWT_OK)
		memset(out, 0, sizeof(*out));
	return rc;
}

enum jwt_result jwt_read(const struct bearer_settings *rules, struct strv token, time_t now, struct jwt_facts *out)
{
	json_t *header = NULL, *claims = NULL;
	struct parts parts;
	enum jwt_result rc;

	memset(out, 0, sizeof(*out));
	rc = split(token, &parts);
	if (rc != JWT_OK)
		return rc;
	header = strict_json(parts.header);
	claims = strict_json(parts.claims);
	rc = check_header(header, rules);
	if (rc == JWT_OK)
		rc = json_is_object(claims) ? check_claims(claims, rules, now, out) : JWT_MALFORMED;
	json_decref(claims);
	json_decref(header);
	if (rc != JWT_OK)
		memset(out, 0, sizeof(*out));
	return rc;
}
