/*
 * check_untried: a password that was not tried lately comes again: if nothing has changed it is refused like before, without the memory-hard
 * work; otherwise it takes its turn like any other. *lockout* process.
 */
#include "common/lockout/check_parts.h"

static struct strv password_of(const struct check *k)
{
	return (struct strv){ k->ask.password, k->ask.password_n };
}

static int place_of(const struct check *k, uint8_t place[LOCKOUT_TAG])
{
	return untried_place(k->owner->untried, k->subject, k->account.pwd_last_set, k->try.address, place);
}

/* A device may hold a password that is known to be right: then each is looked at, and none is taken for another. */
static bool knows_right(const struct lockout_record *r, int64_t generation)
{
	for (uint32_t i = 0; i < r->good_n; i++) {
		if (r->good[i].generation == generation)
			return true;
	}
	return false;
}

static void keep(const struct check *k, const struct lockout_record *before, struct untried_entry *e)
{
	struct checks *c = k->owner;
	uint8_t place[LOCKOUT_TAG];

	if (!knows_right(before, k->try.generation) && place_of(k, place) == 0 && untried_known(c->untried, before, e->known) == 0)
		untried_keep(c->untried, place, check_seconds(c), e);
}

void check_untried_keep(const struct check *k, const struct lockout_record *before)
{
	struct brief *b = k->owner->untried;
	struct untried_entry e;
	uint8_t place[LOCKOUT_TAG];

	/* others came with it at the same time */
	if (place_of(k, place) == 0)
		untried_drop(b, place, password_of(k), check_seconds(k->owner));
	if (untried_note(b, password_of(k), &e) == 0)
		keep(k, before, &e);
}

void check_untried_note(struct check *k)
{
	k->noted = k->owner->setup.config->parsed_mode == LOCKOUT_ENFORCE && k->recorded &&
	    untried_note(k->owner->untried, password_of(k), &k->untried) == 0;
}

void check_untried_guarded(struct check *k)
{
	if (!k->noted)
		return;
	k->untried.guarded_until = check_seconds(k->owner) + UNTRIED_GUARDED_SECONDS;
	k->untried.person = k->ask.interactive != 0;
	keep(k, &k->item.record, &k->untried);
}

/* The record is as it was, and no password is known to be right. */
static bool is_as_it_was(const struct check *k)
{
	uint8_t known[sizeof(k->untried.known)];

	return !knows_right(&k->item.record, k->try.generation) && untried_known(k->owner->untried, &k->item.record, known) == 0 &&
	    memcmp(known, k->untried.known, sizeof(known)) == 0;
}

/* Whoever types has one try more there. */
static bool is_guarded(const struct check *k)
{
	return check_seconds(k->owner) < k->untried.guarded_until && (k->untried.person || k->ask.interactive == 0);
}

/* False: nothing stands against it any more. */
static bool refuse_again(struct check *k)
{
	enum lockout_verdict verdict;
	int64_t until;

	check_set_rules(k);
	verdict = lockout_unknown(&k->item.record, &k->rules, &k->try, &until);
	if (verdict == VERDICT_GUARDED || verdict == VERDICT_BUDGET)
		check_refuse(k, verdict == VERDICT_GUARDED ? LOCKOUT_GUARDED : LOCKOUT_ACCOUNT_BUDGET, until - k->item.now);
	else if (k->item.address_tries >= k->owner->setup.config->address_attempts)
		check_refuse(k, LOCKOUT_ADDRESS_BUDGET, k->item.address_until - k->item.now);
	else if (is_guarded(k))
		check_refuse(k, LOCKOUT_GUARDED, k->rules.window);
	else
		return false;
	return true;
}

static void on_read(void *arg, enum store_status status)
{
	struct check *k = arg;
	uint8_t place[LOCKOUT_TAG];

	if (status == STORE_DONE && is_as_it_was(k) && refuse_again(k))
		return;
	if (place_of(k, place) == 0)
		untried_drop(k->owner->untried, place, password_of(k), check_seconds(k->owner));
	check_wait_turn(k);
}

bool check_untried(struct check *k)
{
	struct checks *c = k->owner;
	uint8_t place[LOCKOUT_TAG];

	if (c->setup.config->parsed_mode != LOCKOUT_ENFORCE || place_of(k, place) < 0 ||
	    !untried_find(c->untried, place, password_of(k), check_seconds(c), &k->untried))
		return false;
	check_name_record(k);
	k->step = CHECK_TAKING;
	store_read(c->setup.store, &k->item, on_read, k);
	return true;
}
