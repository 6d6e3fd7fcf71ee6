/*
 * The guard of password sign-in: budgets per account and per address, what under way counts, owners' addresses, bounds.
 */
#include "enroll/worker/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define NOW 1000000

static const struct guard_limits limits = {
	.attempts = 3, .address_attempts = 20, .window_seconds = 1800
};
static const struct strv alice = { "S-1-5-21-1-2-3-4", 16 };

static int set_up(void **state)
{
	*state = guard_new(&limits);
	return *state == NULL;
}

static int tear_down(void **state)
{
	guard_free(*state);
	return 0;
}

static enum guard_verdict take(struct guard *g, const char *address, int64_t now)
{
	uint32_t wait;

	return guard_take(g, alice, true, address, now, &wait);
}

static void an_account_has_as_many_attempts_as_configured_from_wherever_they_come(void **state)
{
	uint32_t wait = 0;

	assert_int_equal(take(*state, "192.0.2.1", NOW), GUARD_GO);
	assert_int_equal(take(*state, "192.0.2.2", NOW + 10), GUARD_GO);
	assert_int_equal(take(*state, "192.0.2.3", NOW + 20), GUARD_GO);
	assert_int_equal(
	    guard_take(*state, alice, true, "192.0.2.4", NOW + 30, &wait), GUARD_ACCOUNT);
	assert_int_equal(wait, 1770);
	assert_int_equal(take(*state, "192.0.2.4", NOW + 1799), GUARD_ACCOUNT);
	assert_int_equal(take(*state, "192.0.2.4", NOW + 1800), GUARD_GO);
}

static void of_a_thousand_attempts_three_are_made(void **state)
{
	char address[32];
	unsigned made = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(address, sizeof(address), "10.0.%d.%d", i / 250, i % 250);
		made += take(*state, address, NOW + i / 2) == GUARD_GO;
	}
	assert_int_equal(made, 3);
}

static void a_right_password_or_none_tried_does_not_count(void **state)
{
	for (int i = 0; i < 50; i++) {
		assert_int_equal(take(*state, "192.0.2.1", NOW), GUARD_GO);
		guard_give_back(*state, alice, true, "192.0.2.1", i % 2 == 0, NOW);
	}
}

static void strangers_use_up_no_attempt_of_an_address_that_is_the_owners(void **state)
{
	assert_int_equal(take(*state, "192.0.2.1", NOW), GUARD_GO);
	guard_give_back(*state, alice, true, "192.0.2.1", true, NOW);
	for (int i = 0; i < 10; i++)
		(void)take(*state, "203.0.113.9", NOW + 5);
	assert_int_equal(take(*state, "203.0.113.9", NOW + 6), GUARD_ACCOUNT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(take(*state, "192.0.2.1", NOW + 7), GUARD_GO);
	assert_int_equal(
	    take(*state, "192.0.2.1", NOW + 8), GUARD_ACCOUNT); /* mistyping is bounded there too */
}

static void an_address_is_not_the_owners_for_ever(void **state)
{
	int64_t later = NOW + GUARD_KNOWN_SECONDS;

	assert_int_equal(take(*state, "192.0.2.1", NOW), GUARD_GO);
	guard_give_back(*state, alice, true, "192.0.2.1", true, NOW);
	for (int i = 0; i < 3; i++)
		assert_int_equal(take(*state, "203.0.113.9", later), GUARD_GO);
	assert_int_equal(take(*state, "192.0.2.1", later), GUARD_ACCOUNT);
}

static void an_address_has_a_budget_over_all_names(void **state)
{
	char name[32];
	uint32_t wait;
	unsigned made = 0;

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		made += guard_take(*state, strv_from(name), false, "192.0.2.1", NOW, &wait) ==
		    GUARD_GO;
	}
	assert_int_equal(made, 20);
	assert_int_equal(guard_take(*state, alice, true, "192.0.2.1", NOW, &wait), GUARD_ADDRESS);
	assert_int_equal(take(*state, "192.0.2.2", NOW), GUARD_GO);
}

static void a_hundred_thousand_invented_names_push_no_account_out(void **state)
{
	char name[32], address[32];
	uint32_t wait;

	for (int i = 0; i < 3; i++)
		assert_int_equal(take(*state, "192.0.2.1", NOW), GUARD_GO);
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		snprintf(
		    address, sizeof(address), "10.%d.%d.%d", i / 65536, i / 256 % 256, i % 256);
		assert_int_equal(
		    guard_take(*state, strv_from(name), false, address, NOW + 1, &wait), GUARD_GO);
	}
	assert_int_equal(take(*state, "192.0.2.77", NOW + 2), GUARD_ACCOUNT);
}

static void names_differ_in_case_for_nobody(void **state)
{
	uint32_t wait;

	assert_int_equal(guard_take(*state, STRV("Bob"), false, "192.0.2.1", NOW, &wait), GUARD_GO);
	assert_int_equal(guard_take(*state, STRV("bOB"), false, "192.0.2.1", NOW, &wait), GUARD_GO);
	assert_int_equal(guard_take(*state, STRV("bob"), false, "192.0.2.1", NOW, &wait), GUARD_GO);
	assert_int_equal(
	    guard_take(*state, STRV("BOB"), false, "192.0.2.1", NOW, &wait), GUARD_ACCOUNT);
}

static void no_attempts_configured_are_no_attempts(void **state)
{
	static const struct guard_limits none = { 0, 20, 1800 };
	struct guard *g = guard_new(&none);
	uint32_t wait = 0;

	(void)state;
	assert_non_null(g);
	assert_int_equal(guard_take(g, alice, true, "192.0.2.1", NOW, &wait), GUARD_ACCOUNT);
	assert_true(wait > 0);
	guard_free(g);
}

static void an_address_is_counted_without_its_port_and_ipv6_by_its_network(void **state)
{
	static const char *const table[][2] = {
		{ "192.0.2.1:4711", "192.0.2.1" },
		{ "192.0.2.1", "192.0.2.1" },
		{ "[2001:db8:1:2:3:4:5:6]:4711", "2001:db8:1:2::" },
		{ "[2001:db8:1:2:ffff::1]:1", "2001:db8:1:2::" },
		{ "local", "local" },
		{ "", "" },
		{ "[", "[" },
		{ "[]:1", "[]" },
	};
	char out[GUARD_ADDRESS_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		guard_address(table[i][0], out);
		assert_string_equal(out, table[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    an_account_has_as_many_attempts_as_configured_from_wherever_they_come, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    of_a_thousand_attempts_three_are_made, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_right_password_or_none_tried_does_not_count, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    strangers_use_up_no_attempt_of_an_address_that_is_the_owners, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    an_address_is_not_the_owners_for_ever, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    an_address_has_a_budget_over_all_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_hundred_thousand_invented_names_push_no_account_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(names_differ_in_case_for_nobody, set_up, tear_down),
		cmocka_unit_test(no_attempts_configured_are_no_attempts),
		cmocka_unit_test(an_address_is_counted_without_its_port_and_ipv6_by_its_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
