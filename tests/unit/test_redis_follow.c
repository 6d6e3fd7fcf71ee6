/*
 * Following Redis (threats 27, 28, 29): with a real server. What it says is revoked is revoked at once and stays so; what would let
 * somebody in needs the fleet's mac, once; faults of the server never turn revoked into good.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/metric_table.h"
#include "proxy/revocation/event.h"
#include "proxy/revocation/follow.h"
#include "tests/unit/redis_server.h"

#define SECRET	"fleet secret"
#define MAX_AGE 3600

static const uint8_t CA1[SHA256_SIZE] = { 1, 0xaa }, CA2[SHA256_SIZE] = { 2, 0xbb };

struct site {
	struct redis_server server;
	struct loop *loop;
	char dir[64];
	int dir_fd;
	struct index_writer *index;
	struct config_redis settings;
	char *servers[1];
	struct follow *follow;
	volatile int changed, accounts, devices, reloads, switches;
	char sid[200], certificate[80];
};

static void on_changed(void *arg) { ((struct site *)arg)->changed++; }
static void on_reload(void *arg) { ((struct site *)arg)->reloads++; }
static void on_switched(void *arg) { ((struct site *)arg)->switches++; }

static void on_account(void *arg, const char *sid)
{
	struct site *s = arg;

	s->accounts++;
	snprintf(s->sid, sizeof(s->sid), "%s", sid);
}

static void on_device(void *arg, const char *certificate)
{
	struct site *s = arg;

	s->devices++;
	snprintf(s->certificate, sizeof(s->certificate), "%s", certificate);
}

static void issuers(struct index_issuer list[2])
{
	memset(list, 0, 2 * sizeof(*list));
	memcpy(list[0].issuer, CA1, SHA256_SIZE);
	memcpy(list[1].issuer, CA2, SHA256_SIZE);
	list[0].sources = list[1].sources = INDEX_BIT(INDEX_REDIS);
}

static void node_start(struct site *s)
{
	struct follow_config c = { .loop = s->loop, .redis = &s->settings, .secret = STRV(SECRET), .issuers_count = 2,
		.changed = on_changed, .account = on_account, .device = on_device, .reload = on_reload, .switched = on_switched, .arg = s };
	struct index_issuer list[2];
	char why[256];

	issuers(list);
	s->index = index_writer_open(s->dir_fd, list, 2, MAX_AGE);
	assert_non_null(s->index);
	c.index = s->index;
	c.issuers = list;
	s->follow = follow_new(&c, why, sizeof(why));
	assert_non_null(s->follow);
}

static void node_stop(struct site *s)
{
	follow_free(s->follow);
	index_writer_free(s->index);
}

static void server_prepare(struct site *s);

static void site_start(struct site *s)
{
	memset(s, 0, sizeof(*s));
	redis_server_start(&s->server, NULL);
	s->loop = loop_new();
	strcpy(s->dir, "/tmp/easgate-follow-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY);
	s->servers[0] = s->server.url;
	s->settings = (struct config_redis){ .servers = s->servers, .servers_count = 1, .sentinel = strdup(""), .username = strdup(""),
		.prefix = strdup("t:"), .timeout_ms = 500 };
	server_prepare(s);
	node_start(s);
}

static void site_stop(struct site *s)
{
	node_stop(s);
	loop_free(s->loop);
	free(s->settings.sentinel);
	free(s->settings.username);
	free(s->settings.prefix);
	unlinkat(s->dir_fd, INDEX_FILE, 0);
	close(s->dir_fd);
	assert_int_equal(rmdir(s->dir), 0);
	redis_server_stop(&s->server);
}

PRINTF(2, 3) static void cli(struct site *s, const char *fmt, ...)
{
	char command[1400], words[1200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "redis-cli -e -s %s %s >/dev/null", s->server.socket, words);
	if (system(command) != 0)
		fail_msg("redis-cli %s", words);
}

static const char *hex(const uint8_t *key)
{
	static char text[2][2 * SHA256_SIZE + 1];
	static int turn;

	turn = !turn;
	text_hex(text[turn], key, SHA256_SIZE);
	return text[turn];
}

static void server_prepare(struct site *s)
{
	cli(s, "HSET t:crl:%s loaded_at %lld number 1", hex(CA1), (long long)time(NULL));
	cli(s, "HSET t:crl:%s loaded_at %lld number 1", hex(CA2), (long long)time(NULL));
}

static enum revocation_answer answer(struct site *s, const uint8_t *ca, unsigned value)
{
	struct serial serial = { .n = 2, .byte = { (uint8_t)(value >> 8), (uint8_t)value } };
	int64_t as_of;

	if (value < 256)
		serial = (struct serial){ .n = 1, .byte = { (uint8_t)value } };
	return revocation_lookup(index_writer_view(s->index), ca, &serial, time(NULL), &as_of);
}

/* Turns the loop until the answer is as wanted; how long it took in ms, or -1 after ten seconds. */
static long until(struct site *s, const uint8_t *ca, unsigned serial, enum revocation_answer want)
{
	uint64_t began = loop_now_fresh();

	while (answer(s, ca, serial) != want) {
		if (loop_now_fresh() - began > 10000)
			return -1;
		turn_for(s->loop, 1);
	}
	return (long)(loop_now_fresh() - began);
}

static bool until_up(struct site *s)
{
	uint64_t began = loop_now_fresh();

	while (!follow_is_up(s->follow) && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return follow_is_up(s->follow);
}

static bool until_problem(struct site *s, const char *part)
{
	uint64_t began = loop_now_fresh();

	while (strstr(follow_problem(s->follow), part) == NULL && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return strstr(follow_problem(s->follow), part) != NULL;
}

/* The fields of an event as words of a command; mac: 0 none, 1 right, 2 wrong. */
static const char *event_words(const char *type, const uint8_t *ca, const char *serial, const char *sid, const char *certificate,
    time_t when, int mac)
{
	char time_text[24], mac_text[2 * SHA256_SIZE + 1] = "", issuer[2 * SHA256_SIZE + 1] = "";
	uint8_t bytes[SHA256_SIZE];
	static char words[600];
	struct strv part[6];

	snprintf(time_text, sizeof(time_text), "%lld", (long long)when);
	if (ca != NULL)
		text_hex(issuer, ca, SHA256_SIZE);
	part[0] = strv_from(type);
	part[1] = strv_from(issuer);
	part[2] = strv_from(serial);
	part[3] = strv_from(sid);
	part[4] = strv_from(certificate);
	part[5] = strv_from(time_text);
	assert_int_equal(event_mac(mac == 2 ? STRV("wrong secret") : STRV(SECRET), part, bytes), 0);
	if (mac != 0)
		text_hex(mac_text, bytes, SHA256_SIZE);
	snprintf(words, sizeof(words), "type %s issuer '%s' serial '%s' sid '%s' certificate '%s' time %s mac '%s'", type, issuer,
	    serial, sid, certificate, time_text, mac_text);
	return words;
}

static void event(struct site *s, const char *type, const uint8_t *ca, const char *serial, const char *sid, const char *certificate,
    time_t when, int mac)
{
	cli(s, "XADD t:events MAXLEN '~' 1000 '*' %s", event_words(type, ca, serial, sid, certificate, when, mac));
}

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

static void threat_27_a_stopped_or_paused_server_only_lets_the_data_grow_old(void **state)
{
	struct site s;
	int64_t until_before, until_after;

	(void)state;
	site_start(&s);
	assert_true(until_up(&s));
	event(&s, "revoked", CA1, "77", "", "", time(NULL), 1);
	assert_int_not_equal(until(&s, CA1, 1, REVOCATION_GOOD), -1);
	until_before = revocation_fresh_until(index_writer_view(s.index), CA1);
	assert_in_range(until_before, time(NULL) + MAX_AGE - 5, time(NULL) + MAX_AGE);
	turn_for(s.loop, 4500);
	until_after = revocation_fresh_until(index_writer_view(s.index), CA1);
	assert_true(until_after > until_before);		/* confirmed again and again */
	cli(&s, "CLIENT PAUSE 3000 ALL");
	turn_for(s.loop, 3500);
	redis_server_kill(&s.server);
	turn_for(s.loop, 1500);
	assert_false(follow_is_up(s.follow));
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
		cmocka_unit_test(nothing_is_missed_while_the_node_or_the_server_is_away),
		cmocka_unit_test(threat_27_what_was_trimmed_before_the_waiting_reader_saw_it_is_found_in_the_hash),
		cmocka_unit_test(threat_27_a_stream_that_was_emptied_or_replaced_by_an_older_one_is_followed_from_its_end),
		cmocka_unit_test(commands_connections_and_events_are_counted_by_what_became_of_them),
		cmocka_unit_test(threat_27_a_stopped_or_paused_server_only_lets_the_data_grow_old),
		cmocka_unit_test(an_issuer_that_nobody_publishes_is_never_good),
		cmocka_unit_test(account_device_and_reload_events_are_passed_on_as_far_as_they_are_believed),
		cmocka_unit_test(an_authentic_reload_that_names_an_issuer_makes_its_hash_the_whole_truth),
		cmocka_unit_test(a_large_hash_is_loaded_and_a_second_start_builds_nothing_anew),
	};

	if (!redis_server_exists()) {
		print_message("skipped: there is no redis-server (apt-get install redis-server)\n");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_ERROR, "test", -1);
	if (metrics_setup(metric_rows, M_COUNT, 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
