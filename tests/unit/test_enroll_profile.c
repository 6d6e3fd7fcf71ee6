/*
 * Profile: who may have a certificate, and that its contents are the directory's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "enroll/worker/profile.h"

#define NOW 1795400000

static struct account anna(void)
{
	struct account a = { .sid = "S-1-5-21-1-2-3-1104", .sam = "anna", .upn = "anna@example.com", .mail = "a@example.com", .display_name = "Anna",
		.flags = ACCOUNT_ENABLED, .groups = 0x4 };

	return a;
}

static void only_good_accounts_may_have_one(void **state)
{
	struct profile_rule rule = { "mail", 365, true, true, true, PROFILE_KEY_ANY, 2 };
	struct account a = anna();

	(void)state;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_OK);
	a.flags = 0;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_DISABLED);
	a.flags = ACCOUNT_ENABLED | ACCOUNT_EXPIRED;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_EXPIRED);
	a = anna();
	a.expires = NOW;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_EXPIRED);
	a = anna();
	a.groups = ~(uint64_t)0x4;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_NOT_IN_GROUP);
	rule.group = 64;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_NOT_IN_GROUP);
	rule.group = -1;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_OK);
}

static void what_the_profile_wants_must_be_there(void **state)
{
	struct profile_rule rule = { "mail", 365, true, true, true, PROFILE_KEY_ANY, -1 };
	struct account a = anna();

	(void)state;
	a.sid[0] = '\0';
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_NO_SID);
	a = anna();
	a.upn[0] = '\0';
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_NO_UPN);
	a = anna();
	a.mail[0] = '\0';
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_NO_MAIL);
	rule.mail = false;
	assert_int_equal(profile_allows(&rule, &a, NOW), PROFILE_OK);
}

static enum profile_result fill(const struct account *a, const struct profile_rule *rule, bool rsa, void *out, size_t room, size_t *n)
{
	static const uint8_t serial[16] = { 1, 2 };
	struct profile_wanted w = { rule, a, "0123456789abcdef0123456789abcdef", serial, { "spki", 4 }, rsa, NOW };

	return profile_fill(&w, out, room, n);
}

static void the_question_holds_the_directory_s_facts_and_the_key(void **state)
{
	struct profile_rule rule = { "mail", 10, true, true, true, PROFILE_KEY_EC, -1 };
	union { struct signer_issue q; uint8_t room[sizeof(struct signer_issue) + 64]; } u;
	struct account a = anna();
	size_t n = 0;

	(void)state;
	assert_int_equal(fill(&a, &rule, false, &u, sizeof(u), &n), PROFILE_OK);
	assert_int_equal(n, sizeof(u.q) + 4);
	assert_string_equal(u.q.profile, "mail");
	assert_string_equal(u.q.upn, "anna@example.com");
	assert_string_equal(u.q.sid, a.sid);
	assert_string_equal(u.q.device, "0123456789abcdef0123456789abcdef");
	assert_int_equal(u.q.not_before, NOW - PROFILE_BACKDATE);
	assert_int_equal(u.q.not_after, NOW + 10 * 86400);
	assert_memory_equal(u.room + sizeof(u.q), "spki", 4);
	assert_int_equal(fill(&a, &rule, true, &u, sizeof(u), &n), PROFILE_WRONG_KEY);
	assert_int_equal(fill(&a, &rule, false, &u, sizeof(u.q) + 3, &n), PROFILE_TOO_LONG);
	a.expires = NOW + 5;
	assert_int_equal(fill(&a, &rule, false, &u, sizeof(u), &n), PROFILE_OK);
	assert_int_equal(u.q.not_after, NOW + 5);
	memset(a.upn, 'u', sizeof(a.upn));	/* no end */
	assert_int_equal(fill(&a, &rule, false, &u, sizeof(u), &n), PROFILE_TOO_LONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_good_accounts_may_have_one),
		cmocka_unit_test(what_the_profile_wants_must_be_there),
		cmocka_unit_test(the_question_holds_the_directory_s_facts_and_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
