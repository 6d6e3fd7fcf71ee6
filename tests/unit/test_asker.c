/*
 * Asker: a question is answered once, whatever becomes of the process it was put to, and however often that one is replaced.
 */
#include "common/asker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/loop.h"

#define VERB 1
#define SECRET_VERB (WIRE_SECRET | 2)
#define GENERATIONS 12

/* Another process, played on the same loop: it answers what is asked of it, or keeps silent. */
struct other {
	struct wire *wire;
	struct site *site;
	bool silent;
	unsigned asked;
	uint64_t kept[GENERATIONS];
};

struct site {
	struct loop *loop;
	struct asker *asker;
	struct other other[GENERATIONS];
	unsigned others, answers, stop_at;
	enum wire_status status[GENERATIONS];
	struct deadline guard;
	bool late;
};

static void serve(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct other *o = arg;

	if (o->silent)
		o->kept[o->asked % GENERATIONS] = number;
	else
		assert_int_equal(wire_answer(w, number, body, n), 0);
	o->asked++;
}

static const struct wire_verb other_verbs[] = { { VERB, "ask", 0, 64, serve }, { SECRET_VERB, "secret", 0, 64, serve }, { 0, NULL, 0, 0, NULL } };
static const struct wire_verb no_verbs[] = { { 0, NULL, 0, 0, NULL } };

static void other_closed(struct wire *w, void *arg)
{
	struct other *o = arg;

	o->wire = NULL;
	wire_free(w);
}

static struct other *link_other(struct site *s, bool silent)
{
	struct other *o = &s->other[s->others++];
	struct wire_config config = { .verbs = other_verbs, .arg = o, .closed = other_closed, .name = "other" };
	int fds[2];

	assert_int_equal(wire_pair(fds), 0);
	o->site = s;
	o->silent = silent;
	o->wire = wire_new(s->loop, fds[1], &config);
	assert_non_null(o->wire);
	asker_link(s->asker, fds[0]);
	return o;
}

static void on_done(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct site *s = arg;

	(void)body;
	(void)n;
	s->status[s->answers++ % GENERATIONS] = status;
	if (s->answers == s->stop_at)
		loop_stop(s->loop);
}

static void on_guard(struct deadline *d)
{
	struct site *s = CONTAINER_OF(d, struct site, guard);

	s->late = true;
	loop_stop(s->loop);
}

static void run_until(struct site *s, unsigned answers)
{
	s->stop_at = answers;
	s->late = false;
	deadline_arm(s->loop, &s->guard, 10000, on_guard);
	assert_int_equal(loop_run(s->loop), 0);
	deadline_disarm(&s->guard);
	assert_false(s->late);
}

/* Lets the loop turn for a while, without anything awaited. */
static void run_for(struct site *s, unsigned ms)
{
	deadline_arm(s->loop, &s->guard, ms, on_guard);
	assert_int_equal(loop_run(s->loop), 0);
}

static int setup(void **state)
{
	struct site *s = calloc(1, sizeof(*s));

	s->loop = loop_new();
	s->asker = asker_new(s->loop, "other", no_verbs, s);
	*state = s;
	return s->loop != NULL && s->asker != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct site *s = *state;

	deadline_disarm(&s->guard);
	asker_free(s->asker);
	for (unsigned i = 0; i < s->others; i++)
		wire_free(s->other[i].wire);
	loop_free(s->loop);
	free(s);
	return 0;
}

static void a_question_waits_for_the_first_process(void **state)
{
	struct site *s = *state;

	assert_int_not_equal(asker_ask(s->asker, VERB, "x", 1, 5000, on_done, s), 0);
	assert_false(asker_is_up(s->asker));
	(void)link_other(s, false);
	run_until(s, 1);
	assert_int_equal(s->status[0], WIRE_OK);
}

static void a_question_goes_to_the_replacement_when_its_process_dies(void **state)
{
	struct site *s = *state;
	struct other *first = link_other(s, true);

	assert_int_not_equal(asker_ask(s->asker, VERB, "x", 1, 5000, on_done, s), 0);
	run_for(s, 50);
	assert_int_equal(first->asked, 1);
	wire_free(first->wire);
	first->wire = NULL;
	run_for(s, 50);
	assert_int_equal(s->answers, 0);
	(void)link_other(s, false);
	run_until(s, 1);
	assert_int_equal(s->status[0], WIRE_OK);
}

static void a_replaced_process_still_answers_what_it_was_asked(void **state)
{
	struct site *s = *state;
	struct other *first = link_other(s, true), *second;

	assert_int_not_equal(asker_ask(s->asker, VERB, "x", 1, 5000, on_done, s), 0);
	run_for(s, 50);
	second = link_other(s, false);
	assert_int_equal(wire_answer(first->wire, first->kept[0], "y", 1), 0);
	run_until(s, 1);
	assert_int_equal(s->status[0], WIRE_OK);
	assert_int_equal(second->asked, 0);
}

static void many_replacements_at_once_lose_no_question(void **state)
{
	struct site *s = *state;

	/* each process is asked once, says nothing, and is replaced at once: more of them than are kept */
	for (unsigned i = 0; i < GENERATIONS - 1; i++) {
		(void)link_other(s, true);
		assert_int_not_equal(asker_ask(s->asker, VERB, "x", 1, 5000, on_done, s), 0);
		run_for(s, 1);
		assert_int_equal(s->other[i].asked >= 1, 1);
	}
	(void)link_other(s, false);
	run_for(s, 50);
	/* the last four are kept and may still answer what they were asked */
	for (unsigned i = 0; i < GENERATIONS - 1; i++) {
		struct other *o = &s->other[i];
		for (unsigned k = 0; k < o->asked && o->wire != NULL && wire_is_open(o->wire); k++)
			assert_int_equal(wire_answer(o->wire, o->kept[k], "y", 1), 0);
	}
	run_until(s, GENERATIONS - 1);
	for (unsigned i = 0; i < GENERATIONS - 1; i++)
		assert_int_equal(s->status[i], WIRE_OK);
}

static void a_secret_is_put_once_and_never_to_a_replacement(void **state)
{
	struct site *s = *state;
	struct other *first = link_other(s, true);

	assert_int_not_equal(asker_ask(s->asker, SECRET_VERB, "password", 8, 5000, on_done, s), 0);
	run_for(s, 50);
	assert_int_equal(first->asked, 1);
	wire_free(first->wire);
	first->wire = NULL;
	run_until(s, 1);
	assert_int_equal(s->status[0], WIRE_CLOSED);
	for (unsigned i = 0; i < 6; i++) {
		(void)link_other(s, true);
		assert_int_not_equal(asker_ask(s->asker, SECRET_VERB, "password", 8, 5000, on_done, s), 0);
		run_for(s, 1);
	}
	run_for(s, 300);
	/* two of the six stand on wires that were given up: they have ended, and nobody else was asked */
	assert_int_equal(s->answers, 1 + 1);
	for (unsigned i = 1; i < s->others; i++)
		assert_int_equal(s->other[i].asked, 1);
}

static void the_deadline_of_a_question_to_a_process_given_up_is_harmless(void **state)
{
	struct site *s = *state;

	(void)link_other(s, true);
	assert_int_not_equal(asker_ask(s->asker, VERB, "x", 1, 300, on_done, s), 0);
	for (unsigned i = 1; i < 8; i++) {
		(void)link_other(s, true);
		assert_int_not_equal(asker_ask(s->asker, VERB, "x", 1, 300, on_done, s), 0);
	}
	run_until(s, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(s->status[i], WIRE_TIMEOUT);
}

static void a_process_that_owes_nothing_is_let_go_of(void **state)
{
	struct site *s = *state;
	struct other *first = link_other(s, false);

	(void)link_other(s, false);
	run_for(s, 1000);
	assert_null(first->wire);
	assert_true(asker_is_up(s->asker));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_question_waits_for_the_first_process, setup, teardown),
		cmocka_unit_test_setup_teardown(a_question_goes_to_the_replacement_when_its_process_dies, setup, teardown),
		cmocka_unit_test_setup_teardown(a_replaced_process_still_answers_what_it_was_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(many_replacements_at_once_lose_no_question, setup, teardown),
		cmocka_unit_test_setup_teardown(a_secret_is_put_once_and_never_to_a_replacement, setup, teardown),
		cmocka_unit_test_setup_teardown(the_deadline_of_a_question_to_a_process_given_up_is_harmless, setup, teardown),
		cmocka_unit_test_setup_teardown(a_process_that_owes_nothing_is_let_go_of, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
