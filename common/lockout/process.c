/*
 * process: the *lockout* role: its wires, its key, its store. *lockout* process.
 */
#include "common/lockout/process.h"

#include <errno.h>
#include <event2/dns.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/directory/vouch.h"
#include "common/lockout/check.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/wire.h"

#define DRAIN_MS 20000
#define TABLE_LAYOUT 1
#define FLOOR_MS     400

struct lockout;

struct peer {
	struct peer *next;
	struct lockout *owner;
	struct wire *wire;
	char name[32];
};

struct lockout {
	struct child *child;
	struct loop *loop;
	const struct lockout_setup *setup;
	uint8_t key[LOCKOUT_KEY];
	bool has_key;
	struct evdns_base *dns;
	struct share *share;
	struct lockout_store *store;
	struct asker *directory;
	struct stretchers *stretchers;
	struct vouch *vouch;
	struct checks *checks;
	struct peer *peers;
	struct deadline drain;
	bool draining;
};

struct shared_table *lockout_table_new(const struct config_lockout *config)
{
	struct shared_table_config c = { .entries = config->entries, .value_size = sizeof(struct lockout_slot), .layout = TABLE_LAYOUT };

	return shared_table_new(&c);
}

/* --- wires --- */

static void on_answer(void *asker, uint64_t number, const struct lockout_checked *answer)
{
	struct peer *p = asker;

	(void)wire_answer(p->wire, number, answer, sizeof(*answer));
}

static void serve_check(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *p = arg;
	struct lockout_check ask;

	(void)n;
	if (number == 0)
		return; /* told, not asked */
	memcpy(&ask, body, sizeof(ask));
	if (checks_ask(p->owner->checks, p, number, &ask) < 0)
		(void)wire_answer(w, number, NULL, 0);
	OPENSSL_cleanse(&ask, sizeof(ask));
}

static const struct wire_verb verbs[] = {
	{ LOCKOUT_CHECK, "check", sizeof(struct lockout_check), sizeof(struct lockout_check), serve_check },
	{ .name = NULL },
};
_Static_assert((LOCKOUT_CHECK & WIRE_SECRET) != 0, "passwords are wiped on the wire");

static void peer_free(struct peer *p)
{
	struct peer **at = &p->owner->peers;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	checks_leave(p->owner->checks, p);
	wire_free(p->wire);
	free(p);
}

static void on_closed(struct wire *w, void *arg)
{
	(void)w;
	peer_free(arg);
}

static void link_worker(struct lockout *l, unsigned index, int fd)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct wire_config config = { .verbs = verbs, .arg = p, .closed = on_closed };

	if (p == NULL) {
		(void)close(fd);
		return;
	}
	p->owner = l;
	snprintf(p->name, sizeof(p->name), "worker %u", index);
	config.name = p->name;
	p->next = l->peers;
	l->peers = p;
	p->wire = wire_new(l->loop, fd, &config);
	if (p->wire == NULL) {
		log_say(LOG_ERROR, "link_failed", "no memory for the wire to %s", p->name);
		peer_free(p);
	}
}

static void show_stretchers(const struct lockout *l)
{
	if (l->setup->metrics != NULL)
		metrics_set(l->setup->metrics->stretchers, 0, stretchers_up(l->stretchers));
}

static void link_stretch(struct lockout *l, unsigned index, int fd)
{
	stretchers_link(l->stretchers, index, fd);
	show_stretchers(l);
}

/* It has died, hangs, or its wire broke: nobody else would notice the last two. */
static void on_amiss(unsigned index, bool hangs, void *arg)
{
	struct lockout *l = arg;

	if (hangs)
		child_say_hangs(l->child, ROLE_STRETCH, index);
	else
		child_ask_link(l->child, ROLE_STRETCH, index);
	show_stretchers(l);
}

static void on_link(struct child *c, enum role peer, unsigned index, int fd, void *arg)
{
	struct lockout *l = arg;

	(void)c;
	if (peer == ROLE_DIRECTORY)
		asker_link(l->directory, fd);
	else if (peer == ROLE_STRETCH)
		link_stretch(l, index, fd);
	else if (peer == ROLE_WORKER)
		link_worker(l, index, fd);
	else
		(void)close(fd);
}

/* Something of the account is another: connections that were let in by a password ask again. */
static void serve_changed(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct lockout *l = asker_owner(arg);
	struct directory_changed changed;
	struct lockout_forget forget;

	(void)w;
	(void)number;
	(void)n;
	memcpy(&changed, body, sizeof(changed));
	if (memchr(changed.sid, '\0', sizeof(changed.sid)) == NULL)
		return;
	memset(&forget, 0, sizeof(forget));
	snprintf(forget.sid, sizeof(forget.sid), "%s", changed.sid);
	for (struct peer *p = l->peers; p != NULL; p = p->next) {
		if (wire_is_open(p->wire))
			(void)wire_tell(p->wire, LOCKOUT_FORGET, &forget, sizeof(forget));
	}
}

static const struct wire_verb directory_verbs[] = {
	{ DIRECTORY_CHANGED, "account changed", sizeof(struct directory_changed), sizeof(struct directory_changed), serve_changed },
	{ .name = NULL },
};

/* --- the end --- */

static void on_idle(void *arg)
{
	struct lockout *l = arg;

	if (l->draining)
		loop_stop(l->loop);
}

static void on_drain_over(struct deadline *d)
{
	loop_stop(CONTAINER_OF(d, struct lockout, drain)->loop);
}

/* What is being tried is ended first: it taught something. */
static void on_drain(struct child *c, void *arg)
{
	struct lockout *l = arg;

	(void)c;
	l->draining = true;
	deadline_arm(l->loop, &l->drain, DRAIN_MS, on_drain_over);
	if (checks_count(l->checks) == 0)
		loop_stop(l->loop);
}

/* --- the start --- */

/* The fleet's secret; on one machine without Redis what the master drew at its start, as the vouchers' key. */
static void take_key(struct lockout *l, struct strv vouch_key)
{
	struct strv secret = { NULL, 0 };

	if (l->setup->redis == NULL)
		secret = vouch_key;
	else if (l->setup->redis->fleet_secret_file[0] == '\0' ||
	    !bundle_get_secret(child_bundle(l->child), l->setup->redis->fleet_secret_file, &secret))
		log_say(LOG_ERROR, "lockout_unusable", "redis.fleet_secret_file is not set, or empty: what nodes tell each other of passwords "
		    "cannot be believed, so no password is %s; put the fleet's secret there",
		    l->setup->config->parsed_mode == LOCKOUT_OFF ? "remembered" : "checked");
	l->has_key = secret.n > 0 && lockout_key(secret, l->key) == 0;
}

static int open_store(struct lockout *l)
{
	struct lockout_store_setup setup = { .loop = l->loop, .redis = l->setup->redis, .table = l->setup->table,
		.bundle = child_bundle(l->child), .key = l->key, .share = l->share,
		.metrics = l->setup->metrics != NULL ? &l->setup->metrics->redis : NULL };

	if (!l->has_key || l->setup->config->parsed_mode == LOCKOUT_OFF)
		return 0;
	if (l->setup->redis == NULL && l->setup->table == NULL) {
		log_say(LOG_ERROR, "lockout_unusable", "there is neither Redis nor the node's table");
		return -1;
	}
	if (l->setup->redis != NULL) {
		l->dns = evdns_base_new(loop_base(l->loop), EVDNS_BASE_INITIALIZE_NAMESERVERS);
		setup.dns = l->dns;
	}
	l->store = lockout_store_new(&setup);
	return l->store != NULL ? 0 : -1;
}

static int start(struct lockout *l)
{
	struct checks_setup setup = { .loop = l->loop, .config = l->setup->config, .directory_ms = 3000, .floor_ms = FLOOR_MS, .metrics = l->setup->metrics,
		.answer = on_answer, .idle = on_idle, .arg = l };
	struct stretchers_setup work = { .loop = l->loop, .count = stretch_processes(l->setup->config), .limit_ms = STRETCH_MS, .amiss = on_amiss, .arg = l };
	struct strv key = { NULL, 0 };

	if (!bundle_get(child_bundle(l->child), VOUCH_KEY_NAME, &key) || key.n != VOUCH_KEY_SIZE) {
		log_say(LOG_ERROR, "lockout_unusable", "the key of vouchers was not handed to this process");
		return -1;
	}
	take_key(l, key);
	l->share = share_new();
	l->directory = asker_new(l->loop, "directory", directory_verbs, l);
	l->stretchers = stretchers_new(&work);
	l->vouch = vouch_new((const uint8_t *)key.p);
	if (l->share == NULL || l->directory == NULL || l->stretchers == NULL || l->vouch == NULL || open_store(l) < 0)
		return -1;
	if (l->setup->directory->ldap != NULL)
		setup.directory_ms = l->setup->directory->ldap->timeout_ms;
	setup.directory = l->directory;
	setup.stretchers = l->stretchers;
	setup.store = l->store;
	setup.share = l->share;
	setup.has_key = l->has_key;
	memcpy(setup.key, l->key, sizeof(setup.key));
	setup.vouch = l->vouch;
	l->checks = checks_new(&setup);
	OPENSSL_cleanse(&setup, sizeof(setup));
	return l->checks != NULL ? 0 : -1;
}

static void stop(struct lockout *l)
{
	deadline_disarm(&l->drain);
	while (l->peers != NULL)
		peer_free(l->peers);
	checks_free(l->checks);
	stretchers_free(l->stretchers);
	asker_free(l->directory);
	lockout_store_free(l->store);
	if (l->dns != NULL)
		evdns_base_free(l->dns, 0);
	share_free(l->share);
	vouch_free(l->vouch);
	OPENSSL_cleanse(l->key, sizeof(l->key));
}

int lockout_process(struct child *child, const struct lockout_setup *setup)
{
	static const struct child_handlers handlers = { .link = on_link, .drain = on_drain };
	struct lockout l = { .child = child, .loop = child_loop(child), .setup = setup };
	int rc = 1;

	child_handle(child, &handlers, &l);
	if (start(&l) == 0 && child_confine(child, NULL, NULL) == 0) {
		child_ready(child);
		rc = loop_run(l.loop) < 0;
	}
	stop(&l);
	return rc;
}
