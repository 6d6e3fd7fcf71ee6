/*
 * switches: a small hash, read again and again. Where no rule names a group, or there is no Redis, nothing is asked.
 */
#include "proxy/worker/switches.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/device.h"
#include "common/log.h"
#include "common/redis.h"
#include "common/text.h"

#define POLL_MS 2000
#define SOON_MS 100	/* while nothing is known yet */

struct switches {
	struct loop *loop;
	struct devices *devices;
	void (*changed)(void *arg);
	void *arg;
	struct deadline poll;
	char **dn;		/* as Redis has them */
	unsigned dn_n;
	bool known, wanted;
	char key[128];
	const char *groups[SETTINGS_GROUPS_MAX + 1];
	unsigned groups_n;
	uint64_t of_rules;	/* groups that some rule names */
	uint64_t mask;
};

static void forget(struct switches *s)
{
	for (unsigned i = 0; i < s->dn_n; i++)
		free(s->dn[i]);
	free(s->dn);
	s->dn = NULL;
	s->dn_n = 0;
}

static uint64_t mask_of(const struct switches *s)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < s->dn_n; i++) {
		for (unsigned k = 0; k < s->groups_n; k++) {
			if (strcmp(s->dn[i], s->groups[k]) == 0)
				mask |= UINT64_C(1) << k;
		}
	}
	return mask & s->of_rules;
}

static void take_mask(struct switches *s, bool first)
{
	uint64_t mask = mask_of(s);
	bool other = mask != s->mask || first;

	if (mask != s->mask)
		log_say(LOG_INFO, "switches_changed", "%d of the groups that rules name are switched to certificates", __builtin_popcountll(mask));
	s->mask = mask;
	if (other)
		s->changed(s->arg);
}

/* -1: out of memory, or no such reply: what was known stays. */
static int take_reply(struct switches *s, const redisReply *reply)
{
	unsigned n = 0, max;
	char **dn;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0)
		return -1;
	max = reply->elements / 2 > SWITCHES_MAX ? SWITCHES_MAX : (unsigned)(reply->elements / 2);
	if (reply->elements / 2 > SWITCHES_MAX)
		log_say(LOG_ERROR, "switches_many", "more than %d entries in %s: the others are not looked at", SWITCHES_MAX, s->key);
	dn = calloc(max > 0 ? max : 1, sizeof(*dn));
	for (; dn != NULL && n < max; n++) {
		struct strv text;
		if (!redis_text(reply->element[2 * n], &text) || (dn[n] = strndup(text.p, text.n)) == NULL)
			break;
	}
	if (dn == NULL || n < max) {
		for (unsigned i = 0; dn != NULL && i < n; i++)
			free(dn[i]);
		free(dn);
		return -1;
	}
	forget(s);
	s->dn = dn;
	s->dn_n = n;
	return 0;
}

static void on_reply(void *arg, enum redis_status status, const redisReply *reply)
{
	struct switches *s = arg;
	bool first = !s->known;

	if (status != REDIS_ANSWER || take_reply(s, reply) < 0)
		return;
	s->known = true;
	take_mask(s, first);
}

static void on_poll(struct deadline *d)
{
	struct switches *s = CONTAINER_OF(d, struct switches, poll);
	const char *argv[2] = { "HGETALL", s->key };

	/* one that is lost is made up for by the next */
	if (s->wanted)
		(void)!redis_command(devices_redis(s->devices), on_reply, s, 2, argv, NULL);
	deadline_arm(s->loop, &s->poll, s->wanted && !s->known ? SOON_MS : POLL_MS, on_poll);
}

struct switches *switches_new(struct loop *loop, struct devices *devices, void (*changed)(void *arg), void *arg)
{
	struct switches *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->loop = loop;
	s->devices = devices;
	s->changed = changed;
	s->arg = arg;
	return s;
}

void switches_free(struct switches *s)
{
	if (s == NULL)
		return;
	deadline_disarm(&s->poll);
	forget(s);
	free(s);
}

void switches_use(struct switches *s, const struct settings *settings)
{
	s->groups_n = settings_groups(settings, s->groups);
	s->of_rules = 0;
	for (unsigned i = 0; i < settings->proxy.policies_count; i++) {
		const struct policy_settings *q = &settings->proxy.policies[i];
		for (unsigned k = 0; k < q->methods_count; k++) {
			if (q->methods[k].group[0] != '\0')
				s->of_rules |= UINT64_C(1) << q->methods[k].group_bit;
		}
	}
	s->wanted = settings->common.redis != NULL && s->of_rules != 0;
	if (s->wanted)
		snprintf(s->key, sizeof(s->key), "%sswitches", settings->common.redis->prefix);
	s->mask = mask_of(s);
	deadline_arm(s->loop, &s->poll, s->wanted && !s->known ? 1 : POLL_MS, on_poll);
}

/* Many events at once are one look: they may come from anybody who can write to Redis. */
void switches_look(struct switches *s)
{
	if (s->wanted)
		deadline_arm(s->loop, &s->poll, 1, on_poll);
}

uint64_t switches_mask(const struct switches *s)
{
	return s->mask;
}

bool switches_are_known(const struct switches *s)
{
	return !s->wanted || s->known;
}
