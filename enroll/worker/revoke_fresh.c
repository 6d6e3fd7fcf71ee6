/*
 * revoke_fresh: how fresh what the fleet knows is, and all of it anew where it was lost: Redis flushed or replaced, the proxy of this machine started
 * again. Worker process.
 */
#include "common/log.h"
#include "enroll/worker/revoke_parts.h"

/* --- Redis --- */

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

/* --- the proxy of this machine --- */

#define REPLAY 32

struct portion { struct registry_act row[REPLAY]; unsigned n; };

static bool take_act(void *arg, const struct registry_act *act)
{
	struct portion *p = arg;

	p->row[p->n++] = *act;
	return p->n < REPLAY;
}

static void on_replayed(void *arg, bool ok)
{
	struct revoke *v = arg;

	v->replaying--;
	if (!ok)
		v->replay_after = -1;	/* it has gone again; when it is back all begins anew */
	revoke_soon(v);
}

/* What no list holds yet is told again to a proxy that was started anew: its list is all that it has. */
static void replay(struct revoke *v)
{
	struct portion portion = { .n = 0 };
	struct registry_certificate c;
	struct publish_certificate p;

	if (publish_proxy_is_new(v->c.publish)) {
		v->replay_after = INT64_MAX;
		for (unsigned k = 0; k < v->issuers; k++)
			if (v->issuer[k].full.upto < v->replay_after)
				v->replay_after = v->issuer[k].full.upto;
	}
	if (v->replay_after < 0 || v->replaying > 0)
		return;
	if (registry_acts_unlisted(v->c.registry, v->replay_after, REPLAY, take_act, &portion) != REGISTRY_OK || portion.n == 0) {
		v->replay_after = -1;
		return;
	}
	v->replay_after = portion.row[portion.n - 1].id;
	for (unsigned k = 0; k < portion.n; k++) {
		v->replaying++;
		if (registry_certificate_get(v->c.registry, portion.row[k].serial, &c) != REGISTRY_OK || revoke_published(v, &c, &p) < 0 ||
		    publish_revoked_again(v->c.publish, &p, on_replayed, v) < 0)
			v->replaying--;
	}
	if (v->replaying == 0)
		revoke_soon(v);
}

void revoke_fleet_fresh(struct revoke *v)
{
	int64_t now = loop_wall(v->c.loop);

	replay(v);
	for (unsigned k = 0; k < v->issuers; k++)
		publish_listed(v->c.publish, v->issuer[k].name, v->issuer[k].newest);
	if (now < v->said_fresh + PUBLISH_FRESH_SECONDS || !publish_is_up(v->c.publish) || is_syncing(v))
		return;
	v->said_fresh = now;
	for (unsigned k = 0; k < v->issuers; k++)
		if (v->issuer[k].full.number != 0 && v->issuer[k].full.next_update > now &&
		    publish_list(v->c.publish, &v->issuer[k].full, now, on_fresh, v) < 0)
			v->said_fresh = 0;
}
