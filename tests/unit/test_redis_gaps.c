/*
 * Following Redis over gaps (threat 27), with a real server: what was not read as an event, because one of the two was away or the stream
 * was trimmed, emptied or replaced, is found in the hash; and nothing is forgotten for it.
 */
#include "tests/unit/follow_node.h"

static void nothing_is_missed_while_the_node_or_the_server_is_away(void **state)
{
	struct site s;
	char line[64];
	unsigned i;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	event(&s, "revoked", CA1, "a1", "", "", time(NULL), 1);
	event(&s, "revoked", CA1, "a2", "", "", time(NULL), 1);
	cli(&s, "HSET t:revoked:%s a1 '1 1' a2 '1 1'", hex(CA1));
	assert_int_not_equal(until(&s, CA1, 0xa2, REVOCATION_REVOKED), -1);
	node_stop(&s);
	/* Taken back while this node was down: only the event says so. */
	cli(&s, "HDEL t:revoked:%s a1", hex(CA1));
	event(&s, "unrevoked", CA1, "a1", "", "", time(NULL), 1);
	event(&s, "revoked", CA1, "a3", "", "", time(NULL), 1);
	node_start(&s);
	assert_int_equal(answer(&s, CA1, 0xa1), REVOCATION_REVOKED);
	assert_int_not_equal(until(&s, CA1, 0xa1, REVOCATION_GOOD), -1);
	assert_int_equal(answer(&s, CA1, 0xa3), REVOCATION_REVOKED);
	assert_int_equal(answer(&s, CA1, 0xa2), REVOCATION_REVOKED);
	assert_true(until_up(&s));
	/* The stream was trimmed beyond our position: the hash is loaded anew. */
	node_stop(&s);
	for (i = 0; i < 5; i++) {
		snprintf(line, sizeof(line), "b%u", i);
		cli(&s, "HSET t:revoked:%s %s '1 1'", hex(CA1), line);
		event(&s, "revoked", CA1, line, "", "", time(NULL), 1);
	}
	cli(&s, "XTRIM t:events MAXLEN 1");
	node_start(&s);
	assert_int_not_equal(until(&s, CA1, 0xb0, REVOCATION_REVOKED), -1);
	assert_int_not_equal(until(&s, CA1, 0xb4, REVOCATION_REVOKED), -1);
	assert_true(until_up(&s));
	/* Trimmed while it follows and cannot hear: found by the round. */
	kill(s.server.pid, SIGSTOP);
	turn_for(s.loop, 100);
	kill(s.server.pid, SIGCONT);
	cli(&s, "HSET t:revoked:%s c0 '1 1'", hex(CA1));
	cli(&s, "DEL t:events");
	assert_int_not_equal(until(&s, CA1, 0xc0, REVOCATION_REVOKED), -1);
	site_stop(&s);
}

/*
 * In one moment: `words` as an entry, then serials first to first + n - 1 into the hash and the stream; of the stream only the last
 * three entries are left.
 */
static void burst(struct site *s, const char *words, unsigned first, unsigned n)
{
	cli(s, "EVAL \"redis.call('XADD',KEYS[2],'*',unpack(ARGV,4)) for i=0,tonumber(ARGV[2])-1 do "
	    "local serial=string.format('%%x',tonumber(ARGV[1])+i) redis.call('HSET',KEYS[1],serial,'1 1') "
	    "redis.call('XADD',KEYS[2],'MAXLEN',3,'*','type','revoked','issuer',ARGV[3],'serial',serial) end return 1\" "
	    "2 t:revoked:%s t:events %u %u %s %s", hex(CA1), first, n, hex(CA1), words);
}

static int64_t taken(void)
{
	return metrics_total(M_REVOCATION_EVENTS, EVENT_SUB(EVENT_REVOKED, EVENT_TAKEN_UNPROVEN));
}

static void threat_27_what_was_trimmed_before_the_waiting_reader_saw_it_is_found_in_the_hash(void **state)
{
	int64_t before;
	struct site s;
	unsigned i;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	event(&s, "revoked", CA1, "77", "", "", time(NULL), 1);
	assert_int_not_equal(until(&s, CA1, 0x77, REVOCATION_REVOKED), -1);
	assert_int_not_equal(until(&s, CA1, 0x4000, REVOCATION_GOOD), -1);
	/* The reader waits in XREAD; it is woken when all is over, by the last three alone. */
	before = taken();
	burst(&s, "a b", 0x4000, 300);
	assert_int_not_equal(until(&s, CA1, 0x4000 + 299, REVOCATION_REVOKED), -1);
	assert_int_not_equal(until(&s, CA1, 0x4000, REVOCATION_REVOKED), -1);
	for (i = 0; i < 300; i++)
		assert_int_equal(answer(&s, CA1, 0x4000 + i), REVOCATION_REVOKED);
	assert_int_equal(taken() - before, 3);		/* the others were never read as events */
	assert_int_equal(answer(&s, CA1, 0x4000 + 300), REVOCATION_GOOD);
	assert_int_equal(answer(&s, CA2, 0x4000), REVOCATION_GOOD);
	/* An `unrevoked` that was trimmed takes nothing back, though its serial is not in the hash: it was never seen. */
	burst(&s, event_words("unrevoked", CA1, "77", "", "", time(NULL), 1), 0x4800, 300);
	assert_int_not_equal(until(&s, CA1, 0x4800, REVOCATION_REVOKED), -1);
	assert_int_equal(answer(&s, CA1, 0x77), REVOCATION_REVOKED);
	/* Each look from now on finds all in order: nothing is loaded again and again. */
	assert_true(until_up(&s));
	turn_for(s.loop, 2500);
	before = metrics_total(M_REDIS_COMMANDS, REDIS_ANSWER);
	turn_for(s.loop, 2500);
	assert_in_range(metrics_total(M_REDIS_COMMANDS, REDIS_ANSWER) - before, 3, 14);
	assert_string_equal(follow_problem(s.follow), "");
	site_stop(&s);
}

static void threat_27_a_stream_that_was_emptied_or_replaced_by_an_older_one_is_followed_from_its_end(void **state)
{
	struct site s;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	event(&s, "revoked", CA1, "71", "", "", time(NULL), 1);
	assert_int_not_equal(until(&s, CA1, 0x71, REVOCATION_REVOKED), -1);
	/* Emptied: what was missed is in the hash alone. */
	cli(&s, "HSET t:revoked:%s d1 '1 1'", hex(CA1));
	cli(&s, "XTRIM t:events MAXLEN 0");
	assert_int_not_equal(until(&s, CA1, 0xd1, REVOCATION_REVOKED), -1);
	event(&s, "revoked", CA1, "72", "", "", time(NULL), 0);
	assert_int_not_equal(until(&s, CA1, 0x72, REVOCATION_REVOKED), -1);
	/* A backup of long ago takes its place: all its ids are lower than where this node stands. */
	cli(&s, "DEL t:events");
	cli(&s, "HSET t:revoked:%s d2 '1 1'", hex(CA1));
	cli(&s, "XADD t:events 5-1 type revoked issuer %s serial 73", hex(CA1));
	assert_int_not_equal(until(&s, CA1, 0xd2, REVOCATION_REVOKED), -1);
	assert_int_equal(answer(&s, CA1, 0x71), REVOCATION_REVOKED);
	/* Authentic, but from before the new stream: whether it comes twice nobody can tell. */
	assert_true(until_up(&s));
	event(&s, "unrevoked", CA1, "71", "", "", time(NULL) - 301, 1);
	event(&s, "revoked", CA1, "74", "", "", time(NULL), 0);
	assert_int_not_equal(until(&s, CA1, 0x74, REVOCATION_REVOKED), -1);
	assert_int_equal(answer(&s, CA1, 0x71), REVOCATION_REVOKED);
	/* No stream at all, but something else by its name: said, nothing is forgotten, and followed again when it is put right. */
	cli(&s, "SET t:events x");
	assert_true(until_problem(&s, "WRONGTYPE"));
	assert_int_equal(answer(&s, CA1, 0x74), REVOCATION_REVOKED);
	cli(&s, "DEL t:events");
	cli(&s, "HSET t:revoked:%s d3 '1 1'", hex(CA1));
	assert_int_not_equal(until(&s, CA1, 0xd3, REVOCATION_REVOKED), -1);
	assert_true(until_up(&s));
	site_stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_missed_while_the_node_or_the_server_is_away),
		cmocka_unit_test(threat_27_what_was_trimmed_before_the_waiting_reader_saw_it_is_found_in_the_hash),
		cmocka_unit_test(threat_27_a_stream_that_was_emptied_or_replaced_by_an_older_one_is_followed_from_its_end),
	};

	return FOLLOW_TESTS(tests);
}
