/*
 * decide: see decide.h. Every doubt counts against trying. Pure. *lockout* process.
 */
#include "common/lockout/decide.h"

#include <openssl/crypto.h>

#define COUNT_MAX 1000000u

static bool same(const uint8_t a[LOCKOUT_TAG], const uint8_t b[LOCKOUT_TAG])
{
	return CRYPTO_memcmp(a, b, LOCKOUT_TAG) == 0;
}

/* A time that is still to come is now: a clock that was set back must not make a count last for ever, nor end it early. */
static int64_t no_later(int64_t then, int64_t now)
{
	return then > now ? now : then;
}

/* --- lists --- */

static int find_bad(const struct lockout_record *r, const uint8_t tag[LOCKOUT_TAG])
{
	for (uint32_t i = 0; i < r->bad_n; i++) {
		if (same(r->bad[i].tag, tag))
			return (int)i;
	}
	return -1;
}

static void drop_bad(struct lockout_record *r, int i)
{
	if (i >= 0)
		r->bad[i] = r->bad[--r->bad_n];
}

/* Where the list is full, what nobody has sent for longest goes. */
static void add_bad(struct lockout_record *r, const uint8_t tag[LOCKOUT_TAG], int64_t now)
{
	uint32_t at = 0;
	int known = find_bad(r, tag);

	if (known >= 0)
		at = (uint32_t)known;
	else if (r->bad_n < RECORD_BAD)
		at = r->bad_n++;
	else
		for (uint32_t i = 1; i < RECORD_BAD; i++)
			at = r->bad[i].used < r->bad[at].used ? i : at;
	memcpy(r->bad[at].tag, tag, LOCKOUT_TAG);
	r->bad[at].used = now;
}

static int find_good(const struct lockout_record *r, int64_t generation, const uint8_t tag[LOCKOUT_TAG])
{
	for (uint32_t i = 0; i < r->good_n; i++) {
		if (r->good[i].generation == generation && same(r->good[i].tag, tag))
			return (int)i;
	}
	return -1;
}

static void add_good(struct lockout_record *r, const struct record_good *good)
{
	uint32_t at = 0;
	int known = find_good(r, good->generation, good->tag);

	if (known >= 0)
		at = (uint32_t)known;
	else if (r->good_n < RECORD_GOOD)
		at = r->good_n++;
	else
		for (uint32_t i = 1; i < RECORD_GOOD; i++)
			at = r->good[i].made < r->good[at].made ? i : at;
	r->good[at] = *good;
}

static void drop_pending(struct lockout_record *r, uint32_t i)
{
	r->pending[i] = r->pending[--r->pending_n];
}

/*
 * Nobody waits any more for that try; and yet AD may only come to it until `until`: a place is kept for all of those together, under a name
 * that no password has.
 */
static void make_nameless(struct lockout_record *r, uint32_t i, int64_t until)
{
	static const uint8_t nobody[LOCKOUT_TAG];

	for (uint32_t k = 0; k < r->pending_n; k++) {
		if (k == i || !same(r->pending[k].tag, nobody))
			continue;
		r->pending[k].until = until > r->pending[k].until ? until : r->pending[k].until;
		drop_pending(r, i);
		return;
	}
	memset(r->pending[i].tag, 0, LOCKOUT_TAG);
	r->pending[i].until = until;
}

static int find_pending(const struct lockout_record *r, const uint8_t tag[LOCKOUT_TAG])
{
	for (uint32_t i = 0; i < r->pending_n; i++) {
		if (same(r->pending[i].tag, tag))
			return (int)i;
	}
	return -1;
}

static int find_address(const struct lockout_record *r, const uint8_t tag[LOCKOUT_TAG])
{
	for (uint32_t i = 0; i < r->addresses_n; i++) {
		if (same(r->address[i].tag, tag))
			return (int)i;
	}
	return -1;
}

static void add_address(struct lockout_record *r, const uint8_t tag[LOCKOUT_TAG], int64_t now)
{
	uint32_t at = 0;
	int known = find_address(r, tag);

	if (known >= 0)
		at = (uint32_t)known;
	else if (r->addresses_n < RECORD_ADDRESSES)
		at = r->addresses_n++;
	else
		for (uint32_t i = 1; i < RECORD_ADDRESSES; i++)
			at = r->address[i].used < r->address[at].used ? i : at;
	memcpy(r->address[at].tag, tag, LOCKOUT_TAG);
	r->address[at].used = now;
}

/* --- before --- */

/* What time has undone. */
static void age(struct lockout_record *r, const struct lockout_rules *rules, int64_t now)
{
	bool far = false;

	r->last = no_later(r->last, now);
	r->since = no_later(r->since, now);
	r->own_since = no_later(r->own_since, now);
	if (now - r->since > rules->attempts_window)
		r->tries = 0;
	if (now - r->own_since > rules->attempts_window)
		r->own_tries = 0;
	for (uint32_t i = 0; i < r->pending_n;) {
		int64_t until = r->pending[i].until;

		if (until > now) {
			/* further away than any try lasts: the clock was set back, and AD may come to it as long as a try lasts */
			if (until > now + 2 * (int64_t)rules->pending_seconds)
				far = true;
			else {
				i++;
				continue;
			}
		} else if (until > r->last) {
			r->last = until; /* nobody learnt how it ended: AD may have counted it as late as that */
		}
		drop_pending(r, i);
	}
	if (far && r->pending_n < RECORD_PENDING) {
		r->pending[r->pending_n] = (struct record_pending){ .until = now + rules->pending_seconds };
		make_nameless(r, r->pending_n++, now + rules->pending_seconds);
	}
}

/* By how much the store's clock runs before ours. */
static int64_t ahead(const struct lockout_try *t)
{
	return t->now > t->wall ? t->now - t->wall : 0;
}

/*
 * The window is over, so that AD begins anew at the next wrong one. As in AD the count stays as it is until then: if the window is made longer
 * meanwhile, it counts on. What is under way AD may count any moment: from then its window begins. A clock that runs ahead (of a Redis that
 * has taken another's place) ends no window: the earlier of the two counts.
 */
static bool is_over(const struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t)
{
	return t->now - ahead(t) - r->last > rules->window && r->pending_n == 0;
}

/* The password was set so lately that AD may still take the one before. */
static bool is_young(const struct lockout_try *t)
{
	return t->set_at > 0 && t->set_at <= t->wall + LOCKOUT_OLD_SECONDS && t->wall - t->set_at <= LOCKOUT_OLD_SECONDS;
}

/* It was right with an older pwdLastSet, and the change is so young that AD may still take it. 1, 0 or -1: out of memory. */
static int is_old(const struct lockout_record *r, const struct lockout_try *t)
{
	uint8_t tag[LOCKOUT_TAG];

	if (!is_young(t))
		return 0;
	for (uint32_t i = 0; i < r->good_n; i++) {
		if (r->good[i].generation >= t->generation)
			continue;
		if (lockout_tag(t->key, t->sid, r->good[i].generation, t->stretched, tag) < 0)
			return -1;
		if (same(tag, r->good[i].tag))
			return 1;
	}
	return 0;
}

static bool is_right(const struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, int64_t *until)
{
	int i = find_good(r, t->generation, t->tag);

	if (i < 0)
		return false;
	*until = r->good[i].expires;
	/* one from the future was made by a clock that has been set back since: nobody knows how old it is */
	return r->good[i].made <= t->now + LOCKOUT_OLD_GOOD_SECONDS && r->good[i].expires > t->late &&
	    r->good[i].expires - r->good[i].made <= (int64_t)rules->good_seconds;
}

bool lockout_was_right(const struct lockout_record *r, const struct lockout_try *t)
{
	return find_good(r, t->generation, t->tag) >= 0;
}

/* Two of them become nameless: one place. */
static void make_room(struct lockout_record *r)
{
	make_nameless(r, 0, r->pending[0].until);
	if (r->pending_n == RECORD_PENDING)
		make_nameless(r, 1, r->pending[1].until);
}

static void reserve(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t)
{
	bool own = find_address(r, t->address) >= 0;
	uint32_t *tries = own ? &r->own_tries : &r->tries;

	if (*tries == 0)
		*(own ? &r->own_since : &r->since) = t->now;
	*tries += *tries < COUNT_MAX;
	if (is_over(r, rules, t))
		r->count = 0;
	r->count += r->count < COUNT_MAX;
	r->last = t->now;
	if (r->pending_n == RECORD_PENDING)	/* only where forced */
		make_room(r);
	memcpy(r->pending[r->pending_n].tag, t->tag, LOCKOUT_TAG);
	r->pending[r->pending_n++].until = t->now + rules->pending_seconds;
}

/* The end of the window that AD may still be counting in: it begins anew with each try that is under way. */
static int64_t window_end(const struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t)
{
	int64_t last = r->last;

	for (uint32_t i = 0; i < r->pending_n; i++)
		last = r->pending[i].until > last ? r->pending[i].until : last;
	return last + rules->window + 1 + ahead(t);
}

static enum lockout_verdict judge_unknown(const struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t,
    int64_t *until)
{
	bool own = find_address(r, t->address) >= 0;

	/* whoever comes from an owner's address has a budget that strangers cannot use up; the limit is the same for all */
	if ((own ? r->own_tries : r->tries) >= rules->attempts) {
		*until = (own ? r->own_since : r->since) + rules->attempts_window + 1;
		return VERDICT_BUDGET;
	}
	if (rules->limit != LOCKOUT_UNLIMITED && (rules->limit == 0 || (r->count >= rules->limit && !is_over(r, rules, t)))) {
		*until = window_end(r, rules, t);
		return VERDICT_GUARDED;
	}
	return VERDICT_GO;
}

enum lockout_verdict lockout_unknown(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, int64_t *until)
{
	*until = t->now;
	age(r, rules, t->now);
	return judge_unknown(r, rules, t, until);
}

static enum lockout_verdict judge(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, int64_t *until)
{
	int bad = find_bad(r, t->tag), under_way = find_pending(r, t->tag), old;

	if (bad >= 0) {
		r->bad[bad].used = t->now;
		return VERDICT_WRONG;
	}
	if (is_right(r, rules, t, until))
		return VERDICT_RIGHT;
	old = is_old(r, t);
	if (old != 0)
		return old > 0 ? VERDICT_OLD : VERDICT_FAILED;
	if (under_way >= 0) {
		*until = r->pending[under_way].until;
		return VERDICT_PENDING;
	}
	if (r->pending_n == RECORD_PENDING) {
		*until = t->now + rules->pending_seconds;
		return VERDICT_PENDING;
	}
	if (lockout_was_right(r, t))
		return VERDICT_GO;
	return judge_unknown(r, rules, t, until);
}

enum lockout_verdict lockout_take(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, int64_t *until,
    bool *changed)
{
	enum lockout_verdict verdict;

	*until = t->now;
	age(r, rules, t->now);
	verdict = judge(r, rules, t, until);
	*changed = verdict == VERDICT_GO || verdict == VERDICT_WRONG;
	if (verdict == VERDICT_GO || (rules->forced && verdict != VERDICT_FAILED && verdict != VERDICT_RIGHT && verdict != VERDICT_PENDING)) {
		reserve(r, rules, t);
		*changed = true;
	}
	return verdict;
}

/* --- after --- */

static void give_back(struct lockout_record *r, const struct lockout_try *t)
{
	uint32_t *tries = find_address(r, t->address) >= 0 && r->own_tries > 0 ? &r->own_tries : &r->tries;

	r->count -= r->count > 0;
	*tries -= *tries > 0;
}

uint32_t lockout_good_seconds(const struct lockout_rules *rules, const struct lockout_try *t)
{
	/* it may be the one before, which AD takes for an hour: not to be believed for long */
	return is_young(t) && rules->good_seconds > LOCKOUT_OLD_GOOD_SECONDS ? LOCKOUT_OLD_GOOD_SECONDS : rules->good_seconds;
}

static void learn_right(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t,
    const uint8_t tag[LOCKOUT_TAG], uint32_t bad_count)
{
	struct record_good good = { .generation = t->generation, .made = t->now,
		.expires = t->now + lockout_good_seconds(rules, t) };

	memcpy(good.tag, tag, LOCKOUT_TAG);
	drop_bad(r, find_bad(r, tag));
	add_good(r, &good);
	/*
	 * AD cleared what this server had counted, at the PDC emulator, too (MS-SAMS), and no more than that: what others have counted they hold
	 * against the next try there, and directory reads it before each
	 */
	r->count -= r->count < bad_count ? r->count : bad_count;
	r->own_tries = 0;
	add_address(r, t->address, t->now);
}

/* False: nobody waited for it any more, and it counts as one whose end is not known. */
static bool leave_pending(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, enum lockout_lesson lesson)
{
	int i = find_pending(r, t->tag);

	if (i < 0)
		return false;
	if (lesson == LESSON_NONE && rules->limit != LOCKOUT_UNLIMITED)
		make_nameless(r, (uint32_t)i, t->now + rules->pending_seconds);
	else
		drop_pending(r, (uint32_t)i);
	return true;
}

int lockout_learn(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, enum lockout_lesson lesson,
    uint32_t bad_count)
{
	uint8_t tag[LOCKOUT_TAG];
	bool waited;

	if (lockout_tag(t->key, t->sid, t->generation, t->stretched, tag) < 0)
		return -1;
	waited = leave_pending(r, rules, t, lesson);
	age(r, rules, t->now);
	/* the record was lost meanwhile, with the place that the try had: AD counted it all the same */
	if (!waited && (lesson == LESSON_WRONG || lesson == LESSON_NONE))
		r->count += r->count < COUNT_MAX;
	switch (lesson) {
	case LESSON_WRONG:
		add_bad(r, tag, t->now);
		for (uint32_t i = 0; i < r->good_n; i++) {
			if (same(r->good[i].tag, tag))
				r->good[i--] = r->good[--r->good_n];
		}
		r->last = t->now;
		break;
	case LESSON_RIGHT:
		if (waited)
			give_back(r, t);
		learn_right(r, rules, t, tag, bad_count);
		break;
	case LESSON_NOT_COUNTED:
		if (waited)
			give_back(r, t);
		break;
	case LESSON_NONE:
		r->last = t->now;
		break;
	}
	return 0;
}

void lockout_assume_worst(struct lockout_record *r, int64_t now)
{
	memset(r, 0, sizeof(*r));
	r->count = r->tries = r->own_tries = COUNT_MAX;
	r->last = r->since = r->own_since = now;
}
