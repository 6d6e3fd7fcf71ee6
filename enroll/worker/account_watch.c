/*
 * account_watch: asks the directory about every account again and again, and revokes what it has taken away. Worker of easenroll.
 */
#include "enroll/worker/account_watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/directory/claim_kind.h"
#include "common/log.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/registry.h"
#include "enroll/worker/revoke.h"

#define TICK_MS		1000
#define ASKS_MAX	64
#define SUSPECTS_MAX	256
#define CONFIRM_SECONDS 3	/* between a bad answer and the question that confirms it */
#define FRESH_SECONDS	5	/* an older answer is a cached one: it says nothing */
#define SWEEP_SECONDS	50
#define LOST_MAX	32	/* certificates of one account in one step */

struct watch_ask {
	struct account_watch *owner;
	uint64_t asked;			/* 0: free */
	int64_t account;
	char sid[ACCOUNT_SID_MAX];
};

struct suspect {
	int64_t account, since;		/* account 0: free */
	char sid[ACCOUNT_SID_MAX];
};

struct account_watch {
	struct enroll_worker *worker;
	struct deadline tick;
	struct watch_ask asks[ASKS_MAX];
	struct suspect suspects[SUSPECTS_MAX];
	int64_t after;			/* where the sweep is: behind the account of this number */
	int64_t window;			/* since when `fallen` is counted */
	unsigned fallen;
	bool stopped;			/* said for this window */
};

/* --- what an answer means --- */

static bool has_group(const struct account *a, const char *group, unsigned bit)
{
	return bit < 64 && group[0] != '\0' && (a->groups & ((uint64_t)1 << bit)) != 0;
}

static bool may_have(const struct account *a, const struct enroll_profile *p)
{
	return p->required_group[0] == '\0' || has_group(a, p->required_group, p->group_bit);
}

/* In the portal's group (or an administrator), and in that of at least one profile. */
static bool is_in_groups(const struct enroll_worker *w, const struct account *a)
{
	const struct enroll_section *e = &w->settings->enroll;

	if (!enrol_is_in_group(w, a))
		return false;
	for (unsigned i = 0; i < e->profiles_count; i++)
		if (may_have(a, &e->profiles[i]))
			return true;
	return false;
}

/* Certificates of profiles whose group their owner is no longer in; as many as one step takes, the rest is found by the next. */
struct lost {
	const struct enroll_worker *worker;
	const struct account *account;
	uint8_t serial[LOST_MAX][REGISTRY_SERIAL];
	unsigned n;
};

static bool take_certificate(void *arg, const struct registry_certificate *c)
{
	struct lost *l = arg;
	const struct enroll_section *e = &l->worker->settings->enroll;

	if (c->state != REGISTRY_LIVE && c->state != REGISTRY_HOLD)
		return true;
	for (unsigned i = 0; i < e->profiles_count && l->n < LOST_MAX; i++)
		if (strcmp(e->profiles[i].name, c->profile) == 0 && !may_have(l->account, &e->profiles[i]))
			memcpy(l->serial[l->n++], c->serial, REGISTRY_SERIAL);
	return l->n < LOST_MAX;
}

static bool take_device(void *arg, const struct registry_device *row, const struct registry_account *owner)
{
	struct lost *l = arg;

	(void)owner;
	return registry_certificates(l->worker->registry, row->id, take_certificate, l) == REGISTRY_OK && l->n < LOST_MAX;
}

static void find_lost(struct account_watch *a, int64_t account, const struct account *now, struct lost *out)
{
	const struct enroll_section *e = &a->worker->settings->enroll;
	bool all = true;

	*out = (struct lost){ .worker = a->worker, .account = now };
	for (unsigned i = 0; i < e->profiles_count; i++)
		all = all && may_have(now, &e->profiles[i]);
	if (!all && registry_devices(a->worker->registry, account, "", 0, 1000, take_device, out) != REGISTRY_OK)
		out->n = 0;
}

/* NULL: all is well, or the answer says nothing (*clear is false then). */
static const char *what_is_wrong(const struct enroll_worker *w, const struct directory_found *found, const char *sid, bool *clear)
{
	*clear = found->result == ACCOUNT_UNKNOWN ||
	    (found->result == ACCOUNT_FOUND && strcmp(found->account.sid, sid) == 0 && found->age_seconds <= FRESH_SECONDS);
	if (!*clear)
		return NULL;
	if (found->result == ACCOUNT_UNKNOWN)
		return "the account is no longer in the directory";
	if ((found->account.flags & ACCOUNT_ENABLED) == 0)
		return "the account was disabled";
	return is_in_groups(w, &found->account) ? NULL : "the account is no longer in the required group";
}

/* --- what follows --- */

static struct suspect *suspect_of(struct account_watch *a, int64_t account)
{
	for (size_t i = 0; i < SUSPECTS_MAX; i++)
		if (a->suspects[i].account == account)
			return &a->suspects[i];
	return NULL;
}

static bool find_device(void *arg, const struct registry_device *row, const struct registry_account *owner)
{
	(void)owner;
	*(bool *)arg = row->state != REGISTRY_DEVICE_REVOKED;
	return !*(bool *)arg;
}

static bool has_devices(const struct account_watch *a, int64_t account)
{
	bool has = false;

	return registry_devices(a->worker->registry, account, "", 0, 1000, find_device, &has) == REGISTRY_OK && has;
}

/* A directory that suddenly knows nobody is ill, and not everybody has left. */
static bool may_fall(struct account_watch *a, int64_t now)
{
	int64_t accounts, most = WATCH_LEAST;

	if (now - a->window >= WATCH_WINDOW_SECONDS || now < a->window) {
		a->window = now;
		a->fallen = 0;
		a->stopped = false;
	}
	if (registry_accounts_count(a->worker->registry, &accounts) == REGISTRY_OK && accounts / 20 > most)
		most = accounts / 20;
	if (a->fallen < most)
		return true;
	if (!a->stopped)
		log_say(LOG_ERROR, "watch_stopped", "%u accounts lost their devices within %d s: no more are revoked for now. If the directory is right, "
		    "use `easenroll user revoke`; if it errs, look at it", a->fallen, WATCH_WINDOW_SECONDS);
	a->stopped = true;
	return false;
}

/* lost: NULL: all that the account has. */
static void fall(struct account_watch *a, const struct watch_ask *ask, const struct lost *lost, const char *why, int64_t now)
{
	struct registry_by by = { .actor = "directory", .detail = why, .at = now };
	enum registry_result rc = REGISTRY_OK;
	unsigned n = 0;

	if (!may_fall(a, now))
		return;
	if (lost == NULL)
		rc = revoke_account(a->worker->revoke, &by, ask->account, REVOKE_PRIVILEGE_WITHDRAWN, &n);
	else
		for (; rc == REGISTRY_OK && n < lost->n; n++)
			rc = revoke_certificate(a->worker->revoke, &by, lost->serial[n], REVOKE_PRIVILEGE_WITHDRAWN);
	if (rc != REGISTRY_OK) {
		log_say(LOG_ERROR, "watch_failed", "%s: %s: its devices could not be revoked: %s", ask->sid, why, registry_problem(a->worker->registry));
		return;
	}
	a->fallen++;
	log_say(LOG_WARNING, "account_fell", "%s: %s: %u certificates were revoked", ask->sid, why, n);
}

static void decide(struct account_watch *a, const struct watch_ask *ask, const struct directory_found *found)
{
	struct suspect *s = suspect_of(a, ask->account);
	int64_t now = loop_wall(a->worker->loop);
	bool clear, whole;
	const char *why = what_is_wrong(a->worker, found, ask->sid, &clear);
	struct lost lost;

	if (!clear)
		return;
	whole = why != NULL;
	if (!whole) {
		find_lost(a, ask->account, &found->account, &lost);
		why = lost.n > 0 ? "the account is no longer in the required group of the certificate's profile" : NULL;
	}
	if (why == NULL || !has_devices(a, ask->account)) {
		if (s != NULL)
			s->account = 0;
		return;
	}
	if (s == NULL) {
		s = suspect_of(a, 0);
		if (s == NULL)
			return;		/* so many at once are no coincidence; the next sweep comes by again */
		*s = (struct suspect){ .account = ask->account, .since = now };
		memcpy(s->sid, ask->sid, sizeof(s->sid));
		return;
	}
	if (now - s->since < CONFIRM_SECONDS)
		return;
	s->account = 0;
	fall(a, ask, whole ? NULL : &lost, why, now);
}

/* --- asking --- */

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct watch_ask *ask = arg;
	struct directory_found found;

	ask->asked = 0;
	if (status != WIRE_OK || n != sizeof(found))
		return;
	memcpy(&found, body, sizeof(found));
	found.account.sid[sizeof(found.account.sid) - 1] = '\0';
	/* of a group that was moved, deleted or never there nobody has left: it lets nobody in, but what is revoked does not come back with it */
	found.account.groups |= found.account.groups_missing;
	decide(ask->owner, ask, &found);
}

/* False: too many questions are under way. */
static bool ask_about(struct account_watch *a, int64_t account, const char *sid)
{
	struct directory_find find = { .kind = CLAIM_SID, .fresh = 1 };
	struct watch_ask *ask = NULL;

	for (size_t i = 0; i < ASKS_MAX; i++) {
		if (a->asks[i].asked != 0 && a->asks[i].account == account)
			return true;
		if (a->asks[i].asked == 0 && ask == NULL)
			ask = &a->asks[i];
	}
	if (ask == NULL)
		return false;
	ask->owner = a;
	ask->account = account;
	snprintf(ask->sid, sizeof(ask->sid), "%s", sid);
	snprintf(find.value, sizeof(find.value), "%s", sid);
	ask->asked = asker_ask(a->worker->directory, DIRECTORY_FIND, &find, sizeof(find), DIRECTORY_TIMEOUT_MS, on_found, ask);
	return ask->asked != 0;
}

struct part { struct account_watch *watch; unsigned n; bool stopped; };

static bool sweep_one(void *arg, const struct registry_account *row)
{
	struct part *p = arg;

	if (!ask_about(p->watch, row->id, row->sid)) {
		p->stopped = true;
		return false;
	}
	p->watch->after = row->id;
	p->n++;
	return true;
}

static void sweep(struct account_watch *a)
{
	struct part part = { .watch = a };
	unsigned most;
	int64_t accounts;

	if (registry_accounts_count(a->worker->registry, &accounts) != REGISTRY_OK || accounts <= 0)
		return;
	most = accounts / SWEEP_SECONDS + 1 < ASKS_MAX ? (unsigned)(accounts / SWEEP_SECONDS + 1) : ASKS_MAX;
	if (registry_accounts_after(a->worker->registry, a->after, most, sweep_one, &part) != REGISTRY_OK)
		log_say(LOG_WARNING, "watch_failed", "the registry's accounts: %s", registry_problem(a->worker->registry));
	else if (part.n < most && !part.stopped)
		a->after = 0;
}

static void on_tick(struct deadline *d)
{
	struct account_watch *a = CONTAINER_OF(d, struct account_watch, tick);
	int64_t now = loop_wall(a->worker->loop);

	if (asker_is_up(a->worker->directory) && !a->worker->draining) {
		for (size_t i = 0; i < SUSPECTS_MAX; i++)
			if (a->suspects[i].account != 0 && now - a->suspects[i].since >= CONFIRM_SECONDS)
				ask_about(a, a->suspects[i].account, a->suspects[i].sid);
		sweep(a);
	}
	deadline_arm(a->worker->loop, &a->tick, TICK_MS, on_tick);
}

void account_watch_changed(struct account_watch *a, const char *sid)
{
	struct registry_account row;

	if (a != NULL && sid[0] != '\0' && registry_account_by_sid(a->worker->registry, sid, &row) == REGISTRY_OK)
		ask_about(a, row.id, row.sid);
}

/* --- life --- */

struct account_watch *account_watch_new(struct enroll_worker *w)
{
	struct account_watch *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->worker = w;
	deadline_arm(w->loop, &a->tick, TICK_MS, on_tick);
	return a;
}

void account_watch_free(struct account_watch *a)
{
	if (a == NULL)
		return;
	deadline_disarm(&a->tick);
	for (size_t i = 0; i < ASKS_MAX; i++)
		asker_cancel(a->worker->directory, a->asks[i].asked);
	free(a);
}
