/*
 * follow_node: what follows Redis in one node, in the test's own loop, beside a real server; and what redis-cli says to that.
 */
#ifndef TEST_FOLLOW_NODE_H
#define TEST_FOLLOW_NODE_H

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

static inline void on_changed(void *arg) { ((struct site *)arg)->changed++; }
static inline void on_reload(void *arg) { ((struct site *)arg)->reloads++; }
static inline void on_switched(void *arg) { ((struct site *)arg)->switches++; }

static inline void on_account(void *arg, const char *sid)
{
	struct site *s = arg;

	s->accounts++;
	snprintf(s->sid, sizeof(s->sid), "%s", sid);
}

static inline void on_device(void *arg, const char *certificate)
{
	struct site *s = arg;

	s->devices++;
	snprintf(s->certificate, sizeof(s->certificate), "%s", certificate);
}

static inline void issuers(struct index_issuer list[2])
{
	memset(list, 0, 2 * sizeof(*list));
	memcpy(list[0].issuer, CA1, SHA256_SIZE);
	memcpy(list[1].issuer, CA2, SHA256_SIZE);
	list[0].sources = list[1].sources = INDEX_BIT(INDEX_REDIS);
}

static inline void node_start(struct site *s)
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

static inline void node_stop(struct site *s)
{
	follow_free(s->follow);
	index_writer_free(s->index);
}

static void server_prepare(struct site *s);

static inline void site_start(struct site *s)
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

static inline void site_stop(struct site *s)
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

PRINTF(2, 3) static inline void cli(struct site *s, const char *fmt, ...)
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

static inline const char *hex(const uint8_t *key)
{
	static char text[2][2 * SHA256_SIZE + 1];
	static int turn;

	turn = !turn;
	text_hex(text[turn], key, SHA256_SIZE);
	return text[turn];
}

static inline void server_prepare(struct site *s)
{
	cli(s, "HSET t:crl:%s loaded_at %lld number 1", hex(CA1), (long long)time(NULL));
	cli(s, "HSET t:crl:%s loaded_at %lld number 1", hex(CA2), (long long)time(NULL));
}

static inline enum revocation_answer answer(struct site *s, const uint8_t *ca, unsigned value)
{
	struct serial serial = { .n = 2, .byte = { (uint8_t)(value >> 8), (uint8_t)value } };
	int64_t as_of;

	if (value < 256)
		serial = (struct serial){ .n = 1, .byte = { (uint8_t)value } };
	return revocation_lookup(index_writer_view(s->index), ca, &serial, time(NULL), &as_of);
}

/* Turns the loop until the answer is as wanted; how long it took in ms, or -1 after ten seconds. */
static inline long until(struct site *s, const uint8_t *ca, unsigned serial, enum revocation_answer want)
{
	uint64_t began = loop_now_fresh();

	while (answer(s, ca, serial) != want) {
		if (loop_now_fresh() - began > 10000)
			return -1;
		turn_for(s->loop, 1);
	}
	return (long)(loop_now_fresh() - began);
}

static inline bool until_up(struct site *s)
{
	uint64_t began = loop_now_fresh();

	while (!follow_is_up(s->follow) && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return follow_is_up(s->follow);
}

static inline bool until_problem(struct site *s, const char *part)
{
	uint64_t began = loop_now_fresh();

	while (strstr(follow_problem(s->follow), part) == NULL && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return strstr(follow_problem(s->follow), part) != NULL;
}

/* The fields of an event as words of a command; mac: 0 none, 1 right, 2 wrong. */
static inline const char *event_words(const char *type, const uint8_t *ca, const char *serial, const char *sid, const char *certificate,
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

static inline void event(struct site *s, const char *type, const uint8_t *ca, const char *serial, const char *sid, const char *certificate,
    time_t when, int mac)
{
	cli(s, "XADD t:events MAXLEN '~' 1000 '*' %s", event_words(type, ca, serial, sid, certificate, when, mac));
}

/* The group's tests with a real server, or exit status 77 where there is none. */
#define FOLLOW_TESTS(tests) (follow_setup() ? cmocka_run_group_tests((tests), NULL, NULL) : 77)

static inline bool follow_setup(void)
{
	if (!redis_server_exists()) {
		print_message("skipped: there is no redis-server (apt-get install redis-server)\n");
		return false;
	}
	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_ERROR, "test", -1);
	assert_int_equal(metrics_setup(metric_rows, M_COUNT, 1), 0);
	return true;
}

#endif
