/*
 * Following Redis (threats 27, 28, 29): with a real server. What it says is revoked is revoked at once and stays so; what would let
 * somebody in needs the fleet's mac, once; faults of the server never turn revoked into good.
 */
#include "tests/unit/follow_node.h"

static void a_revocation_is_seen_within_a_moment_for_its_issuer_only(void **state)
{
	struct site s;
	long ms;

	(void)state;
	site_start(&s);
	assert_int_equal(answer(&s, CA1, 0x1234), REVOCATION_UNKNOWN);	/* nothing was loaded yet */
	assert_int_not_equal(until(&s, CA1, 0x1234, REVOCATION_GOOD), -1);
	assert_int_not_equal(until(&s, CA2, 0x1234, REVOCATION_GOOD), -1);
	event(&s, "revoked", CA1, "1234", "", "", time(NULL), 1);
	ms = until(&s, CA1, 0x1234, REVOCATION_REVOKED);
	assert_in_range(ms, 0, 200);
	print_message("follow: a revocation was seen %ld ms after redis-cli had ended\n", ms);
	assert_int_equal(answer(&s, CA2, 0x1234), REVOCATION_GOOD);	/* threat 29 */
	assert_int_equal(answer(&s, CA1, 0x1235), REVOCATION_GOOD);
	site_stop(&s);
}

static void threat_28_unrevoked_needs_the_fleets_mac_and_revoked_does_not(void **state)
{
	struct site s;
	time_t now = time(NULL);

	(void)state;
	site_start(&s);
	assert_int_not_equal(until(&s, CA1, 7, REVOCATION_GOOD), -1);
	event(&s, "revoked", CA1, "7", "", "", now, 0);
	assert_int_not_equal(until(&s, CA1, 7, REVOCATION_REVOKED), -1);
	event(&s, "unrevoked", CA1, "7", "", "", now, 0);
	event(&s, "unrevoked", CA1, "7", "", "", now, 2);
	event(&s, "unrevoked", CA1, "7", "", "", now + 4000, 1);	/* from the future */
	event(&s, "unrevoked", CA1, "7", "", "", now - 4000, 1);	/* replayed from the past */
	event(&s, "revoked", CA1, "8", "", "", now, 1);
	assert_int_not_equal(until(&s, CA1, 8, REVOCATION_REVOKED), -1);
	assert_int_equal(answer(&s, CA1, 7), REVOCATION_REVOKED);
	event(&s, "unrevoked", CA1, "7", "", "", now, 1);
	assert_int_not_equal(until(&s, CA1, 7, REVOCATION_GOOD), -1);
	event(&s, "revoked", CA1, "7", "", "", now, 0);
	assert_int_not_equal(until(&s, CA1, 7, REVOCATION_REVOKED), -1);
	event(&s, "unrevoked", CA1, "7", "", "", now, 1);		/* the very same entry once more */
	event(&s, "revoked", CA1, "9", "", "", now, 1);
	assert_int_not_equal(until(&s, CA1, 9, REVOCATION_REVOKED), -1);
	assert_int_equal(answer(&s, CA1, 7), REVOCATION_REVOKED);
	site_stop(&s);
}

static void threat_27_what_was_revoked_stays_so_through_flush_hdel_wrong_type_and_restart(void **state)
{
	struct site s;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	node_stop(&s);
	cli(&s, "HSET t:revoked:%s 1234 '1 1700000000' ab good 00cd x ZZ y '' z", hex(CA1));
	node_start(&s);
	assert_int_not_equal(until(&s, CA1, 0x1234, REVOCATION_REVOKED), -1);
	assert_int_not_equal(until(&s, CA1, 0xab, REVOCATION_REVOKED), -1);	/* whatever the value says */
	assert_int_not_equal(until(&s, CA1, 0xcd, REVOCATION_GOOD), -1);
	cli(&s, "HDEL t:revoked:%s 1234", hex(CA1));
	cli(&s, "FLUSHALL");
	assert_true(until_problem(&s, "crl:<issuer> is missing"));
	assert_int_equal(answer(&s, CA1, 0x1234), REVOCATION_REVOKED);
	node_stop(&s);
	node_start(&s);				/* from disk alone */
	assert_int_equal(answer(&s, CA1, 0x1234), REVOCATION_REVOKED);
	assert_true(until_up(&s));
	assert_int_equal(answer(&s, CA1, 0x1234), REVOCATION_REVOKED);
	server_prepare(&s);
	cli(&s, "SET t:revoked:%s x", hex(CA1));
	event(&s, "reload", NULL, "", "", "", time(NULL), 1);
	assert_true(until_problem(&s, "WRONGTYPE"));
	assert_int_equal(answer(&s, CA1, 0x1234), REVOCATION_REVOKED);
	event(&s, "revoked", CA2, "55", "", "", time(NULL), 1);	/* and events are still read */
	assert_int_not_equal(until(&s, CA2, 0x55, REVOCATION_REVOKED), -1);
	cli(&s, "DEL t:revoked:%s", hex(CA1));
	assert_true(until_up(&s));
	turn_for(s.loop, 4000);
	assert_string_equal(follow_problem(s.follow), "");
	site_stop(&s);
}

static void commands_connections_and_events_are_counted_by_what_became_of_them(void **state)
{
	static const enum event_verdict verdicts[] = { EVENT_TAKEN, EVENT_NO_MAC, EVENT_WRONG_TIME, EVENT_MISPLACED, EVENT_REPLAYED };
	int64_t before[EVENT_VERDICTS], found = metrics_total(M_REDIS_CONNECTIONS, REDIS_FOUND);
	int64_t lost = metrics_total(M_REDIS_CONNECTIONS, REDIS_LOST), failed = metrics_total(M_REDIS_CONNECTIONS, REDIS_FAILED);
	static const uint8_t other[SHA256_SIZE] = { 9 };
	time_t now = time(NULL);
	struct site s;
	unsigned i;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	assert_int_equal(metrics_total(M_REDIS_CONNECTIONS, REDIS_FOUND) - found, 1);
	for (i = 0; i < EVENT_VERDICTS; i++)
		before[i] = metrics_total(M_REVOCATION_EVENTS, EVENT_SUB(EVENT_UNREVOKED, i));
	event(&s, "revoked", other, "61", "", "", now, 1);
	event(&s, "unrevoked", CA1, "61", "", "", now, 0);
	event(&s, "unrevoked", CA1, "61", "", "", now + 4000, 1);
	event(&s, "unrevoked", CA1, "61", "", "", now - 4000, 1);
	event(&s, "unrevoked", CA1, "61", "", "", now, 1);
	event(&s, "unrevoked", CA1, "61", "", "", now, 1);
	event(&s, "nonsense", CA1, "61", "", "", now, 1);
	event(&s, "revoked", CA1, "62", "", "", now, 1);
	assert_int_not_equal(until(&s, CA1, 0x62, REVOCATION_REVOKED), -1);
	for (i = 0; i < ARRAY_LEN(verdicts); i++)
		assert_int_equal(metrics_total(M_REVOCATION_EVENTS, EVENT_SUB(EVENT_UNREVOKED, verdicts[i])) - before[verdicts[i]], 1);
	assert_int_equal(metrics_total(M_REVOCATION_EVENTS, EVENT_SUB(EVENT_REVOKED, EVENT_FOREIGN)), 1);
	assert_in_range(metrics_total(M_REVOCATION_EVENTS, EVENT_SUB(EVENT_UNKNOWN, EVENT_MALFORMED)), 1, 100);
	redis_server_kill(&s.server);
	turn_for(s.loop, 600);
	assert_int_equal(metrics_total(M_REDIS_CONNECTIONS, REDIS_LOST) - lost, 1);
	assert_in_range(metrics_total(M_REDIS_CONNECTIONS, REDIS_FAILED) - failed, 1, 10);
	assert_in_range(metrics_total(M_REDIS_COMMANDS, REDIS_DOWN), 1, 1000);	/* the XREAD that waited */
	redis_server_run(&s.server, NULL);
	assert_true(until_up(&s));
	assert_int_equal(metrics_total(M_REDIS_CONNECTIONS, REDIS_FOUND) - found, 2);
	site_stop(&s);
}

static bool until_fresher(struct site *s, int64_t than)
{
	uint64_t began = loop_now_fresh();

	while (revocation_fresh_until(index_writer_view(s->index), CA1) <= than && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return revocation_fresh_until(index_writer_view(s->index), CA1) > than;
}

static bool until_down(struct site *s)
{
	uint64_t began = loop_now_fresh();

	while (follow_is_up(s->follow) && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return !follow_is_up(s->follow);
}

static void threat_27_a_stopped_or_paused_server_only_lets_the_data_grow_old(void **state)
{
	struct site s;
	int64_t until_before;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	event(&s, "revoked", CA1, "77", "", "", time(NULL), 1);
	assert_int_not_equal(until(&s, CA1, 1, REVOCATION_GOOD), -1);
	until_before = revocation_fresh_until(index_writer_view(s.index), CA1);
	assert_in_range(until_before, time(NULL) + MAX_AGE - 5, time(NULL) + MAX_AGE);
	assert_true(until_fresher(&s, until_before));	/* confirmed again and again */
	assert_true(until_fresher(&s, until_before + 1));
	cli(&s, "CLIENT PAUSE 3000 ALL");
	turn_for(s.loop, 3500);
	redis_server_kill(&s.server);
	assert_true(until_down(&s));
	assert_int_not_equal(strlen(follow_problem(s.follow)), 0);
	until_before = revocation_fresh_until(index_writer_view(s.index), CA1);
	turn_for(s.loop, 2500);
	assert_int_equal(revocation_fresh_until(index_writer_view(s.index), CA1), until_before);
	/* An empty server takes its place: nobody publishes there, so nothing is confirmed and nothing taken back. */
	redis_server_run(&s.server, NULL);
	assert_true(until_up(&s));
	turn_for(s.loop, 2500);
	assert_int_equal(revocation_fresh_until(index_writer_view(s.index), CA1), until_before);
	assert_int_equal(answer(&s, CA1, 0x77), REVOCATION_REVOKED);
	site_stop(&s);
}

static void an_issuer_that_nobody_publishes_is_never_good(void **state)
{
	struct site s;

	(void)state;
	site_start(&s);
	node_stop(&s);
	unlinkat(s.dir_fd, INDEX_FILE, 0);
	cli(&s, "DEL t:crl:%s", hex(CA2));
	node_start(&s);
	assert_int_not_equal(until(&s, CA1, 1, REVOCATION_GOOD), -1);
	turn_for(s.loop, 300);
	assert_int_equal(answer(&s, CA2, 1), REVOCATION_UNKNOWN);
	cli(&s, "HSET t:crl:%s loaded_at %lld next_update %lld", hex(CA2), (long long)time(NULL), (long long)time(NULL) - 10);
	turn_for(s.loop, 2500);
	assert_int_equal(answer(&s, CA2, 1), REVOCATION_UNKNOWN);	/* its publisher stopped */
	cli(&s, "HSET t:crl:%s next_update %lld", hex(CA2), (long long)time(NULL) + 600);
	assert_int_not_equal(until(&s, CA2, 1, REVOCATION_GOOD), -1);
	site_stop(&s);
}

static void account_device_and_reload_events_are_passed_on_as_far_as_they_are_believed(void **state)
{
	const char *certificate = hex(CA2);
	struct site s;
	time_t now = time(NULL);

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	event(&s, "account", NULL, "", "S-1-5-21-1-2-3-1104", "", now, 0);
	assert_true(wait_for(s.loop, &s.accounts, 5));
	assert_string_equal(s.sid, "S-1-5-21-1-2-3-1104");
	event(&s, "device", NULL, "", "", certificate, now, 0);
	event(&s, "device", NULL, "", "", certificate, now, 2);
	event(&s, "switch", NULL, "", "", "", now, 0);		/* only makes the workers look: from anybody */
	assert_true(wait_for(s.loop, &s.switches, 5));
	event(&s, "reload", NULL, "", "", "", now, 0);
	event(&s, "device", NULL, "", "", certificate, now, 1);
	assert_true(wait_for(s.loop, &s.devices, 5));
	assert_int_equal(s.devices, 1);
	assert_int_equal(s.reloads, 0);
	assert_string_equal(s.certificate, certificate);
	event(&s, "reload", NULL, "", "", "", now, 1);
	assert_true(wait_for(s.loop, &s.reloads, 5));
	/* Nonsense in between stops nothing. */
	cli(&s, "XADD t:events '*' hello world");
	cli(&s, "XADD t:events '*' type revoked issuer zz serial 1");
	cli(&s, "XADD t:events '*' type revoked issuer %s serial 0012", hex(CA1));
	cli(&s, "XADD t:events '*' type account sid 'S-1-5-x'");
	cli(&s, "XADD t:events '*' type revoked type unrevoked issuer %s serial 12", hex(CA1));
	event(&s, "revoked", CA1, "99", "", "", now, 0);
	assert_int_not_equal(until(&s, CA1, 0x99, REVOCATION_REVOKED), -1);
	assert_int_equal(answer(&s, CA1, 0x12), REVOCATION_GOOD);
	assert_int_equal(s.accounts, 1);
	site_stop(&s);
}

static void an_authentic_reload_that_names_an_issuer_makes_its_hash_the_whole_truth(void **state)
{
	struct site s;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	event(&s, "revoked", CA1, "21", "", "", time(NULL), 1);
	event(&s, "revoked", CA1, "22", "", "", time(NULL), 1);
	event(&s, "revoked", CA2, "21", "", "", time(NULL), 1);
	assert_int_not_equal(until(&s, CA2, 0x21, REVOCATION_REVOKED), -1);
	assert_true(until_up(&s));
	cli(&s, "HSET t:revoked:%s 22 '1 1'", hex(CA1));
	event(&s, "reload", NULL, "", "", "", time(NULL), 1);
	turn_for(s.loop, 500);
	assert_int_equal(answer(&s, CA1, 0x21), REVOCATION_REVOKED);
	event(&s, "reload", CA1, "", "", "", time(NULL), 1);
	assert_int_not_equal(until(&s, CA1, 0x21, REVOCATION_GOOD), -1);
	assert_int_equal(answer(&s, CA1, 0x22), REVOCATION_REVOKED);
	assert_int_equal(answer(&s, CA2, 0x21), REVOCATION_REVOKED);
	site_stop(&s);
}

static void a_large_hash_is_loaded_and_a_second_start_builds_nothing_anew(void **state)
{
	const char *text = getenv("TEST_SERIALS");
	unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 200000;
	uint64_t began, first, second;
	struct site s;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	node_stop(&s);
	/* Sixteen-byte serials, made in the server. */
	cli(&s, "EVAL \"for i=1,tonumber(ARGV[1]) do redis.call('HSET',KEYS[1],'5'..string.sub(redis.sha1hex(i),1,31),'1 1') end return 1\" "
	    "1 t:revoked:%s %lu", hex(CA1), n);
	began = loop_now_fresh();
	node_start(&s);
	assert_true(until_up(&s));
	first = loop_now_fresh() - began;
	assert_int_equal(revocation_count(index_writer_view(s.index)), n);
	assert_int_not_equal(index_writer_replacements(s.index), 0);
	node_stop(&s);
	began = loop_now_fresh();
	node_start(&s);
	assert_true(until_up(&s));
	second = loop_now_fresh() - began;
	assert_int_equal(index_writer_replacements(s.index), 0);
	print_message("follow: %lu serials in Redis: first load %llu ms, next start %llu ms\n", n, (unsigned long long)first,
	    (unsigned long long)second);
	site_stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_revocation_is_seen_within_a_moment_for_its_issuer_only),
		cmocka_unit_test(threat_28_unrevoked_needs_the_fleets_mac_and_revoked_does_not),
		cmocka_unit_test(threat_27_what_was_revoked_stays_so_through_flush_hdel_wrong_type_and_restart),
		cmocka_unit_test(commands_connections_and_events_are_counted_by_what_became_of_them),
		cmocka_unit_test(threat_27_a_stopped_or_paused_server_only_lets_the_data_grow_old),
		cmocka_unit_test(an_issuer_that_nobody_publishes_is_never_good),
		cmocka_unit_test(account_device_and_reload_events_are_passed_on_as_far_as_they_are_believed),
		cmocka_unit_test(an_authentic_reload_that_names_an_issuer_makes_its_hash_the_whole_truth),
		cmocka_unit_test(a_large_hash_is_loaded_and_a_second_start_builds_nothing_anew),
	};

	return FOLLOW_TESTS(tests);
}
