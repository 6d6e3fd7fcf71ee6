/*
 * check_end: how a check ends: who waits for it is told, and the answer is given, refusals no sooner than their time. *lockout* process.
 */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "common/directory/account_facts.h"
#include "common/lockout/check_parts.h"
#include "common/log.h"
#include "common/metrics.h"

#define VOUCHER_SPARE 60	/* the voucher outlives the answer by so many seconds, for a request that began just before */
#define LATES_MAX     8192

void check_free(struct check *k)
{
	struct checks *c = k->owner;

	if (k->prev != NULL)
		k->prev->next = k->next;
	else
		c->first = k->next;
	if (k->next != NULL)
		k->next->prev = k->prev;
	else
		c->last = k->prev;
	c->count--;
	check_queue_leave(k);
	check_stretch_leave(k);
	asker_cancel(c->setup.directory, k->asked);
	store_cancel(&k->item);
	deadline_disarm(&k->limit);
	deadline_disarm(&k->again);
	deadline_disarm(&k->soon);
	OPENSSL_cleanse(k, sizeof(*k));
	free(k);
}

/* --- the answer --- */

/* An answer that is not to be told yet. Whose check it was keeps no place meanwhile. */
struct late {
	struct late *next;
	struct checks *owner;
	void *asker;		/* NULL: has left */
	uint64_t number;
	struct deadline due;
	struct lockout_checked answer;
};

static void tell(struct checks *c, void *asker, uint64_t number, const struct lockout_checked *answer)
{
	if (c->setup.metrics != NULL)
		metrics_add(c->setup.metrics->checks, answer->result, 1);
	if (asker != NULL)
		c->setup.answer(asker, number, answer);
	if (checks_count(c) == 0 && c->setup.idle != NULL)
		c->setup.idle(c->setup.arg);
}

static void late_free(struct late *l)
{
	struct late **at = &l->owner->late;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->owner->lates--;
	deadline_disarm(&l->due);
	OPENSSL_cleanse(l, sizeof(*l));
	free(l);
}

static void on_due(struct deadline *d)
{
	struct late *l = CONTAINER_OF(d, struct late, due);
	struct checks *c = l->owner;
	struct lockout_checked answer = l->answer;
	void *asker = l->asker;
	uint64_t number = l->number;

	late_free(l);
	tell(c, asker, number, &answer);
	OPENSSL_cleanse(&answer, sizeof(answer));
}

/* False: no room; then the answer says nothing of the password. */
static bool tell_later(struct checks *c, void *asker, uint64_t number, const struct lockout_checked *answer, uint64_t in_ms)
{
	struct late *l = c->lates < LATES_MAX ? calloc(1, sizeof(*l)) : NULL;

	if (l == NULL)
		return false;
	*l = (struct late){ .next = c->late, .owner = c, .asker = asker, .number = number, .answer = *answer };
	c->late = l;
	c->lates++;
	deadline_arm(c->setup.loop, &l->due, in_ms, on_due);
	return true;
}

void checks_late_leave(struct checks *c, const void *asker)
{
	for (struct late *l = c->late; l != NULL; l = l->next)
		l->asker = l->asker == asker ? NULL : l->asker;
}

void checks_late_free(struct checks *c)
{
	while (c->late != NULL)
		late_free(c->late);
}

static bool is_told_at_once(uint32_t result)
{
	return result == LOCKOUT_RIGHT || result == LOCKOUT_UNAVAILABLE || result == LOCKOUT_OVERLOADED;
}

static void on_over(struct deadline *d)
{
	struct check *k = CONTAINER_OF(d, struct check, soon);
	struct checks *c = k->owner;
	struct lockout_checked answer = k->answer;
	void *asker = k->asker;
	uint64_t number = k->number, spent = loop_now_ms(c->setup.loop) - k->began_ms, floor = c->setup.floor_ms;

	check_free(k);
	if (is_told_at_once(answer.result) || spent >= floor) {
		tell(c, asker, number, &answer);
	} else if (!tell_later(c, asker, number, &answer, floor - spent)) {
		answer = (struct lockout_checked){ .result = LOCKOUT_OVERLOADED, .wait_seconds = checks_overload_seconds(c) };
		tell(c, asker, number, &answer);
	}
	OPENSSL_cleanse(&answer, sizeof(answer));
}

/* --- the end --- */

/* Who waited for this one gets its answer, also where it could not be had. */
static void release_followers(struct check *leader)
{
	for (struct check *k = leader->owner->first, *next; k != NULL; k = next) {
		next = k->next;
		if (k->leader != leader)
			continue;
		k->leader = NULL;
		check_count_memory(k, LOCKOUT_MEMORY_SHARED);
		if (leader->answer.result == LOCKOUT_RIGHT)
			check_end_right(k, leader->answer.good_seconds, true);
		else
			check_end_wait(k, leader->answer.result == LOCKOUT_WRONG ? LOCKOUT_KNOWN_WRONG : leader->answer.result,
			    leader->answer.wait_seconds);
	}
}

/* What was refused as wrong comes again, and again. */
static void keep_stale(const struct check *k, enum lockout_result result)
{
	struct checks *c = k->owner;

	if (k->ready && (result == LOCKOUT_WRONG || result == LOCKOUT_KNOWN_WRONG || result == LOCKOUT_UNKNOWN))
		stale_keep(c->stale, k->stale, check_seconds(c), k->stretched);
}

void check_end(struct check *k, enum lockout_result result)
{
	if (k->step == CHECK_OVER)
		return;
	k->step = CHECK_OVER;
	keep_stale(k, result);
	k->answer.result = result;
	if (result != LOCKOUT_UNKNOWN && result != LOCKOUT_UNAVAILABLE && result != LOCKOUT_OVERLOADED)
		k->answer.account = k->account;
	OPENSSL_cleanse(k->ask.password, sizeof(k->ask.password));
	OPENSSL_cleanse(k->stretched, sizeof(k->stretched));
	check_queue_leave(k);
	check_stretch_leave(k);
	check_gate_leave(k);
	asker_cancel(k->owner->setup.directory, k->asked);
	k->asked = 0;
	deadline_disarm(&k->limit);
	deadline_disarm(&k->again);
	store_cancel(&k->item);
	deadline_arm(k->owner->setup.loop, &k->soon, 0, on_over);
	release_followers(k);
}

void check_end_wait(struct check *k, enum lockout_result result, int64_t seconds)
{
	k->answer.wait_seconds = seconds < 0 ? 0 : seconds > INT32_MAX ? INT32_MAX : (uint32_t)seconds;
	check_end(k, result);
}

static void vouch(struct check *k)
{
	static const uint8_t none[SHA256_SIZE];
	struct checks *c = k->owner;
	time_t now = loop_wall(c->setup.loop);
	const struct account *a = &k->account;
	int64_t seconds = (int64_t)k->answer.good_seconds + VOUCHER_SPARE;

	if (c->setup.vouch == NULL || memcmp(k->ask.binding, none, sizeof(none)) == 0 || !facts_may_delegate(a, now) || a->realm[0] == '\0')
		return;
	if (a->expires != 0 && a->expires - now < seconds)
		seconds = a->expires - now;
	if (vouch_make(c->setup.vouch, a->sam, a->realm, k->ask.binding, now + seconds, k->answer.voucher) < 0)
		memset(k->answer.voucher, 0, sizeof(k->answer.voucher));
}

void check_end_right(struct check *k, int64_t seconds, bool remembered)
{
	k->answer.remembered = remembered;
	if ((k->account.flags & ACCOUNT_PASSWORD_EXPIRED) != 0 && remembered) {
		check_end(k, LOCKOUT_MUST_CHANGE);
		return;
	}
	k->answer.good_seconds = seconds < 1 ? 1 : seconds > LOCKOUT_GOOD_MAX ? LOCKOUT_GOOD_MAX : (uint32_t)seconds;
	vouch(k);
	if (k->ready)
		check_queue_right(k);
	check_end(k, LOCKOUT_RIGHT);
}

static void say(const struct check *k, enum lockout_result result, struct log_line *l)
{
	log_cstr(l, "reason", lockout_result_text(result));
	log_cstr(l, "sid", k->account.sid);
	log_cstr(l, "user", k->account.sam);
	log_cstr(l, "client", k->ask.address);
	log_cstr(l, "device", k->ask.device);
	log_int(l, "sent_here", k->item.record.count);
	log_int(l, "bad_password_count", k->account.bad_password_count);
	log_int(l, "lockout_threshold", k->account.lockout_threshold);
	log_end(l);
}

void check_would(struct check *k, enum lockout_result result)
{
	struct log_line l;

	if (k->owner->setup.metrics != NULL)
		metrics_add(k->owner->setup.metrics->would, result, 1);
	log_begin_audit(&l, "lockout_would_refuse");
	say(k, result, &l);
}

void check_say_prevented(struct check *k, enum lockout_result result)
{
	struct log_line l;

	log_begin_audit(&l, "lockout_prevented");
	say(k, result, &l);
}

void check_count_memory(const struct check *k, enum lockout_memory what)
{
	if (k->owner->setup.metrics != NULL)
		metrics_add(k->owner->setup.metrics->remembered, what, 1);
}
