/*
 * test_password: what *lockout* says becomes a fact, against a *lockout* played on the other end of the wire.
 */
#include "proxy/worker/password.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <unistd.h>

struct site {
	struct loop *loop;
	struct asker *asker;
	struct account_cache *accounts;
	struct wire *other;		/* *lockout*'s end */
	struct lockout_check seen;
	struct lockout_checked say;
	size_t say_n;			/* 0: a refusal */
	unsigned asked, answers;
	enum fact fact;
	const char *text;
	unsigned wait_seconds, good_seconds;
	struct account_entry *account;
	struct deadline guard;
};

static void serve(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;

	assert_int_equal(n, sizeof(s->seen));
	memcpy(&s->seen, body, n);
	s->asked++;
	(void)wire_answer(w, number, s->say_n > 0 ? &s->say : NULL, s->say_n);
}

static const struct wire_verb verbs[] = {
	{ LOCKOUT_CHECK, "check", sizeof(struct lockout_check), sizeof(struct lockout_check), serve }, { 0, NULL, 0, 0, NULL },
};

static void closed(struct wire *w, void *arg)
{
	struct site *s = arg;

	s->other = NULL;
	wire_free(w);
}

static void link_up(struct site *s)
{
	struct wire_config config = { .verbs = verbs, .arg = s, .closed = closed, .name = "test" };
	int fds[2];

	assert_int_equal(wire_pair(fds), 0);
	s->other = wire_new(s->loop, fds[0], &config);
	assert_non_null(s->other);
	asker_link(s->asker, fds[1]);
}

static int set_up(void **state)
{
	struct site *s = calloc(1, sizeof(*s));

	s->loop = loop_new();
	s->asker = asker_new(s->loop, "lockout", NULL, s);
	s->accounts = account_cache_new(s->loop, s->asker, 16, 1000);
	assert_true(s->loop != NULL && s->asker != NULL && s->accounts != NULL);
	link_up(s);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct site *s = *state;

	account_unref(s->accounts, s->account);
	account_cache_free(s->accounts);
	asker_free(s->asker);
	wire_free(s->other);
	loop_free(s->loop);
	free(s);
	return 0;
}

static void on_answer(void *arg, const struct password_answer *a)
{
	struct site *s = arg;

	s->answers++;
	s->fact = a->fact;
	s->text = a->text;
	s->wait_seconds = a->wait_seconds;
	s->good_seconds = a->good_seconds;
	account_unref(s->accounts, s->account);
	s->account = a->account;
	deadline_disarm(&s->guard);
	loop_stop(s->loop);
}

static void on_guard(struct deadline *d)
{
	loop_stop(CONTAINER_OF(d, struct site, guard)->loop);
}

static void put(struct site *s)
{
	struct lockout_check check = { .name = "alice", .address = "10.0.0.7", .device = "ApplX", .password_n = 3, .password = "pw!" };
	unsigned before = s->answers;

	memset(check.binding, 7, SHA256_SIZE);
	assert_non_null(password_ask(s->asker, &check, on_answer, s));
	assert_int_equal(s->answers, before);
	deadline_arm(s->loop, &s->guard, 5000, on_guard);
	assert_int_equal(loop_run(s->loop), 0);
	assert_int_equal(s->answers, before + 1);
}

static void answer(struct site *s, uint32_t result)
{
	memset(&s->say, 0, sizeof(s->say));
	s->say.result = result;
	s->say_n = sizeof(s->say);
	snprintf(s->say.account.sid, sizeof(s->say.account.sid), "S-1-5-21-1-2-3-1104");
	snprintf(s->say.account.sam, sizeof(s->say.account.sam), "alice");
	memset(s->say.voucher, 9, VOUCHER_SIZE);
	s->say.good_seconds = 60;
	s->say.wait_seconds = 17;
}

static void a_right_one_brings_the_account_and_a_voucher_for_that_very_authorization(void **state)
{
	struct site *s = *state;
	uint8_t seven[SHA256_SIZE], nine[VOUCHER_SIZE];

	memset(seven, 7, sizeof(seven));
	memset(nine, 9, sizeof(nine));
	answer(s, LOCKOUT_RIGHT);
	put(s);
	assert_int_equal(s->fact, FACT_NONE);
	assert_int_equal(s->good_seconds, 60);
	assert_string_equal(s->account->view.sid, "S-1-5-21-1-2-3-1104");
	assert_memory_equal(s->account->certificate, seven, SHA256_SIZE);
	assert_memory_equal(s->account->voucher, nine, VOUCHER_SIZE);
	assert_string_equal(s->seen.name, "alice");
	assert_memory_equal(s->seen.password, "pw!", 3);
	assert_int_equal(s->seen.interactive, 0);
}

static void every_result_has_its_fact_and_only_right_lets_in(void **state)
{
	static const struct { uint32_t result; unsigned status; } cases[] = {
		{ LOCKOUT_UNAVAILABLE, 503 }, { LOCKOUT_WRONG, 401 }, { LOCKOUT_KNOWN_WRONG, 401 }, { LOCKOUT_UNKNOWN, 401 }, { LOCKOUT_DISABLED, 403 },
		{ LOCKOUT_EXPIRED, 403 }, { LOCKOUT_LOCKED, 503 }, { LOCKOUT_MUST_CHANGE, 403 }, { LOCKOUT_NOT_NOW, 403 }, { LOCKOUT_GUARDED, 503 },
		{ LOCKOUT_ACCOUNT_BUDGET, 503 }, { LOCKOUT_ADDRESS_BUDGET, 503 }, { LOCKOUT_OVERLOADED, 503 },
		{ LOCKOUT_RESULTS, 503 }, { 0x80000001u, 503 }, { UINT32_MAX, 503 },
	};
	struct site *s = *state;

	assert_int_equal(ARRAY_LEN(cases), LOCKOUT_RESULTS - 1 + 3);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		answer(s, cases[i].result);
		put(s);
		assert_int_not_equal(s->fact, FACT_NONE);
		assert_int_equal(fact_status(s->fact), cases[i].status);
		assert_true(fact_is_audited(s->fact) || fact_is_fault(s->fact));
		assert_null(s->account);
		assert_int_equal(s->good_seconds, 0);
		assert_int_equal(s->wait_seconds, 17);
	}
}

static void right_without_a_sound_account_lets_nobody_in(void **state)
{
	struct site *s = *state;

	answer(s, LOCKOUT_RIGHT);
	memset(s->say.account.sid, 0, sizeof(s->say.account.sid));
	put(s);
	assert_int_equal(s->fact, FACT_PASSWORD_UNCHECKED);
	answer(s, LOCKOUT_RIGHT);
	memset(s->say.account.sam, 'x', sizeof(s->say.account.sam));
	put(s);
	assert_int_equal(s->fact, FACT_PASSWORD_UNCHECKED);
	answer(s, LOCKOUT_RIGHT);
	s->say_n = sizeof(s->say) - 1;
	put(s);
	assert_int_equal(s->fact, FACT_PASSWORD_UNCHECKED);
	s->say_n = 0;
	put(s);
	assert_int_equal(s->fact, FACT_PASSWORD_UNCHECKED);
	assert_null(s->account);
}

static void one_that_is_given_up_is_answered_to_nobody(void **state)
{
	struct lockout_check check = { .name = "alice", .password_n = 1, .password = "p" };
	struct site *s = *state;
	struct password_op *op;

	answer(s, LOCKOUT_RIGHT);
	op = password_ask(s->asker, &check, on_answer, s);
	assert_non_null(op);
	password_cancel(op);
	password_cancel(NULL);
	put(s);
	assert_int_equal(s->answers, 1);
}

static void a_process_that_dies_with_a_password_is_not_followed_by_another_try(void **state)
{
	struct lockout_check check = { .name = "alice", .password_n = 1, .password = "p" };
	struct site *s = *state;

	assert_non_null(password_ask(s->asker, &check, on_answer, s));
	wire_free(s->other);
	s->other = NULL;
	deadline_arm(s->loop, &s->guard, 5000, on_guard);
	assert_int_equal(loop_run(s->loop), 0);
	assert_int_equal(s->answers, 1);
	assert_int_equal(s->fact, FACT_PASSWORD_UNCHECKED);
	answer(s, LOCKOUT_RIGHT);
	link_up(s);
	put(s);
	assert_int_equal(s->asked, 1);
	assert_int_equal(s->fact, FACT_NONE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_right_one_brings_the_account_and_a_voucher_for_that_very_authorization),
		TEST(every_result_has_its_fact_and_only_right_lets_in),
		TEST(right_without_a_sound_account_lets_nobody_in),
		TEST(one_that_is_given_up_is_answered_to_nobody),
		TEST(a_process_that_dies_with_a_password_is_not_followed_by_another_try),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
