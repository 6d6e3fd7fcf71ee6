/*
 * revoke_fleet: acts told to the fleet until it knows, how fresh what it knows is, and all of it anew where it was lost. Worker process.
 */
#include <stdlib.h>

#include "common/log.h"
#include "enroll/worker/revoke_parts.h"

static void on_told(void *arg, bool ok)
{
	struct revoke_telling *t = arg;
	struct revoke *v = t->revoke;
	int64_t id = t->id;

	t->id = 0;
	if (!ok)
		return;			/* the tick, or Redis coming back, tries again */
	STEP(&v->c, "revoke-told");
	if (registry_act_step(v->c.registry, id, REGISTRY_STEP_PUBLISHED) != REGISTRY_OK) {
		snprintf(v->problem, sizeof(v->problem), "%s", registry_problem(v->c.registry));
		return;
	}
	STEP(&v->c, "revoke-published");
	revoke_soon(v);
}

static struct revoke_telling *free_slot(struct revoke *v, int64_t id)
{
	struct revoke_telling *found = NULL;

	for (unsigned k = 0; k < REVOKE_TELLING; k++) {
		if (v->telling[k].id == id)
			return NULL;	/* is being told */
		if (v->telling[k].id == 0)
			found = &v->telling[k];
	}
	return found;
}

/* Whose certificate it is. */
static enum registry_result owner_of(struct revoke *v, const struct registry_certificate *c, struct registry_account *a)
{
	struct registry_device d;
	enum registry_result rc = registry_device_get(v->c.registry, c->device, &d);

	return rc == REGISTRY_OK ? registry_account_by_id(v->c.registry, d.account, a) : rc;
}

static int tell(struct revoke *v, const struct registry_act *act, struct revoke_telling *t)
{
	struct registry_certificate c;
	struct registry_account a;
	struct publish_certificate p = { .reason = 0 };
	bool bad;

	if (registry_certificate_get(v->c.registry, act->serial, &c) != REGISTRY_OK || owner_of(v, &c, &a) != REGISTRY_OK)
		return -1;
	memcpy(p.issuer, c.issuer, sizeof(p.issuer));
	memcpy(p.serial, c.serial, sizeof(p.serial));
	memcpy(p.sha256, c.sha256, sizeof(p.sha256));
	p.sid = a.sid;
	p.upn = a.upn;
	p.reason = c.reason < 0 ? 0 : c.reason;
	p.at = c.revoked_at;
	p.not_before = c.not_before;
	bad = c.state != REGISTRY_LIVE && c.state != REGISTRY_EXPIRED_STATE;
	*t = (struct revoke_telling){ v, act->id };
	/* What counts is what the certificate is now: an older act that was overtaken says the newer thing. */
	if (bad && act->kind != REGISTRY_ACT_REGISTER)
		return publish_revoked(v->c.publish, &p, on_told, t);
	if (act->kind == REGISTRY_ACT_REGISTER)
		return bad ? (on_told(t, true), 0) : publish_registered(v->c.publish, &p, on_told, t);
	return publish_released(v->c.publish, &p, on_told, t);
}

struct acts { struct registry_act row[REVOKE_TELLING]; unsigned n; };

static bool take_act(void *arg, const struct registry_act *act)
{
	struct acts *a = arg;

	a->row[a->n++] = *act;
	return a->n < REVOKE_TELLING;
}

static void want_list(struct revoke *v, const struct registry_act *act)
{
	struct registry_certificate c;
	struct revoke_issuer *i;

	if (registry_certificate_get(v->c.registry, act->serial, &c) != REGISTRY_OK)
		return;
	i = revoke_issuer(v, c.issuer);
	if (i != NULL)
		i->wanted = true;
}

void revoke_fleet_acts(struct revoke *v)
{
	struct acts acts = { .n = 0 };
	struct revoke_telling *t;

	if (registry_acts_undone(v->c.registry, REGISTRY_STEP_LIST, REVOKE_TELLING, take_act, &acts) != REGISTRY_OK)
		goto failed;
	for (unsigned k = 0; k < acts.n; k++)
		want_list(v, &acts.row[k]);
	acts.n = 0;
	if (registry_acts_undone(v->c.registry, REGISTRY_STEP_PUBLISHED, REVOKE_TELLING, take_act, &acts) != REGISTRY_OK)
		goto failed;
	for (unsigned k = 0; k < acts.n; k++) {
		t = free_slot(v, acts.row[k].id);
		if (t != NULL && tell(v, &acts.row[k], t) < 0)
			t->id = 0;
	}
	return;
failed:
	snprintf(v->problem, sizeof(v->problem), "%s", registry_problem(v->c.registry));
}

/* --- freshness --- */

struct batch { struct registry_entry row[PUBLISH_ENTRIES]; unsigned n; };

static bool take_entry(void *arg, const struct registry_entry *e)
{
	struct batch *b = arg;

	b->row[b->n++] = *e;
	return b->n < PUBLISH_ENTRIES;
}

static void sync_on(struct revoke *v);

static void on_synced(void *arg, bool ok)
{
	struct revoke *v = arg;

	for (unsigned k = 0; k < v->issuers; k++)
		if (v->issuer[k].syncing && !ok)
			v->issuer[k].syncing = false;
	if (ok)
		sync_on(v);
}

static bool is_syncing(const struct revoke *v)
{
	for (unsigned k = 0; k < v->issuers; k++)
		if (v->issuer[k].syncing)
			return true;
	return false;
}

/* The next portion of the one issuer that is being written anew. */
static void sync_on(struct revoke *v)
{
	static const uint8_t zero[REGISTRY_SERIAL];
	struct revoke_issuer *i = NULL;
	struct batch b = { .n = 0 };

	for (unsigned k = 0; k < v->issuers && i == NULL; k++)
		if (v->issuer[k].syncing)
			i = &v->issuer[k];
	if (i == NULL)
		return;
	if (registry_entries(v->c.registry, &i->full, memcmp(i->after, zero, sizeof(zero)) != 0 ? i->after : NULL, PUBLISH_ENTRIES, take_entry,
	    &b) != REGISTRY_OK) {
		i->syncing = false;
		return;
	}
	if (b.n > 0) {
		memcpy(i->after, b.row[b.n - 1].serial, REGISTRY_SERIAL);
		if (publish_entries(v->c.publish, i->name, b.row, b.n, on_synced, v) < 0)
			i->syncing = false;
		return;
	}
	i->syncing = false;
	log_say(LOG_INFO, "redis_written", "all revocations of %.16s... were written to Redis", i->name);
	publish_whole(v->c.publish, i->name);
	v->said_fresh = 0;
	revoke_soon(v);
}

static void on_fresh(void *arg, bool ok)
{
	struct revoke *v = arg;

	if (ok || is_syncing(v))
		return;
	for (unsigned k = 0; k < v->issuers; k++) {
		struct revoke_issuer *i = &v->issuer[k];

		if (i->full.number == 0 || !publish_has_lost(v->c.publish, i->name))
			continue;
		i->syncing = true;
		memset(i->after, 0, sizeof(i->after));
		sync_on(v);
		return;
	}
}

void revoke_fleet_fresh(struct revoke *v)
{
	int64_t now = loop_wall(v->c.loop);

	if (now < v->said_fresh + PUBLISH_FRESH_SECONDS || !publish_is_up(v->c.publish) || is_syncing(v))
		return;
	v->said_fresh = now;
	for (unsigned k = 0; k < v->issuers; k++)
		if (v->issuer[k].full.number != 0 && v->issuer[k].full.next_update > now &&
		    publish_list(v->c.publish, &v->issuer[k].full, now, on_fresh, v) < 0)
			v->said_fresh = 0;
}
