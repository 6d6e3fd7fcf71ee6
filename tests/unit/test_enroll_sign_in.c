/*
 * Sign-in in the worker: what is asked of the lockout process, and what the client learns of its answer. The lockout process behind the
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
	struct wire *lockout;
	struct asker *asker;
	struct sign_in *sign_in;
	unsigned tries;
	struct lockout_check asked;
	uint32_t result; /* what lockout says */
	bool nameless, silent;
	unsigned answers, awaited;
	enum sign_in_verdict verdict;
	uint32_t wait;
	char reason[64], who[ACCOUNT_SID_MAX];
	uint64_t answered_ms;
};

static void serve_check(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;
	struct lockout_checked answer;

	assert_int_equal(n, sizeof(s->asked));
	memcpy(&s->asked, body, sizeof(s->asked));
	s->tries++;
	if (s->silent)
		return;
	memset(&answer, 0, sizeof(answer));
	answer.result = s->result;
	answer.wait_seconds = 77;
	if (!s->nameless)
		snprintf(answer.account.sid, sizeof(answer.account.sid), ALICE);
	wire_answer(w, number, &answer, sizeof(answer));
}

static const struct wire_verb verbs[] = {
	{ LOCKOUT_CHECK, "check", sizeof(struct lockout_check), sizeof(struct lockout_check), serve_check },
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
		.timeout_ms = 300, .floor_ms = 100
	};
	int fds[2];

	assert_non_null(s);
	s->loop = loop_new();
	assert_int_equal(wire_pair(fds), 0);
	s->lockout = wire_new(s->loop, fds[0], &config);
	s->asker = asker_new(s->loop, "lockout", NULL, s);
	asker_link(s->asker, fds[1]);
	setup.loop = s->loop;
	setup.lockout = s->asker;
	s->sign_in = sign_in_new(&setup);
	assert_non_null(s->sign_in);
	s->result = LOCKOUT_RIGHT;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct site *s = *state;

	sign_in_free(s->sign_in);
	asker_free(s->asker);
	wire_free(s->lockout);
	loop_free(s->loop);
	free(s);
	return 0;
}

static void on_done(void *arg, const struct sign_in_answer *answer)
{
	struct site *s = arg;

	s->verdict = answer->verdict;
	s->wait = answer->wait_seconds;
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
	assert_string_equal(s->asked.name, "alice");
	assert_int_equal(s->asked.password_n, 5);
	assert_memory_equal(s->asked.password, "right", 5);
	assert_int_equal(s->asked.interactive, 1);
}

static void the_lockout_process_is_told_the_address_without_its_port(void **state)
{
	static const char *const cases[][2] = { { "192.0.2.1:4711", "192.0.2.1" }, { "[2001:db8:1:2:3::4]:4711", "2001:db8:1:2:3::4" },
		{ "local", "local" }, { "[::1]:9", "::1" } };
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		(void)try_from(s, "alice", "right", cases[i][0]);
		assert_string_equal(s->asked.address, cases[i][1]);
	}
}

static void threat_47_every_refusal_looks_the_same_and_takes_as_long(void **state)
{
	static const uint32_t results[] = { LOCKOUT_WRONG, LOCKOUT_KNOWN_WRONG, LOCKOUT_UNKNOWN, LOCKOUT_DISABLED, LOCKOUT_EXPIRED,
		LOCKOUT_LOCKED, LOCKOUT_NOT_NOW, LOCKOUT_GUARDED, LOCKOUT_RESULTS, 4711 };
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		s->result = results[i];
		assert_true(try_from(s, "alice", "wrong", "192.0.2.1:1") >= 100);
		assert_int_equal(s->verdict, SIGN_IN_REFUSED);
	}
}

static void who_has_used_up_a_budget_is_told_when_to_come_again(void **state)
{
	static const uint32_t results[] = { LOCKOUT_ACCOUNT_BUDGET, LOCKOUT_ADDRESS_BUDGET };
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		s->result = results[i];
		(void)try_from(s, "alice", "wrong", "192.0.2.1:1");
		assert_int_equal(s->verdict, SIGN_IN_WAIT);
		assert_int_equal(s->wait, 77);
	}
}

static void a_lockout_process_that_knows_nothing_or_says_nothing_is_later(void **state)
{
	static const uint32_t results[] = { LOCKOUT_UNAVAILABLE, LOCKOUT_OVERLOADED };
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		s->result = results[i];
		(void)try_from(s, "alice", "right", "192.0.2.1:1");
		assert_int_equal(s->verdict, SIGN_IN_LATER);
	}
	s->silent = true;
	(void)try_from(s, "alice", "right", "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_LATER);
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
	assert_int_equal(s->tries, 0);
}

static void a_password_to_be_changed_is_told(void **state)
{
	struct site *s = *state;

	s->result = LOCKOUT_MUST_CHANGE;
	(void)try_from(s, "alice", "right", "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_CHANGE);
}

static void a_right_password_of_nobody_lets_nobody_in(void **state)
{
	struct site *s = *state;

	s->nameless = true;
	(void)try_from(s, "alice", "right", "192.0.2.1:1");
	assert_int_equal(s->verdict, SIGN_IN_LATER);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_right_password_gives_the_account_at_once),
		CASE(the_lockout_process_is_told_the_address_without_its_port),
		CASE(threat_47_every_refusal_looks_the_same_and_takes_as_long),
		CASE(who_has_used_up_a_budget_is_told_when_to_come_again),
		CASE(a_lockout_process_that_knows_nothing_or_says_nothing_is_later),
		CASE(threat_35_an_empty_or_impossible_password_is_never_sent),
		CASE(a_password_to_be_changed_is_told),
		CASE(a_right_password_of_nobody_lets_nobody_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
