/*
 * switches: a small hash, read again and again. Where no rule names a group, or there is no Redis, nothing is asked.
 */
#include "proxy/worker/switches.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/device.h"
#include "common/log.h"
#include "common/redis.h"
#include "proxy/worker/switch_list.h"

#define POLL_MS 2000
#define SOON_MS 100	/* while nothing is known yet */

struct switches {
	struct loop *loop;
	struct devices *devices;
	void (*changed)(void *arg);
	void *arg;
	struct deadline poll;
	struct switch_list list;	/* as Redis has it */
	bool known, wanted;
	char key[128];
	const char *groups[SETTINGS_GROUPS_MAX + 1];
	unsigned groups_n;
	uint64_t of_rules;	/* groups that some rule names */
	uint64_t mask;
};

static uint64_t mask_of(const struct switches *s)
{
	return switch_list_mask(&s->list, s->groups, s->groups_n) & s->of_rules;
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

/* One that cannot be read changes nothing: what was known stays. */
static void on_reply(void *arg, enum redis_status status, const redisReply *reply)
{
	struct switches *s = arg;
	struct switch_list list;
	bool first = !s->known, more;

	if (status != REDIS_ANSWER || switch_list_read(&list, reply, &more) < 0)
		return;
	if (more)
		log_say(LOG_ERROR, "switches_many", "more than %d entries in %s: the others are not looked at", SWITCHES_MAX, s->key);
	switch_list_clear(&s->list);
	s->list = list;
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
	switch_list_clear(&s->list);
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
