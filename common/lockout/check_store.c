/*
 * check_store: the two times that a check meets the record: before the try, which counts before it is made, and after it. *lockout* process.
 */
#include <stdio.h>

#include "common/lockout/check_parts.h"
#include "common/log.h"

#define BEATEN_MAX 64	/* so many others were first: then something is wrong */
#define AGAIN_MS   128	/* how often a node looks whether another one knows by now */
#define WINDOW_DEFAULT 1800	/* of the budgets, where the domain's is not known */
#define BUDGET_WINDOW_MAX 86400
#define WINDOW_UNKNOWN 86400	/* of the limit then: AD may count on for longer than most domains do */
#define ATTEMPTS_DEFAULT 10	/* where the domain locks nobody */

static bool is_forced(const struct check *k)
{
	return k->owner->setup.config->parsed_mode == LOCKOUT_LOG;
}

/* Once for each threshold: with it the margin cannot be kept. */
static void say_limit(struct checks *c, uint32_t threshold)
{
	uint32_t margin = c->setup.config->margin;
	uint64_t bit = 1ull << threshold % 64, *said = &c->said_limit[threshold / 64 % ARRAY_LEN(c->said_limit)];

	if (threshold == 0 || threshold - 1 > margin || (*said & bit) != 0)
		return;
	*said |= bit;
	if (threshold == 1)
		log_say(LOG_ERROR, "lockout_no_try", "the domain locks accounts at their first wrong password (lockoutThreshold 1, or a password "
		    "settings object's): no password is tried that is not known to be right; raise it to %u", margin + 2);
	else
		log_say(LOG_WARNING, "lockout_margin_lowered", "the domain locks accounts at %u wrong passwords: lockout.margin %u would leave none to "
		    "be tried, so it counts as %u for them and one is; raise the threshold to %u or more, or lower lockout.margin",
		    threshold, margin, threshold - 2, margin + 2);
}

static void set_rules(struct check *k)
{
	const struct config_lockout *c = k->owner->setup.config;
	const struct account *a = k->known ? &k->account : &k->owner->policy;
	uint32_t limit = facts_wrong_passwords(a->lockout_known, a->lockout_threshold, c->margin);
	uint32_t window = a->lockout_window != 0 ? a->lockout_window : WINDOW_DEFAULT;
	uint32_t budget = window < BUDGET_WINDOW_MAX ? window : BUDGET_WINDOW_MAX;
	uint32_t counts_for = a->lockout_window != 0 || limit == LOCKOUT_UNLIMITED ? window : WINDOW_UNKNOWN;

	k->rules = (struct lockout_rules){ .limit = limit, .window = counts_for, .attempts = c->attempts,
		.attempts_window = c->window_seconds != 0 ? c->window_seconds : budget,
		.pending_seconds = CHECK_BIND_MS / 1000 + 2, .good_seconds = c->good_seconds, .forced = is_forced(k) };
	if (k->rules.attempts == 0)
		k->rules.attempts = limit == LOCKOUT_UNLIMITED ? ATTEMPTS_DEFAULT : limit > 0 ? limit : 1;
	if (a->lockout_known && c->parsed_mode == LOCKOUT_ENFORCE)
		say_limit(k->owner, a->lockout_threshold);
	/* nobody types and nobody waits: one try of several is left for somebody who does */
	if (k->ask.interactive == 0 && limit != LOCKOUT_UNLIMITED && limit >= 4)
		k->rules.limit = limit - 1;
	k->item.address_window = k->rules.attempts_window;
	k->item.window = counts_for;
}

/* Whatever the store says: no more than one node's share has left this process. */
static void apply_local_share(struct check *k)
{
	int64_t until = 0;

	if (k->rules.limit != LOCKOUT_UNLIMITED &&
	    share_count(k->owner->setup.share, SHARE_ACCOUNT, k->share, k->rules.window, check_seconds(k->owner), &until) >= k->rules.limit)
		k->rules.limit = 0;
}

void check_set_rules(struct check *k)
{
	k->try.now = k->item.now;
	k->try.late = k->item.late;
	k->try.wall = (int64_t)loop_wall(k->owner->setup.loop);
	set_rules(k);
	apply_local_share(k);
}

/* --- before --- */

static void read_again(struct check *k);

/* Refused; the store hears of it for people's sake, and the answer waits for that no longer than it must. */
static void on_noted(void *arg, enum store_status status)
{
	struct check *k = arg;

	(void)status;
	check_end_wait(k, (enum lockout_result)k->answer.result, k->answer.wait_seconds);
}

void check_refuse(struct check *k, enum lockout_result result, int64_t seconds)
{
	bool wrong = result == LOCKOUT_KNOWN_WRONG;
	struct store_effects effects = { .absorbed = wrong, .prevented = !wrong,
		.daily = !k->known ? NULL : wrong ? "stale_absorbed" : "lockouts_prevented", .daily_n = 1 };

	k->answer.remembered = wrong;
	k->answer.result = wrong && !k->known ? LOCKOUT_UNKNOWN : result;
	k->answer.wait_seconds = seconds < 0 ? 0 : seconds > INT32_MAX ? INT32_MAX : (uint32_t)seconds;
	if (!wrong)
		check_say_prevented(k, result);
	store_write(k->owner->setup.store, &k->item, &effects, on_noted, k);
}

static void on_again(struct deadline *d)
{
	read_again(CONTAINER_OF(d, struct check, again));
}

static void wait_and_see(struct check *k)
{
	k->step = CHECK_WAITING;
	deadline_arm(k->owner->setup.loop, &k->again, AGAIN_MS, on_again);
}

/* --- so many at once --- */

/* True: k waits until another one is over. What AD has taken before has as many places again: guesses do not stand before it. */
static bool must_wait(struct check *k)
{
	struct checks *c = k->owner;

	if (k->binds || c->binds < (k->was_right ? 2 * BINDS_MAX : BINDS_MAX)) {
		c->binds += !k->binds;
		k->binds = true;
		return false;
	}
	k->gated = true;
	k->step = CHECK_WAITING;
	return true;
}

/* The oldest that waits, of those that were right before if there are any, reads again, since the record may be another by now. */
static void let_next(struct checks *c)
{
	struct check *next = NULL;

	for (struct check *k = c->first; k != NULL; k = k->next) {
		if (k->gated && k->step != CHECK_OVER && (next == NULL || (k->was_right && !next->was_right)))
			next = k;
	}
	if (next == NULL)
		return;
	next->gated = false;
	read_again(next);
}

void check_gate_leave(struct check *k)
{
	k->gated = false;
	if (!k->binds)
		return;
	k->binds = false;
	k->owner->binds--;
	let_next(k->owner);
}

/* Nobody has the name: as wrong as any, and nothing to be tried. */
static void try(struct check *k)
{
	if (k->known) {
		check_bind(k);
		return;
	}
	k->answer.result = LOCKOUT_UNKNOWN;
	k->lesson = LESSON_WRONG;
	check_learn(k);
}

static void on_taken(void *arg, enum store_status status)
{
	struct check *k = arg;
	struct checks *c = k->owner;

	if (status == STORE_BEATEN && ++k->beaten < BEATEN_MAX) {
		read_again(k);
	} else if (status == STORE_ADDRESS) {
		/* between reading and writing others from there were faster */
		check_refuse(k, LOCKOUT_ADDRESS_BUDGET, k->item.address_until - k->item.now);
	} else if (status != STORE_DONE) {
		if (!is_forced(k)) {
			check_end(k, LOCKOUT_UNAVAILABLE);
			return;
		}
		check_would(k, LOCKOUT_UNAVAILABLE);
		try(k);
	} else {
		k->recorded = true;
		share_add(c->setup.share, SHARE_ACCOUNT, k->share, k->rules.window, check_seconds(k->owner));
		try(k);
	}
}

static void go(struct check *k)
{
	struct store_effects effects = { .address = 1,
		.address_limit = is_forced(k) || k->was_right ? UINT32_MAX : k->owner->setup.config->address_attempts };

	store_write(k->owner->setup.store, &k->item, &effects, on_taken, k);
}

static enum lockout_result refusal_of(enum lockout_verdict verdict)
{
	switch (verdict) {
	case VERDICT_WRONG:
	case VERDICT_OLD:
		return LOCKOUT_KNOWN_WRONG;
	case VERDICT_GUARDED:
		return LOCKOUT_GUARDED;
	case VERDICT_BUDGET:
		return LOCKOUT_ACCOUNT_BUDGET;
	default:
		return LOCKOUT_UNAVAILABLE;
	}
}

/* mode log: counted like any other, and tried whatever the verdict was. */
static void go_though(struct check *k, enum lockout_result result)
{
	if (result != LOCKOUT_RESULTS)
		check_would(k, result);
	go(k);
}

static void judge(struct check *k)
{
	struct lockout_record before = k->item.record;
	uint32_t address_limit = k->owner->setup.config->address_attempts;
	int64_t until;
	bool changed, address_over = k->item.address_tries >= address_limit;
	enum lockout_verdict verdict;

	k->was_right = lockout_was_right(&before, &k->try);
	address_over = address_over && !k->was_right;
	verdict = lockout_take(&k->item.record, &k->rules, &k->try, &until, &changed);
	if (verdict == VERDICT_WRONG || verdict == VERDICT_OLD)
		check_count_memory(k, verdict == VERDICT_OLD ? LOCKOUT_MEMORY_OLD : LOCKOUT_MEMORY_WRONG);
	if (verdict == VERDICT_RIGHT) {
		check_count_memory(k, LOCKOUT_MEMORY_RIGHT);
		check_end_right(k, until - k->try.late, true);
	} else if (verdict == VERDICT_PENDING) {
		check_gate_leave(k);
		wait_and_see(k);
	} else if (verdict == VERDICT_FAILED) {
		check_end(k, LOCKOUT_UNAVAILABLE);
	} else if ((is_forced(k) || (verdict == VERDICT_GO && !address_over)) && must_wait(k)) {
		k->item.record = before;
	} else if (is_forced(k)) {
		go_though(k, verdict != VERDICT_GO ? refusal_of(verdict) : address_over ? LOCKOUT_ADDRESS_BUDGET : LOCKOUT_RESULTS);
	} else if (verdict != VERDICT_GO) {
		if (verdict == VERDICT_GUARDED || verdict == VERDICT_BUDGET)
			check_untried_keep(k, &before);
		check_refuse(k, refusal_of(verdict), until - k->item.now);
	} else if (address_over) {
		k->item.record = before;
		check_untried_keep(k, &before);
		check_refuse(k, LOCKOUT_ADDRESS_BUDGET, k->item.address_until - k->item.now);
	} else {
		go(k);
	}
}

static void on_read(void *arg, enum store_status status)
{
	struct check *k = arg;

	if (status != STORE_DONE) {
		if (!is_forced(k)) {
			check_end(k, LOCKOUT_UNAVAILABLE);
			return;
		}
		check_would(k, LOCKOUT_UNAVAILABLE);
		try(k);
		return;
	}
	check_set_rules(k);
	judge(k);
}

static void read_again(struct check *k)
{
	k->step = CHECK_TAKING;
	store_read(k->owner->setup.store, &k->item, on_read, k);
}

/* --- the beginning --- */

static struct check *find_leader(const struct check *k)
{
	for (struct check *other = k->owner->first; other != NULL; other = other->next) {
		if (other != k && other->leader == NULL && other->step >= CHECK_TAKING && other->step < CHECK_OVER &&
		    strcmp(other->subject, k->subject) == 0 && memcmp(other->try.tag, k->try.tag, LOCKOUT_TAG) == 0)
			return other;
	}
	return NULL;
}

void check_name_record(struct check *k)
{
	memcpy(k->item.address, k->try.address, LOCKOUT_TAG);
	memcpy(k->item.sid, k->subject, sizeof(k->item.sid));
	set_rules(k);
}

void check_take(struct check *k)
{
	check_name_record(k);
	k->leader = find_leader(k);
	if (k->leader != NULL)
		k->step = CHECK_WAITING;
	else
		read_again(k);
}

/* --- after --- */

static void learn(struct check *k);

static void conclude(struct check *k, bool written)
{
	uint32_t seconds = lockout_good_seconds(&k->rules, &k->try);

	/* what nobody else knows of must be asked for again soon */
	if (!written && k->recorded && seconds > LOCKOUT_OLD_GOOD_SECONDS)
		seconds = LOCKOUT_OLD_GOOD_SECONDS;
	if (k->answer.result != LOCKOUT_RIGHT)
		check_end_wait(k, (enum lockout_result)k->answer.result, k->answer.wait_seconds);
	else
		check_end_right(k, seconds, false);
}

static void on_learned(void *arg, enum store_status status)
{
	struct check *k = arg;

	if (status == STORE_BEATEN && ++k->beaten < BEATEN_MAX)
		learn(k);
	else
		conclude(k, status == STORE_DONE);
}

static void on_read_to_learn(void *arg, enum store_status status)
{
	struct check *k = arg;
	bool wrong = k->lesson == LESSON_WRONG, right = k->lesson == LESSON_RIGHT;
	struct store_effects effects = { .address = right || k->lesson == LESSON_NOT_COUNTED ? -1 : 0,
		.last_bad = wrong ? (int64_t)loop_wall(k->owner->setup.loop) : 0,
		.daily = !k->known ? NULL : wrong ? "binds_wrong" : right ? "binds_right" : NULL, .daily_n = 1 };

	if (status != STORE_DONE) {
		conclude(k, false);
		return;
	}
	k->try.now = k->item.now;
	k->try.late = k->item.late;
	k->try.wall = (int64_t)loop_wall(k->owner->setup.loop);
	if (lockout_learn(&k->item.record, &k->rules, &k->try, k->lesson, k->bad_count) < 0)
		conclude(k, false);
	else
		store_write(k->owner->setup.store, &k->item, &effects, on_learned, k);
}

static void learn(struct check *k)
{
	store_read(k->owner->setup.store, &k->item, on_read_to_learn, k);
}

void check_learn(struct check *k)
{
	k->step = CHECK_LEARNING;
	k->beaten = 0;
	if (!k->recorded) {
		conclude(k, false);
		return;
	}
	if (k->lesson == LESSON_RIGHT || k->lesson == LESSON_NOT_COUNTED)
		share_give_back(k->owner->setup.share, SHARE_ACCOUNT, k->share, 1 + (k->lesson == LESSON_RIGHT ? k->bad_count : 0));
	learn(k);
}
