/*
 * Loop: deadlines fire once, never early and not much late, and may do anything to each other while they fire.
 */
#include "common/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define LATE_MS 400	/* 128 by the contract; the rest is what a loaded machine takes */

struct thing {
	struct deadline deadline;
	struct loop *loop;
	struct thing *other;
	uint64_t due, fired_at;
	unsigned fired;
	bool last;
};

static struct thing *thing_of(struct deadline *d)
{
	return CONTAINER_OF(d, struct thing, deadline);
}

static void on_fire(struct deadline *d)
{
	struct thing *t = thing_of(d);

	t->fired++;
	t->fired_at = loop_now_fresh();
	if (t->last)
		loop_stop(t->loop);
}

static void arm(struct thing *t, struct loop *loop, uint64_t ms)
{
	t->loop = loop;
	t->due = loop_now_ms(loop) + ms;
	deadline_arm(loop, &t->deadline, ms, on_fire);
}

static void deadlines_fire_once_in_time_and_never_early(void **state)
{
	static const uint64_t after[] = { 0, 1, 63, 64, 65, 127, 128, 200, 300, 0, 64 };
	struct thing t[ARRAY_LEN(after)] = { 0 }, end = { .last = true };
	struct loop *loop = loop_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(after); i++)
		arm(&t[i], loop, after[i]);
	arm(&end, loop, 700);
	assert_int_equal(loop_run(loop), 0);
	for (size_t i = 0; i < ARRAY_LEN(after); i++) {
		assert_int_equal(t[i].fired, 1);
		assert_true(t[i].fired_at >= t[i].due);
		assert_true(t[i].fired_at <= t[i].due + LATE_MS);
		assert_null(t[i].deadline.next);
	}
	loop_free(loop);
}

static void a_disarmed_deadline_does_not_fire(void **state)
{
	struct thing a = { 0 }, end = { .last = true };
	struct loop *loop = loop_new();

	(void)state;
	deadline_disarm(&a.deadline);	/* never armed: harmless */
	arm(&a, loop, 1);
	deadline_disarm(&a.deadline);
	deadline_disarm(&a.deadline);
	arm(&end, loop, 300);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(a.fired, 0);
	loop_free(loop);
}

static void arming_anew_moves_it(void **state)
{
	struct thing a = { 0 }, b = { 0 }, end = { .last = true };
	struct loop *loop = loop_new();

	(void)state;
	arm(&a, loop, 1);
	arm(&a, loop, 350);	/* later */
	arm(&b, loop, 60000);
	arm(&b, loop, 1);	/* earlier */
	arm(&end, loop, 800);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(a.fired, 1);
	assert_true(a.fired_at >= a.due);
	assert_int_equal(b.fired, 1);
	assert_true(b.fired_at <= b.due + LATE_MS);
	loop_free(loop);
}

/* The wheel turns in 65 s: what is due in the next turn waits in the same slot. */
static void a_deadline_of_a_later_turn_waits(void **state)
{
	struct thing later = { 0 }, much_later = { 0 }, soon = { 0 }, end = { .last = true };
	struct loop *loop = loop_new();

	(void)state;
	arm(&later, loop, 1024 * 64 + 100);
	arm(&much_later, loop, 3600 * 1000);
	arm(&soon, loop, 100);
	arm(&end, loop, 500);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(soon.fired, 1);
	assert_int_equal(later.fired, 0);
	assert_int_equal(much_later.fired, 0);
	deadline_disarm(&later.deadline);
	deadline_disarm(&much_later.deadline);
	loop_free(loop);
}

static void disarm_other(struct deadline *d)
{
	struct thing *t = thing_of(d);

	t->fired++;
	deadline_disarm(&t->other->deadline);
}

static void free_other_and_self(struct deadline *d)
{
	struct thing *t = thing_of(d);

	if (t->other != NULL) {
		deadline_disarm(&t->other->deadline);
		free(t->other);
	}
	free(t);
}

static void arm_again(struct deadline *d)
{
	struct thing *t = thing_of(d);

	if (++t->fired < 5)
		deadline_arm(t->loop, &t->deadline, 0, arm_again);
	else
		loop_stop(t->loop);
}

/* Of two that are due together each may take the other away: exactly one runs. */
static void one_that_fires_may_disarm_the_other_of_its_slot(void **state)
{
	struct thing a = { .other = NULL }, b = { .other = NULL }, end = { .last = true };
	struct loop *loop = loop_new();

	(void)state;
	a.other = &b;
	b.other = &a;
	deadline_arm(loop, &a.deadline, 20, disarm_other);
	deadline_arm(loop, &b.deadline, 20, disarm_other);
	arm(&end, loop, 300);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(a.fired + b.fired, 1);
	loop_free(loop);
}

static void one_that_fires_may_free_itself_and_others(void **state)
{
	struct thing *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b)), end = { .last = true };
	struct loop *loop = loop_new();

	(void)state;
	a->other = b;
	deadline_arm(loop, &a->deadline, 10, free_other_and_self);
	deadline_arm(loop, &b->deadline, 10, on_fire);
	b->loop = loop;
	arm(&end, loop, 250);
	assert_int_equal(loop_run(loop), 0);
	loop_free(loop);
}

static void one_that_fires_may_arm_itself_again(void **state)
{
	struct thing a = { 0 };
	struct loop *loop = loop_new();

	(void)state;
	a.loop = loop;
	deadline_arm(loop, &a.deadline, 0, arm_again);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(a.fired, 5);
	loop_free(loop);
}

static unsigned left;

static void count_down(struct deadline *d)
{
	struct thing *t = thing_of(d);

	assert_true(loop_now_fresh() >= t->due);
	if (--left == 0)
		loop_stop(t->loop);
}

static void many_thousand_all_fire(void **state)
{
	enum { MANY = 20000 };
	struct thing *t = calloc(MANY, sizeof(*t));
	struct loop *loop = loop_new();

	(void)state;
	left = MANY;
	for (unsigned i = 0; i < MANY; i++) {
		t[i].loop = loop;
		t[i].due = loop_now_ms(loop) + i % 500;
		deadline_arm(loop, &t[i].deadline, i % 500, count_down);
	}
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(left, 0);
	loop_free(loop);
	free(t);
}

static void the_clock_goes_on_and_knows_the_date(void **state)
{
	struct loop *loop = loop_new();
	uint64_t before = loop_now_fresh();

	(void)state;
	assert_true(loop_now_ms(loop) >= before);
	assert_true(llabs((long long)loop_wall(loop) - (long long)time(NULL)) <= 1);
	loop_free(loop);
	loop_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadlines_fire_once_in_time_and_never_early),
		cmocka_unit_test(a_disarmed_deadline_does_not_fire),
		cmocka_unit_test(arming_anew_moves_it),
		cmocka_unit_test(a_deadline_of_a_later_turn_waits),
		cmocka_unit_test(one_that_fires_may_disarm_the_other_of_its_slot),
		cmocka_unit_test(one_that_fires_may_free_itself_and_others),
		cmocka_unit_test(one_that_fires_may_arm_itself_again),
		cmocka_unit_test(many_thousand_all_fire),
		cmocka_unit_test(the_clock_goes_on_and_knows_the_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
