/*
 * Vouchers: only what *directory* made, for exactly that account and certificate, for a short
 * while.
 */
#include "common/directory/vouch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <openssl/hmac.h>

#define NOW 1800000000

static struct vouch *key, *other_key;
static const uint8_t cert[SHA256_SIZE] = { 9 }, other_cert[SHA256_SIZE] = { 9, 1 };

static void make(uint8_t out[VOUCHER_SIZE], time_t expires)
{
	assert_int_equal(vouch_make(key, "alice", "CORP.EXAMPLE", cert, expires, out), 0);
}

static void a_voucher_is_good_until_it_expires(void **state)
{
	uint8_t v[VOUCHER_SIZE];

	(void)state;
	make(v, NOW + 300);
	assert_true(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW, v));
	assert_true(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW + 299, v));
	assert_false(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW + 300, v));
	assert_false(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW + 100000, v));
}

static void an_expiry_more_than_an_hour_ahead_is_no_voucher(void **state)
{
	uint8_t v[VOUCHER_SIZE];

	(void)state;
	make(v, NOW + 3601);
	assert_false(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW, v));
	assert_true(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW + 1, v));
}

static void another_account_realm_certificate_or_key_is_refused(void **state)
{
	uint8_t v[VOUCHER_SIZE];

	(void)state;
	make(v, NOW + 300);
	assert_false(vouch_check(key, "alicf", "CORP.EXAMPLE", cert, NOW, v));
	assert_false(vouch_check(key, "Alice", "CORP.EXAMPLE", cert, NOW, v));
	assert_false(vouch_check(key, "alice", "CORP.EXAMPLF", cert, NOW, v));
	assert_false(vouch_check(key, "alice", "CORP.EXAMPLE", other_cert, NOW, v));
	assert_false(vouch_check(other_key, "alice", "CORP.EXAMPLE", cert, NOW, v));
}

static void names_that_join_to_the_same_text_are_told_apart(void **state)
{
	uint8_t v[VOUCHER_SIZE];

	(void)state;
	assert_int_equal(vouch_make(key, "ab", "c", cert, NOW + 300, v), 0);
	assert_true(vouch_check(key, "ab", "c", cert, NOW, v));
	assert_false(vouch_check(key, "a", "bc", cert, NOW, v));
	assert_false(vouch_check(key, "abc", "", cert, NOW, v));
}

static void every_changed_bit_is_noticed(void **state)
{
	uint8_t v[VOUCHER_SIZE], w[VOUCHER_SIZE];

	(void)state;
	make(v, NOW + 300);
	for (size_t bit = 0; bit < 8 * sizeof(v); bit++) {
		memcpy(w, v, sizeof(w));
		w[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW, w));
	}
}

static void two_vouchers_for_the_same_are_not_the_same_bytes(void **state)
{
	uint8_t v[VOUCHER_SIZE], w[VOUCHER_SIZE];

	(void)state;
	make(v, NOW + 300);
	make(w, NOW + 300);
	assert_memory_not_equal(v, w, sizeof(v));
}

/* RFC 2104, of label, names behind their lengths, fingerprint and the voucher's own head. */
static void a_voucher_is_the_hmac_of_what_it_says(void **state)
{
	static const uint8_t bytes[VOUCH_KEY_SIZE] = { 1, 2, 3 };
	uint8_t v[VOUCHER_SIZE], text[256] = "easgate voucher 1", right[32];
	size_t n = sizeof("easgate voucher 1");
	unsigned right_n = 0;

	(void)state;
	make(v, NOW + 300);
	make(v, NOW + 300);	/* a second one by the same context */
	text[n] = 5;
	memcpy(text + n + 8, "alice", 5);
	n += 13;
	text[n] = 12;
	memcpy(text + n + 8, "CORP.EXAMPLE", 12);
	n += 20;
	memcpy(text + n, cert, sizeof(cert));
	n += sizeof(cert);
	memcpy(text + n, v, 24);
	n += 24;
	assert_non_null(HMAC(EVP_sha256(), bytes, sizeof(bytes), text, n, right, &right_n));
	assert_memory_equal(v + 24, right, sizeof(right));
}

static void zeros_and_names_that_do_not_fit_are_no_voucher(void **state)
{
	char longest[ACCOUNT_NAME_MAX + 1];
	uint8_t v[VOUCHER_SIZE], none[VOUCHER_SIZE] = { 0 };

	(void)state;
	assert_false(vouch_check(key, "alice", "CORP.EXAMPLE", cert, NOW, none));
	memset(longest, 'x', sizeof(longest));
	longest[ACCOUNT_NAME_MAX] = '\0';
	assert_int_equal(vouch_make(key, longest, "R", cert, NOW + 1, v), -1);
	assert_memory_equal(v, none, sizeof(v));
	assert_int_equal(vouch_make(key, "", "R", cert, NOW + 1, v), -1);
	assert_int_equal(vouch_make(key, "a", "", cert, NOW + 1, v), -1);
	assert_int_equal(vouch_make(key, "a", "R", cert, 0, v), -1);
	longest[ACCOUNT_NAME_MAX - 1] = '\0';
	assert_int_equal(vouch_make(key, longest, longest, cert, NOW + 1, v), 0);
	assert_true(vouch_check(key, longest, longest, cert, NOW, v));
}

static int set_up(void **state)
{
	static const uint8_t bytes[VOUCH_KEY_SIZE] = { 1, 2, 3 }, other[VOUCH_KEY_SIZE] = { 1, 2, 4 };

	(void)state;
	key = vouch_new(bytes);
	other_key = vouch_new(other);
	return key != NULL && other_key != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	vouch_free(key);
	vouch_free(other_key);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_voucher_is_good_until_it_expires),
		cmocka_unit_test(an_expiry_more_than_an_hour_ahead_is_no_voucher),
		cmocka_unit_test(another_account_realm_certificate_or_key_is_refused),
		cmocka_unit_test(names_that_join_to_the_same_text_are_told_apart),
		cmocka_unit_test(every_changed_bit_is_noticed),
		cmocka_unit_test(two_vouchers_for_the_same_are_not_the_same_bytes),
		cmocka_unit_test(a_voucher_is_the_hmac_of_what_it_says),
		cmocka_unit_test(zeros_and_names_that_do_not_fit_are_no_voucher),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
