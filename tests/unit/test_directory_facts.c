/*
 * What an account's numbers and groups mean: everything not known to be good is bad.
 */
#include "common/directory/account_facts.h"
#include "common/directory/ldap_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define NOW    1800000000
#define NEVER  INT64_MAX
#define NORMAL 0x200u

static struct account from(struct account_numbers n)
{
	struct account a = { .sam = "alice" };

	facts_from_numbers(&a, &n, NOW);
	return a;
}

static void an_ordinary_account_is_enabled_and_nothing_else(void **state)
{
	struct account a = from((struct account_numbers){ true, true, true, NORMAL, 0, NEVER });

	(void)state;
	assert_int_equal(a.flags, ACCOUNT_ENABLED);
	assert_int_equal(a.expires, 0);
	assert_true(facts_may_delegate(&a, NOW));
	a = from((struct account_numbers){ true, true, true, NORMAL | 0x10000, 0, 0 });
	assert_int_equal(a.flags, ACCOUNT_ENABLED);
	assert_int_equal(a.expires, 0);
}

static void what_the_directory_did_not_return_is_taken_for_bad(void **state)
{
	struct account a;

	(void)state;
	a = from((struct account_numbers){ false, true, true, NORMAL, 0, NEVER });
	assert_int_equal(a.flags, ACCOUNT_NOT_DELEGATED);
	a = from((struct account_numbers){ true, false, true, NORMAL, 0, NEVER });
	assert_int_equal(a.flags, ACCOUNT_ENABLED | ACCOUNT_LOCKED | ACCOUNT_PASSWORD_EXPIRED);
	a = from((struct account_numbers){ true, true, false, NORMAL, 0, NEVER });
	assert_int_equal(a.flags, ACCOUNT_ENABLED | ACCOUNT_EXPIRED);
	assert_false(facts_may_delegate(&a, NOW));
}

static void every_bit_has_its_flag(void **state)
{
	(void)state;
	assert_int_equal(
	    from((struct account_numbers){ true, true, true, NORMAL | 2, 0, NEVER }).flags, 0);
	/* a trust's account, a computer: no NORMAL_ACCOUNT */
	assert_int_equal(
	    from((struct account_numbers){ true, true, true, 0x800, 0, NEVER }).flags, 0);
	assert_int_equal(
	    from((struct account_numbers){ true, true, true, 0x1000, 0, NEVER }).flags, 0);
	assert_int_equal(
	    from((struct account_numbers){ true, true, true, NORMAL | 0x100000, 0, NEVER }).flags,
	    ACCOUNT_ENABLED | ACCOUNT_NOT_DELEGATED);
	assert_int_equal(
	    from((struct account_numbers){ true, true, true, NORMAL, 0x10, NEVER }).flags,
	    ACCOUNT_ENABLED | ACCOUNT_LOCKED);
	assert_int_equal(
	    from((struct account_numbers){ true, true, true, NORMAL, 0x800000, NEVER }).flags,
	    ACCOUNT_ENABLED | ACCOUNT_PASSWORD_EXPIRED);
	/* the lock-out bit of userAccountControl itself is not kept by AD */
	assert_int_equal(
	    from((struct account_numbers){ true, true, true, NORMAL | 0x10, 0, NEVER }).flags,
	    ACCOUNT_ENABLED);
}

static void an_account_expires_while_its_facts_are_kept(void **state)
{
	struct account a = from((struct account_numbers){
	    true, true, true, NORMAL, 0, (NOW + 60 + 11644473600LL) * 10000000LL });

	(void)state;
	assert_int_equal(a.expires, NOW + 60);
	assert_int_equal(a.flags, ACCOUNT_ENABLED);
	assert_true(facts_may_delegate(&a, NOW + 59));
	assert_int_equal(facts_flags_now(&a, NOW + 60), ACCOUNT_ENABLED | ACCOUNT_EXPIRED);
	assert_false(facts_may_delegate(&a, NOW + 60));
}

static void odd_times_are_long_past_not_never(void **state)
{
	(void)state;
	assert_int_equal(facts_unix_time(0), 0);
	assert_int_equal(facts_unix_time(NEVER), 0);
	assert_int_equal(facts_unix_time(1), 1);
	assert_int_equal(facts_unix_time(-1), 1);
	assert_int_equal(facts_unix_time(INT64_MIN), 1);
	assert_int_equal(facts_unix_time(130000000000000000), 1355526400);
	assert_true(facts_unix_time(NEVER - 1) > NOW);
}

/* --- groups --- */

static struct sid sid(const char *text)
{
	struct sid s;

	assert_int_equal(sid_from_text(strv_from(text), &s), 0);
	return s;
}

static struct account with_token(
    const char *own, const char *group, const struct refused_groups *refused)
{
	struct account a = from((struct account_numbers){ true, true, true, NORMAL, 0, NEVER });
	struct sid self = sid(own), token[2] = { sid("S-1-5-21-1-2-3-513"), { .n = 0 } };
	struct sid wanted[3] = { sid("S-1-5-21-1-2-3-2000"), { .n = 0 },
		sid("S-1-5-21-1-2-3-513") };

	if (group != NULL)
		token[1] = sid(group);
	facts_from_token(&a, &self, token, group != NULL ? 2 : 1, wanted, 3, refused);
	return a;
}

static void membership_is_by_sid_and_an_unknown_group_has_no_member(void **state)
{
	static const struct refused_groups none;

	(void)state;
	assert_int_equal(with_token("S-1-5-21-1-2-3-1103", NULL, &none).groups, 4);
	assert_int_equal(with_token("S-1-5-21-1-2-3-1103", NULL, &none).groups_missing, 2);
	assert_int_equal(with_token("S-1-5-21-1-2-3-1103", "S-1-5-21-1-2-3-2000", &none).groups, 5);
	assert_int_equal(with_token("S-1-5-21-1-2-3-1103", "S-1-5-21-1-2-4-2000", &none).groups, 4);
	assert_int_equal(with_token("S-1-5-21-1-2-3-1103", NULL, &none).flags, ACCOUNT_ENABLED);
}

static void threat_39_administrators_get_no_ticket(void **state)
{
	static const char *const admins[] = { "S-1-5-21-1-2-3-512", "S-1-5-21-1-2-3-516",
		"S-1-5-21-1-2-3-517", "S-1-5-21-1-2-3-518", "S-1-5-21-9-9-9-519",
		"S-1-5-21-1-2-3-520", "S-1-5-21-1-2-3-521", "S-1-5-21-1-2-3-526",
		"S-1-5-21-9-9-9-527", "S-1-5-21-1-2-3-498", "S-1-5-32-544", "S-1-5-32-548",
		"S-1-5-32-549", "S-1-5-32-550", "S-1-5-32-551", "S-1-5-32-552" };
	static const struct refused_groups none;
	struct account a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(admins); i++) {
		a = with_token("S-1-5-21-1-2-3-1103", admins[i], &none);
		assert_int_equal(a.flags, ACCOUNT_ENABLED | ACCOUNT_PROTECTED);
		assert_false(facts_may_delegate(&a, NOW));
	}
	assert_true(with_token("S-1-5-21-1-2-3-500", NULL, &none).flags & ACCOUNT_PROTECTED);
	assert_true(with_token("S-1-5-21-1-2-3-502", NULL, &none).flags & ACCOUNT_PROTECTED);
	a = with_token("S-1-5-21-1-2-3-1103", "S-1-5-21-1-2-3-525", &none);
	assert_int_equal(a.flags, ACCOUNT_ENABLED | ACCOUNT_NOT_DELEGATED);
	assert_false(facts_may_delegate(&a, NOW));
	/* RIDs of no domain are other things */
	assert_int_equal(
	    with_token("S-1-5-21-1-2-3-1103", "S-1-5-32-512", &none).flags, ACCOUNT_ENABLED);
}

static void a_token_that_cannot_be_read_protects(void **state)
{
	static const struct refused_groups none;
	struct account a = from((struct account_numbers){ true, true, true, NORMAL, 0, NEVER });
	struct sid self = sid("S-1-5-21-1-2-3-1103");

	(void)state;
	a.groups = 7;
	facts_from_token(&a, &self, NULL, 0, NULL, 0, &none);
	assert_int_equal(a.flags, ACCOUNT_ENABLED | ACCOUNT_PROTECTED);
	assert_int_equal(a.groups, 0);
}

static void a_computers_account_is_protected(void **state)
{
	static const struct refused_groups none;
	struct account a = { .sam = "MAIL$", .flags = ACCOUNT_ENABLED };
	struct sid self = sid("S-1-5-21-1-2-3-1103"), token = sid("S-1-5-21-1-2-3-513");

	(void)state;
	facts_from_token(&a, &self, &token, 1, NULL, 0, &none);
	assert_true(a.flags & ACCOUNT_PROTECTED);
}

static void configured_groups_are_refused_by_sid_or_by_rid_of_the_own_domain(void **state)
{
	struct refused_groups refused = { .count = 0 };

	(void)state;
	assert_int_equal(refused_groups_add(&refused, "1234"), 0);
	assert_int_equal(refused_groups_add(&refused, "S-1-5-21-7-7-7-4321"), 0);
	assert_int_equal(refused_groups_add(&refused, "Domain Admins"), -1);
	assert_int_equal(refused_groups_add(&refused, ""), -1);
	assert_int_equal(refused_groups_add(&refused, "0"), -1);
	assert_int_equal(refused_groups_add(&refused, "S-1-5-21-"), -1);
	assert_int_equal(refused.count, 2);
	assert_true(with_token("S-1-5-21-1-2-3-1103", "S-1-5-21-1-2-3-1234", &refused).flags &
		    ACCOUNT_PROTECTED);
	assert_false(with_token("S-1-5-21-1-2-3-1103", "S-1-5-21-1-2-4-1234", &refused).flags &
		     ACCOUNT_PROTECTED);
	assert_true(with_token("S-1-5-21-1-2-3-1103", "S-1-5-21-7-7-7-4321", &refused).flags &
		    ACCOUNT_PROTECTED);
	/* also an account that is itself in the list */
	assert_true(with_token("S-1-5-21-1-2-3-1234", NULL, &refused).flags & ACCOUNT_PROTECTED);
	while (refused.count < FACTS_REFUSED_MAX)
		assert_int_equal(refused_groups_add(&refused, "1"), 0);
	assert_int_equal(refused_groups_add(&refused, "1"), -1);
}

/* 100 ns, negative; "never" is the least number there is. */
static void a_window_that_never_ends_is_a_long_one_and_nonsense_is_none(void **state)
{
	(void)state;
	assert_int_equal(ldap_window_seconds(-18000000000), 1800);
	assert_int_equal(ldap_window_seconds(INT64_MIN), INT32_MAX);
	assert_int_equal(ldap_window_seconds(-1), 0);
	assert_int_equal(ldap_window_seconds(0), 0);
	assert_int_equal(ldap_window_seconds(INT64_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_that_never_ends_is_a_long_one_and_nonsense_is_none),
		cmocka_unit_test(an_ordinary_account_is_enabled_and_nothing_else),
		cmocka_unit_test(what_the_directory_did_not_return_is_taken_for_bad),
		cmocka_unit_test(every_bit_has_its_flag),
		cmocka_unit_test(an_account_expires_while_its_facts_are_kept),
		cmocka_unit_test(odd_times_are_long_past_not_never),
		cmocka_unit_test(membership_is_by_sid_and_an_unknown_group_has_no_member),
		cmocka_unit_test(threat_39_administrators_get_no_ticket),
		cmocka_unit_test(a_token_that_cannot_be_read_protects),
		cmocka_unit_test(a_computers_account_is_protected),
		cmocka_unit_test(configured_groups_are_refused_by_sid_or_by_rid_of_the_own_domain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
