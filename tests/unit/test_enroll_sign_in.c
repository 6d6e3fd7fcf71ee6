/*
 * Sign-in in the worker: what is asked of the directory process, what the guard keeps away from it, and what the client learns. The directory behind the
 * wire is this file.
 */
#include "enroll/worker/sign_in.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ALICE "S-1-5-21-1-2-3-4"

struct site {
	struct loop *loop;
	struct wire *directory;
	struct asker *asker;
	struct sign_in *sign_in;
	unsigned finds, tries;
	char password[DIRECTORY_PASSWORD_MAX + 1];
	uint32_t result, margin; /* what the directory says; what it was told */
	bool known, silent;
	unsigned answers, awaited;
	enum sign_in_verdict verdict;
	char reason[64], who[ACCOUNT_SID_MAX];
	uint64_t answered_ms;
};

static void serve_find(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;
	struct directory_found found;

	(void)body;
	(void)n;
	s->finds++;
	memset(&found, 0, sizeof(found));
	found.result = s->known ? ACCOUNT_FOUND : ACCOUNT_UNKNOWN;
	if (s->known)
		snprintf(found.account.sid, sizeof(found.account.sid), ALICE);
	wire_answer(w, number, &found, sizeof(found));
}

static void serve_sign_in(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;
	struct directory_sign_in ask;
	struct directory_signed_in answer;

	assert_int_equal(n, sizeof(ask));
	memcpy(&ask, body, sizeof(ask));
	s->tries++;
	s->margin = ask.margin;
	snprintf(s->password, sizeof(s->password), "%.*s", (int)ask.password_n, ask.password);
	if (s->silent)
		return;
	memset(&answer, 0, sizeof(answer));
	answer.result = s->result;
	answer.tried = s->result != SIGN_IN_UNAVAILABLE && s->result != SIGN_IN_GUARDED;
	if (s->known)
		snprintf(answer.account.sid, sizeof(answer.account.sid), ALICE);
	wire_answer(w, number, &answer, sizeof(answer));
}

static const struct wire_verb verbs[] = {
	{ DIRECTORY_FIND, "find", sizeof(struct directory_find), sizeof(struct directory_find),
	    serve_find },
	{ DIRECTORY_SIGN_IN, "sign_in", sizeof(struct directory_sign_in),
	    sizeof(struct directory_sign_in), serve_sign_in },
	{ .name = NULL },
};

static void on_closed(struct wire *w, void *arg)
{
	(void)w;
	(void)arg;
}

static int set_up(void **state)
{
	struct site *s = calloc(1, sizeof(*s));
	struct wire_config config = {
		.verbs = verbs, .arg = s, .closed = on_closed, .name = "worker"
	};
	struct sign_in_config setup = {
		.limits = { 3, 20, 1800 }, .margin = 2, .timeout_ms = 300, .floor_ms = 100
	};
	int fds[2];

	assert_non_null(s);
	s->loop = loop_new();
	assert_int_equal(wire_pair(fds), 0);
	s->directory = wire_new(s->loop, fds[0], &config);
	s->asker = asker_new(s->loop, "directory", NULL, s);
	asker_link(s->asker, fds[1]);
	setup.loop = s->loop;
	setup.directory = s->asker;
	s->sign_in = sign_in_new(&setup);
	assert_non_null(s->sign_in);
	s->known = true;
	s->result = SIGNED_IN;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct site *s = *state;

	sign_in_free(s->sign_in);
	asker_free(s->asker);
	wire_free(s->directory);
	loop_free(s->loop);
	free(s);
	return 0;
}

static void on_done(void *arg, const struct sign_in_answer *answer)
{
	struct site *s = arg;

	s->verdict = answer->verdict;
	snprintf(s->reason, sizeof(s->reason), "%s", answer->reason);
	snprintf(s->who, sizeof(s->who), "%s", answer->account != NULL ? answer->account->sid : "");
	s->answered_ms = loop_now_fresh();
	s->answers++;
	if (s->answers >= s->awaited)
		loop_stop(s->loop);
}

/* From an address; returns how long it took. */
static uint64_t try_from(struct site *s, const char *name, const char *password, const char *client)
{
	uint64_t began = loop_now_fresh();

	s->awaited = s->answers + 1;
	assert_int_equal(
	    sign_in_start(s->sign_in, strv_from(name), strv_from(password), client, on_done, s), 0);
	assert_int_equal(loop_run(s->loop), 0);
	return s->answered_ms - began;
}

static void the_right_password_gives_the_account_at_once(void **state)
{
	struct site *s = *state;

	assert_true(try_from(s, "alice", "right", "192.0.2.1:1") < 100);
	assert_int_equal(s->verdict, SIGN_IN_OK);
	assert_string_equal(s->who, ALICE);
	assert_string_equal(s->password, "right");
	assert_int_equal(s->margin, 2);
}

static void threat_47_every_refusal_looks_the_same_and_takes_as_long(void **state)
{
	static const uint32_t results[] = { SIGN_IN_WRONG, SIGN_IN_UNKNOWN, SIGN_IN_DISABLED,
		SIGN_IN_EXPIRED, SIGN_IN_LOCKED, SIGN_IN_NOT_NOW, SIGN_IN_GUARDED };
	struct site *s = *state;
	char client[32];

	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		s->result = results[i];
		s->known = false; /* an own budget for each name */
		snprintf(client, sizeof(client), "192.0.2.%zu:1", i);
		snprintf(s->reason, sizeof(s->reason), "user%zu", i);
		assert_true(try_from(s, s->reason, "wrong", client) >= 100);
		assert_int_equal(s->verdict, SIGN_IN_REFUSED);
	}
}

static void a_thousand_wrong_passwords_reach_the_directory_three_times(void **state)
{
	struct site *s = *state;
	char client[32];

	s->result = SIGN_IN_WRONG;
	s->awaited = 1000;
	for (int i = 0; i < 1000; i += 100) {
		s->awaited = s->answers + 100;
		for (int k = 0; k < 100; k++) {
			snprintf(client, sizeof(client), "10.0.%d.%d:1", i / 100, k);
			assert_int_equal(sign_in_start(s->sign_in, STRV("alice"), STRV("wrong"),
					     client, on_done, s),
			    0);
		}
		assert_int_equal(loop_run(s->loop), 0);
	}
	assert_int_equal(s->answers, 1000);
	assert_int_equal(s->tries, 3);
	assert_int_equal(s->verdict, SIGN_IN_WAIT);
}

static void the_owner_gets_in_from_a_known_address_while_strangers_are_kept_out(void **state)
{
	struct site *s = *state;

	(void)try_from(s, "alice", "right", "192.0.2.1:1");
	s->result = SIGN_IN_WRONG;
	for (int i = 0; i < 5; i++)
		(void)try_from(s, "alice", "wrong", "203.0.113.7:1");
	assert_int_equal(s->verdict, SIGN_IN_WAIT);
	s->result = SIGNED_IN;
	(void)try_from(s, "alice", "right", "192.0.2.1:9");
	assert_int_equal(s->verdict, SIGN_IN_OK);
}

static void other_spellings_of_a_name_are_no_new_attempts(void **state)
{
	struct site *s = *state;

	s->result = SIGN_IN_WRONG;
	(void)try_from(s, "alice", "w", "192.0.2.1:1");
	(void)try_from(s, "CORP\\alice", "w", "192.0.2.2:1");
	(void)try_from(s, "alice@corp.example", "w", "192.0.2.3:1");
	(void)try_from(s, "ALICE", "w", "192.0.2.4:1");
	assert_int_equal(s->tries, 3);
	assert_int_equal(s->verdict, SIGN_IN_WAIT);
}

static void threat_35_an_empty_or_impossible_password_is_never_sent(void **state)
{
	struct site *s = *state;
	char longer[DIRECTORY_PASSWORD_MAX + 2];

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	(void)try_from(s, "alice", "", "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_REFUSED);
	(void)try_from(s, "alice", longer, "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_REFUSED);
	(void)try_from(s, "", "right", "192.0.2.1:1");
	(void)try_from(s, "ali\nce", "right", "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_REFUSED);
	assert_int_equal(s->finds + s->tries, 0);
}

static void a_directory_that_says_nothing_is_later_and_the_attempt_counts(void **state)
{
	struct site *s = *state;

	s->silent = true;
	for (int i = 0; i < 3; i++) {
		(void)try_from(s, "alice", "right", "192.0.2.1:1");
		assert_int_equal(s->verdict, SIGN_IN_LATER);
	}
	(void)try_from(s, "alice", "right", "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_WAIT); /* it may have been tried three times */
	assert_int_equal(s->tries, 3);
}

static void a_password_to_be_changed_is_told_and_does_not_count(void **state)
{
	struct site *s = *state;

	s->result = SIGN_IN_MUST_CHANGE;
	for (int i = 0; i < 5; i++)
		(void)try_from(s, "alice", "right", "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_CHANGE);
	assert_int_equal(s->tries, 5);
}

static void an_answer_for_another_account_than_the_one_counted_lets_nobody_in(void **state)
{
	struct site *s = *state;

	s->known = false;
	(void)try_from(s, "alice", "right", "192.0.2.1:1");
	assert_int_not_equal(s->verdict, SIGN_IN_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    the_right_password_gives_the_account_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    threat_47_every_refusal_looks_the_same_and_takes_as_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_thousand_wrong_passwords_reach_the_directory_three_times, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    the_owner_gets_in_from_a_known_address_while_strangers_are_kept_out, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    other_spellings_of_a_name_are_no_new_attempts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    threat_35_an_empty_or_impossible_password_is_never_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_directory_that_says_nothing_is_later_and_the_attempt_counts, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    a_password_to_be_changed_is_told_and_does_not_count, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    an_answer_for_another_account_than_the_one_counted_lets_nobody_in, set_up,
		    tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
