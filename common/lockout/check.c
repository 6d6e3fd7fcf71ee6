/*
 * check: the life of a check, and its first step. *lockout* process.
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

#define TIDY_MS 60000

/* --- whose name it is --- */

int64_t check_seconds(const struct checks *c)
{
	return (int64_t)(loop_now_ms(c->setup.loop) / 1000);
}

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
	if (k->step == CHECK_BINDING || k->step == CHECK_LEARNING)
		return;
	if (k->queued || k->working || k->gated)
		check_end_wait(k, LOCKOUT_OVERLOADED, checks_overload_seconds(k->owner));
	else
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
	struct lockout_checked overloaded = { .result = LOCKOUT_OVERLOADED };
	struct check *k;

	if (!is_well_formed(ask))
		return -1;
	k = c->count < CHECKS_MAX ? calloc(1, sizeof(*k)) : NULL;
	if (k == NULL) {
		overloaded.wait_seconds = checks_overload_seconds(c);
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
	if (c != NULL)
		checks_late_leave(c, asker);
}

unsigned checks_count(const struct checks *c) { return c->count + c->lates; }

static void on_tidy(struct deadline *d)
{
	struct checks *c = CONTAINER_OF(d, struct checks, tidy);

	brief_tidy(c->stale, check_seconds(c));
	brief_tidy(c->untried, check_seconds(c));
	deadline_arm(c->setup.loop, &c->tidy, TIDY_MS, on_tidy);
}

struct checks *checks_new(const struct checks_setup *setup)
{
	struct checks *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->setup = *setup;
	c->stale = brief_new(STALE_ENTRIES);
	c->untried = brief_new(UNTRIED_ENTRIES);
	if (c->stale == NULL || c->untried == NULL || checks_stretch_open(c) < 0) {
		checks_free(c);
		return NULL;
	}
	deadline_arm(c->setup.loop, &c->tidy, TIDY_MS, on_tidy);
	return c;
}

void checks_free(struct checks *c)
{
	if (c == NULL)
		return;
	while (c->first != NULL)
		check_free(c->first);
	checks_late_free(c);
	deadline_disarm(&c->tidy);
	brief_free(c->stale);
	brief_free(c->untried);
	checks_stretch_close(c);
	OPENSSL_cleanse(&c->setup, sizeof(c->setup));
	free(c);
}
