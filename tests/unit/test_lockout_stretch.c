/*
 * Who does the memory-hard work of passwords: one each at a time, and what becomes of one whose process dies, hangs or lies.
 */
#include "tests/unit/lockout_node.h"

/* A process that has a password in hand for as long as the test wants. */
struct hand {
	struct wire *wire;
	uint64_t number;	/* 0: nothing in hand */
	struct stretch_work work;
	unsigned got;
};

static void serve_hand(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct hand *h = arg;

	(void)w;
	(void)n;
	assert_int_equal(h->number, 0);
	h->number = number;
	memcpy(&h->work, body, sizeof(h->work));
	h->got++;
}

static const struct wire_verb hand_verbs[] = {
	{ STRETCH_WORK, "work", sizeof(struct stretch_work), sizeof(struct stretch_work), serve_hand },
	{ .name = NULL },
};

static void hand_done(struct hand *h)
{
	struct stretch_done done;

	assert_int_not_equal(h->number, 0);
	assert_int_equal(lockout_stretch(h->work.salt, (struct strv){ h->work.password, h->work.password_n }, h->work.mib, done.stretched), 0);
	(void)wire_answer_secret(h->wire, h->number, (struct strv){ (const char *)&done, sizeof(done) }, (struct strv){ NULL, 0 });
	h->number = 0;
}

/* `count` processes in place of the one that every node of this file has. */
static void take_hands(struct node *n, struct hand *hands, unsigned count, unsigned limit_ms)
{
	checks_free(n->checks);
	stretchers_free(n->stretchers);
	wire_free(n->stretch);
	n->stretch = NULL;
	node_stretchers(n, count, limit_ms);
	for (unsigned i = 0; i < count; i++) {
		memset(&hands[i], 0, sizeof(hands[i]));
		hands[i].wire = stretch_link(n, i, hand_verbs, &hands[i]);
	}
	node_checks(n, 0);
}

static void drop_hands(struct node *n, struct hand *hands, unsigned count)
{
	checks_free(n->checks);
	n->checks = NULL;
	stretchers_free(n->stretchers);
	n->stretchers = NULL;
	for (unsigned i = 0; i < count; i++)
		wire_free(hands[i].wire);
}

static void each_process_has_one_password_and_the_same_is_given_out_once(void **state)
{
	struct hand hands[3];
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	take_hands(&n, hands, 3, STRETCH_MS);
	for (int i = 0; i < 5; i++)
		ask(&n, "alice", "right", "192.0.2.1");
	ask(&n, "zoe", "x", "192.0.2.2");
	ask(&n, "zoe", "y", "192.0.2.3");
	ask(&n, "zoe", "z", "192.0.2.4");
	turn_for(n.loop, 50);
	assert_int_equal(hands[0].got + hands[1].got + hands[2].got, 3);
	assert_int_equal(n.checks->queue.n, 5);
	assert_int_equal(n.answers, 0);
	for (int i = 0; i < 3; i++) {
		/* it has the salt of an account and a password: not the key, nor a name */
		assert_null(memmem(&hands[i].work, sizeof(hands[i].work), n.key, LOCKOUT_KEY));
		assert_null(memmem(&hands[i].work, sizeof(hands[i].work), "S-1-5-", 6));
		hand_done(&hands[i]);
		turn_for(n.loop, 50);
	}
	assert_int_equal(hands[0].got + hands[1].got + hands[2].got, 4);
	for (int i = 0; i < 3; i++) {
		if (hands[i].number != 0)
			hand_done(&hands[i]);
	}
	await(&n);
	assert_int_equal(n.results[LOCKOUT_RIGHT], 5);
	assert_int_equal(n.results[LOCKOUT_UNKNOWN], 3);
	assert_int_equal(ad.binds, 1);
	drop_hands(&n, hands, 3);
	node_stop(&n);
}

/* Whoever has its password in hand dies: 503 for all who brought it, at once; the others are served, and so is the next. */
static void a_process_that_dies_costs_the_password_that_it_had(void **state)
{
	struct hand hands[2];
	struct domain ad;
	struct node n;
	uint64_t began;
	unsigned dead;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	take_hands(&n, hands, 2, STRETCH_MS);
	ask(&n, "alice", "right", "192.0.2.1");
	ask(&n, "alice", "right", "192.0.2.9");
	ask(&n, "zoe", "x", "192.0.2.2");
	turn_for(n.loop, 50);
	dead = hands[0].work.password_n == 5 ? 0 : 1;
	began = loop_now_fresh();
	wire_free(hands[dead].wire);
	n.awaited = 2;
	await(&n);
	assert_true(loop_now_fresh() - began < 2000);
	assert_int_equal(n.results[LOCKOUT_UNAVAILABLE], 2);
	assert_int_equal(ad.binds, 0);
	assert_int_equal(stretchers_up(n.stretchers), 1);
	hand_done(&hands[!dead]);
	n.awaited = 3;
	n.all = 0;
	await(&n);
	assert_int_equal(n.results[LOCKOUT_UNKNOWN], 1);
	hands[dead] = (struct hand){ .wire = NULL };
	hands[dead].wire = stretch_link(&n, dead, hand_verbs, &hands[dead]);
	ask(&n, "alice", "right", "192.0.2.1");
	turn_for(n.loop, 50);
	hand_done(hands[0].number != 0 ? &hands[0] : &hands[1]);
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_RIGHT);
	drop_hands(&n, hands, 2);
	node_stop(&n);
}

/* One that does not answer gets nothing more, the master is told until another has come, and a late answer is nobody's. */
static void a_process_that_hangs_is_given_nothing_more(void **state)
{
	struct hand hands[2];
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	node_start(&n, &ad, NULL);
	take_hands(&n, hands, 1, 100);
	ask(&n, "alice", "right", "192.0.2.1");
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_UNAVAILABLE);
	assert_int_equal(ad.binds, 0);
	assert_int_equal(n.hanging, 1);
	assert_int_equal(stretchers_up(n.stretchers), 0);
	ask(&n, "alice", "right", "192.0.2.1");
	turn_for(n.loop, 1200);
	assert_int_equal(hands[0].got, 1);
	assert_in_range(n.hanging, 2, 3);
	hand_done(&hands[0]);
	turn_for(n.loop, 50);
	assert_int_equal(n.answers, 1);
	hands[1] = (struct hand){ .wire = NULL };
	hands[1].wire = stretch_link(&n, 0, hand_verbs, &hands[1]);
	turn_for(n.loop, 20);
	hand_done(&hands[1]);
	await(&n);
	assert_int_equal(n.last.result, LOCKOUT_RIGHT);
	assert_int_equal(stretchers_up(n.stretchers), 1);
	drop_hands(&n, hands, 2);
	node_stop(&n);
}

/* What it gives back decides nothing: nonsense is an unknown password, and counts as any other. */
static void nonsense_from_a_process_lets_nobody_in(void **state)
{
	struct stretch_done nonsense = { { 0 } };
	struct hand hand;
	struct domain ad;
	struct node n;

	(void)state;
	domain_init(&ad);
	ad.blind = true;
	node_start(&n, &ad, NULL);
	assert_int_equal(check(&n, "right"), LOCKOUT_RIGHT);
	take_hands(&n, &hand, 1, STRETCH_MS);
	for (int i = 0; i < 10; i++) {
		ask(&n, "alice", "wrong", "192.0.2.1");
		turn_for(n.loop, 20);
		if (hand.number == 0)
			continue;
		nonsense.stretched[0]++;
		(void)wire_answer_secret(hand.wire, hand.number, (struct strv){ (const char *)&nonsense, i % 2 ? 7 : sizeof(nonsense) }, (struct strv){ NULL, 0 });
		hand.number = 0;
		await(&n);
		assert_int_not_equal(n.last.result, LOCKOUT_RIGHT);
	}
	assert_true(ad.bad <= THRESHOLD - 3);
	drop_hands(&n, &hand, 1);
	node_stop(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_process_has_one_password_and_the_same_is_given_out_once),
		cmocka_unit_test(a_process_that_dies_costs_the_password_that_it_had),
		cmocka_unit_test(a_process_that_hangs_is_given_nothing_more),
		cmocka_unit_test(nonsense_from_a_process_lets_nobody_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
