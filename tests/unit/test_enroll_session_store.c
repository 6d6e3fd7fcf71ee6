/*
 * Sessions of the portal: new ids, limits in time and number, CSRF tokens, and accounts whose sessions end.
 */
#include "enroll/worker/session_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define NOW 1000000

static const struct session_limits limits = {
	.sessions = 10, .per_account = 3, .idle_seconds = 900, .whole_seconds = 28800
};

static int set_up(void **state)
{
	*state = session_store_new(&limits);
	return *state == NULL;
}

static int tear_down(void **state)
{
	session_store_free(*state);
	return 0;
}

static struct session *begin(
    struct session_store *s, const char *sid, int64_t now, char id[SESSION_ID_SIZE])
{
	struct account a = { .flags = ACCOUNT_ENABLED };
	struct session *session;

	snprintf(a.sid, sizeof(a.sid), "%s", sid);
	session = session_begin(s, &a, "192.0.2.1:1", now, id);
	assert_non_null(session);
	return session;
}

static void a_session_is_found_by_its_id_and_by_no_other(void **state)
{
	static const char *const wrong[] = { "", "0",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"zz00000000000000000000000000000000000000000000000000000000000000" };
	char id[SESSION_ID_SIZE], changed[SESSION_ID_SIZE];

	(void)begin(*state, "S-1-1", NOW, id);
	assert_non_null(session_find(*state, strv_from(id), NOW + 1));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_null(session_find(*state, strv_from(wrong[i]), NOW + 1));
	memcpy(changed, id, sizeof(id));
	changed[10] = changed[10] == 'a' ? 'b' : 'a';
	assert_null(session_find(*state, strv_from(changed), NOW + 1));
	assert_null(session_find(*state, (struct strv){ id, 63 }, NOW + 1));
}

/* Thousands have a session: whatever place of the table an id falls on, somebody's is there. */
static void an_id_is_compared_and_not_only_looked_up(void **state)
{
	static const struct session_limits many = { .sessions = 4000, .per_account = 4000, .idle_seconds = 900, .whole_seconds = 28800 };
	struct session_store *s = session_store_new(&many);
	char id[SESSION_ID_SIZE], wrong[SESSION_ID_SIZE];

	(void)state;
	assert_non_null(s);
	for (int i = 0; i < 3000; i++)
		(void)begin(s, "S-1-1", NOW, id);
	for (int i = 0; i < 32; i++) {
		snprintf(wrong, sizeof(wrong), "%064x", (unsigned)i);
		assert_null(session_find(s, strv_from(wrong), NOW + 1));
	}
	assert_non_null(session_find(s, strv_from(id), NOW + 1));
	session_store_free(s);
}

static void a_session_from_the_future_is_over(void **state)
{
	char id[SESSION_ID_SIZE];

	(void)begin(*state, "S-1-1", NOW, id);
	assert_null(session_find(*state, strv_from(id), NOW - 1));
	assert_int_equal(session_count(*state), 0);
}

static void each_session_has_an_id_of_its_own(void **state)
{
	char one[SESSION_ID_SIZE], two[SESSION_ID_SIZE];

	(void)begin(*state, "S-1-1", NOW, one);
	(void)begin(*state, "S-1-1", NOW, two);
	assert_string_not_equal(one, two);
	assert_int_equal(strlen(one), 64);
}

static void the_id_itself_is_not_kept(void **state)
{
	char id[SESSION_ID_SIZE];
	const struct session *session = begin(*state, "S-1-1", NOW, id);
	const char *bytes = (const char *)session;
	char raw[32];

	assert_int_equal(sscanf(id, "%2hhx", (unsigned char *)raw), 1);
	assert_null(memmem(bytes, sizeof(*session), id, 64));
}

static void a_session_ends_when_idle_and_at_its_whole_length_however_busy(void **state)
{
	char id[SESSION_ID_SIZE];
	int64_t at;

	(void)begin(*state, "S-1-1", NOW, id);
	assert_non_null(session_find(*state, strv_from(id), NOW + 899));
	assert_null(session_find(*state, strv_from(id), NOW + 899 + 900));
	assert_null(session_find(*state, strv_from(id), NOW + 900)); /* and does not come back */
	(void)begin(*state, "S-1-1", NOW, id);
	for (at = NOW; at < NOW + 28800; at += 600)
		assert_non_null(session_find(*state, strv_from(id), at));
	assert_null(session_find(*state, strv_from(id), NOW + 28800));
}

static void one_account_has_few_sessions_and_the_oldest_goes(void **state)
{
	char first[SESSION_ID_SIZE], id[SESSION_ID_SIZE];

	(void)begin(*state, "S-1-1", NOW, first);
	for (int i = 0; i < 2; i++)
		(void)begin(*state, "S-1-1", NOW + 1, id);
	assert_non_null(session_find(*state, strv_from(first), NOW + 2));
	(void)begin(*state, "S-1-1", NOW + 2, id);
	assert_null(session_find(*state, strv_from(first), NOW + 2));
	assert_non_null(session_find(*state, strv_from(id), NOW + 2));
	assert_int_equal(session_count(*state), 3);
}

static void the_table_never_grows_beyond_its_limit(void **state)
{
	char id[SESSION_ID_SIZE], sid[32];

	for (int i = 0; i < 500; i++) {
		snprintf(sid, sizeof(sid), "S-1-%d", i);
		(void)begin(*state, sid, NOW + i, id);
		assert_true(session_count(*state) <= 10);
	}
	assert_non_null(session_find(*state, strv_from(id), NOW + 500));
}

static void threat_47_the_csrf_token_is_bound_to_the_session(void **state)
{
	char one[SESSION_ID_SIZE], two[SESSION_ID_SIZE], token[SESSION_CSRF_SIZE],
	    other[SESSION_CSRF_SIZE];

	(void)begin(*state, "S-1-1", NOW, one);
	(void)begin(*state, "S-1-1", NOW, two);
	session_csrf(*state, strv_from(one), token);
	session_csrf(*state, strv_from(two), other);
	assert_string_not_equal(token, other);
	assert_string_not_equal(token, one);
	assert_true(session_csrf_is(*state, strv_from(one), strv_from(token)));
	assert_false(session_csrf_is(*state, strv_from(one), strv_from(other)));
	assert_false(session_csrf_is(*state, strv_from(one), STRV("")));
	assert_false(session_csrf_is(*state, strv_from(one), (struct strv){ token, 63 }));
}

static void all_sessions_of_an_account_end_and_no_other(void **state)
{
	char one[SESSION_ID_SIZE], two[SESSION_ID_SIZE], bob[SESSION_ID_SIZE];

	(void)begin(*state, "S-1-1", NOW, one);
	(void)begin(*state, "S-1-2", NOW, bob);
	(void)begin(*state, "S-1-1", NOW, two);
	session_end_account(*state, "S-1-1");
	assert_null(session_find(*state, strv_from(one), NOW));
	assert_null(session_find(*state, strv_from(two), NOW));
	assert_non_null(session_find(*state, strv_from(bob), NOW));
}

static void accounts_come_up_to_be_looked_at_again(void **state)
{
	struct account now = { .sid = "S-1-1", .groups = 5, .flags = ACCOUNT_ENABLED };
	char one[SESSION_ID_SIZE], two[SESSION_ID_SIZE];
	struct session *session;

	(void)begin(*state, "S-1-1", NOW, one);
	(void)begin(*state, "S-1-1", NOW + 1, two);
	assert_null(session_to_check(*state, NOW));
	session = session_to_check(*state, NOW + 30);
	assert_non_null(session);
	assert_int_equal(session_checked(*state, &now, NOW + 30, NOW + 29), 0);
	assert_null(session_to_check(*state, NOW + 30));
	session = session_find(*state, strv_from(two), NOW + 31);
	assert_non_null(session);
	assert_int_equal(session->account.groups, 5);
}

static void a_changed_account_comes_up_at_once_whether_in_use_or_not(void **state)
{
	struct account now = { .sid = "S-1-2", .flags = ACCOUNT_ENABLED };
	char one[SESSION_ID_SIZE], two[SESSION_ID_SIZE];
	struct session *session;

	(void)begin(*state, "S-1-1", NOW, one);
	session = begin(*state, "S-1-2", NOW, two);
	assert_int_equal(session_checked(*state, &now, NOW + 5, NOW + 5), 0); /* and not used since */
	session_doubt(*state, "S-1-3");
	assert_null(session_to_check(*state, NOW));
	session_doubt(*state, "S-1-2");
	assert_ptr_equal(session_to_check(*state, NOW), session);
	assert_int_equal(session_checked(*state, &now, NOW + 6, NOW + 6), 0);
	assert_null(session_to_check(*state, NOW));
	session_doubt(*state, "");
	assert_non_null(session_to_check(*state, NOW));
}

static void threat_47_a_changed_password_ends_what_was_begun_with_the_one_before(void **state)
{
	struct account now = { .sid = "S-1-1", .flags = ACCOUNT_ENABLED, .groups = 7, .pwd_last_set = 100 };
	char one[SESSION_ID_SIZE], two[SESSION_ID_SIZE], other[SESSION_ID_SIZE];
	struct session *session;

	session = begin(*state, "S-1-1", NOW, one);
	session->account.pwd_last_set = 100;
	begin(*state, "S-1-2", NOW, other)->account.pwd_last_set = 100;
	assert_int_equal(session_checked(*state, &now, NOW + 10, NOW + 10), 0);
	assert_int_equal(session->account.groups, 7);
	session = begin(*state, "S-1-1", NOW + 20, two); /* with the new password */
	session->account.pwd_last_set = 200;
	/* what was known before that tells nothing of it, and takes nothing from it */
	assert_int_equal(session_checked(*state, &now, NOW + 21, NOW + 12), 0);
	assert_int_equal(session->account.pwd_last_set, 200);
	assert_int_equal(session->account.groups, 0);
	now.pwd_last_set = 200;
	assert_int_equal(session_checked(*state, &now, NOW + 30, NOW + 29), 1);
	assert_null(session_find(*state, strv_from(one), NOW + 30));
	assert_non_null(session_find(*state, strv_from(two), NOW + 30));
	assert_non_null(session_find(*state, strv_from(other), NOW + 30));
	now.pwd_last_set = 0; /* it must be changed at the next sign-in */
	assert_int_equal(session_checked(*state, &now, NOW + 40, NOW + 39), 1);
	assert_null(session_find(*state, strv_from(two), NOW + 40));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    a_session_is_found_by_its_id_and_by_no_other, set_up, tear_down),
		cmocka_unit_test(an_id_is_compared_and_not_only_looked_up),
		cmocka_unit_test_setup_teardown(a_session_from_the_future_is_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    each_session_has_an_id_of_its_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_id_itself_is_not_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_session_ends_when_idle_and_at_its_whole_length_however_busy, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    one_account_has_few_sessions_and_the_oldest_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    the_table_never_grows_beyond_its_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    threat_47_the_csrf_token_is_bound_to_the_session, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    all_sessions_of_an_account_end_and_no_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    threat_47_a_changed_password_ends_what_was_begun_with_the_one_before, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    accounts_come_up_to_be_looked_at_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_changed_account_comes_up_at_once_whether_in_use_or_not, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
