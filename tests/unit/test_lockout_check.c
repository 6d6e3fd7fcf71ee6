/*
 * Whole checks, over a real Redis and over the node's table.
 */
#include <sys/mman.h>

#include "tests/unit/lockout_node.h"

/* --- with either store --- */

static void stale_right_and_changed(struct node *n, struct domain *ad)
{
	static const uint8_t none[VOUCHER_SIZE];

	assert_int_equal(check(n, "stale"), LOCKOUT_WRONG);
	for (int i = 0; i < 20; i++)
		assert_int_equal(check(n, "stale"), LOCKOUT_KNOWN_WRONG);
	assert_int_equal(ad->binds, 1);
	assert_int_equal(check(n, "right"), LOCKOUT_RIGHT);
	assert_int_equal(n->last.remembered, 0);
	assert_string_equal(n->last.account.sid, ALICE);
	assert_memory_not_equal(n->last.voucher, none, VOUCHER_SIZE);
	assert_in_range(n->last.good_seconds, 3000, LOCKOUT_GOOD_MAX);
	for (int i = 0; i < 20; i++)
		assert_int_equal(check(n, "right"), LOCKOUT_RIGHT);
	assert_int_equal(n->last.remembered, 1);
	assert_memory_not_equal(n->last.voucher, none, VOUCHER_SIZE);
	assert_int_equal(ad->binds, 2);
	/* the password is changed */
	snprintf(ad->password, sizeof(ad->password), "new");
	ad->pwd_last_set += 10000000;
	assert_int_equal(check(n, "new"), LOCKOUT_RIGHT);
	assert_int_equal(check(n, "right"), LOCKOUT_WRONG);
	assert_int_equal(ad->binds, 4);
	assert_int_equal(check(n, "right"), LOCKOUT_KNOWN_WRONG);
	assert_int_equal(ad->binds, 4);
	/* and with the account's state */
	ad->flags = 0;
	assert_int_equal(check(n, "new"), LOCKOUT_DISABLED);
	ad->flags = ACCOUNT_ENABLED | ACCOUNT_LOCKED;
	assert_int_equal(check(n, "new"), LOCKOUT_LOCKED);
	ad->flags = ACCOUNT_ENABLED | ACCOUNT_PASSWORD_EXPIRED;
	assert_int_equal(check(n, "new"), LOCKOUT_MUST_CHANGE);
	assert_int_equal(ad->binds, 4);
}

static void budgets(struct node *n, struct domain *ad)
{
	char text[16];

	ad->blind = true;	/* the directory's own margin is no help */
	for (int i = 0; i < 30; i++) {
		snprintf(text, sizeof(text), "wrong %d", i);
		assert_int_equal(check(n, text), i < 3 ? LOCKOUT_WRONG : LOCKOUT_ACCOUNT_BUDGET);
	}
	assert_true(n->last.wait_seconds > 0 && n->last.wait_seconds <= WINDOW + 1);
	assert_int_equal(ad->bad, THRESHOLD - 3);
	/* names of nobody look the same */
	for (int i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "wrong %d", i / 2 * 2 == i ? i : i - 1);
		ask(n, "zoe", text, "192.0.2.1");
		await(n);
		assert_int_equal(n->last.result, LOCKOUT_UNKNOWN);
		assert_int_equal(n->last.account.sid[0], 0);
	}
	ask(n, "ZOE", "another", "192.0.2.1");
	await(n);
	assert_int_equal(n->last.result, LOCKOUT_ACCOUNT_BUDGET);
	assert_int_equal(ad->binds, 3);
}

static void address_budget(struct node *n, struct domain *ad)
{
	char name[16];

	n->config.address_attempts = 4;
	assert_int_equal(check(n, "right"), LOCKOUT_RIGHT);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "nobody%d", i);
		ask(n, name, "x", "2001:db8::1");
		await(n);
		assert_int_equal(n->last.result, i < 4 ? LOCKOUT_UNKNOWN : LOCKOUT_ADDRESS_BUDGET);
	}
	ask(n, "alice", "wrong", "2001:db8::2");	/* the same network */
	await(n);
	assert_int_equal(n->last.result, LOCKOUT_ADDRESS_BUDGET);
	assert_true(n->last.wait_seconds > 0);
	ask(n, "alice", "right", "2001:db8::2");
	await(n);
	assert_int_equal(n->last.result, LOCKOUT_RIGHT);	/* known to be right, from wherever */
	assert_int_equal(check(n, "wrong"), LOCKOUT_WRONG);
	assert_int_equal(ad->binds, 2);
}

static void many_at_once(struct node *n, struct domain *ad)
{
	for (int i = 0; i < 100; i++)
		ask(n, i % 2 ? "alice" : "CORP\\alice", "right", "192.0.2.1");
	await(n);
	assert_int_equal(n->results[LOCKOUT_RIGHT], 100);
	assert_int_equal(ad->binds, 1);
	for (int i = 0; i < 100; i++)
		ask(n, "alice", "stale", "192.0.2.1");
	await(n);
	assert_int_equal(n->results[LOCKOUT_WRONG] + n->results[LOCKOUT_KNOWN_WRONG], 100);
	assert_int_equal(n->results[LOCKOUT_WRONG], 1);
	assert_int_equal(ad->binds, 2);
}

static void other_answers(struct node *n, struct domain *ad)
{
	static const uint32_t cases[][2] = { { SIGN_IN_NOT_NOW, LOCKOUT_NOT_NOW }, { SIGN_IN_EXPIRED, LOCKOUT_EXPIRED },
		{ SIGN_IN_DISABLED, LOCKOUT_DISABLED }, { SIGN_IN_UNKNOWN, LOCKOUT_UNKNOWN } };

	for (int round = 0; round < 3; round++) {	/* nothing of it counts */
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			ad->answer = cases[i][0];
			assert_int_equal(check(n, "right"), cases[i][1]);
		}
	}
	ad->answer = SIGN_IN_MUST_CHANGE;
	assert_int_equal(check(n, "right"), LOCKOUT_MUST_CHANGE);
	ad->answer = 0;
	ad->bad = 3;
	assert_int_equal(check(n, "other"), LOCKOUT_GUARDED);
	ad->bad = 0;
	ad->silent = true;
	assert_int_equal(check(n, "slow 1"), LOCKOUT_UNAVAILABLE);
	assert_int_equal(check(n, "slow 2"), LOCKOUT_UNAVAILABLE);
	assert_int_equal(check(n, "slow 3"), LOCKOUT_UNAVAILABLE);
	ad->silent = false;
	ad->blind = true;
	assert_int_equal(check(n, "slow 4"), LOCKOUT_ACCOUNT_BUDGET);	/* three may have been counted */
	ad->known = 0;
	ad->threshold = 0;
	ad->pwd_last_set++;
}

static void modes(struct node *n, struct domain *ad)
{
	char text[16];

	n->config.parsed_mode = LOCKOUT_LOG;
	for (int i = 0; i < 7; i++) {
		snprintf(text, sizeof(text), "wrong %d", i % 6);
		assert_int_equal(check(n, text), LOCKOUT_WRONG);
	}
	assert_int_equal(ad->binds, 7);
	n->config.parsed_mode = LOCKOUT_ENFORCE;
	assert_int_equal(check(n, "wrong 0"), LOCKOUT_KNOWN_WRONG);
	n->config.parsed_mode = LOCKOUT_OFF;
	assert_int_equal(check(n, "wrong 0"), LOCKOUT_WRONG);
	assert_int_equal(check(n, "right"), LOCKOUT_RIGHT);
	assert_int_equal(check(n, "right"), LOCKOUT_RIGHT);
	assert_int_equal(n->remembered, 1);	/* the known wrong one */
	assert_int_equal(ad->binds, 10);
}

typedef void part(struct node *n, struct domain *ad);
static part *const parts[] = { stale_right_and_changed, budgets, address_budget, many_at_once, other_answers, modes };

static void with_either(const struct redis_server *redis)
{
	struct domain ad;
	struct node n;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		domain_init(&ad);
		node_start(&n, &ad, redis);
		if (redis != NULL) {
			char command[160];
			snprintf(command, sizeof(command), "redis-cli -s %s flushall >/dev/null", redis->socket);
			assert_int_equal(system(command), 0);
		}
		parts[i](&n, &ad);
		node_stop(&n);
	}
}

static void on_one_machine_the_table_remembers(void **state)
{
	(void)state;
	with_either(NULL);
}

static void in_a_fleet_redis_remembers(void **state)
{
	struct redis_server s = { 0 };

	(void)state;
	if (!redis_server_exists())
		skip();
	redis_server_start(&s, NULL);
	with_either(&s);
	redis_server_stop(&s);
}

/* --- Redis as an enemy, and away --- */

PRINTF(2, 3) static void cli(const struct redis_server *s, const char *fmt, ...)
{
	char command[4096];
	int n = snprintf(command, sizeof(command), "redis-cli -s %s ", s->socket);
	va_list args;

	va_start(args, fmt);
	n += vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, args);
	va_end(args);
	strcpy(command + n, " >/dev/null");
	assert_int_equal(system(command), 0);
}

static void lies_in_redis_only_make_it_refuse_or_ask(void **state)
{
	static const char *const lies[] = {
		"set t:lockout:" ALICE " text", "rpush t:lockout:" ALICE " a b",
		"hset t:lockout:" ALICE " state forged", "hset t:lockout:" ALICE " state ''",
		"eval \"redis.call('hset',KEYS[1],'state',string.rep('x',5000))\" 1 t:lockout:" ALICE,
		"eval \"redis.call('hset',KEYS[1],'state',string.rep('x',8000000))\" 1 t:lockout:" ALICE,
		"eval \"redis.call('hset',KEYS[1],'state',string.rep(string.char(1),1000))\" 1 t:lockout:" ALICE,
		"eval \"for i=1,5000 do redis.call('hset',KEYS[1],'f'..i,'x') end\" 1 t:lockout:" ALICE,
		"hset t:lockout:" ALICE " absorbed x prevented y last_bad z",
	};
	struct redis_server s = { 0 };
	struct domain ad;
	struct node n;
	char text[16];

	(void)state;
	if (!redis_server_exists())
		skip();
	redis_server_start(&s, NULL);
	domain_init(&ad);
	ad.blind = true;
	node_start(&n, &ad, &s);
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		cli(&s, "flushall");
		cli(&s, "%s", lies[i]);
		for (int k = 0; k < 4; k++) {
			snprintf(text, sizeof(text), "w %zu %d", i, k);
			assert_int_not_equal(check(&n, text), LOCKOUT_RIGHT);
		}
	}
	/* whatever it forgot or made up: no more than one node's share */
	assert_true(ad.binds <= THRESHOLD - 3);
	node_stop(&n);
	redis_server_stop(&s);
}

static void a_forged_or_replayed_good_entry_lets_nobody_in(void **state)
{
	struct redis_server s = { 0 };
	struct domain ad;
	struct node n;

	(void)state;
	if (!redis_server_exists())
		skip();
	redis_server_start(&s, NULL);
	domain_init(&ad);
	node_start(&n, &ad, &s);
	n.config.good_seconds = 1;
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	cli(&s, "eval \"redis.call('set','kept',redis.call('hget',KEYS[1],'state'))\" 1 t:lockout:" ALICE);
	snprintf(ad.password, sizeof(ad.password), "new");
	turn_for(n.loop, 2100);
	/* it was true once; its time is over, and AD is asked */
	cli(&s, "eval \"redis.call('hset',KEYS[1],'state',redis.call('get','kept'))\" 1 t:lockout:" ALICE);
	assert_int_equal(check(&n, "right"), LOCKOUT_WRONG);
	/* within its time, but of before the change */
	n.config.good_seconds = 3600;
	assert_int_equal(check(&n, "new"), LOCKOUT_RIGHT);
	cli(&s, "eval \"redis.call('set','kept',redis.call('hget',KEYS[1],'state'))\" 1 t:lockout:" ALICE);
	snprintf(ad.password, sizeof(ad.password), "newer");
	ad.pwd_last_set += 10000000;
	cli(&s, "eval \"redis.call('hset',KEYS[1],'state',redis.call('get','kept'))\" 1 t:lockout:" ALICE);
	assert_int_equal(check(&n, "new"), LOCKOUT_WRONG);
	/* another account's */
	cli(&s, "eval \"redis.call('hset',KEYS[1],'state',redis.call('get','kept'))\" 1 t:lockout:S-1-5-21-1-2-3-1105");
	cli(&s, "rename t:lockout:S-1-5-21-1-2-3-1105 t:lockout:" ALICE);
	ad.pwd_last_set -= 10000000;
	assert_int_not_equal(check(&n, "newest"), LOCKOUT_RIGHT);
	node_stop(&n);
	redis_server_stop(&s);
}

static void without_redis_nothing_is_tried_and_nothing_known_is_believed(void **state)
{
	struct redis_server s = { 0 };
	struct domain ad;
	struct node n;

	(void)state;
	if (!redis_server_exists())
		skip();
	redis_server_start(&s, NULL);
	domain_init(&ad);
	node_start(&n, &ad, &s);
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	redis_server_kill(&s);
	for (int i = 0; i < 20; i++)
		ask(&n, "alice", i % 2 ? "right" : "wrong", "192.0.2.1");
	await(&n);
	assert_int_equal(n.results[LOCKOUT_UNAVAILABLE], 20);
	assert_int_equal(ad.binds, 1);
	n.config.parsed_mode = LOCKOUT_LOG;	/* would have refused, and tries */
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	redis_server_stop(&s);
	node_stop(&n);
}

/* --- bounds --- */

/* Which question was answered how: `number` is what ask() gave it. */
static uint32_t told[256];

static void note(void *asker, uint64_t number, const struct lockout_checked *answer)
{
	told[number] = answer->result;
	if (answer->result == LOCKOUT_OVERLOADED)
		assert_in_range(answer->wait_seconds, 1, 60);
	on_answer(asker, number, answer);
}

/* One address with everything it has, and one device elsewhere. */
static void a_full_queue_is_a_refusal_and_one_address_does_not_fill_it_against_others(void **state)
{
	struct domain ad;
	struct node n;
	char text[16], name[16];

	(void)state;
	domain_init(&ad);
	answered = note;
	node_start(&n, &ad, NULL);
	n.config.queue = 8;
	for (int i = 0; i < 20; i++) {
		snprintf(text, sizeof(text), "w%d", i);
		snprintf(name, sizeof(name), "nobody%d", i);
		ask(&n, name, text, "192.0.2.1");
	}
	ask(&n, "alice", "right", "192.0.2.9");
	await(&n);
	assert_int_equal(told[n.awaited], LOCKOUT_RIGHT);
	assert_int_equal(n.results[LOCKOUT_OVERLOADED], 13);
	assert_int_equal(n.results[LOCKOUT_UNKNOWN], 7);
	answered = on_answer;
	node_stop(&n);
}

/* Many addresses try many passwords of one account: its own device, from where it came before, is not crowded out, nor is anybody else. */
static void one_account_does_not_fill_the_queue_against_its_own_device(void **state)
{
	struct domain ad;
	struct node n;
	char text[16], address[32];
	unsigned other, own;

	(void)state;
	domain_init(&ad);
	answered = note;
	node_start(&n, &ad, NULL);
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	n.config.queue = 8;
	for (int i = 0; i < 20; i++) {
		snprintf(text, sizeof(text), "w%d", i);
		snprintf(address, sizeof(address), "203.0.113.%d", i);
		ask(&n, "alice", text, address);
	}
	ask(&n, "zoe", "x", "198.51.100.1");
	other = n.awaited;
	ask(&n, "alice", "right", "192.0.2.1");
	own = n.awaited;
	await(&n);
	assert_int_equal(told[own], LOCKOUT_RIGHT);
	assert_int_equal(told[other], LOCKOUT_UNKNOWN);
	assert_int_equal(n.results[LOCKOUT_OVERLOADED], 17);	/* half of the queue less the one that made room */
	answered = on_answer;
	node_stop(&n);
}

/* The work of a refused password is done once; of a right one each time. It comes to the same, and what was changed meanwhile counts. */
static void a_refused_password_costs_the_memory_hard_work_once(void **state)
{
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	n.config.memory_mib = 64;
	assert_int_equal(check(&n, "stale"), LOCKOUT_WRONG);
	n.config.memory_mib = 3;	/* scrypt refuses it: who works is answered 503 */
	for (int i = 0; i < 30; i++)
		assert_int_equal(check(&n, "stale"), LOCKOUT_KNOWN_WRONG);
	assert_int_equal(check(&n, "stale2"), LOCKOUT_UNAVAILABLE);
	ask(&n, "CORP\\alice", "stale", "198.51.100.1");
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_KNOWN_WRONG);
	ask(&n, "zoe", "stale", "192.0.2.1");
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_UNAVAILABLE);	/* another name's */
	assert_int_equal(ad.binds, 1);
	snprintf(ad.password, sizeof(ad.password), "stale");
	ad.pwd_last_set += 10000000;
	assert_int_equal(check(&n, "stale"), LOCKOUT_RIGHT);
	assert_int_equal(check(&n, "stale"), LOCKOUT_RIGHT);
	n.config.memory_mib = 1;
	assert_int_equal(check(&n, "right"), LOCKOUT_WRONG);
	assert_int_equal(ad.binds, 3);
	node_stop(&n);
}

/* Twenty other passwords: one in 256 is taken for one that was not tried, so never all of them. */
static unsigned worked_on(struct node *n, const char *address)
{
	unsigned before = n->results[LOCKOUT_UNAVAILABLE];
	char text[16];

	for (int i = 0; i < 20; i++) {
		snprintf(text, sizeof(text), "other %d", i);
		ask(n, "alice", text, address);
	}
	await(n);
	return n->results[LOCKOUT_UNAVAILABLE] - before;
}

/* As long as nothing changes: another address, another pwdLastSet, anything that was found right or wrong is looked at anew. */
static void a_password_that_is_not_tried_costs_the_memory_hard_work_once(void **state)
{
	struct domain ad;
	struct node n;
	char text[16];

	(void)state;
	domain_init(&ad);
	ad.blind = true;
	node_start(&n, &ad, NULL);
	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "wrong %d", i);
		assert_int_equal(check(&n, text), i < 3 ? LOCKOUT_WRONG : LOCKOUT_ACCOUNT_BUDGET);
	}
	n.config.memory_mib = 3;	/* scrypt refuses it: who works is answered 503 */
	for (int i = 0; i < 30; i++)
		assert_int_equal(check(&n, "wrong 3"), LOCKOUT_ACCOUNT_BUDGET);
	assert_true(n.last.wait_seconds > 0 && n.last.wait_seconds <= WINDOW + 1);
	assert_in_range(worked_on(&n, "192.0.2.1"), 12, 20);
	assert_int_equal(check(&n, "wrong 0"), LOCKOUT_KNOWN_WRONG);
	ask(&n, "alice", "wrong 3", "198.51.100.1");
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_UNAVAILABLE);
	ad.pwd_last_set++;
	assert_int_equal(check(&n, "wrong 3"), LOCKOUT_UNAVAILABLE);
	ad.pwd_last_set--;
	/* the budget is larger now: it is tried, right, and nothing is short-cut where a right one is known */
	n.config.memory_mib = 1;
	n.config.attempts = 4;
	ad.threshold = 20;
	snprintf(ad.password, sizeof(ad.password), "wrong 3");
	assert_int_equal(check(&n, "wrong 3"), LOCKOUT_RIGHT);
	n.config.attempts = 1;
	for (int i = 4; i < 7; i++) {
		snprintf(text, sizeof(text), "wrong %d", i);
		(void)check(&n, text);
	}
	assert_int_equal(n.last.result, LOCKOUT_ACCOUNT_BUDGET);
	n.config.memory_mib = 3;
	assert_int_equal(check(&n, "wrong 6"), LOCKOUT_UNAVAILABLE);
	assert_int_equal(ad.binds, 5);
	node_stop(&n);
}

/* The record knows of nothing, the domain controller of others' wrong ones: that is remembered for a little while, and not held against people. */
static void what_the_domain_controllers_own_count_stands_against_costs_the_work_once(void **state)
{
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	ad.threshold = 10;
	ad.bad = 6;
	node_start(&n, &ad, NULL);
	n.device = true;
	assert_int_equal(check(&n, "right"), LOCKOUT_GUARDED);
	n.config.memory_mib = 3;	/* scrypt refuses it: who works is answered 503 */
	for (int i = 0; i < 30; i++)
		assert_int_equal(check(&n, "right"), LOCKOUT_GUARDED);
	assert_int_equal(n.last.wait_seconds, WINDOW);
	assert_in_range(worked_on(&n, "192.0.2.1"), 12, 20);
	n.device = false;		/* the controller has one try more for who types */
	assert_int_equal(check(&n, "right"), LOCKOUT_UNAVAILABLE);
	n.config.memory_mib = 1;
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	assert_int_equal(ad.binds, 1);
	node_stop(&n);
}

/* The owner signs in elsewhere: the phone, which was refused a moment ago, is in as soon as the controller is asked again. */
static void when_the_domain_controller_has_cleared_its_count_it_is_asked_again(void **state)
{
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	ad.bad = THRESHOLD;
	node_start(&n, &ad, NULL);
	assert_int_equal(check(&n, "right"), LOCKOUT_GUARDED);
	ad.bad = 0;
	assert_int_equal(check(&n, "right"), LOCKOUT_GUARDED);
	brief_tidy(n.checks->untried, INT64_MAX);	/* so much later */
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	assert_int_equal(ad.binds, 1);
	node_stop(&n);
}

/* A hundred devices wait for their refusal: another one finds the process empty. */
static void a_refusal_that_is_told_later_keeps_no_place(void **state)
{
	struct domain ad;
	struct node n;
	uint64_t began;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	assert_int_equal(check(&n, "stale"), LOCKOUT_WRONG);
	checks_free(n.checks);
	node_checks(&n, 300);
	assert_int_equal(check(&n, "stale"), LOCKOUT_KNOWN_WRONG);
	n.checks->setup.floor_ms = 60000;	/* nobody is told anything for a minute */
	for (int i = 0; i < CHECKS_MAX + 100; i++) {
		ask(&n, "alice", "stale", "192.0.2.1");
		if (i % 250 == 249)
			turn_for(n.loop, 70);
	}
	n.awaited = n.answers + 1;
	ask(&n, "alice", "right", "192.0.2.1");
	n.awaited = n.answers + 1;
	began = loop_now_fresh();
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_RIGHT);
	assert_true(loop_now_fresh() - began < 10000);
	assert_int_equal(n.results[LOCKOUT_KNOWN_WRONG], 1);
	assert_in_range(checks_count(n.checks), CHECKS_MAX, CHECKS_MAX + 101);
	assert_int_equal(n.results[LOCKOUT_OVERLOADED], 0);
	node_stop(&n);
}

static void malformed_questions_are_no_questions(void **state)
{
	struct lockout_check bad[5];
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		memset(&bad[i], 0, sizeof(bad[i]));
		snprintf(bad[i].name, sizeof(bad[i].name), "alice");
		memset(bad[i].password, 'x', sizeof(bad[i].password));
		bad[i].password_n = 4;
	}
	memset(bad[0].name, 'a', sizeof(bad[0].name));
	memset(bad[1].address, 'a', sizeof(bad[1].address));
	bad[2].password_n = 0;
	bad[3].password_n = DIRECTORY_PASSWORD_MAX + 1;
	bad[4].password[2] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(checks_ask(n.checks, &n, 1, &bad[i]), -1);
	ask(&n, "ali\nce", "x", "192.0.2.1");
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_UNKNOWN);
	assert_int_equal(ad.finds + ad.binds, 0);
	node_stop(&n);
}

static void a_policy_that_is_not_known_leaves_one_try(void **state)
{
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	ad.threshold = ad.known = 0;
	node_start(&n, &ad, NULL);
	assert_int_equal(check(&n, "wrong 1"), LOCKOUT_WRONG);
	assert_int_equal(check(&n, "wrong 2"), LOCKOUT_ACCOUNT_BUDGET);
	assert_int_equal(ad.bad, 1);
	node_stop(&n);
}

/* The threshold is known, the window is not: AD may count for longer than half an hour. */
static void a_window_that_is_not_known_is_taken_for_a_long_one(void **state)
{
	struct domain ad;
	struct node n;
	char text[16];

	(void)state;
	domain_init(&ad);
	ad.window = 0;
	ad.blind = true;
	node_start(&n, &ad, NULL);
	n.config.attempts = 10;
	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "wrong %d", i);
		assert_int_equal(check(&n, text), i < 3 ? LOCKOUT_WRONG : LOCKOUT_GUARDED);
	}
	assert_in_range(n.last.wait_seconds, 86000, 86500);
	node_stop(&n);
}

/* "Must be changed" is told of a right password, and AD clears nothing for it: nor does the fleet. */
static void a_right_password_that_must_be_changed_clears_no_count(void **state)
{
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	n.config.attempts = 10;
	assert_int_equal(check(&n, "wrong 1"), LOCKOUT_WRONG);
	assert_int_equal(check(&n, "wrong 2"), LOCKOUT_WRONG);
	ad.pwd_last_set = 0;
	ad.answer = SIGN_IN_MUST_CHANGE;
	assert_int_equal(check(&n, "right"), LOCKOUT_MUST_CHANGE);
	assert_int_equal(ad.bad, 2);
	ad.answer = 0;
	ad.blind = true;	/* another domain controller, which does not know of those */
	assert_int_equal(check(&n, "wrong 3"), LOCKOUT_WRONG);
	assert_int_equal(check(&n, "wrong 4"), LOCKOUT_GUARDED);
	assert_int_equal(ad.bad, 3);
	node_stop(&n);
}

static void devices_leave_the_last_try_to_people(void **state)
{
	struct domain ad;
	struct node n;
	char text[16];

	(void)state;
	domain_init(&ad);
	ad.threshold = 10;
	node_start(&n, &ad, NULL);
	n.device = true;
	for (int i = 0; i < 9; i++) {
		snprintf(text, sizeof(text), "wrong %d", i);
		assert_int_equal(check(&n, text), i < 6 ? LOCKOUT_WRONG : LOCKOUT_GUARDED);
	}
	n.device = false;
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	node_stop(&n);
}

static void without_a_secret_nothing_is_tried(void **state)
{
	struct checks_setup setup = { .directory_ms = 300, .answer = on_answer };
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	checks_free(n.checks);
	setup.loop = n.loop;
	setup.config = &n.config;
	setup.directory = n.asker;
	setup.store = n.store;
	setup.share = n.share;
	setup.stretchers = n.stretchers;
	n.checks = checks_new(&setup);
	assert_non_null(n.checks);
	assert_int_equal(check(&n, "right"), LOCKOUT_UNAVAILABLE);
	assert_int_equal(ad.finds + ad.binds, 0);
	node_stop(&n);
}

/* --- a race --- */

#define RACERS 10

static int race(struct domain *ad, const struct redis_server *s, int racer, bool same)
{
	struct node n;
	char text[32];

	node_start(&n, ad, s);
	for (int i = 0; i < 8; i++) {
		snprintf(text, sizeof(text), same ? "one" : "racer %d %d", racer, i);
		ask(&n, "alice", text, "192.0.2.1");
	}
	await(&n);
	racer = n.results[LOCKOUT_RIGHT] != 0 && !same;
	if (n.results[LOCKOUT_UNAVAILABLE] != 0)
		racer = 2;
	node_stop(&n);
	return racer;
}

static void run_race(bool same, uint32_t most)
{
	struct domain *ad = mmap(NULL, sizeof(*ad), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct redis_server s = { 0 };
	pid_t pid[RACERS];
	int status;

	assert_true(ad != MAP_FAILED);
	domain_init(ad);
	ad->blind = true;	/* ten domain controllers, none of which knows of the others' */
	redis_server_start(&s, NULL);
	for (int i = 0; i < RACERS; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			_exit(race(ad, &s, i, same));
	}
	for (int i = 0; i < RACERS; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	assert_in_range(ad->binds, 1, most);
	redis_server_stop(&s);
	munmap(ad, sizeof(*ad));
}

static void ten_nodes_that_race_with_eighty_passwords_stay_within_the_budget(void **state)
{
	(void)state;
	if (!redis_server_exists())
		skip();
	run_race(false, THRESHOLD - 3);
}

static void ten_nodes_that_race_with_one_password_make_one_bind(void **state)
{
	(void)state;
	if (!redis_server_exists())
		skip();
	run_race(true, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_one_machine_the_table_remembers),
		cmocka_unit_test(in_a_fleet_redis_remembers),
		cmocka_unit_test(lies_in_redis_only_make_it_refuse_or_ask),
		cmocka_unit_test(a_forged_or_replayed_good_entry_lets_nobody_in),
		cmocka_unit_test(without_redis_nothing_is_tried_and_nothing_known_is_believed),
		cmocka_unit_test(a_full_queue_is_a_refusal_and_one_address_does_not_fill_it_against_others),
		cmocka_unit_test(one_account_does_not_fill_the_queue_against_its_own_device),
		cmocka_unit_test(a_refused_password_costs_the_memory_hard_work_once),
		cmocka_unit_test(a_password_that_is_not_tried_costs_the_memory_hard_work_once),
		cmocka_unit_test(what_the_domain_controllers_own_count_stands_against_costs_the_work_once),
		cmocka_unit_test(when_the_domain_controller_has_cleared_its_count_it_is_asked_again),
		cmocka_unit_test(a_refusal_that_is_told_later_keeps_no_place),
		cmocka_unit_test(malformed_questions_are_no_questions),
		cmocka_unit_test(a_policy_that_is_not_known_leaves_one_try),
		cmocka_unit_test(a_window_that_is_not_known_is_taken_for_a_long_one),
		cmocka_unit_test(a_right_password_that_must_be_changed_clears_no_count),
		cmocka_unit_test(devices_leave_the_last_try_to_people),
		cmocka_unit_test(without_a_secret_nothing_is_tried),
		cmocka_unit_test(ten_nodes_that_race_with_eighty_passwords_stay_within_the_budget),
		cmocka_unit_test(ten_nodes_that_race_with_one_password_make_one_bind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
