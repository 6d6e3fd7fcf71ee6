/*
 * check: the life of a check, its first step, and its end. *lockout* process.
 */
#include "common/lockout/check.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/account_facts.h"
#include "common/directory/claim_kind.h"
#include "common/lockout/check_parts.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/text.h"

#define VOUCHER_SPARE 60 /* the voucher outlives the answer by so many seconds, for a request that began just before */

/* --- the end --- */

static void check_free(struct check *k)
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
	c->queued -= k->queued;
	asker_cancel(c->setup.directory, k->asked);
	store_cancel(&k->item);
	deadline_disarm(&k->limit);
	deadline_disarm(&k->again);
	deadline_disarm(&k->soon);
	OPENSSL_cleanse(k, sizeof(*k));
	free(k);
}

static void tell(struct check *k)
{
	struct checks *c = k->owner;

	if (c->setup.metrics != NULL)
		metrics_add(c->setup.metrics->checks, k->answer.result, 1);
	if (k->asker != NULL)
		c->setup.answer(k->asker, k->number, &k->answer);
}

static void on_over(struct deadline *d)
{
	struct check *k = CONTAINER_OF(d, struct check, soon);
	struct checks *c = k->owner;

	tell(k);
	check_free(k);
	if (c->count == 0 && c->setup.idle != NULL)
		c->setup.idle(c->setup.arg);
}

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

static bool is_told_at_once(enum lockout_result result)
{
	return result == LOCKOUT_RIGHT || result == LOCKOUT_UNAVAILABLE || result == LOCKOUT_OVERLOADED;
}

void check_end(struct check *k, enum lockout_result result)
{
	uint64_t spent = loop_now_ms(k->owner->setup.loop) - k->began_ms, floor = k->owner->setup.floor_ms;

	if (k->step == CHECK_OVER)
		return;
	k->step = CHECK_OVER;
	k->answer.result = result;
	if (result != LOCKOUT_UNKNOWN && result != LOCKOUT_UNAVAILABLE && result != LOCKOUT_OVERLOADED)
		k->answer.account = k->account;
	OPENSSL_cleanse(k->ask.password, sizeof(k->ask.password));
	OPENSSL_cleanse(k->stretched, sizeof(k->stretched));
	k->owner->queued -= k->queued;
	k->queued = false;
	asker_cancel(k->owner->setup.directory, k->asked);
	k->asked = 0;
	deadline_disarm(&k->limit);
	deadline_disarm(&k->again);
	store_cancel(&k->item);
	deadline_arm(k->owner->setup.loop, &k->soon, is_told_at_once(result) || spent >= floor ? 0 : floor - spent, on_over);
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

/* --- whose name it is --- */

static bool ends(const char *text, size_t size) { return memchr(text, '\0', size) != NULL; }

bool check_account_is_whole(const struct account *a)
{
	return ends(a->sid, sizeof(a->sid)) && ends(a->sam, sizeof(a->sam)) && ends(a->realm, sizeof(a->realm)) &&
	    ends(a->netbios, sizeof(a->netbios)) && ends(a->upn, sizeof(a->upn)) && ends(a->mail, sizeof(a->mail)) &&
	    ends(a->display_name, sizeof(a->display_name));
}

enum lockout_result check_state(const struct check *k)
{
	uint32_t flags = facts_flags_now(&k->account, loop_wall(k->owner->setup.loop));

	if ((flags & ACCOUNT_ENABLED) == 0)
		return LOCKOUT_DISABLED;
	if ((flags & ACCOUNT_LOCKED) != 0)
		return LOCKOUT_LOCKED;
	return (flags & ACCOUNT_EXPIRED) != 0 ? LOCKOUT_EXPIRED : LOCKOUT_RESULTS;
}

static int name_subject(struct check *k)
{
	uint8_t tag[LOCKOUT_TAG];
	char name[DIRECTORY_CLAIM_MAX];

	if (k->known) {
		memcpy(k->subject, k->account.sid, sizeof(k->subject));
		return 0;
	}
	memcpy(name, k->ask.name, sizeof(name));
	text_lower(name, strlen(name));
	if (lockout_address_tag(k->owner->setup.key, name, tag) < 0)
		return -1;
	k->subject[0] = '?';
	text_hex(k->subject + 1, tag, sizeof(tag));
	return 0;
}

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct check *k = arg;
	struct directory_found found;

	k->asked = 0;
	if (status != WIRE_OK || n != sizeof(found)) {
		check_end(k, LOCKOUT_UNAVAILABLE);
		return;
	}
	memcpy(&found, body, sizeof(found));
	if (found.result == ACCOUNT_UNAVAILABLE || !check_account_is_whole(&found.account)) {
		check_end(k, LOCKOUT_UNAVAILABLE);
		return;
	}
	k->known = found.result == ACCOUNT_FOUND && found.account.sid[0] != '\0';
	if (k->known) {
		k->account = k->owner->policy = found.account;
		if (check_state(k) != LOCKOUT_RESULTS) {
			check_end(k, check_state(k));
			return;
		}
	}
	if (name_subject(k) < 0)
		check_end(k, LOCKOUT_UNAVAILABLE);
	else
		check_stretch(k);
}

static void find(struct check *k)
{
	struct checks *c = k->owner;
	struct directory_find ask;

	memset(&ask, 0, sizeof(ask));
	ask.kind = CLAIM_USER;
	memcpy(ask.value, k->ask.name, sizeof(ask.value));
	k->step = CHECK_FINDING;
	k->asked = asker_ask(c->setup.directory, DIRECTORY_FIND, &ask, sizeof(ask), CHECK_BEFORE_MS, on_found, k);
	if (k->asked == 0)
		check_end(k, LOCKOUT_OVERLOADED);
}

/* --- from outside --- */

static void on_limit(struct deadline *d)
{
	struct check *k = CONTAINER_OF(d, struct check, limit);

	/* what is being tried has a time limit of its own, and what it teaches is written down */
	if (k->step != CHECK_BINDING && k->step != CHECK_LEARNING)
		check_end(k, LOCKOUT_UNAVAILABLE);
}

static bool is_well_formed(const struct lockout_check *ask)
{
	return ends(ask->name, sizeof(ask->name)) && ends(ask->address, sizeof(ask->address)) && ends(ask->device, sizeof(ask->device)) &&
	    ask->password_n > 0 && ask->password_n <= sizeof(ask->password) && memchr(ask->password, '\0', ask->password_n) == NULL;
}

static void begin(struct check *k)
{
	struct checks *c = k->owner;

	deadline_arm(c->setup.loop, &k->limit, CHECK_BEFORE_MS, on_limit);
	if (k->ask.name[0] == '\0' || !text_is_clean(strv_from(k->ask.name)))
		check_end(k, LOCKOUT_UNKNOWN); /* no directory holds such a name */
	else if (c->setup.config->parsed_mode == LOCKOUT_OFF)
		check_bind(k);
	else if (!c->setup.has_key || c->setup.store == NULL)
		check_end(k, LOCKOUT_UNAVAILABLE);
	else
		find(k);
}

int checks_ask(struct checks *c, void *asker, uint64_t number, const struct lockout_check *ask)
{
	static const struct lockout_checked overloaded = { .result = LOCKOUT_OVERLOADED };
	struct check *k;

	if (!is_well_formed(ask))
		return -1;
	k = c->count < CHECKS_MAX ? calloc(1, sizeof(*k)) : NULL;
	if (k == NULL) {
		if (c->setup.metrics != NULL)
			metrics_add(c->setup.metrics->checks, LOCKOUT_OVERLOADED, 1);
		c->setup.answer(asker, number, &overloaded);
		return 0;
	}
	k->owner = c;
	k->asker = asker;
	k->number = number;
	k->began_ms = loop_now_ms(c->setup.loop);
	k->ask = *ask;
	lockout_address(ask->address, k->address, sizeof(k->address));
	k->prev = c->last;
	if (c->last != NULL)
		c->last->next = k;
	else
		c->first = k;
	c->last = k;
	c->count++;
	begin(k);
	return 0;
}

void checks_leave(struct checks *c, const void *asker)
{
	for (struct check *k = c != NULL ? c->first : NULL; k != NULL; k = k->next)
		k->asker = k->asker == asker ? NULL : k->asker;
}

unsigned checks_count(const struct checks *c) { return c->count; }

struct checks *checks_new(const struct checks_setup *setup)
{
	struct checks *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->setup = *setup;
	if (checks_stretch_open(c) < 0) {
		checks_free(c);
		return NULL;
	}
	return c;
}

void checks_free(struct checks *c)
{
	if (c == NULL)
		return;
	while (c->first != NULL)
		check_free(c->first);
	if (c->stretch != NULL)
		event_free(c->stretch);
	OPENSSL_cleanse(&c->setup, sizeof(c->setup));
	free(c);
}
