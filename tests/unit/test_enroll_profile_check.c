/* What the signer refuses, whoever asks: threats E40, E41, E46. Every question differs in one thing from one that is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "enroll/signer/profile_check.h"
#include "enroll/signer/weak_key.h"
#include "tests/unit/enroll_ca.h"

static struct test_ca t;
static EVP_PKEY *good_key;

static int make(void **state)
{
	struct refusal r;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	good_key = key_make(KEY_EC_P256, &r);
	return 0;
}

static int drop(void **state)
{
	(void)state;
	EVP_PKEY_free(good_key);
	test_ca_remove(&t);
	return 0;
}

static int check(const struct signer_issue *q, size_t n, struct refusal *r)
{
	struct issue_order order = { 0 };
	int rc = profile_check(&t.setup, &t.files, q, n, t.now, &order, r);

	if (rc == 0)
		EVP_PKEY_free(order.key);
	return rc;
}

static void assert_key_refused(EVP_PKEY *key, const char *word)
{
	struct refusal r = { 0 };
	size_t n;
	struct signer_issue *q = test_question(&t, key, &n);

	assert_int_equal(check(q, n, &r), -1);
	assert_int_equal(r.status, SIGNER_BAD_KEY);
	if (strstr(r.text, word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", r.text, word);
	free(q);
}

static EVP_PKEY *rsa_of(const BIGNUM *n, const BIGNUM *e)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM *params;
	EVP_PKEY *key = NULL;

	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
	params = OSSL_PARAM_BLD_to_param(build);
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void a_good_question_is_answered(void **state)
{
	struct refusal r = { 0 };
	size_t n;
	struct signer_issue *q = test_question(&t, good_key, &n);

	(void)state;
	assert_int_equal(check(q, n, &r), 0);
	free(q);
}

static void threat_41_small_large_and_foreign_keys_are_refused(void **state)
{
	EVP_PKEY *key;

	(void)state;
	key = EVP_RSA_gen(1024);
	assert_key_refused(key, "fewer than 2048");
	EVP_PKEY_free(key);
	key = EVP_EC_gen("P-224");
	assert_key_refused(key, "P-256");
	EVP_PKEY_free(key);
	key = EVP_EC_gen("secp256k1");
	assert_key_refused(key, "P-256");
	EVP_PKEY_free(key);
	key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_key_refused(key, "neither");
	EVP_PKEY_free(key);
}

static void threat_41_rsa_keys_with_a_bad_exponent_are_refused(void **state)
{
	static const unsigned long exponents[] = { 1, 2, 65536 };
	EVP_PKEY *base = EVP_RSA_gen(2048), *key;
	BIGNUM *n = NULL, *e = BN_new();

	(void)state;
	assert_int_equal(EVP_PKEY_get_bn_param(base, OSSL_PKEY_PARAM_RSA_N, &n), 1);
	for (size_t i = 0; i < ARRAY_LEN(exponents); i++) {
		BN_set_word(e, exponents[i]);
		key = rsa_of(n, e);
		assert_key_refused(key, "exponent");
		EVP_PKEY_free(key);
	}
	BN_free(n);
	BN_free(e);
	EVP_PKEY_free(base);
}

/* A modulus of 2048 bits whose both primes are 65537^a modulo the small primes, as the chips' library made them: by Chinese remainders, not primes, the mark is the same. */
static void threat_41_keys_with_the_mark_of_roca_are_refused(void **state)
{
	static const unsigned primes[] = { 11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107,
		109, 127, 151, 157 };
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *m = BN_new(), *n = BN_new(), *e = BN_new(), *k = BN_new();
	EVP_PKEY *key, *normal = EVP_RSA_gen(2048);
	BIGNUM *fine = NULL;

	(void)state;
	BN_one(m);
	for (size_t i = 0; i < ARRAY_LEN(primes); i++)
		BN_mul_word(m, primes[i]);
	BN_lshift1(m, m); /* and odd */
	BN_set_word(e, 65537);
	BN_set_word(k, 4242);
	BN_mod_exp(n, e, k, m, ctx); /* 65537^4242 mod M */
	BN_one(k);
	BN_lshift(k, k, 2047);
	BN_sub(k, k, n);
	BN_div(k, NULL, k, m, ctx);
	BN_add_word(k, 1);
	BN_mul(k, k, m, ctx);
	BN_add(n, n, k);
	assert_int_equal(BN_num_bits(n), 2048);
	assert_true(weak_key_roca(n));
	key = rsa_of(n, e);
	assert_key_refused(key, "ROCA");
	assert_int_equal(EVP_PKEY_get_bn_param(normal, OSSL_PKEY_PARAM_RSA_N, &fine), 1);
	assert_false(weak_key_roca(fine));
	assert_false(weak_key_close_primes(fine));
	EVP_PKEY_free(key);
	EVP_PKEY_free(normal);
	BN_free(fine);
	BN_free(m);
	BN_free(n);
	BN_free(e);
	BN_free(k);
	BN_CTX_free(ctx);
}

static void threat_41_keys_whose_primes_are_neighbours_are_refused(void **state)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *p = BN_new(), *q = BN_new(), *n = BN_new(), *e = BN_new();
	EVP_PKEY *key;

	(void)state;
	assert_int_equal(BN_generate_prime_ex(p, 1024, 0, NULL, NULL, NULL), 1);
	BN_copy(q, p);
	do {
		BN_add_word(q, 2);
	} while (BN_check_prime(q, ctx, NULL) != 1);
	BN_mul(n, p, q, ctx);
	BN_set_word(e, 65537);
	key = rsa_of(n, e);
	assert_key_refused(key, "too close");
	EVP_PKEY_free(key);
	BN_free(p);
	BN_free(q);
	BN_free(n);
	BN_free(e);
	BN_CTX_free(ctx);
}

static void threat_41_keys_with_a_small_factor_or_an_even_modulus_are_refused(void **state)
{
	EVP_PKEY *base = EVP_RSA_gen(2048), *key;
	BIGNUM *n = NULL, *e = BN_new();

	(void)state;
	BN_set_word(e, 65537);
	assert_int_equal(EVP_PKEY_get_bn_param(base, OSSL_PKEY_PARAM_RSA_N, &n), 1);
	BN_mul_word(n, 751);
	key = rsa_of(n, e);
	assert_key_refused(key, "small factor");
	EVP_PKEY_free(key);
	BN_lshift1(n, n);
	key = rsa_of(n, e);
	assert_key_refused(key, "even");
	EVP_PKEY_free(key);
	BN_free(n);
	BN_free(e);
	EVP_PKEY_free(base);
}

static void threat_41_the_cas_own_keys_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < t.files.n; i++)
		assert_key_refused(t.files.entries[i].pkey, "key of this CA");
}

static void keys_that_are_cut_flipped_or_followed_by_bytes_are_refused(void **state)
{
	struct refusal r = { 0 };
	size_t n, spki;
	struct signer_issue *q = test_question(&t, good_key, &n), *copy = malloc(n + 1);

	(void)state;
	spki = q->spki_n;
	for (size_t cut = 1; cut < spki; cut++) {
		q->spki_n = (uint32_t)(spki - cut);
		assert_int_equal(check(q, n - cut, &r), -1);
		assert_int_equal(r.status, SIGNER_BAD_KEY);
	}
	q->spki_n = (uint32_t)spki;
	assert_int_equal(check(q, n - 1, &r), -1);
	assert_int_equal(check(q, sizeof(*q) - 1, &r), -1);
	memcpy(copy, q, n);
	((uint8_t *)copy)[n] = 0;
	copy->spki_n++;
	assert_int_equal(check(copy, n + 1, &r), -1);
	((uint8_t *)q)[n - 1] ^= 1; /* the point is off its curve now */
	assert_int_equal(check(q, n, &r), -1);
	free(copy);
	free(q);
}

static void a_profile_may_demand_a_kind_of_key(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048);

	(void)state;
	t.profile.key = SIGNER_KEY_RSA;
	assert_key_refused(good_key, "RSA keys only");
	t.profile.key = SIGNER_KEY_EC;
	assert_key_refused(rsa, "EC keys only");
	t.profile.key = SIGNER_KEY_ANY;
	EVP_PKEY_free(rsa);
}

#define REFUSED(change)                                                   \
	do {                                                              \
		struct refusal r = { 0 };                                 \
		size_t n;                                                 \
		struct signer_issue *q = test_question(&t, good_key, &n); \
		change;                                                   \
		if (check(q, n, &r) == 0)                                 \
			fail_msg("not refused: " #change);                \
		assert_int_equal(r.status, SIGNER_REFUSED);               \
		assert_true(r.text[0] != '\0');                           \
		free(q);                                                  \
	} while (0)

static void lifetimes_beyond_the_profile_are_refused(void **state)
{
	(void)state;
	REFUSED(q->not_after = t.now + 365 * 86400 + 1);
	REFUSED(q->not_after = t.now);
	REFUSED(q->not_after = INT64_MAX);
	REFUSED(q->not_before = t.now - 86401);
	REFUSED(q->not_before = INT64_MIN);
	REFUSED(q->not_before = t.now + 2 * 86400);
	REFUSED((q->not_before = t.now + 80000, q->not_after = t.now + 70000));
}

static void threat_46_serials_that_are_not_random_are_refused(void **state)
{
	(void)state;
	REFUSED(memset(q->serial, 0, 16));
	REFUSED(memset(q->serial, 0, 8));
}

static void threat_40_names_that_no_directory_holds_are_refused(void **state)
{
	(void)state;
	REFUSED(strcpy(q->profile, "admin"));
	REFUSED(memset(q->profile, 'a', sizeof(q->profile)));
	REFUSED(q->upn[0] = '\0');
	REFUSED(strcpy(q->upn, "anna"));
	REFUSED(strcpy(q->upn, "anna@"));
	REFUSED(strcpy(q->upn, "@example.com"));
	REFUSED(strcpy(q->upn, "anna@example.com@evil.com"));
	REFUSED(strcpy(q->upn, "anna\n@example.com"));
	REFUSED(strcpy(q->upn, "anna\xff@example.com"));
	REFUSED(memset(q->upn, 'a', sizeof(q->upn)));
	REFUSED(q->mail[0] = '\0');
	REFUSED(strcpy(q->mail, "\xc3\xa9@example.com"));
	REFUSED(q->sid[0] = '\0');
	REFUSED(strcpy(q->sid, "S-1-5-21-1-2-3-"));
	REFUSED(strcpy(q->sid, "S-1-5-21-1-2-3-0500"));
	REFUSED(strcpy(q->sid, "S-1-5-21-4294967296"));
	REFUSED(strcpy(q->sid, "s-1-5-21-1-2-3-500"));
	REFUSED(strcpy(q->sid, "S-1-5"));
	REFUSED(strcpy(q->display_name,
	    "a\xe2\x80\xae"
	    "b")); /* right-to-left override */
	REFUSED(strcpy(q->sam, "a\x01"));
}

static void what_a_profile_does_not_want_may_be_missing_but_not_wrong(void **state)
{
	struct refusal r = { 0 };
	size_t n;
	struct signer_issue *q = test_question(&t, good_key, &n);

	(void)state;
	t.profile.mail = false;
	q->mail[0] = '\0';
	assert_int_equal(check(q, n, &r), 0);
	strcpy(q->mail, "nonsense");
	assert_int_equal(check(q, n, &r), -1);
	t.profile.mail = true;
	free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_question_is_answered),
		cmocka_unit_test(threat_41_small_large_and_foreign_keys_are_refused),
		cmocka_unit_test(threat_41_rsa_keys_with_a_bad_exponent_are_refused),
		cmocka_unit_test(threat_41_keys_with_the_mark_of_roca_are_refused),
		cmocka_unit_test(threat_41_keys_whose_primes_are_neighbours_are_refused),
		cmocka_unit_test(threat_41_keys_with_a_small_factor_or_an_even_modulus_are_refused),
		cmocka_unit_test(threat_41_the_cas_own_keys_are_refused),
		cmocka_unit_test(keys_that_are_cut_flipped_or_followed_by_bytes_are_refused),
		cmocka_unit_test(a_profile_may_demand_a_kind_of_key),
		cmocka_unit_test(lifetimes_beyond_the_profile_are_refused),
		cmocka_unit_test(threat_46_serials_that_are_not_random_are_refused),
		cmocka_unit_test(threat_40_names_that_no_directory_holds_are_refused),
		cmocka_unit_test(what_a_profile_does_not_want_may_be_missing_but_not_wrong),
	};

	return cmocka_run_group_tests(tests, make, drop);
}
