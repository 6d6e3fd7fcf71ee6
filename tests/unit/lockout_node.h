/*
 * lockout_node: a *lockout* process as far as checks go, in the test's own loop. The directory behind the wire is this file: it counts as AD
 * does. So are the *stretch* processes: they do the real work, or what a test has them do.
 */
#ifndef EASGATE_TESTS_LOCKOUT_NODE_H
#define EASGATE_TESTS_LOCKOUT_NODE_H

#include "common/lockout/check_parts.h"
#include "common/directory/account_facts.h"
#include "common/directory/claim_kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/redis_server.h"

#define ALICE "S-1-5-21-1-2-3-1104"
#define WINDOW 1800
#define THRESHOLD 6

/* What the domain knows; shared by the processes of a race. */
struct domain {
	char password[32];
	int64_t pwd_last_set;
	uint32_t bad, binds, finds, flags, threshold, known, window;
	uint32_t answer;	/* not SIGNED_IN or WRONG: said to whatever password */
	bool silent, blind;	/* blind: its own count is another's, so that its margin does not help */
};

struct node {
	struct loop *loop;
	struct domain *ad;
	struct config_lockout config;
	struct config_redis redis;
	char *server;
	struct shared_table *table;
	struct share *share;
	struct lockout_store *store;
	struct wire *directory;
	struct asker *asker;
	struct checks *checks;
	struct stretchers *stretchers;
	struct wire *stretch;
	unsigned hanging, gone;	/* told of processes that hang, or have no wire */
	struct vouch *vouch;
	uint8_t key[LOCKOUT_KEY];
	unsigned answers, results[LOCKOUT_RESULTS], remembered;
	struct lockout_checked last;
	volatile int all;
	bool device;	/* nobody types */
	unsigned awaited;
};

/* --- the directory --- */

static inline void account_of(const struct domain *ad, struct account *a)
{
	memset(a, 0, sizeof(*a));
	snprintf(a->sid, sizeof(a->sid), ALICE);
	snprintf(a->sam, sizeof(a->sam), "alice");
	snprintf(a->realm, sizeof(a->realm), "CORP.EXAMPLE");
	a->flags = ad->flags;
	a->pwd_last_set = ad->pwd_last_set;
	a->lockout_threshold = ad->threshold;
	a->lockout_known = ad->known;
	a->lockout_window = ad->window;
	a->bad_password_count = ad->blind ? 0 : ad->bad;
}

static inline void serve_find(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct node *node = arg;
	struct directory_find ask;
	struct directory_found found;

	(void)n;
	memcpy(&ask, body, sizeof(ask));
	assert_int_equal(ask.kind, CLAIM_USER);
	memset(&found, 0, sizeof(found));
	found.result = strstr(ask.value, "alice") != NULL ? ACCOUNT_FOUND : ACCOUNT_UNKNOWN;
	if (found.result == ACCOUNT_FOUND)
		account_of(node->ad, &found.account);
	__atomic_add_fetch(&node->ad->finds, 1, __ATOMIC_SEQ_CST);
	wire_answer(w, number, &found, sizeof(found));
}

static inline void serve_sign_in(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct node *node = arg;
	struct domain *ad = node->ad;
	struct directory_sign_in ask;
	struct directory_signed_in answer;
	bool right;

	(void)n;
	memcpy(&ask, body, sizeof(ask));
	right = strlen(ad->password) == ask.password_n && memcmp(ad->password, ask.password, ask.password_n) == 0;
	memset(&answer, 0, sizeof(answer));
	account_of(ad, &answer.account);
	if (!ad->blind && ask.margin != DIRECTORY_NO_MARGIN &&
	    ad->bad >= facts_wrong_passwords(ad->known, ad->threshold, ask.right_at != 0 && ask.right_at == ad->pwd_last_set ? 0 : ask.margin)) {
		answer.result = SIGN_IN_GUARDED;
		wire_answer(w, number, &answer, sizeof(answer));
		return;
	}
	answer.tried = 1;
	__atomic_add_fetch(&ad->binds, 1, __ATOMIC_SEQ_CST);
	if (!right)
		__atomic_add_fetch(&ad->bad, 1, __ATOMIC_SEQ_CST);
	else if (ad->answer == 0)
		ad->bad = 0;	/* only where it lets in */
	answer.result = ad->answer != 0 ? ad->answer : right ? SIGNED_IN : SIGN_IN_WRONG;
	if (!ad->silent)
		wire_answer(w, number, &answer, sizeof(answer));
}

static const struct wire_verb verbs[] = {
	{ DIRECTORY_FIND, "find", sizeof(struct directory_find), sizeof(struct directory_find), serve_find },
	{ DIRECTORY_SIGN_IN, "sign_in", sizeof(struct directory_sign_in), sizeof(struct directory_sign_in), serve_sign_in },
	{ .name = NULL },
};

static inline void on_closed(struct wire *w, void *arg)
{
	(void)w;
	(void)arg;
}

/* --- a node --- */

static inline void on_answer(void *asker, uint64_t number, const struct lockout_checked *answer)
{
	struct node *n = asker;

	(void)number;
	n->last = *answer;
	n->results[answer->result]++;
	n->remembered += answer->remembered;
	if (++n->answers >= n->awaited)
		n->all = 1;
}

static inline void node_open_store(struct node *n, const struct redis_server *redis)
{
	struct lockout_store_setup setup = { .loop = n->loop, .key = n->key, .share = n->share };
	struct shared_table_config table = { .entries = 64, .value_size = sizeof(struct lockout_slot) };

	if (redis != NULL) {
		n->redis = (struct config_redis){ .servers = &n->server, .servers_count = 1, .sentinel = (char *)"", .username = (char *)"",
			.password_file = (char *)"", .fleet_secret_file = (char *)"", .ca = (char *)"", .prefix = (char *)"t:", .timeout_ms = 1000 };
		n->server = strdup(redis->url);
		setup.redis = &n->redis;
	} else if (n->table == NULL) {
		n->table = shared_table_new(&table);
		assert_non_null(n->table);
	}
	setup.table = n->table;
	n->store = lockout_store_new(&setup);
	assert_non_null(n->store);
	if (redis != NULL)
		turn_for(n->loop, 60);
}

static checks_answer_fn *answered = on_answer;

/* --- the stretch processes --- */

static inline void on_amiss(unsigned index, bool hangs, void *arg)
{
	struct node *n = arg;

	(void)index;
	*(hangs ? &n->hanging : &n->gone) += 1;
}

static inline void node_stretchers(struct node *n, unsigned count, unsigned limit_ms)
{
	struct stretchers_setup setup = { .loop = n->loop, .count = count, .limit_ms = limit_ms, .amiss = on_amiss, .arg = n };

	n->stretchers = stretchers_new(&setup);
	assert_non_null(n->stretchers);
}

/* Our end of a wire that process `index` would have. */
static inline struct wire *stretch_link(struct node *n, unsigned index, const struct wire_verb *served, void *arg)
{
	struct wire_config wire = { .verbs = served, .arg = arg, .closed = on_closed, .name = "lockout" };
	struct wire *w;
	int fds[2];

	assert_int_equal(wire_pair(fds), 0);
	w = wire_new(n->loop, fds[0], &wire);
	assert_non_null(w);
	stretchers_link(n->stretchers, index, fds[1]);
	return w;
}

static inline void node_checks(struct node *n, unsigned floor_ms)
{
	struct checks_setup setup = { .loop = n->loop, .config = &n->config, .directory_ms = 300, .floor_ms = floor_ms, .directory = n->asker,
		.store = n->store, .share = n->share, .stretchers = n->stretchers, .has_key = true, .vouch = n->vouch, .answer = answered };

	memcpy(setup.key, n->key, sizeof(setup.key));
	n->checks = checks_new(&setup);
	assert_non_null(n->checks);
}

static inline void node_start(struct node *n, struct domain *ad, const struct redis_server *redis)
{
	struct wire_config wire = { .verbs = verbs, .arg = n, .closed = on_closed, .name = "lockout" };
	int fds[2];

	memset(n, 0, sizeof(*n));
	n->ad = ad;
	n->config = (struct config_lockout){ .margin = 2, .address_attempts = 1000, .good_seconds = 3600, .memory_mib = 1, .queue = 1024 };
	n->loop = loop_new();
	assert_int_equal(lockout_key(STRV("fleet"), n->key), 0);
	n->share = share_new();
	node_open_store(n, redis);
	assert_int_equal(wire_pair(fds), 0);
	n->directory = wire_new(n->loop, fds[0], &wire);
	n->asker = asker_new(n->loop, "directory", NULL, n);
	asker_link(n->asker, fds[1]);
	n->vouch = vouch_new(n->key);
	node_stretchers(n, 1, STRETCH_MS);
	n->stretch = stretch_link(n, 0, stretch_verbs, NULL);
	node_checks(n, 0);
}

static inline void node_stop(struct node *n)
{
	checks_free(n->checks);
	stretchers_free(n->stretchers);
	wire_free(n->stretch);
	vouch_free(n->vouch);
	asker_free(n->asker);
	wire_free(n->directory);
	lockout_store_free(n->store);
	share_free(n->share);
	shared_table_free(n->table);
	loop_free(n->loop);
	free(n->server);
}

static inline void ask(struct node *n, const char *name, const char *password, const char *address)
{
	struct lockout_check check;

	memset(&check, 0, sizeof(check));
	snprintf(check.name, sizeof(check.name), "%s", name);
	snprintf(check.address, sizeof(check.address), "%s", address);
	check.interactive = !n->device;
	check.binding[0] = 1;
	check.password_n = (uint32_t)strlen(password);
	memcpy(check.password, password, check.password_n);
	n->awaited++;
	n->all = 0;
	assert_int_equal(checks_ask(n->checks, n, n->awaited, &check), 0);
}

static inline void await(struct node *n) { assert_true(wait_for(n->loop, &n->all, 30)); }

static inline uint32_t check(struct node *n, const char *password)
{
	ask(n, "alice", password, "192.0.2.1");
	await(n);
	return n->last.result;
}

static inline void domain_init(struct domain *ad)
{
	memset(ad, 0, sizeof(*ad));
	snprintf(ad->password, sizeof(ad->password), "right");
	ad->pwd_last_set = 133000000000000000;	/* in 2022 */
	ad->flags = ACCOUNT_ENABLED;
	ad->threshold = THRESHOLD;
	ad->window = WINDOW;
	ad->known = 1;
}

#endif
