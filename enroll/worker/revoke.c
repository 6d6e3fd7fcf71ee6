/*
 * revoke: decisions, committed; and the pump that does what they demand. Worker process.
 */
#include "enroll/worker/revoke.h"

#include <stdlib.h>

#include "common/log.h"
#include "enroll/worker/revoke_parts.h"

#define TICK_MS		 1000
#define REPLACE_SECONDS	 (14 * 86400)
#define PORTION		 64
#define HOUR_MS		 3600000

static const struct { const char *word; int reason; } reasons[] = {
	{ "unspecified", REVOKE_UNSPECIFIED }, { "key-compromise", REVOKE_KEY_COMPROMISE }, { "affiliation-changed", REVOKE_AFFILIATION_CHANGED },
	{ "superseded", REVOKE_SUPERSEDED }, { "cessation", REVOKE_CESSATION }, { "hold", REVOKE_HOLD },
	{ "privilege-withdrawn", REVOKE_PRIVILEGE_WITHDRAWN }, { "lost", REVOKE_KEY_COMPROMISE },
};

int revoke_reason_parse(struct strv word, int *out)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (strv_eq(word, strv_from(reasons[i].word)) && reasons[i].reason != REVOKE_HOLD) {
			*out = reasons[i].reason;
			return 0;
		}
	}
	return -1;
}

const char *revoke_reason_text(int reason)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].reason == reason)
			return reasons[i].word;
	return "other";
}

/* --- the pump --- */

static bool see_issuer(void *arg, const char *name)
{
	return revoke_issuer(arg, name) != NULL;
}

static void learn_issuers(struct revoke *v)
{
	if (registry_issuers(v->c.registry, loop_wall(v->c.loop), see_issuer, v) != REGISTRY_OK)
		snprintf(v->problem, sizeof(v->problem), "%s", registry_problem(v->c.registry));
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	struct revoke *v = arg;

	(void)fd;
	(void)what;
	/* nobody hears of what a crash could still take back */
	if (registry_settle(v->c.registry) < 0) {
		snprintf(v->problem, sizeof(v->problem), "%s", registry_problem(v->c.registry));
		return;
	}
	(void)revoke_issuer(v, v->c.issuer->name(v->c.issuer));
	for (unsigned k = 0; k < v->issuers; k++)
		revoke_older_look(v, &v->issuer[k]);
	revoke_fleet_acts(v);
	revoke_list_look(v);
	revoke_fleet_fresh(v);
}

void revoke_soon(struct revoke *v)
{
	event_active(v->pump, EV_TIMEOUT, 0);
}

struct serials { uint8_t row[PORTION][REGISTRY_SERIAL]; unsigned n; };

static bool take_serial(void *arg, const struct registry_certificate *c)
{
	struct serials *s = arg;

	memcpy(s->row[s->n++], c->serial, REGISTRY_SERIAL);
	return s->n < PORTION;
}

static void retire_replaced(struct revoke *v)
{
	struct registry_by by = { "system", "replaced by a newer one", loop_wall(v->c.loop) };
	uint32_t patience = v->c.replace_seconds != 0 ? v->c.replace_seconds : REPLACE_SECONDS;
	struct serials s = { .n = 0 };
	struct registry_act act;
	enum registry_result rc = registry_superseded(v->c.registry, by.at - (int64_t)patience, PORTION, take_serial, &s);

	for (unsigned k = 0; k < s.n && rc == REGISTRY_OK; k++)
		rc = registry_act_begin(v->c.registry, &by, REGISTRY_ACT_REVOKE, s.row[k], REVOKE_SUPERSEDED, &act);
	if (rc != REGISTRY_OK)
		log_say(LOG_ERROR, "replaced_not_retired", "%s", registry_problem(v->c.registry));
	if (s.n > 0)
		revoke_soon(v);
}

static void tidy(struct revoke *v)
{
	int64_t now = loop_wall(v->c.loop);

	if (v->tidied != 0 && loop_now_ms(v->c.loop) < v->tidied + HOUR_MS)
		return;
	v->tidied = loop_now_ms(v->c.loop);
	learn_issuers(v);
	if (registry_expire(v->c.registry, now) != REGISTRY_OK || registry_secret_tidy(v->c.registry, now - 7 * 86400) != REGISTRY_OK)
		log_say(LOG_ERROR, "registry_not_tidied", "%s", registry_problem(v->c.registry));
}

static void on_tick(struct deadline *d)
{
	struct revoke *v = CONTAINER_OF(d, struct revoke, tick);

	deadline_arm(v->c.loop, &v->tick, TICK_MS, on_tick);
	tidy(v);
	retire_replaced(v);
	revoke_soon(v);
}

struct revoke *revoke_new(const struct revoke_config *config, char *why, size_t why_size)
{
	struct revoke *v = calloc(1, sizeof(*v));

	if (v == NULL) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	v->c = *config;
	v->replay_after = -1;
	revoke_fleet_retry(v);
	v->pump = evtimer_new(loop_base(v->c.loop), on_pump, v);
	if (v->pump == NULL || (size_t)snprintf(v->list_dir, sizeof(v->list_dir), "%s", config->list_dir) >= sizeof(v->list_dir) ||
	    revoke_list_init(v) < 0) {
		snprintf(why, why_size, "%s cannot be made or has too long a name: it must belong to the service user", config->list_dir);
		revoke_free(v);
		return NULL;
	}
	v->c.list_dir = v->list_dir;
	deadline_arm(v->c.loop, &v->tick, 1, on_tick);
	return v;
}

void revoke_free(struct revoke *v)
{
	if (v == NULL)
		return;
	deadline_disarm(&v->tick);
	revoke_list_clear(v);
	if (v->pump != NULL)
		event_free(v->pump);
	free(v);
}

void revoke_wake(struct revoke *v)
{
	revoke_soon(v);
}

/* A list that failed is tried again at once. */
static void forget_failures(struct revoke *v)
{
	for (unsigned k = 0; k < v->issuers; k++)
		v->issuer[k].not_before_ms = 0;
}

void revoke_kick(struct revoke *v)
{
	v->said_fresh = 0;
	forget_failures(v);
	revoke_fleet_retry(v);
	revoke_soon(v);
}

/* --- decisions --- */

/* The decision is committed: what has to follow follows from here, or from the next start. */
static enum registry_result decided(struct revoke *v, enum registry_result rc)
{
	if (rc == REGISTRY_OK) {
		STEP(&v->c, "revoke-row");
		/* what failed before must not delay who is revoked now */
		forget_failures(v);
		revoke_soon(v);
	}
	return rc;
}

enum registry_result revoke_certificate(struct revoke *v, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL], int reason)
{
	struct registry_act act;

	return decided(v, registry_act_begin(v->c.registry, by, REGISTRY_ACT_REVOKE, serial, reason, &act));
}

static enum registry_result act_on_device(struct revoke *v, const struct registry_by *by, enum registry_act_kind kind, const char *device, int reason,
    unsigned *n)
{
	unsigned count = 0;
	enum registry_result rc = decided(v, registry_device_act(v->c.registry, by, kind, device, reason, &count));

	if (n != NULL)
		*n = count;
	return rc;
}

enum registry_result revoke_device(struct revoke *v, const struct registry_by *by, const char *device, int reason, unsigned *n)
{
	return act_on_device(v, by, REGISTRY_ACT_REVOKE, device, reason, n);
}

enum registry_result revoke_hold_device(struct revoke *v, const struct registry_by *by, const char *device, unsigned *n)
{
	return act_on_device(v, by, REGISTRY_ACT_HOLD, device, REVOKE_HOLD, n);
}

enum registry_result revoke_release_device(struct revoke *v, const struct registry_by *by, const char *device, unsigned *n)
{
	return act_on_device(v, by, REGISTRY_ACT_RELEASE, device, REVOKE_HOLD, n);
}

enum registry_result revoke_account(struct revoke *v, const struct registry_by *by, int64_t account, int reason, unsigned *n)
{
	unsigned count = 0;
	enum registry_result rc = decided(v, registry_account_revoke(v->c.registry, by, account, reason, &count));

	if (n != NULL)
		*n = count;
	return rc;
}

enum registry_result revoke_used(struct revoke *v, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL])
{
	enum registry_result rc = registry_certificate_used(v->c.registry, by, serial);

	if (rc == REGISTRY_OK)
		retire_replaced(v);
	return rc;
}

void revoke_get_state(const struct revoke *v, struct revoke_state *out)
{
	int64_t n = 0;
	const char *name = v->c.issuer->name(v->c.issuer);

	*out = (struct revoke_state){ .list_ends = 0 };
	if (registry_acts_count(v->c.registry, &n) == REGISTRY_OK)
		out->undone = (unsigned)n;
	for (unsigned k = 0; k < v->issuers; k++) {
		if (strcmp(v->issuer[k].name, name) == 0 && v->issuer[k].full.number != 0) {
			out->list_ends = v->issuer[k].full.next_update;
			out->list_number = v->issuer[k].full.number;
		}
	}
	memcpy(out->problem, v->problem, sizeof(out->problem));
}
