/*
 * check_stretch: the memory-hard work. It blocks this process for tens of milliseconds at a time, which is why it has a process of its own;
 * between two passwords the loop runs once. What was refused lately needs none (stale.h). *lockout* process.
 */
#include <openssl/crypto.h>

#include "common/directory/account_facts.h"
#include "common/lockout/check_parts.h"
#include "common/metrics.h"

static const struct timeval at_once = { 0, 0 };

static bool is_same_password(const struct check *a, const struct check *b)
{
	return strcmp(a->subject, b->subject) == 0 && a->ask.password_n == b->ask.password_n &&
	    CRYPTO_memcmp(a->ask.password, b->ask.password, a->ask.password_n) == 0;
}

static void go_on(struct check *k)
{
	struct checks *c = k->owner;

	check_queue_leave(k);
	if (lockout_tag(c->setup.key, k->try.sid, k->try.generation, k->stretched, k->try.tag) == 0)
		check_take(k);
	else
		check_end(k, LOCKOUT_UNAVAILABLE);
}

/* Those that wait with the very same password need no work of their own. */
static void share(struct check *k)
{
	for (struct check *same = k->owner->first; same != NULL; same = same->next) {
		if (same == k || !same->queued || !is_same_password(k, same))
			continue;
		memcpy(same->stretched, k->stretched, sizeof(k->stretched));
		same->ready = true;
	}
}

static void on_stretch(evutil_socket_t fd, short what, void *arg)
{
	struct checks *c = arg;
	struct check *k = check_queue_next(c), *next;
	uint64_t began = loop_now_fresh(), took;
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
	took = loop_now_fresh() - began;
	c->stretch_ms = (uint32_t)((7 * c->stretch_ms + took) / 8) + 1;
	if (c->setup.metrics != NULL)
		metrics_observe_us(c->setup.metrics->stretch, 0, took * 1000);
	for (k = c->first; k != NULL; k = next) {
		next = k->next;
		if (k->queued && k->ready)
			go_on(k);
	}
	if (c->queue.n > 0)
		(void)event_add(c->stretch, &at_once);
}

void check_stretch(struct check *k)
{
	struct checks *c = k->owner;

	k->step = CHECK_STRETCHING;
	k->try = (struct lockout_try){ .key = c->setup.key, .sid = k->subject, .generation = k->account.pwd_last_set,
		.set_at = facts_unix_time(k->account.pwd_last_set), .stretched = k->stretched };
	if (lockout_address_tag(c->setup.key, k->address, k->try.address) < 0 || lockout_address_tag(c->setup.key, k->subject, k->share) < 0 ||
	    stale_name(c->stale, k->subject, (struct strv){ k->ask.password, k->ask.password_n }, k->stale) < 0) {
		check_end(k, LOCKOUT_UNAVAILABLE);
		return;
	}
	k->ready = stale_find(c->stale, k->stale, check_seconds(c), k->stretched);
	if (k->ready)
		go_on(k);
	else if (check_queue_enter(k))
		(void)event_add(c->stretch, &at_once);
}

int checks_stretch_open(struct checks *c)
{
	c->stretch = event_new(loop_base(c->setup.loop), -1, 0, on_stretch, c);
	return c->stretch != NULL ? 0 : -1;
}
