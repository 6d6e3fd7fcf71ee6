/*
 * check_stretch: the memory-hard work. It blocks this process for tens of milliseconds at a time, which is why it has a process of its own;
 * between two passwords the loop runs once. The queue is bounded, and no address gets more than half of it. *lockout* process.
 */
#include <openssl/crypto.h>

#include "common/directory/account_facts.h"
#include "common/lockout/check_parts.h"
#include "common/metrics.h"

static const struct timeval at_once = { 0, 0 };

static void show_waiting(const struct checks *c)
{
	if (c->setup.metrics != NULL)
		metrics_set(c->setup.metrics->waiting, 0, c->queued);
}

static bool is_same_password(const struct check *a, const struct check *b)
{
	return strcmp(a->subject, b->subject) == 0 && a->ask.password_n == b->ask.password_n &&
	    CRYPTO_memcmp(a->ask.password, b->ask.password, a->ask.password_n) == 0;
}

static void go_on(struct check *k)
{
	struct checks *c = k->owner;
	bool good;

	k->queued = false;
	c->queued--;
	k->try = (struct lockout_try){ .key = c->setup.key, .sid = k->subject, .generation = k->account.pwd_last_set,
		.set_at = facts_unix_time(k->account.pwd_last_set), .stretched = k->stretched };
	good = lockout_address_tag(c->setup.key, k->address, k->try.address) == 0 &&
	    lockout_tag(c->setup.key, k->try.sid, k->try.generation, k->stretched, k->try.tag) == 0;
	if (good)
		check_take(k);
	else
		check_end(k, LOCKOUT_UNAVAILABLE);
}

static struct check *next_queued(const struct checks *c)
{
	struct check *k = c->first;

	while (k != NULL && !k->queued)
		k = k->next;
	return k;
}

/* Those that wait with the very same password need no work of their own. */
static void share(struct check *k)
{
	for (struct check *same = k->next; same != NULL; same = same->next) {
		if (!same->queued || !is_same_password(k, same))
			continue;
		memcpy(same->stretched, k->stretched, sizeof(k->stretched));
		same->ready = true;
	}
}

static void on_stretch(evutil_socket_t fd, short what, void *arg)
{
	struct checks *c = arg;
	struct check *k = next_queued(c);
	uint64_t began = loop_now_fresh();
	struct strv password;

	(void)fd;
	(void)what;
	if (k == NULL)
		return;
	password = (struct strv){ k->ask.password, k->ask.password_n };
	if (lockout_stretch(c->setup.key, k->subject, password, c->setup.config->memory_mib, k->stretched) == 0) {
		k->ready = true;
		share(k);
	} else {
		check_end(k, LOCKOUT_UNAVAILABLE);
	}
	if (c->setup.metrics != NULL)
		metrics_observe_us(c->setup.metrics->stretch, 0, (loop_now_fresh() - began) * 1000);
	for (; k != NULL; k = k->next) {
		if (k->queued && k->ready)
			go_on(k);
	}
	show_waiting(c);
	if (next_queued(c) != NULL)
		(void)event_add(c->stretch, &at_once);
}

void check_stretch(struct check *k)
{
	struct checks *c = k->owner;
	unsigned from_there = 0;

	for (const struct check *other = c->first; other != NULL; other = other->next)
		from_there += other->queued && strcmp(other->address, k->address) == 0;
	if (c->queued >= c->setup.config->queue || from_there >= (c->setup.config->queue + 1) / 2) {
		check_end(k, LOCKOUT_OVERLOADED);
		return;
	}
	k->step = CHECK_STRETCHING;
	k->queued = true;
	c->queued++;
	show_waiting(c);
	(void)event_add(c->stretch, &at_once);
}

int checks_stretch_open(struct checks *c)
{
	c->stretch = event_new(loop_base(c->setup.loop), -1, 0, on_stretch, c);
	return c->stretch != NULL ? 0 : -1;
}
