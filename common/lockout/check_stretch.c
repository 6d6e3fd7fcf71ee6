/*
 * check_stretch: the memory-hard work, which *stretch* processes do: whose turn it is gets the next that is free. What was refused lately
 * needs none (stale.h). *lockout* process.
 */
#include <openssl/crypto.h>

#include "common/directory/account_facts.h"
#include "common/lockout/check_parts.h"
#include "common/metrics.h"

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

/* Those that wait with the very same password need no work of their own: they go on with this one's, or fail with it. */
static void share(const struct check *done, bool good)
{
	for (struct check *k = done->owner->first; k != NULL; k = k->next) {
		if (!k->queued || !is_same_password(done, k))
			continue;
		if (good) {
			memcpy(k->stretched, done->stretched, sizeof(k->stretched));
			k->ready = true;
			go_on(k);
		} else {
			check_end(k, LOCKOUT_UNAVAILABLE);
		}
	}
}

static void note_time(struct checks *c, uint64_t took)
{
	c->stretch_ms = (uint32_t)((7 * c->stretch_ms + took) / 8) + 1;
	if (c->setup.metrics != NULL)
		metrics_observe_us(c->setup.metrics->stretch, 0, took * 1000);
}

/* What was not done is not known: refused, and not given to another process either. */
static void on_stretched(void *arg, const uint8_t *stretched)
{
	struct check *k = arg;

	k->working = false;
	if (stretched == NULL) {
		share(k, false);
		check_end(k, LOCKOUT_UNAVAILABLE);
		return;
	}
	note_time(k->owner, loop_now_fresh() - k->work_began_ms);
	memcpy(k->stretched, stretched, sizeof(k->stretched));
	k->ready = true;
	go_on(k);
	share(k, true);
}

/* The same password of the same account is being worked on. */
static struct check *find_working(const struct check *k)
{
	for (struct check *other = k->owner->first; other != NULL; other = other->next) {
		if (other->working && is_same_password(k, other))
			return other;
	}
	return NULL;
}

static bool give_out(struct check *k)
{
	struct checks *c = k->owner;
	struct stretch_work work = { .mib = c->setup.config->memory_mib, .password_n = k->ask.password_n };
	bool given;

	memcpy(work.password, k->ask.password, k->ask.password_n);
	given = lockout_salt(c->setup.key, k->subject, work.salt) == 0 && stretchers_work(c->setup.stretchers, &work, on_stretched, k);
	OPENSSL_cleanse(&work, sizeof(work));
	return given;
}

static void on_stretch(evutil_socket_t fd, short what, void *arg)
{
	struct checks *c = arg;
	struct check *k;

	(void)fd;
	(void)what;
	while (stretchers_have_room(c->setup.stretchers) && (k = check_queue_next(c)) != NULL) {
		k->held = find_working(k);
		if (k->held != NULL)
			continue;
		check_queue_leave(k);
		k->working = true;
		k->work_began_ms = loop_now_fresh();
		if (give_out(k))
			continue;
		k->working = false;
		check_end(k, LOCKOUT_UNAVAILABLE);
	}
}

static void on_free(void *arg)
{
	struct checks *c = arg;

	event_active(c->stretch, EV_TIMEOUT, 0);
}

void check_stretch_leave(struct check *k)
{
	bool held = false;

	if (!k->working)
		return;
	k->working = false;
	stretchers_forget(k->owner->setup.stretchers, k);
	for (struct check *other = k->owner->first; other != NULL; other = other->next) {
		if (other->held != k)
			continue;
		other->held = NULL;
		held = true;
	}
	if (held)
		on_free(k->owner);
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
	else if (!check_untried(k))
		check_wait_turn(k);
}

void check_wait_turn(struct check *k)
{
	k->step = CHECK_STRETCHING;
	if (check_queue_enter(k))
		on_free(k->owner);
}

int checks_stretch_open(struct checks *c)
{
	c->stretch = event_new(loop_base(c->setup.loop), -1, 0, on_stretch, c);
	if (c->stretch == NULL)
		return -1;
	stretchers_watch(c->setup.stretchers, on_free, c);
	return 0;
}

void checks_stretch_close(struct checks *c)
{
	if (c->stretch == NULL)
		return;
	stretchers_watch(c->setup.stretchers, NULL, NULL);
	event_free(c->stretch);
	c->stretch = NULL;
}
