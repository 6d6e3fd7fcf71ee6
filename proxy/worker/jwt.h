/*
 * jwt: is this token one that the configured issuer signed for us, now, and whom does it name? RFC 7519 in JWS compact form (RFC 7515), by
 * cjose. Keys come from the configuration alone: what a token's own header offers (jwk, jku, x5u, x5c) is not looked at. No I/O, no clock.
 */
#ifndef EASGATE_JWT_H
#define EASGATE_JWT_H

#include "proxy/jwt_keys.h"
#include "proxy/settings.h"

#define JWT_TOKEN_MAX 8192	/* bytes */
#define JWT_NAME_MAX  640	/* with its NUL */

enum jwt_result {
	JWT_MALFORMED = 0,
	JWT_OK,
	JWT_OPAQUE,		/* not three parts: it names nobody to us (RFC 6749 §1.4 lets a token be any text) */
	JWT_ALGORITHM,		/* not one of the configured, or not the key's */
	JWT_UNKNOWN_KEY,	/* its kid is none of ours, or it has none and several keys fit */
	JWT_SIGNATURE,
	JWT_ISSUER,
	JWT_AUDIENCE,
	JWT_EXPIRED,
	JWT_NOT_YET,
	JWT_NO_NAME,		/* the configured claim is not there, or is no clean text */
	JWT_RESULTS
};
const char *jwt_result_text(enum jwt_result result);

struct jwt_facts {
	char name[JWT_NAME_MAX];	/* of the account: clean UTF-8 */
	int64_t until;			/* exp with the leeway, seconds since the epoch */
};
/* JWT_OK with *out filled, or why not. now: seconds since the epoch. */
enum jwt_result jwt_check(const struct jwt_keys *keys, const struct bearer_settings *rules, struct strv token, time_t now,
    struct jwt_facts *out);
/*
 * What a token says of itself, for a proxy whose mail server alone verifies it (mode: pass): form, header and claims are held to the same
 * rules, and no signature is looked at. Anybody can write such a token in anybody's name: *out is a claim, and never a reason to let
 * in, to give a ticket, or to write anything down.
 */
enum jwt_result jwt_read(const struct bearer_settings *rules, struct strv token, time_t now, struct jwt_facts *out);

#endif
