/*
 * The guard's pure part: tags, records as bytes, and the decision: what may be tried, and what a try teaches.
 */
#include "common/lockout/decide.h"
#include "common/lockout/share.h"
#include "common/lockout/untried.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define NOW 1800000000
#define ALICE "S-1-5-21-1-2-3-1104"
#define WINDOW 1800

static uint8_t key[LOCKOUT_KEY];

/* One account, and a clock. */
struct site {
	struct lockout_record record;
	struct lockout_rules rules;
	int64_t now, wall, set_at, generation, until;
	const char *address;
};

static int set_up(void **state)
{
	struct site *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	assert_int_equal(lockout_key(STRV("a secret of the fleet"), key), 0);
	s->rules = (struct lockout_rules){ .limit = 3, .window = WINDOW, .attempts = 100, .attempts_window = WINDOW, .pending_seconds = 12,
		.good_seconds = 3600 };
	s->now = s->wall = NOW;
	s->generation = 1;
	s->set_at = NOW - 10 * 86400;
	s->address = "192.0.2.1";
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

struct password {
	uint8_t stretched[LOCKOUT_STRETCHED];
	struct lockout_try try;
};

/* Not stretched for real: the decision sees only what comes out of it. */
static struct lockout_try *password(struct site *s, struct password *p, const char *text)
{
	memset(p, 0, sizeof(*p));
	snprintf((char *)p->stretched, sizeof(p->stretched), "%s", text);
	p->try = (struct lockout_try){ .key = key, .sid = ALICE, .generation = s->generation, .set_at = s->set_at, .stretched = p->stretched,
		.now = s->now, .late = s->now > s->wall ? s->now : s->wall, .wall = s->wall };
	assert_int_equal(lockout_tag(key, ALICE, s->generation, p->stretched, p->try.tag), 0);
	assert_int_equal(lockout_address_tag(key, s->address, p->try.address), 0);
	return &p->try;
}

static void set_clocks(struct site *s, int64_t at)
{
	s->now = s->wall = at;
}

static enum lockout_verdict take(struct site *s, const char *text)
{
	struct password p;
	bool changed;

	return lockout_take(&s->record, &s->rules, password(s, &p, text), &s->until, &changed);
}

static void learn(struct site *s, const char *text, enum lockout_lesson lesson, uint32_t bad_count)
{
	struct password p;

	assert_int_equal(lockout_learn(&s->record, &s->rules, password(s, &p, text), lesson, bad_count), 0);
}

/* As if AD had refused it. */
static enum lockout_verdict wrong(struct site *s, const char *text)
{
	enum lockout_verdict verdict = take(s, text);

	if (verdict == VERDICT_GO)
		learn(s, text, LESSON_WRONG, 0);
	return verdict;
}

static enum lockout_verdict right(struct site *s, const char *text, uint32_t bad_count)
{
	enum lockout_verdict verdict = take(s, text);

	if (verdict == VERDICT_GO)
		learn(s, text, LESSON_RIGHT, bad_count);
	return verdict;
}

/* --- the limit --- */

static void ads_count_stays_below_the_threshold_less_margin_and_one_that_does_not_lock_is_left(void **state)
{
	(void)state;
	for (uint32_t threshold = 1; threshold < 200; threshold++) {
		for (uint32_t margin = 0; margin < 110; margin++) {
			uint32_t n = facts_wrong_passwords(true, threshold, margin);
			if (threshold > margin + 1)
				assert_true(n >= 1 && n < threshold - margin);
			else
				assert_int_equal(n, threshold > 1 ? 1 : 0);	/* never one that locks it */
		}
	}
	assert_int_equal(facts_wrong_passwords(true, 5, 2), 2);
	assert_int_equal(facts_wrong_passwords(true, 10, 2), 7);
	assert_int_equal(facts_wrong_passwords(true, 3, 2), 1);
	assert_int_equal(facts_wrong_passwords(true, UINT32_MAX, UINT32_MAX - 1), 1);
	assert_int_equal(facts_wrong_passwords(true, 0, 2), LOCKOUT_UNLIMITED);
	assert_int_equal(facts_wrong_passwords(false, 0, 2), 1);
	assert_int_equal(facts_wrong_passwords(false, 50, 2), 1);
}

static void of_a_thousand_different_passwords_three_are_tried(void **state)
{
	struct site *s = *state;
	unsigned tried = 0;
	char text[16];

	for (int i = 0; i < 1000; i++, s->now++, s->wall++) {
		snprintf(text, sizeof(text), "wrong %d", i);
		tried += wrong(s, text) == VERDICT_GO;
	}
	assert_int_equal(tried, 3);
	assert_int_equal(take(s, "another"), VERDICT_GUARDED);
	assert_int_equal(s->until, NOW + 2 + WINDOW + 1);
}

static void those_under_way_count_before_they_are_answered(void **state)
{
	struct site *s = *state;

	assert_int_equal(take(s, "a"), VERDICT_GO);
	assert_int_equal(take(s, "b"), VERDICT_GO);
	assert_int_equal(take(s, "c"), VERDICT_GO);
	assert_int_equal(take(s, "d"), VERDICT_GUARDED);
}

static void a_whole_window_after_the_last_it_begins_anew_and_not_before(void **state)
{
	struct site *s = *state;

	assert_int_equal(wrong(s, "a"), VERDICT_GO);
	set_clocks(s, s->now + WINDOW);
	assert_int_equal(wrong(s, "b"), VERDICT_GO);
	set_clocks(s, s->now + WINDOW);
	assert_int_equal(wrong(s, "c"), VERDICT_GO);
	set_clocks(s, s->now + WINDOW);	/* never a whole window between two: AD counts three */
	assert_int_equal(wrong(s, "d"), VERDICT_GUARDED);
	set_clocks(s, s->now + 1);
	assert_int_equal(wrong(s, "d"), VERDICT_GO);
	assert_int_equal(s->record.count, 1);
}

static void a_threshold_of_nothing_leaves_the_budget_alone(void **state)
{
	struct site *s = *state;
	char text[16];

	s->rules.limit = LOCKOUT_UNLIMITED;
	s->rules.attempts = 10;
	for (int i = 0; i < 10; i++) {
		snprintf(text, sizeof(text), "wrong %d", i);
		assert_int_equal(wrong(s, text), VERDICT_GO);
	}
	assert_int_equal(wrong(s, "one more"), VERDICT_BUDGET);
	assert_int_equal(s->until, NOW + WINDOW + 1);
}

static void no_limit_left_means_that_nothing_unknown_is_tried(void **state)
{
	struct site *s = *state;

	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	s->rules.limit = 0;
	assert_int_equal(take(s, "other"), VERDICT_GUARDED);
	assert_int_equal(take(s, "good"), VERDICT_RIGHT);
}

/* --- what is remembered --- */

static void a_refused_password_is_never_sent_again_for_weeks(void **state)
{
	struct site *s = *state;

	assert_int_equal(wrong(s, "stale"), VERDICT_GO);
	for (int i = 0; i < 6 * 7 * 24 * 12; i++, s->now += 300, s->wall += 300)
		assert_int_equal(take(s, "stale"), VERDICT_WRONG);
	assert_int_equal(s->record.bad_n, 1);
	s->generation = 2;
	s->set_at = s->wall;
	assert_int_equal(take(s, "stale"), VERDICT_GO);
}

static void strangers_push_a_phones_stale_password_out_of_no_memory(void **state)
{
	struct site *s = *state;
	char text[16];

	s->rules.limit = s->rules.attempts = LOCKOUT_UNLIMITED;
	assert_int_equal(wrong(s, "stale"), VERDICT_GO);
	for (int i = 0; i < 20 * RECORD_BAD; i++, s->now += 60) {
		snprintf(text, sizeof(text), "guess %d", i);
		assert_int_equal(wrong(s, text), VERDICT_GO);
		assert_int_equal(take(s, "stale"), VERDICT_WRONG);
	}
	assert_int_equal(s->record.bad_n, RECORD_BAD);
}

static void an_accepted_password_holds_for_its_time_and_dies_with_the_change(void **state)
{
	struct site *s = *state;

	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	assert_int_equal(take(s, "good"), VERDICT_RIGHT);
	assert_int_equal(s->until, NOW + 3600);
	s->now += 3599;
	assert_int_equal(take(s, "good"), VERDICT_RIGHT);
	s->now += 1;
	assert_int_equal(take(s, "good"), VERDICT_GO);
	learn(s, "good", LESSON_RIGHT, 0);
	s->generation = 2;
	assert_int_equal(take(s, "good"), VERDICT_GO);
}

static void what_was_right_is_asked_for_again_whatever_others_got_wrong_and_no_more_once_it_is_wrong(void **state)
{
	struct site *s = *state;

	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	s->now += 3600;
	for (unsigned i = 0; i < s->rules.limit; i++)
		assert_int_equal(wrong(s, (const char *[]){ "a", "b", "c", "d", "e" }[i % 5]), VERDICT_GO);
	assert_true(take(s, "another") == VERDICT_GUARDED || take(s, "another") == VERDICT_BUDGET);
	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	assert_int_equal(take(s, "good"), VERDICT_RIGHT);
	s->now += 3600;
	assert_int_equal(wrong(s, "good"), VERDICT_GO);
	assert_int_equal(take(s, "good"), VERDICT_WRONG);
	s->generation = 2;	/* set anew: nothing is known of it */
	s->now -= 1;
	assert_true(take(s, "good") != VERDICT_RIGHT);
}

static void what_must_end_ends_by_the_later_clock_and_one_from_the_future_is_not_believed(void **state)
{
	struct site *s = *state;

	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	s->wall = NOW + 3600;	/* a store that holds its clock back */
	assert_int_equal(take(s, "good"), VERDICT_GO);
	learn(s, "good", LESSON_NOT_COUNTED, 0);
	s->now = s->wall = NOW - 7200;	/* both were set back: nobody knows how old it is */
	assert_int_equal(take(s, "good"), VERDICT_GO);
}

static void a_lifetime_that_nobody_configured_is_not_believed(void **state)
{
	struct site *s = *state;

	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	s->rules.good_seconds = 600;	/* lowered since */
	assert_int_equal(take(s, "good"), VERDICT_GO);
}

static void a_clock_that_is_set_back_neither_ends_a_count_nor_keeps_it_for_ever(void **state)
{
	struct site *s = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(wrong(s, (const char *[]){ "a", "b", "c" }[i]), VERDICT_GO);
	s->now -= 86400;
	assert_int_equal(take(s, "d"), VERDICT_GUARDED);
	assert_true(s->until <= s->now + WINDOW + 1);
	s->now += WINDOW + 1;
	assert_int_equal(take(s, "d"), VERDICT_GO);
}

/* --- old passwords --- */

static void the_password_before_is_refused_for_the_hour_in_which_ad_takes_it(void **state)
{
	struct site *s = *state;

	assert_int_equal(right(s, "before", 0), VERDICT_GO);
	s->now += 5000;
	s->wall += 5000;
	s->generation = 2;
	s->set_at = s->wall;
	s->now += 10;
	s->wall += 10;
	assert_int_equal(take(s, "before"), VERDICT_OLD);
	assert_int_equal(right(s, "after", 0), VERDICT_GO);	/* at once */
	assert_int_equal(take(s, "after"), VERDICT_RIGHT);
	assert_int_equal(s->until, s->now + LOCKOUT_OLD_GOOD_SECONDS);	/* it might have been one before that we did not know */
	s->now += LOCKOUT_OLD_SECONDS + 1;
	s->wall += LOCKOUT_OLD_SECONDS + 1;
	assert_int_equal(wrong(s, "before"), VERDICT_GO);	/* now AD's word counts: an administrator may have set the same again */
	assert_int_equal(take(s, "before"), VERDICT_WRONG);
}

static void a_node_with_old_facts_does_not_take_the_new_password_for_the_old_one(void **state)
{
	struct site *s = *state;

	s->generation = 2;
	s->set_at = NOW - 60;
	assert_int_equal(right(s, "new", 0), VERDICT_GO);
	s->generation = 1;	/* what another node's directory still says */
	s->set_at = NOW - 3000;
	assert_int_equal(take(s, "new"), VERDICT_GO);
}

static void one_that_ad_fails_uncounted_counts_here_and_is_not_sent_again(void **state)
{
	struct site *s = *state;

	assert_int_equal(wrong(s, "two before"), VERDICT_GO);	/* badPwdCount stays 0 */
	assert_int_equal(s->record.count, 1);
	for (int i = 0; i < 50; i++)
		assert_int_equal(take(s, "two before"), VERDICT_WRONG);
	assert_int_equal(s->record.count, 1);
}

/* --- right, not counted, unknown --- */

static void a_right_one_clears_what_its_server_had_counted_and_no_more(void **state)
{
	struct site *s = *state;

	assert_int_equal(wrong(s, "a"), VERDICT_GO);
	assert_int_equal(wrong(s, "b"), VERDICT_GO);
	assert_int_equal(right(s, "good", 2), VERDICT_GO);
	assert_int_equal(s->record.count, 0);
	assert_int_equal(wrong(s, "c"), VERDICT_GO);
	assert_int_equal(wrong(s, "d"), VERDICT_GO);
	s->rules.good_seconds = 1;
	s->now += 2;
	assert_int_equal(right(s, "good", 0), VERDICT_GO);	/* by another domain controller, which knows of none */
	assert_int_equal(s->record.count, 2);
}

static void what_was_not_tried_is_given_back_and_what_may_have_been_is_not(void **state)
{
	struct site *s = *state;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(take(s, "x"), VERDICT_GO);
		learn(s, "x", LESSON_NOT_COUNTED, 0);
	}
	assert_int_equal(s->record.count + s->record.tries, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take(s, "x"), VERDICT_GO);
		learn(s, "x", LESSON_NONE, 0);
	}
	assert_int_equal(take(s, "x"), VERDICT_GUARDED);
}

static void the_tag_is_kept_under_the_generation_that_the_server_had(void **state)
{
	struct site *s = *state;
	struct password p;
	struct lockout_try *t = password(s, &p, "new");
	bool changed;

	assert_int_equal(lockout_take(&s->record, &s->rules, t, &s->until, &changed), VERDICT_GO);
	t->generation = 2;	/* it was changed between the look and the bind */
	assert_int_equal(lockout_learn(&s->record, &s->rules, t, LESSON_RIGHT, 0), 0);
	assert_int_equal(s->record.pending_n, 0);
	s->generation = 2;
	assert_int_equal(take(s, "new"), VERDICT_RIGHT);
}

/* --- at once --- */

static void the_same_password_is_tried_by_one_at_a_time_and_a_dead_one_is_not_waited_for(void **state)
{
	struct site *s = *state;

	assert_int_equal(take(s, "new"), VERDICT_GO);
	assert_int_equal(take(s, "new"), VERDICT_PENDING);
	assert_int_equal(s->until, NOW + 12);
	s->now += 12;
	assert_int_equal(take(s, "new"), VERDICT_GO);
	assert_int_equal(s->record.count, 2);	/* the first may have been counted */
}

static void of_a_try_whose_end_nobody_knows_ad_may_count_later_so_the_window_is_not_over(void **state)
{
	struct site *s = *state;

	s->rules.window = 1;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take(s, (const char *[]){ "a", "b", "c" }[i]), VERDICT_GO);
		learn(s, (const char *[]){ "a", "b", "c" }[i], i == 0 ? LESSON_NONE : LESSON_WRONG, 0);
	}
	set_clocks(s, s->now + 11);
	assert_int_equal(take(s, "a"), VERDICT_GUARDED);	/* and nobody waits for it */
	assert_int_equal(s->until, NOW + 12 + 1 + 1);
	set_clocks(s, s->now + 2);	/* it is given up, and may have been counted at the last moment */
	assert_int_equal(take(s, "a"), VERDICT_GUARDED);
	assert_int_equal(s->until, NOW + 12 + 1 + 1);
	set_clocks(s, s->now + 1);
	assert_int_equal(take(s, "a"), VERDICT_GO);
	assert_int_equal(s->record.count, 1);
}

static void a_refused_one_is_told_a_time_to_come_even_where_only_a_try_under_way_keeps_the_count(void **state)
{
	struct site *s = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(take(s, (const char *[]){ "a", "b", "c" }[i]), VERDICT_GO);
	for (unsigned i = 0; i < s->record.pending_n; i++)
		s->record.pending[i].until = NOW + WINDOW + 10;
	set_clocks(s, s->now + WINDOW + 5);
	assert_int_equal(take(s, "d"), VERDICT_GUARDED);
	assert_int_equal(s->until, NOW + 2 * WINDOW + 10 + 1);
}

static void a_deadline_without_end_holds_nobody(void **state)
{
	struct site *s = *state;

	assert_int_equal(take(s, "new"), VERDICT_GO);
	s->record.pending[0].until = INT64_MAX;
	assert_int_equal(take(s, "new"), VERDICT_GO);
}

/* --- budgets --- */

static void an_owners_address_has_a_budget_that_strangers_cannot_use_up(void **state)
{
	struct site *s = *state;
	char text[16];

	s->rules.limit = LOCKOUT_UNLIMITED;
	s->rules.attempts = 3;
	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	s->address = "203.0.113.7";
	for (int i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), "guess %d", i);
		assert_int_equal(wrong(s, text), i < 3 ? VERDICT_GO : VERDICT_BUDGET);
	}
	assert_int_equal(take(s, "good"), VERDICT_RIGHT);	/* from wherever */
	s->address = "192.0.2.1";
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "typo %d", i);
		assert_int_equal(wrong(s, text), VERDICT_GO);
	}
	assert_int_equal(wrong(s, "typo 3"), VERDICT_BUDGET);
}

static void mode_log_gives_the_verdict_and_counts_all_the_same(void **state)
{
	struct site *s = *state;

	s->rules.forced = true;
	for (int i = 0; i < 3; i++)
		assert_int_equal(wrong(s, (const char *[]){ "a", "b", "c" }[i]), VERDICT_GO);
	assert_int_equal(take(s, "d"), VERDICT_GUARDED);
	assert_int_equal(s->record.count, 4);
	assert_int_equal(take(s, "a"), VERDICT_WRONG);
	assert_int_equal(s->record.count, 5);
}

static void the_worst_is_a_window_without_tries(void **state)
{
	struct site *s = *state;

	lockout_assume_worst(&s->record, s->now);
	s->rules.limit = LOCKOUT_UNLIMITED;
	assert_int_equal(take(s, "x"), VERDICT_BUDGET);
	s->rules.limit = 3;
	s->rules.attempts = LOCKOUT_UNLIMITED;
	assert_int_equal(take(s, "x"), VERDICT_GUARDED);
	set_clocks(s, s->now + WINDOW + 1);
	assert_int_equal(take(s, "x"), VERDICT_GO);
}

/* --- bytes --- */

static void fill(struct site *s)
{
	char text[16];

	s->rules.limit = s->rules.attempts = LOCKOUT_UNLIMITED;
	for (int i = 0; i < 40; i++) {
		snprintf(text, sizeof(text), "p%d", i);
		s->address = (const char *[]){ "a", "b", "c", "d", "e" }[i % 5];
		if (i % 3 == 0)
			assert_int_equal(right(s, text, 0), VERDICT_GO);
		else
			assert_int_equal(wrong(s, text), VERDICT_GO);
	}
	for (int i = 0; i < RECORD_PENDING; i++) {
		snprintf(text, sizeof(text), "q%d", i);
		assert_int_equal(take(s, text), VERDICT_GO);
	}
}

static void a_full_record_fits_and_comes_back_as_it_was(void **state)
{
	struct site *s = *state;
	uint8_t bytes[RECORD_BYTES_MAX];
	struct lockout_record back;
	long n;

	fill(s);
	assert_int_equal(s->record.bad_n + s->record.good_n + s->record.pending_n + s->record.addresses_n,
	    RECORD_BAD + RECORD_GOOD + RECORD_PENDING + RECORD_ADDRESSES);
	n = lockout_record_write(&s->record, key, ALICE, bytes);
	assert_true(n > 0);
	assert_int_equal(lockout_record_read(&back, key, ALICE, (struct strv){ (const char *)bytes, (size_t)n }), 0);
	assert_memory_equal(&back, &s->record, sizeof(back));
}

static void no_bit_and_no_length_and_no_other_account_or_secret_is_believed(void **state)
{
	struct site *s = *state;
	uint8_t bytes[RECORD_BYTES_MAX + 1], other[LOCKOUT_KEY];
	struct lockout_record back;
	struct strv all = { (const char *)bytes, 0 };
	long n;

	assert_int_equal(right(s, "good", 0), VERDICT_GO);
	n = lockout_record_write(&s->record, key, ALICE, bytes);
	assert_true(n > 0);
	for (all.n = 0; all.n < (size_t)n; all.n++)
		assert_int_equal(lockout_record_read(&back, key, ALICE, all), -1);
	all.n = (size_t)n + 1;
	assert_int_equal(lockout_record_read(&back, key, ALICE, all), -1);
	all.n = (size_t)n;
	for (size_t i = 0; i < all.n * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(lockout_record_read(&back, key, ALICE, all), -1);
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_int_equal(lockout_record_read(&back, key, "S-1-5-21-1-2-3-1105", all), -1);
	assert_int_equal(lockout_key(STRV("another secret"), other), 0);
	assert_int_equal(lockout_record_read(&back, other, ALICE, all), -1);
	assert_int_equal(lockout_record_read(&back, key, ALICE, all), 0);
}

static bool holds(const void *hay, size_t n, const void *needle, size_t m)
{
	return memmem(hay, n, needle, m) != NULL;
}

/* --- where the fleet's count could fall behind AD's --- */

/* The clock is set back while a try is under way: AD may come to it as long as a try lasts, and its window begins there. */
static void a_try_under_way_when_the_clock_is_set_back_is_counted_from_its_end(void **state)
{
	struct site *s = *state;

	assert_int_equal(take(s, "a"), VERDICT_GO);
	set_clocks(s, NOW - 86400);
	assert_int_equal(wrong(s, "b"), VERDICT_GO);
	assert_int_equal(s->record.count, 2);
	set_clocks(s, s->now + WINDOW + 5);
	assert_int_equal(wrong(s, "c"), VERDICT_GO);
	assert_int_equal(s->record.count, 3);	/* not begun anew */
	assert_int_equal(wrong(s, "d"), VERDICT_GUARDED);
	set_clocks(s, s->now + WINDOW + 1);
	assert_int_equal(wrong(s, "d"), VERDICT_GO);
	assert_int_equal(s->record.count, 1);
}

/* Eight tries at once when it is set back: those after it are not kept waiting by all of them. */
static void many_under_way_when_the_clock_is_set_back_keep_one_place(void **state)
{
	struct site *s = *state;
	char text[16];

	s->rules.limit = 100;
	for (int i = 0; i < RECORD_PENDING; i++) {
		snprintf(text, sizeof(text), "a %d", i);
		assert_int_equal(take(s, text), VERDICT_GO);
	}
	assert_int_equal(take(s, "b"), VERDICT_PENDING);
	set_clocks(s, NOW - 86400);
	assert_int_equal(take(s, "b"), VERDICT_GO);
	assert_int_equal(s->record.pending_n, 2);
	assert_int_equal(s->record.count, RECORD_PENDING + 1);
}

/* Another Redis takes the place of the one before, and its clock is an hour ahead: nothing is over for that. */
static void a_clock_that_runs_ahead_ends_no_window(void **state)
{
	struct site *s = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(wrong(s, (const char *[]){ "a", "b", "c" }[i]), VERDICT_GO);
	s->now += 2 * WINDOW;
	s->wall += 60;
	assert_int_equal(take(s, "d"), VERDICT_GUARDED);
	assert_int_equal(s->until - s->now, WINDOW + 1 - 60);	/* when to come again, all the same */
	s->wall += WINDOW;
	assert_int_equal(take(s, "d"), VERDICT_GO);
}

/* As in AD the count stands until the next wrong one: what was over by the shorter window is not over by the longer. */
static void a_window_that_is_made_longer_counts_what_was_not_begun_anew(void **state)
{
	struct site *s = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(wrong(s, (const char *[]){ "a", "b", "c" }[i]), VERDICT_GO);
	set_clocks(s, NOW + WINDOW + 60);
	assert_int_equal(wrong(s, "a"), VERDICT_WRONG);
	s->rules.window = 4 * WINDOW;
	assert_int_equal(take(s, "d"), VERDICT_GUARDED);
	set_clocks(s, NOW + 4 * WINDOW + 1);
	assert_int_equal(take(s, "d"), VERDICT_GO);
}

static void a_threshold_that_is_lowered_counts_at_once(void **state)
{
	struct site *s = *state;

	s->rules.limit = 7;
	for (int i = 0; i < 3; i++)
		assert_int_equal(wrong(s, (const char *[]){ "a", "b", "c" }[i]), VERDICT_GO);
	s->rules.limit = 2;
	assert_int_equal(take(s, "d"), VERDICT_GUARDED);
	s->rules.limit = 4;
	assert_int_equal(wrong(s, "d"), VERDICT_GO);
	assert_int_equal(take(s, "e"), VERDICT_GUARDED);
}

/* Redis loses the record (evicted, or a replica that had not heard of it) between the try and what it taught. */
static void a_record_that_is_lost_while_a_try_is_under_way_begins_with_that_try(void **state)
{
	static const enum lockout_lesson lessons[] = { LESSON_WRONG, LESSON_NONE };
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(lessons); i++) {
		memset(&s->record, 0, sizeof(s->record));
		assert_int_equal(take(s, "a"), VERDICT_GO);
		assert_int_equal(take(s, "b"), VERDICT_GO);
		memset(&s->record, 0, sizeof(s->record));
		learn(s, "a", lessons[i], 0);
		learn(s, "b", lessons[i], 0);
		assert_int_equal(s->record.count, 2);
	}
}

/* A node that stood still for an hour tells that its try was none: what others sent meanwhile is not taken back for it. */
static void a_lesson_that_comes_too_late_gives_nothing_back(void **state)
{
	struct site *s = *state;

	assert_int_equal(take(s, "a"), VERDICT_GO);
	set_clocks(s, NOW + 3600);
	assert_int_equal(wrong(s, "b"), VERDICT_GO);
	assert_int_equal(wrong(s, "c"), VERDICT_GO);
	assert_int_equal(s->record.count, 2);
	learn(s, "a", LESSON_NOT_COUNTED, 0);
	assert_int_equal(s->record.count, 2);
}

/* A domain that forgets within a second: AD has counted what it only now refuses. */
static void a_try_that_outlasts_the_window_is_counted(void **state)
{
	struct site *s = *state;

	s->rules.window = 1;
	for (int i = 0; i < 5; i++) {
		char text[16];
		snprintf(text, sizeof(text), "w %d", i);
		assert_int_equal(take(s, text), VERDICT_GO);
		set_clocks(s, s->now + 11);
		learn(s, text, LESSON_WRONG, 0);
		assert_int_equal(s->record.count, 1);
		set_clocks(s, s->now + 2);
	}
}

/* Mode log tries more at once than there are places: those without one keep the window open, too. */
static void where_all_places_are_taken_none_that_is_under_way_is_forgotten(void **state)
{
	struct site *s = *state;
	char text[16];

	s->rules.forced = true;
	for (int i = 0; i < 3 * RECORD_PENDING; i++) {
		snprintf(text, sizeof(text), "w %d", i);
		(void)take(s, text);
		s->rules.limit = LOCKOUT_UNLIMITED;
	}
	assert_in_range(s->record.pending_n, 2, RECORD_PENDING);
	s->rules.forced = false;
	s->rules.limit = 3;
	learn(s, "w 0", LESSON_NONE, 0);
	set_clocks(s, NOW + WINDOW + 10);
	assert_int_equal(take(s, "x"), VERDICT_GUARDED);
	set_clocks(s, NOW + WINDOW + 13);
	assert_int_equal(take(s, "x"), VERDICT_GO);
}

static void stretch(const uint8_t from[LOCKOUT_KEY], const char *sid, unsigned mib, uint8_t out[LOCKOUT_STRETCHED])
{
	uint8_t salt[LOCKOUT_SALT];

	assert_int_equal(lockout_salt(from, sid, salt), 0);
	assert_int_equal(lockout_stretch(salt, STRV("Passw0rd"), mib, out), 0);
}

/* What a thief of the store sees: nothing of a password, and the same password looks different for each account, generation and secret. */
static void a_dump_without_the_secret_says_nothing_of_a_password(void **state)
{
	struct site *s = *state;
	uint8_t a[LOCKOUT_STRETCHED], b[LOCKOUT_STRETCHED], other[LOCKOUT_KEY], bytes[RECORD_BYTES_MAX], t1[LOCKOUT_TAG], t2[LOCKOUT_TAG];
	struct password p;
	long n;

	assert_int_equal(lockout_key(STRV("another secret"), other), 0);
	stretch(key, ALICE, 1, a);
	stretch(key, "S-1-5-21-1-2-3-1105", 1, b);
	assert_memory_not_equal(a, b, sizeof(a));
	stretch(other, ALICE, 1, b);
	assert_memory_not_equal(a, b, sizeof(a));
	stretch(key, ALICE, 2, b);
	assert_memory_not_equal(a, b, sizeof(a));
	stretch(key, ALICE, 1, b);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(lockout_tag(key, ALICE, 1, a, t1), 0);
	assert_int_equal(lockout_tag(key, ALICE, 2, a, t2), 0);
	assert_memory_not_equal(t1, t2, sizeof(t1));
	assert_int_equal(lockout_tag(other, ALICE, 1, a, t2), 0);
	assert_memory_not_equal(t1, t2, sizeof(t1));
	assert_int_equal(right(s, "Passw0rd.alice", 0), VERDICT_GO);
	n = lockout_record_write(&s->record, key, ALICE, bytes);
	(void)password(s, &p, "Passw0rd.alice");
	assert_true(n > 0 && holds(bytes, (size_t)n, p.try.tag, LOCKOUT_TAG));
	assert_false(holds(bytes, (size_t)n, "Passw0rd", 8));
	assert_false(holds(bytes, (size_t)n, p.stretched, 8));
}

/* --- this process alone --- */

/* Sixteen entries, two sets: whatever comes, no more is kept; who ends first goes, and what has ended is nowhere. */
static void a_brief_table_is_bounded_and_overwrites_what_is_over(void **state)
{
	struct brief *b = brief_new(16), *other = brief_new(16);
	uint8_t name[256][LOCKOUT_TAG], foreign[LOCKOUT_TAG];
	struct brief_entry *e;
	unsigned live = 0;

	(void)state;
	assert_non_null(b);
	assert_non_null(other);
	for (unsigned i = 0; i < 256; i++) {
		assert_int_equal(brief_name(b, "x", &i, sizeof(i), name[i]), 0);
		assert_null(brief_next(b, name[i], 0, NULL));
		memset(brief_make(b, name[i], 1000 + i)->value, 0xa5, BRIEF_VALUE);
		e = brief_next(b, name[i], 999, NULL);
		assert_non_null(e);
		assert_null(brief_next(b, name[i], 999, e));
	}
	assert_int_equal(brief_name(other, "x", &live, sizeof(live), foreign), 0);
	assert_memory_not_equal(foreign, name[0], LOCKOUT_TAG);
	for (unsigned i = 0; i < 256; i++)
		live += brief_next(b, name[i], 999, NULL) != NULL;
	assert_int_equal(live, 16);
	e = brief_next(b, name[255], 1254, NULL);
	assert_non_null(e);
	/* two of one name, a longer and a shorter one */
	(void)brief_make(b, name[255], 5000);
	assert_non_null(brief_next(b, name[255], 1254, brief_next(b, name[255], 1254, NULL)));
	assert_non_null(brief_next(b, name[255], 4999, NULL));
	assert_null(brief_next(b, name[255], 5000, NULL));
	brief_tidy(b, 5000);
	assert_false(holds((const uint8_t *)e, sizeof(*e), "\xa5\xa5\xa5\xa5", 4));
	for (unsigned i = 0; i < 256; i++)
		assert_null(brief_next(b, name[i], 0, NULL));
	brief_free(b);
	brief_free(other);
	brief_free(NULL);
}

/* One byte of a password: of 4096 others about sixteen look like it; each entry has another sixteen. */
static void of_a_password_that_was_not_tried_one_byte_is_kept_for_a_while(void **state)
{
	struct site *s = *state;
	struct brief *u = brief_new(UNTRIED_ENTRIES);
	struct untried_entry e, then, second;
	uint8_t place[LOCKOUT_TAG], other[LOCKOUT_TAG], known[sizeof(e.known)];
	unsigned alike = 0;
	char text[16];

	assert_non_null(u);
	assert_int_equal(untried_place(u, ALICE, 1, (const uint8_t *)"0123456789abcdef", place), 0);
	assert_int_equal(untried_place(u, ALICE, 2, (const uint8_t *)"0123456789abcdef", other), 0);
	assert_memory_not_equal(place, other, sizeof(place));
	assert_int_equal(untried_note(u, STRV("Passw0rd"), &e), 0);
	assert_int_equal(untried_note(u, STRV("Passw0rd"), &second), 0);
	assert_true(e.number != second.number);
	assert_int_equal(untried_known(u, &s->record, e.known), 0);
	untried_keep(u, place, 1000, &e);
	assert_true(untried_find(u, place, STRV("Passw0rd"), 1000 + UNTRIED_SECONDS - 1, &then));
	assert_memory_equal(&e, &then, sizeof(e));
	assert_false(untried_find(u, other, STRV("Passw0rd"), 1000, &then));
	for (int i = 0; i < 4096; i++) {
		snprintf(text, sizeof(text), "guess %d", i);
		alike += untried_find(u, place, strv_from(text), 1000, &then);
	}
	assert_in_range(alike, 1, 60);
	assert_false(holds((const uint8_t *)u, 1 << 17, "Passw0rd", 8));
	assert_int_equal(wrong(s, "a"), VERDICT_GO);
	assert_int_equal(untried_known(u, &s->record, known), 0);
	assert_memory_not_equal(known, e.known, sizeof(known));
	assert_false(untried_find(u, place, STRV("Passw0rd"), 1000 + UNTRIED_SECONDS, &then));
	untried_keep(u, place, 2000, &second);
	untried_drop(u, place, STRV("Passw0rd"), 2000);
	assert_false(untried_find(u, place, STRV("Passw0rd"), 2000, &then));
	brief_free(u);
}

static void the_local_share_counts_as_ad_does_and_addresses_from_their_first(void **state)
{
	struct share *l = share_new();
	uint8_t k[LOCKOUT_TAG] = { 1, 2, 3 };
	int64_t until = 0;

	(void)state;
	assert_non_null(l);
	for (int i = 0; i < 3; i++) {
		share_add(l, SHARE_ACCOUNT, k, 100, 1000 + i * 90);
		share_add(l, SHARE_ADDRESS, k, 100, 1000 + i * 30);
	}
	assert_int_equal(share_count(l, SHARE_ACCOUNT, k, 100, 1280, &until), 3);
	assert_int_equal(until, 1281);
	assert_int_equal(share_count(l, SHARE_ACCOUNT, k, 100, 1281, &until), 0);
	assert_int_equal(share_count(l, SHARE_ADDRESS, k, 100, 1100, &until), 3);
	assert_int_equal(until, 1101);
	assert_int_equal(share_count(l, SHARE_ADDRESS, k, 100, 1101, &until), 0);
	share_add(l, SHARE_ACCOUNT, k, 100, 2000);
	share_give_back(l, SHARE_ACCOUNT, k, 5);
	assert_int_equal(share_count(l, SHARE_ACCOUNT, k, 100, 2000, &until), 0);
	share_free(l);
}

static void a_network_of_64_bits_is_one_client(void **state)
{
	static const char *const cases[][2] = { { "192.0.2.1", "192.0.2.1" }, { "2001:db8:1:2:3::4", "2001:db8:1:2::" }, { "::1", "::" },
		{ "::ffff:192.0.2.1", "::ffff:192.0.2.1" }, { "", "" }, { "local", "local" } };
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		lockout_address(cases[i][0], out, sizeof(out));
		assert_string_equal(out, cases[i][1]);
	}
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(ads_count_stays_below_the_threshold_less_margin_and_one_that_does_not_lock_is_left),
		CASE(of_a_thousand_different_passwords_three_are_tried),
		CASE(those_under_way_count_before_they_are_answered),
		CASE(a_whole_window_after_the_last_it_begins_anew_and_not_before),
		CASE(a_threshold_of_nothing_leaves_the_budget_alone),
		CASE(no_limit_left_means_that_nothing_unknown_is_tried),
		CASE(a_refused_password_is_never_sent_again_for_weeks),
		CASE(strangers_push_a_phones_stale_password_out_of_no_memory),
		CASE(an_accepted_password_holds_for_its_time_and_dies_with_the_change),
		CASE(what_was_right_is_asked_for_again_whatever_others_got_wrong_and_no_more_once_it_is_wrong),
		CASE(what_must_end_ends_by_the_later_clock_and_one_from_the_future_is_not_believed),
		CASE(a_lifetime_that_nobody_configured_is_not_believed),
		CASE(a_clock_that_is_set_back_neither_ends_a_count_nor_keeps_it_for_ever),
		CASE(the_password_before_is_refused_for_the_hour_in_which_ad_takes_it),
		CASE(a_node_with_old_facts_does_not_take_the_new_password_for_the_old_one),
		CASE(one_that_ad_fails_uncounted_counts_here_and_is_not_sent_again),
		CASE(a_right_one_clears_what_its_server_had_counted_and_no_more),
		CASE(what_was_not_tried_is_given_back_and_what_may_have_been_is_not),
		CASE(the_tag_is_kept_under_the_generation_that_the_server_had),
		CASE(the_same_password_is_tried_by_one_at_a_time_and_a_dead_one_is_not_waited_for),
		CASE(of_a_try_whose_end_nobody_knows_ad_may_count_later_so_the_window_is_not_over),
		CASE(a_refused_one_is_told_a_time_to_come_even_where_only_a_try_under_way_keeps_the_count),
		CASE(a_deadline_without_end_holds_nobody),
		CASE(an_owners_address_has_a_budget_that_strangers_cannot_use_up),
		CASE(mode_log_gives_the_verdict_and_counts_all_the_same),
		CASE(the_worst_is_a_window_without_tries),
		CASE(a_try_under_way_when_the_clock_is_set_back_is_counted_from_its_end),
		CASE(many_under_way_when_the_clock_is_set_back_keep_one_place),
		CASE(a_clock_that_runs_ahead_ends_no_window),
		CASE(a_window_that_is_made_longer_counts_what_was_not_begun_anew),
		CASE(a_threshold_that_is_lowered_counts_at_once),
		CASE(a_record_that_is_lost_while_a_try_is_under_way_begins_with_that_try),
		CASE(a_lesson_that_comes_too_late_gives_nothing_back),
		CASE(a_try_that_outlasts_the_window_is_counted),
		CASE(where_all_places_are_taken_none_that_is_under_way_is_forgotten),
		CASE(a_full_record_fits_and_comes_back_as_it_was),
		CASE(no_bit_and_no_length_and_no_other_account_or_secret_is_believed),
		CASE(a_dump_without_the_secret_says_nothing_of_a_password),
		CASE(the_local_share_counts_as_ad_does_and_addresses_from_their_first),
		cmocka_unit_test(a_brief_table_is_bounded_and_overwrites_what_is_over),
		CASE(of_a_password_that_was_not_tried_one_byte_is_kept_for_a_while),
		CASE(a_network_of_64_bits_is_one_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
