/*
 * revoke_fleet: acts told to the fleet until it knows: new ones first, those that failed in turn. Worker process.
 */
#include <stdlib.h>

#include "common/log.h"
#include "enroll/worker/revoke_parts.h"

#define RETRY_MS     1000
#define RETRY_MAX_MS 30000

static void on_told(void *arg, bool ok)
{
	struct revoke_telling *t = arg;
	struct revoke *v = t->revoke;
	int64_t id = t->id;

	t->id = 0;
	if (!ok)
		return;			/* retry() tries again, or whoever was away coming back */
	v->retry_helped = true;
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

int revoke_published(struct revoke *v, const struct registry_certificate *c, struct publish_certificate *p)
{
	*p = (struct publish_certificate){ .reason = c->reason < 0 ? 0 : c->reason, .at = c->revoked_at, .not_before = c->not_before, .not_after = c->not_after };
	memcpy(p->issuer, c->issuer, sizeof(p->issuer));
	memcpy(p->serial, c->serial, sizeof(p->serial));
	memcpy(p->sha256, c->sha256, sizeof(p->sha256));
	return registry_crl_number(v->c.registry, c->issuer, loop_wall(v->c.loop), &p->list_number) == REGISTRY_OK ? 0 : -1;
}

static int tell(struct revoke *v, const struct registry_act *act, struct revoke_telling *t)
{
	struct registry_certificate c;
	struct registry_account a;
	struct publish_certificate p;
	bool bad;

	if (registry_certificate_get(v->c.registry, act->serial, &c) != REGISTRY_OK || owner_of(v, &c, &a) != REGISTRY_OK ||
	    revoke_published(v, &c, &p) < 0)
		return -1;
	p.sid = a.sid;
	p.upn = a.upn;
	/* one that was released while it is being signed is as good as it will be */
	bad = c.state != REGISTRY_LIVE && c.state != REGISTRY_EXPIRED_STATE && !(c.state == REGISTRY_ISSUING && c.reason != REVOKE_HOLD);
	*t = (struct revoke_telling){ v, act->id };
	/* What counts is what the certificate is now: an older act that was overtaken says the newer thing. */
	if (bad && act->kind != REGISTRY_ACT_REGISTER)
		return publish_revoked(v->c.publish, &p, on_told, t);
	/* One on hold is registered, too: a hold that ends leaves nothing else to tell that it is there. */
	if (act->kind == REGISTRY_ACT_REGISTER)
		return bad && c.state != REGISTRY_HOLD ? (on_told(t, true), 0) : publish_registered(v->c.publish, &p, on_told, t);
	return publish_released(v->c.publish, &p, on_told, t);
}

struct acts { struct registry_act row[REVOKE_TELLING]; unsigned n; };

static bool take_act(void *arg, const struct registry_act *act)
{
	struct acts *a = arg;

	a->row[a->n++] = *act;
	return a->n < REVOKE_TELLING;
}

static bool want_list(void *arg, const char *issuer)
{
	struct revoke_issuer *i = revoke_issuer(arg, issuer);

	if (i != NULL)
		i->wanted = true;
	return true;
}

static unsigned free_slots(const struct revoke *v)
{
	unsigned n = 0;

	for (unsigned k = 0; k < REVOKE_TELLING; k++)
		n += v->telling[k].id == 0;
	return n;
}

/* The number of the last one that was looked at; 0: there was none. */
static int64_t tell_from(struct revoke *v, int64_t after, unsigned limit)
{
	struct acts acts = { .n = 0 };
	struct revoke_telling *t;

	if (limit == 0)
		return after;
	if (registry_acts_undone(v->c.registry, REGISTRY_STEP_PUBLISHED, after, limit, take_act, &acts) != REGISTRY_OK) {
		snprintf(v->problem, sizeof(v->problem), "%s", registry_problem(v->c.registry));
		return after;
	}
	for (unsigned k = 0; k < acts.n; k++) {
		t = free_slot(v, acts.row[k].id);
		if (t != NULL && tell(v, &acts.row[k], t) < 0)
			t->id = 0;
	}
	return acts.n > 0 ? acts.row[acts.n - 1].id : 0;
}

/*
 * Those that failed, in turn, and in half of the places only: neither many of them nor slow ones hold up what is revoked now. A round in which nothing was
 * taken is followed by a longer pause.
 */
static void retry(struct revoke *v)
{
	unsigned places = free_slots(v);
	uint64_t now = loop_now_ms(v->c.loop);
	int64_t last;

	if (now < v->retry_at_ms || places <= REVOKE_TELLING / 2)
		return;
	last = tell_from(v, v->retry_after, places - REVOKE_TELLING / 2);
	if (last != 0 && last <= v->tried) {
		v->retry_after = last;
		return;
	}
	v->retry_wait_ms = v->retry_helped || (last == 0 && v->retry_after == 0) ? RETRY_MS : v->retry_wait_ms < RETRY_MAX_MS / 2 ? 2 * v->retry_wait_ms : RETRY_MAX_MS;
	v->retry_after = 0;
	v->retry_at_ms = now + v->retry_wait_ms;
	v->retry_helped = false;
}

void revoke_fleet_retry(struct revoke *v)
{
	v->retry_after = 0;
	v->retry_at_ms = 0;
	v->retry_wait_ms = RETRY_MS;
}

void revoke_fleet_acts(struct revoke *v)
{
	int64_t last;

	if (registry_acts_issuers(v->c.registry, want_list, v) != REGISTRY_OK)
		snprintf(v->problem, sizeof(v->problem), "%s", registry_problem(v->c.registry));
	last = tell_from(v, v->tried, free_slots(v));
	if (last > v->tried)
		v->tried = last;
	retry(v);
}
