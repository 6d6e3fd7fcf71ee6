/*
 * test_jwt: tokens that are only read (proxy.bearer.mode pass): form, header and claims are held to the rules, and what is not is refused
 * as what it is. That signatures count where they are checked is shown by e2e/test_bearer.py and the fuzz target.
 */
#include "proxy/worker/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <openssl/evp.h>
#include <cmocka.h>

#include "common/text.h"

#define NOW	   1800000000
#define HEADER	   "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"r1\"}"
#define CLAIMS(x)  "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1800000600,\"nbf\":1799999990," x "}"
#define GOOD	   CLAIMS("\"upn\":\"alice@corp.example\"")
#define SIGNATURE  "bm8gc2lnbmF0dXJlIG9mIGFueWJvZHk"

static char *algorithms[] = { (char *)(uintptr_t) "RS256", (char *)(uintptr_t) "ES256" };
static struct bearer_settings rules = { .issuer = (char *)(uintptr_t) "i", .audience = (char *)(uintptr_t) "a",
	.claim = (char *)(uintptr_t) "upn", .algorithms = algorithms, .algorithms_count = 2, .leeway_seconds = 30, .passes = true };

static void add_part(char *out, const char *text)
{
	size_t at = strlen(out), n = strlen(text);

	EVP_EncodeBlock((unsigned char *)out + at, (const unsigned char *)text, (int)n);
	for (char *c = out + at; *c != '\0'; c++) {
		if (*c == '+')
			*c = '-';
		else if (*c == '/')
			*c = '_';
		else if (*c == '=')
			*c = '\0';
	}
}

static const char *token_of(const char *header, const char *claims)
{
	static char out[16384];

	out[0] = '\0';
	add_part(out, header);
	strcat(out, ".");
	add_part(out, claims);
	strcat(out, "." SIGNATURE);
	return out;
}

static enum jwt_result reading(const char *token, struct jwt_facts *facts)
{
	memset(facts, 0x55, sizeof(*facts));
	return jwt_read(&rules, strv_from(token), NOW, facts);
}

static void want(enum jwt_result wanted, const char *token)
{
	struct jwt_facts facts;
	enum jwt_result got = reading(token, &facts);

	if (got != wanted)
		fail_msg("\"%s\" instead of \"%s\": %s", jwt_result_text(got), jwt_result_text(wanted), token);
	/* what is refused names nobody */
	if (wanted != JWT_OK && (facts.name[0] != '\0' || facts.until != 0))
		fail_msg("a refused token names somebody: %s", token);
}

static void a_token_says_whose_it_is_and_until_when(void **state)
{
	struct jwt_facts facts;

	(void)state;
	assert_int_equal(reading(token_of(HEADER, GOOD), &facts), JWT_OK);
	assert_string_equal(facts.name, "alice@corp.example");
	assert_int_equal(facts.until, 1800000630);
	want(JWT_OK, token_of("{\"alg\":\"ES256\"}", GOOD));
	want(JWT_OK, token_of("{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"jku\":\"https://evil.example\"}", GOOD));
	want(JWT_OK, token_of(HEADER, "{\"iss\":\"i\",\"aud\":[\"x\",\"a\"],\"exp\":1799999971,\"upn\":\"b\"}"));
}

static void what_is_no_jwt_is_refused_as_opaque(void **state)
{
	static const char *const opaque[] = { "x", "0/AbCdEf", "ya29.a0AfH6SMB", "a.b", ".", "...", "a.b.c.d", "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(opaque); i++)
		want(JWT_OPAQUE, opaque[i]);
	assert_non_null(strstr(jwt_result_text(JWT_OPAQUE), "opaque"));
}

static void the_form_is_strict(void **state)
{
	static const char *const headers[] = { "{}", "[]", "RS256", "{\"alg\":1}", "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}",
		"{\"alg\":\"none\",\"alg\":\"RS256\"}", "{\"alg\":\"RS256\",\"typ\":\"JWE\"}", "{\"alg\":\"RS256\",\"kid\":7}" };
	char whole[9000], *signature;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		want(JWT_MALFORMED, token_of(headers[i], GOOD));
	want(JWT_MALFORMED, "");
	want(JWT_MALFORMED, "..");
	want(JWT_MALFORMED, "!!!.???.###");
	want(JWT_MALFORMED, token_of(HEADER, "alice"));
	want(JWT_MALFORMED, token_of(HEADER, "[]"));
	want(JWT_MALFORMED, token_of(HEADER, CLAIMS("\"upn\":\"alice\",\"upn\":\"bob\"")));
	/* unsigned, padded, and longer than any token */
	snprintf(whole, sizeof(whole), "%s", token_of(HEADER, GOOD));
	signature = strrchr(whole, '.') + 1;
	*signature = '\0';
	want(JWT_MALFORMED, whole);
	snprintf(signature, 8, "YQ==");
	want(JWT_MALFORMED, whole);
	memset(signature, 'A', sizeof(whole) - (size_t)(signature - whole));
	whole[sizeof(whole) - 1] = '\0';
	want(JWT_MALFORMED, whole);
}

static void only_configured_algorithms_are_taken_and_never_none(void **state)
{
	static const char *const others[] = { "none", "None", "NONE", "HS256", "RS512", "rs256", "RS256 ", "" };
	char header[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", others[i]);
		want(JWT_ALGORITHM, token_of(header, GOOD));
	}
	for (size_t i = 0; jwt_algorithms[i] != NULL; i++)
		assert_true(strcmp(jwt_algorithms[i], "none") != 0 && jwt_algorithms[i][0] != 'H');
}

static void the_claims_are_held_to_the_configuration(void **state)
{
	static const struct { enum jwt_result why; const char *claims; } rows[] = {
		{ JWT_ISSUER, "{\"aud\":\"a\",\"exp\":1800000600,\"upn\":\"alice\"}" },
		{ JWT_ISSUER, "{\"iss\":\"i/\",\"aud\":\"a\",\"exp\":1800000600,\"upn\":\"alice\"}" },
		{ JWT_AUDIENCE, "{\"iss\":\"i\",\"exp\":1800000600,\"upn\":\"alice\"}" },
		{ JWT_AUDIENCE, "{\"iss\":\"i\",\"aud\":[\"b\"],\"exp\":1800000600,\"upn\":\"alice\"}" },
		{ JWT_AUDIENCE, "{\"iss\":\"i\",\"aud\":{\"a\":\"a\"},\"exp\":1800000600,\"upn\":\"alice\"}" },
		{ JWT_EXPIRED, "{\"iss\":\"i\",\"aud\":\"a\",\"upn\":\"alice\"}" },
		{ JWT_EXPIRED, "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1799999970,\"upn\":\"alice\"}" },
		{ JWT_EXPIRED, "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":\"1800000600\",\"upn\":\"alice\"}" },
		{ JWT_EXPIRED, "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1e30,\"upn\":\"alice\"}" },
		{ JWT_NOT_YET, "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1800000600,\"nbf\":1800000031,\"upn\":\"alice\"}" },
		{ JWT_NOT_YET, "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1800000600,\"nbf\":\"now\",\"upn\":\"alice\"}" },
		{ JWT_NO_NAME, CLAIMS("\"sub\":\"alice\"") },
		{ JWT_NO_NAME, CLAIMS("\"upn\":\"\"") },
		{ JWT_NO_NAME, CLAIMS("\"upn\":7") },
		{ JWT_NO_NAME, CLAIMS("\"upn\":\"alice\\r\\nX: y\"") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		want(rows[i].why, token_of(HEADER, rows[i].claims));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_says_whose_it_is_and_until_when),
		cmocka_unit_test(what_is_no_jwt_is_refused_as_opaque),
		cmocka_unit_test(the_form_is_strict),
		cmocka_unit_test(only_configured_algorithms_are_taken_and_never_none),
		cmocka_unit_test(the_claims_are_held_to_the_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
