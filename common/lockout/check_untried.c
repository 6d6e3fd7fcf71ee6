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

void check_untried_keep(const struct check *k, const struct lockout_record *before)
{
	struct checks *c = k->owner;
	uint8_t place[LOCKOUT_TAG], known[LOCKOUT_TAG];

	if (!knows_right(before, k->try.generation) && place_of(k, place) == 0 && untried_known(c->untried, before, known) == 0)
		untried_keep(c->untried, place, password_of(k), check_seconds(c), known);
}

static void on_read(void *arg, enum store_status status)
{
	struct check *k = arg;
	struct checks *c = k->owner;
	uint8_t known[LOCKOUT_TAG];
	enum lockout_verdict verdict = VERDICT_GO;
	int64_t until = 0;

	if (status == STORE_DONE && !knows_right(&k->item.record, k->try.generation) && untried_known(c->untried, &k->item.record, known) == 0 &&
	    memcmp(known, k->untried, LOCKOUT_TAG) == 0) {
		check_set_rules(k);
		verdict = lockout_unknown(&k->item.record, &k->rules, &k->try, &until);
		if (verdict == VERDICT_GO && k->item.address_tries >= c->setup.config->address_attempts) {
			check_refuse(k, LOCKOUT_ADDRESS_BUDGET, k->item.address_until - k->item.now);
			return;
		}
	}
	if (verdict == VERDICT_GUARDED || verdict == VERDICT_BUDGET)
		check_refuse(k, verdict == VERDICT_GUARDED ? LOCKOUT_GUARDED : LOCKOUT_ACCOUNT_BUDGET, until - k->item.now);
	else
		check_wait_turn(k);
}

bool check_untried(struct check *k)
{
	struct checks *c = k->owner;
	uint8_t place[LOCKOUT_TAG];

	if (c->setup.config->parsed_mode != LOCKOUT_ENFORCE || place_of(k, place) < 0 ||
	    !untried_find(c->untried, place, password_of(k), check_seconds(c), k->untried))
		return false;
	check_name_record(k);
	k->step = CHECK_TAKING;
	store_read(c->setup.store, &k->item, on_read, k);
	return true;
}
