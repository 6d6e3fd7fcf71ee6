/*
 * The device record: first use pins, another device is refused, enrolment's binding, blocks; in Redis (with its mac, threats 27 and 28)
 * and in the table of a single machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/device.h"
#include "common/log.h"
#include "common/text.h"
#include "tests/unit/redis_server.h"

#define SID    "S-1-5-21-1-2-3-1104"
#define SECRET "the fleet's secret of this test"

static struct loop *loop;
static const uint8_t CERT[SHA256_SIZE] = { 0xca, 0xfe, 1 }, CERT2[SHA256_SIZE] = { 0xca, 0xfe, 2 };

struct answer {
	volatile int done;
	enum device_answer answer;
};

static void on_answer(void *arg, enum device_answer answer)
{
	struct answer *a = arg;

	assert_int_equal(a->done, 0);
	a->done = 1;
	a->answer = answer;
}

static struct device_ask question(const uint8_t *cert, const char *sid, const char *device, bool registered_only)
{
	return (struct device_ask){ .key = cert, .sid = sid, .upn = "alice@corp.test", .device_id = device,
		.client = "192.0.2.1:1", .command = "Sync", .registered_only = registered_only, .binds = true, .limit = 300, .days = 90 };
}

static enum device_answer check(struct devices *d, const uint8_t *cert, const char *sid, const char *device, bool registered_only)
{
	struct device_ask ask = question(cert, sid, device, registered_only);
	struct answer a = { 0 };

	assert_int_not_equal(device_check(d, &ask, on_answer, &a), 0);
	assert_int_equal(a.done, 0);		/* never before it returns */
	assert_true(wait_for(loop, &a.done, 10));
	return a.answer;
}

static int setup(void **state)
{
	(void)state;
	loop = loop_new();
	return loop == NULL;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

/* --- the table --- */

static struct shared_table *table_new(const char *file)
{
	struct shared_table_config c = { .entries = 256, .value_size = DEVICE_TABLE_VALUE, .layout = DEVICE_TABLE_LAYOUT, .file = file };
	struct shared_table *t = shared_table_new(&c);

	assert_non_null(t);
	return t;
}

static void the_first_use_binds_and_every_other_device_or_account_is_refused(void **state)
{
	char file[] = "/tmp/easgate-devices-XXXXXX";
	struct shared_table *t;
	struct devices *d;

	(void)state;
	close(mkstemp(file));
	unlink(file);
	t = table_new(file);
	d = devices_new(loop, NULL, NULL, NULL, t);
	assert_non_null(d);
	assert_true(devices_are_up(d));
	assert_int_equal(check(d, CERT, SID, "ApplDNQ7", false), DEVICE_PINNED);
	assert_int_equal(check(d, CERT, SID, "ApplDNQ7", false), DEVICE_ALLOWED);
	assert_int_equal(check(d, CERT, SID, "ApplOTHER", false), DEVICE_OTHER);
	assert_int_equal(check(d, CERT, SID, "appldnq7", false), DEVICE_OTHER);
	assert_int_equal(check(d, CERT, "S-1-5-21-1-2-3-9", "ApplDNQ7", false), DEVICE_OTHER);
	assert_int_equal(check(d, CERT, SID, "ApplDNQ7", true), DEVICE_UNREGISTERED);
	assert_int_equal(check(d, CERT2, SID, "ApplOTHER", true), DEVICE_UNREGISTERED);
	assert_int_equal(check(d, CERT2, SID, "ApplOTHER", false), DEVICE_PINNED);
	devices_free(d);
	shared_table_free(t);
	t = table_new(file);		/* a restart */
	d = devices_new(loop, NULL, NULL, NULL, t);
	assert_int_equal(check(d, CERT, SID, "ApplOTHER", false), DEVICE_OTHER);
	assert_int_equal(check(d, CERT, SID, "ApplDNQ7", false), DEVICE_ALLOWED);
	devices_free(d);
	shared_table_free(t);
	unlink(file);
}

static void a_registered_certificate_binds_its_first_device_and_a_blocked_one_is_refused(void **state)
{
	struct device_record r = { .kind = DEVICE_KIND_RECORD, .sid = SID, .state = DEVICE_STATE_REGISTERED }, blocked = { .kind = DEVICE_KIND_RECORD, .sid = SID, .device = "A", .state = DEVICE_STATE_BLOCKED };
	struct shared_table *t = table_new(NULL);
	struct devices *d = devices_new(loop, NULL, NULL, NULL, t);

	(void)state;
	shared_table_put(t, CERT, &r);
	shared_table_put(t, CERT2, &blocked);
	assert_int_equal(check(d, CERT, "S-1-5-21-9", "ApplDNQ7", true), DEVICE_OTHER);
	assert_int_equal(check(d, CERT, SID, "ApplDNQ7", true), DEVICE_PINNED);
	assert_int_equal(check(d, CERT, SID, "ApplDNQ7", true), DEVICE_ALLOWED);
	assert_int_equal(check(d, CERT, SID, "ApplDNQ7", false), DEVICE_ALLOWED);
	assert_int_equal(check(d, CERT, SID, "Other", true), DEVICE_OTHER);
	assert_int_equal(check(d, CERT2, SID, "A", false), DEVICE_BLOCKED);
	assert_int_equal(check(d, CERT2, SID, "A", true), DEVICE_BLOCKED);
	devices_free(d);
	shared_table_free(t);
}

static void questions_that_cannot_be_asked_are_refused_and_cancelled_ones_are_not_answered(void **state)
{
	struct shared_table *t = table_new(NULL);
	struct devices *d = devices_new(loop, NULL, NULL, NULL, t);
	struct device_ask ask = question(CERT, SID, "A", false);
	struct answer a = { 0 }, b = { 0 };
	char longest[200];
	uint64_t number;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ask.device_id = longest;
	assert_int_equal(device_check(d, &ask, on_answer, &a), 0);
	ask.device_id = "";
	assert_int_equal(device_check(d, &ask, on_answer, &a), 0);
	ask = question(CERT, "", "A", false);
	assert_int_equal(device_check(d, &ask, on_answer, &a), 0);
	ask = question(CERT, SID, "A", false);
	number = device_check(d, &ask, on_answer, &a);
	assert_int_not_equal(number, 0);
	assert_int_not_equal(device_check(d, &ask, on_answer, &b), 0);
	device_cancel(d, number);
	device_cancel(d, 12345);
	assert_true(wait_for(loop, &b.done, 10));
	assert_int_equal(a.done, 0);
	devices_free(d);
	shared_table_free(t);
}

/* --- Redis --- */

struct node {
	struct config_redis settings;
	char *servers[1];
	char secret[128];
	struct devices *d;
};

static void node_start(struct node *n, const struct redis_server *s, const char *secret)
{
	static struct bundle *bundle;
	int fd;

	if (bundle == NULL)
		bundle = bundle_from_disk();
	n->servers[0] = strdup(s->url);
	snprintf(n->secret, sizeof(n->secret), "%s/secret", s->dir);
	n->settings = (struct config_redis){ .servers = n->servers, .servers_count = 1, .sentinel = strdup(""), .username = strdup(""),
		.password_file = strdup(""), .prefix = strdup("t:"), .ca = strdup(""), .timeout_ms = 500,
		.fleet_secret_file = strdup(secret[0] == '\0' ? "" : n->secret) };
	if (secret[0] != '\0') {
		fd = open(n->secret, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(write(fd, secret, strlen(secret)), (ssize_t)strlen(secret));
		close(fd);
	}
	n->d = devices_new(loop, NULL, &n->settings, bundle, NULL);
	assert_non_null(n->d);
	while (!devices_are_up(n->d))
		event_base_loop(loop_base(loop), EVLOOP_ONCE);
}

static void node_stop(struct node *n)
{
	devices_free(n->d);
	free(n->servers[0]);
	free(n->settings.sentinel);
	free(n->settings.username);
	free(n->settings.password_file);
	free(n->settings.prefix);
	free(n->settings.ca);
	free(n->settings.fleet_secret_file);
}

PRINTF(2, 3) static void cli(const struct redis_server *s, const char *fmt, ...)
{
	char command[1024], words[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "redis-cli -s %s %s >/dev/null", s->socket, words);
	assert_int_equal(system(command), 0);
}

/* What redis-cli prints. */
PRINTF(3, 4) static void wanted(const struct redis_server *s, const char *value, const char *fmt, ...)
{
	char command[1024], words[768], line[256] = "";
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "redis-cli -s %s %s", s->socket, words);
	f = popen(command, "r");
	assert_non_null(f);
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	pclose(f);
	line[strcspn(line, "\n")] = '\0';
	assert_string_equal(line, value);
}

static const char *hex(const uint8_t *cert)
{
	static char text[2 * SHA256_SIZE + 1];

	text_hex(text, cert, SHA256_SIZE);
	return text;
}

static void of_two_nodes_that_bind_at_once_exactly_one_wins(void **state)
{
	struct redis_server s = { 0 };
	struct node one = { 0 }, two = { 0 };
	struct device_ask a, b;
	struct answer x, y;
	uint8_t cert[SHA256_SIZE] = { 0 };
	int i;

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&one, &s, SECRET);
	node_start(&two, &s, SECRET);
	for (i = 0; i < 200; i++) {
		memcpy(cert, &i, sizeof(i));
		a = question(cert, SID, "first", false);
		b = question(cert, SID, "second", false);
		x = y = (struct answer){ 0 };
		assert_int_not_equal(device_check(i % 2 ? one.d : two.d, &a, on_answer, &x), 0);
		assert_int_not_equal(device_check(i % 2 ? two.d : one.d, &b, on_answer, &y), 0);
		assert_true(wait_for(loop, &x.done, 10));
		assert_true(wait_for(loop, &y.done, 10));
		assert_true((x.answer == DEVICE_PINNED && y.answer == DEVICE_OTHER) ||
		    (x.answer == DEVICE_OTHER && y.answer == DEVICE_PINNED));
	}
	assert_int_equal(check(one.d, CERT, SID, "ApplDNQ7", false), DEVICE_PINNED);
	assert_int_equal(check(two.d, CERT, SID, "ApplDNQ7", false), DEVICE_ALLOWED);
	assert_int_equal(check(two.d, CERT, SID, "ApplDNQ7", true), DEVICE_UNREGISTERED);
	node_stop(&one);
	node_stop(&two);
	redis_server_stop(&s);
}

static void threat_28_a_record_without_the_fleets_mac_lets_nobody_in(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 }, mute = { 0 };
	char mac[2 * SHA256_SIZE + 1];

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	node_start(&mute, &s, "");
	cli(&s, "HSET t:device:%s sid %s device ApplDNQ7 state registered", hex(CERT), SID);
	assert_int_equal(check(n.d, CERT, SID, "ApplDNQ7", false), DEVICE_UNAVAILABLE);
	cli(&s, "HSET t:device:%s mac 0000000000000000000000000000000000000000000000000000000000000000", hex(CERT));
	assert_int_equal(check(n.d, CERT, SID, "ApplDNQ7", true), DEVICE_UNAVAILABLE);
	assert_int_equal(device_record_mac(STRV(SECRET), hex(CERT), STRV(SID), STRV("ApplDNQ7"), STRV("registered"), mac), 0);
	cli(&s, "HSET t:device:%s mac %s", hex(CERT), mac);
	assert_int_equal(check(n.d, CERT, SID, "ApplDNQ7", true), DEVICE_ALLOWED);
	/* A right mac on another certificate's record, another device, another state. */
	cli(&s, "HSET t:device:%s sid %s device ApplDNQ7 state registered mac %s", hex(CERT2), SID, mac);
	assert_int_equal(check(n.d, CERT2, SID, "ApplDNQ7", true), DEVICE_UNAVAILABLE);
	devices_changed(n.d, hex(CERT));
	cli(&s, "HSET t:device:%s device Thief", hex(CERT));
	assert_int_equal(check(n.d, CERT, SID, "Thief", false), DEVICE_UNAVAILABLE);
	/* What keeps out needs none. */
	cli(&s, "HSET t:device:%s state blocked", hex(CERT));
	assert_int_equal(check(n.d, CERT, SID, "ApplDNQ7", false), DEVICE_BLOCKED);
	/* Without a secret nothing can be believed. */
	assert_int_equal(check(mute.d, CERT2, SID, "X", false), DEVICE_UNAVAILABLE);
	node_stop(&n);
	node_stop(&mute);
	redis_server_stop(&s);
}

static void threat_27_a_flushed_or_wrong_typed_record_does_not_free_the_certificate_for_another_device(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	assert_int_equal(check(n.d, CERT, SID, "ApplDNQ7", false), DEVICE_PINNED);
	cli(&s, "FLUSHALL");
	assert_int_equal(check(n.d, CERT, SID, "Thief", false), DEVICE_OTHER);
	cli(&s, "SET t:device:%s x", hex(CERT));
	assert_int_equal(check(n.d, CERT, SID, "Thief", false), DEVICE_UNAVAILABLE);
	cli(&s, "DEL t:device:%s", hex(CERT));
	devices_changed(n.d, hex(CERT));		/* an administrator freed it: the authentic event came */
	assert_int_equal(check(n.d, CERT, SID, "New", false), DEVICE_PINNED);
	node_stop(&n);
	redis_server_stop(&s);
}

static void an_event_ends_what_is_remembered_and_a_registered_record_binds_once(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };
	char mac[2 * SHA256_SIZE + 1];

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	assert_int_equal(device_record_mac(STRV(SECRET), hex(CERT), STRV(SID), STRV(""), STRV("registered"), mac), 0);
	cli(&s, "HSET t:device:%s sid %s device '' state registered mac %s", hex(CERT), SID, mac);
	assert_int_equal(check(n.d, CERT, "S-1-5-21-9", "A", true), DEVICE_OTHER);
	assert_int_equal(check(n.d, CERT, SID, "A", true), DEVICE_PINNED);
	assert_int_equal(check(n.d, CERT, SID, "A", true), DEVICE_ALLOWED);
	assert_int_equal(check(n.d, CERT, SID, "B", true), DEVICE_OTHER);
	cli(&s, "HSET t:device:%s state blocked", hex(CERT));
	assert_int_equal(check(n.d, CERT, SID, "A", true), DEVICE_ALLOWED);	/* remembered */
	devices_changed(n.d, hex(CERT));
	assert_int_equal(check(n.d, CERT, SID, "A", true), DEVICE_BLOCKED);
	devices_changed(n.d, "");
	node_stop(&n);
	redis_server_stop(&s);
}

static void threat_27_without_redis_the_known_are_served_for_a_while_and_the_unknown_are_not(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_PINNED);
	redis_server_kill(&s);
	while (devices_are_up(n.d))
		event_base_loop(loop_base(loop), EVLOOP_ONCE);
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_ALLOWED);
	assert_int_equal(check(n.d, CERT, SID, "B", false), DEVICE_UNAVAILABLE);
	assert_int_equal(check(n.d, CERT2, SID, "A", false), DEVICE_UNAVAILABLE);
	redis_server_run(&s, NULL);
	while (!devices_are_up(n.d))
		event_base_loop(loop_base(loop), EVLOOP_ONCE);
	assert_int_equal(check(n.d, CERT2, SID, "A", false), DEVICE_PINNED);
	node_stop(&n);
	redis_server_stop(&s);
}

static void threat_27_a_paused_redis_is_unavailable_within_the_time_limit(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };
	uint64_t began;

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	cli(&s, "CLIENT PAUSE 1200 ALL");
	began = loop_now_fresh();
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_UNAVAILABLE);
	assert_true(loop_now_fresh() - began < 1100);
	node_stop(&n);
	redis_server_stop(&s);
}

/* --- a new configuration --- */

static void reload(struct node *n, const struct redis_server *s, const char *secret)
{
	struct bundle *bundle = bundle_from_disk();
	int fd = open(n->secret, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, secret, strlen(secret)), (ssize_t)strlen(secret));
	close(fd);
	if (s != NULL) {
		free(n->servers[0]);
		n->servers[0] = strdup(s->url);
	}
	assert_int_equal(devices_reload(n->d, &n->settings, bundle), 0);
	bundle_free(bundle);
}

static bool holds(const struct redis_server *s, const uint8_t *cert)
{
	char command[512];

	snprintf(command, sizeof(command), "test \"$(redis-cli -s %s EXISTS t:device:%s)\" = 1", s->socket, hex(cert));
	return system(command) == 0;
}

static void after_a_reload_the_other_redis_is_asked_and_what_was_under_way_is_answered_once(void **state)
{
	struct redis_server s = { 0 }, t = { 0 };
	struct node n = { 0 };
	struct device_ask ask = question(CERT2, SID, "A", false);
	struct answer late = { 0 };

	(void)state;
	redis_server_start(&s, NULL);
	redis_server_start(&t, NULL);
	node_start(&n, &s, SECRET);
	reload(&n, NULL, SECRET);			/* nothing has changed: the connection stays */
	assert_true(devices_are_up(n.d));
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_PINNED);
	cli(&s, "CLIENT PAUSE 3000 ALL");
	assert_int_not_equal(device_check(n.d, &ask, on_answer, &late), 0);
	reload(&n, &t, SECRET);
	assert_true(devices_are_up(n.d));		/* the old one serves until the new one answers */
	assert_true(wait_for(loop, &late.done, 2));
	assert_int_equal(late.done, 1);
	assert_int_equal(late.answer, DEVICE_PINNED);
	assert_true(holds(&t, CERT2));
	/* Bound to another device as far as we know: a database that has never heard of it does not free it. */
	assert_int_equal(check(n.d, CERT, SID, "Thief", false), DEVICE_OTHER);
	assert_false(holds(&t, CERT));
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_PINNED);
	assert_true(holds(&t, CERT));
	node_stop(&n);
	redis_server_stop(&s);
	redis_server_stop(&t);
}

static void threat_28_a_changed_secret_ends_what_the_old_one_vouched_for_at_once(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_PINNED);
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_ALLOWED);
	reload(&n, NULL, "another secret of the fleet");
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_UNAVAILABLE);
	turn_for(loop, 200);				/* what is asked while connections change may be asked twice */
	assert_int_equal(check(n.d, CERT2, SID, "A", false), DEVICE_PINNED);
	reload(&n, NULL, SECRET);
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_ALLOWED);
	assert_int_equal(check(n.d, CERT2, SID, "A", false), DEVICE_UNAVAILABLE);
	node_stop(&n);
	redis_server_stop(&s);
}

static void of_many_reloads_in_a_row_the_last_one_counts_and_nothing_is_left_behind(void **state)
{
	struct redis_server s = { 0 }, t = { 0 }, nowhere = { .url = "127.0.0.1:1" };
	struct node n = { 0 };
	struct bundle *bundle = bundle_from_disk();
	struct answer late[3] = { { 0 } };

	(void)state;
	redis_server_start(&s, NULL);
	redis_server_start(&t, NULL);
	node_start(&n, &s, SECRET);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t cert[SHA256_SIZE] = { (uint8_t)i, 9 };
		struct device_ask ask = question(cert, SID, "A", false);

		assert_int_not_equal(device_check(n.d, &ask, on_answer, &late[i]), 0);
		reload(&n, i == 1 ? &t : &nowhere, SECRET);
	}
	reload(&n, &t, SECRET);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(wait_for(loop, &late[i].done, 5));
		assert_int_equal(late[i].done, 1);
		assert_int_equal(late[i].answer, DEVICE_PINNED);
	}
	turn_for(loop, 100);
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_PINNED);
	assert_true(holds(&t, CERT));
	/* What cannot be used changes nothing. */
	free(n.settings.password_file);
	n.settings.password_file = strdup("/nowhere/password");
	assert_int_equal(devices_reload(n.d, &n.settings, bundle), -1);
	assert_int_equal(devices_reload(n.d, NULL, bundle), -1);
	assert_int_equal(check(n.d, CERT2, SID, "A", false), DEVICE_PINNED);
	bundle_free(bundle);
	node_stop(&n);
	redis_server_stop(&s);
	redis_server_stop(&t);
}

/* --- methods, limits, quarantine --- */

static void set_use(struct device_ask *a, const char *type)
{
	a->method = DEVICE_BY_PASSWORD;
	a->device_type = type;
	a->user_agent = "Apple-iPhone14C2/2107.96";
	a->binds = false;
}

static enum device_answer ask(struct devices *d, const struct device_ask *a)
{
	struct answer x = { 0 };

	assert_int_not_equal(device_check(d, a, on_answer, &x), 0);
	assert_true(wait_for(loop, &x.done, 10));
	return x.answer;
}

static enum device_answer by_password(struct devices *d, const char *sid, const char *device, unsigned limit, bool quarantine)
{
	uint8_t key[SHA256_SIZE];
	struct device_ask a = question(key, sid, device, false);

	assert_int_equal(device_key(sid, device, key), 0);
	set_use(&a, "iPhone");
	a.limit = limit;
	a.quarantine = quarantine;
	return ask(d, &a);
}

/* What holds for the table holds for Redis. */
static void check_methods(struct devices *d)
{
	uint8_t key[SHA256_SIZE];
	struct device_ask a = question(CERT, SID, "A", false);

	/* nothing is compared: two devices with one certificate */
	a.binds = false;
	assert_int_equal(ask(d, &a), DEVICE_ALLOWED);
	a.device_id = "B";
	assert_int_equal(ask(d, &a), DEVICE_ALLOWED);
	a.sid = "S-1-5-21-9";
	assert_int_equal(ask(d, &a), DEVICE_OTHER);
	/* from then on the policy binds: whoever comes first */
	a = question(CERT, SID, "B", false);
	assert_int_equal(ask(d, &a), DEVICE_PINNED);
	assert_int_equal(ask(d, &a), DEVICE_ALLOWED);
	a.device_id = "A";
	assert_int_equal(ask(d, &a), DEVICE_OTHER);
	/* enrolment alone binds: a new one is noted where the policy only looks */
	a = question(CERT2, SID, "A", true);
	assert_int_equal(ask(d, &a), DEVICE_UNREGISTERED);
	a.look_only = true;
	a.binds = a.registered_only = false;
	assert_int_equal(ask(d, &a), DEVICE_NEW);
	a = question(CERT2, SID, "A", true);
	a.note = true;
	assert_int_equal(ask(d, &a), DEVICE_UNREGISTERED);
	assert_int_equal(ask(d, &a), DEVICE_UNREGISTERED);
	a.look_only = true;
	a.binds = a.registered_only = false;
	assert_int_equal(ask(d, &a), DEVICE_ALLOWED);
	/* without a certificate */
	assert_int_equal(by_password(d, SID, "P", 10, false), DEVICE_ALLOWED);
	assert_int_equal(by_password(d, SID, "P", 10, true), DEVICE_ALLOWED);	/* known before: it need not wait */
	assert_int_equal(by_password(d, SID, "Q", 10, true), DEVICE_QUARANTINED);
	assert_int_equal(by_password(d, SID, "Q", 10, false), DEVICE_QUARANTINED);
	assert_int_equal(device_key("S-1\n2", "x", key), -1);
}

/* A request that names no device: what is demanded of a certificate is demanded there, too, and nothing is bound by it. */
static void check_nameless(struct devices *d)
{
	static const uint8_t key[SHA256_SIZE] = "a certificate that names no dev";
	struct device_ask a = question(key, "S-1-5-21-1-2-3-78", "", false), named = question(key, a.sid, "A", false);
	struct answer x = { 0 };

	assert_int_equal(device_check(d, &a, on_answer, &x), 0);	/* nothing can be made of it */
	a.look_only = true;
	assert_int_equal(ask(d, &a), DEVICE_NEW);
	a.registered_only = true;
	assert_int_equal(ask(d, &a), DEVICE_UNREGISTERED);
	a.quarantine = true;
	assert_int_equal(ask(d, &a), DEVICE_QUARANTINED);
	a.quarantine = a.registered_only = false;
	assert_int_equal(ask(d, &a), DEVICE_NEW);			/* nothing was made so far */
	assert_int_equal(ask(d, &named), DEVICE_PINNED);
	assert_int_equal(ask(d, &a), DEVICE_ALLOWED);
	a.registered_only = true;
	assert_int_equal(ask(d, &a), DEVICE_UNREGISTERED);
	a.registered_only = false;
	a.sid = SID;
	assert_int_equal(ask(d, &a), DEVICE_OTHER);
}

/* One that waits is made by it, if the account may have one more. */
static void check_nameless_waits(struct devices *d)
{
	static const uint8_t key[SHA256_SIZE] = "another one, where new ones wai";
	struct device_ask a = question(key, "S-1-5-21-1-2-3-79", "", false), named = question(key, a.sid, "A", false);

	a.quarantine = true;
	a.limit = 1;
	assert_int_equal(ask(d, &a), DEVICE_QUARANTINED);
	assert_int_equal(ask(d, &a), DEVICE_QUARANTINED);
	assert_int_equal(ask(d, &named), DEVICE_QUARANTINED);
	a.key = CERT;
	a.sid = SID;
	assert_int_equal(ask(d, &a), DEVICE_ALLOWED);			/* it was let in before */
	a.key = (const uint8_t *)"a third one of an account with o";
	a.sid = "S-1-5-21-1-2-3-79";
	assert_int_equal(ask(d, &a), DEVICE_LIMIT);
}

static void check_limit(struct devices *d, const char *sid)
{
	assert_int_equal(by_password(d, sid, "1", 3, false), DEVICE_ALLOWED);
	assert_int_equal(by_password(d, sid, "2", 3, true), DEVICE_QUARANTINED);	/* those that wait count */
	assert_int_equal(by_password(d, sid, "3", 3, false), DEVICE_ALLOWED);
	assert_int_equal(by_password(d, sid, "4", 3, false), DEVICE_LIMIT);
	assert_int_equal(by_password(d, sid, "4", 3, true), DEVICE_LIMIT);
	assert_int_equal(by_password(d, sid, "1", 3, false), DEVICE_ALLOWED);
	assert_int_equal(by_password(d, "S-1-5-21-1-2-3-77", "4", 3, false), DEVICE_ALLOWED);
	assert_int_equal(by_password(d, sid, "1", 1, false), DEVICE_ALLOWED);	/* who is in stays in */
	assert_int_equal(by_password(d, sid, "4", 4, false), DEVICE_ALLOWED);
}

static void the_table_keeps_methods_limits_and_quarantine(void **state)
{
	struct shared_table *t = table_new(NULL);
	struct devices *d = devices_new(loop, NULL, NULL, NULL, t);
	struct device_record r;
	uint8_t key[SHA256_SIZE];

	(void)state;
	assert_true(devices_are_local(d));
	check_methods(d);
	check_nameless(d);
	check_nameless_waits(d);
	check_limit(d, "S-1-5-21-1-2-3-50");
	assert_int_equal(device_key(SID, "Q", key), 0);
	assert_true(device_is_out(d, key));
	assert_true(shared_table_get(t, key, &r));
	assert_string_equal(r.device_type, "iPhone");
	assert_string_equal(r.user_agent, "Apple-iPhone14C2/2107.96");
	assert_string_equal(r.command, "Sync");
	assert_int_equal(r.method, DEVICE_BY_PASSWORD);
	/* seen for the last time long ago: new again; blocked for ever */
	r.last_seen -= 91 * 86400;
	shared_table_put(t, key, &r);
	assert_int_equal(by_password(d, SID, "Q", 10, false), DEVICE_ALLOWED);
	assert_true(shared_table_get(t, key, &r));
	r.last_seen -= 91 * 86400;
	r.state = DEVICE_STATE_BLOCKED;
	shared_table_put(t, key, &r);
	assert_int_equal(by_password(d, SID, "Q", 10, false), DEVICE_BLOCKED);
	/* what a damaged file holds is nobody's right */
	r.state = 77;
	shared_table_put(t, key, &r);
	assert_int_equal(by_password(d, SID, "Q", 10, false), DEVICE_UNAVAILABLE);
	devices_free(d);
	shared_table_free(t);
}

static void redis_keeps_methods_limits_and_quarantine(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };
	uint8_t key[SHA256_SIZE];

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	check_methods(n.d);
	check_nameless(n.d);
	check_nameless_waits(n.d);
	check_limit(n.d, "S-1-5-21-1-2-3-50");
	turn_for(loop, 50);				/* what was written and nobody waits for has its answer */
	assert_int_equal(device_key(SID, "Q", key), 0);
	wanted(&s, "quarantined", "HGET t:device:%s state", hex(key));
	wanted(&s, "iPhone", "HGET t:device:%s device_type", hex(key));
	wanted(&s, "password", "HGET t:device:%s last_method", hex(key));
	wanted(&s, "Sync", "HGET t:device:%s last_command", hex(key));
	wanted(&s, "1", "SISMEMBER t:devices:%s %s", SID, hex(key));
	wanted(&s, "3", "ZCARD t:quarantine");
	wanted(&s, "yes", "TTL t:device:%s | awk '{ print ($1 > 7775900 && $1 <= 7776000) ? \"yes\" : $1 }'", hex(key));
	/* blocked ones do not count, and what has gone makes room */
	assert_int_equal(by_password(n.d, "S-1-5-21-1-2-3-50", "5", 4, false), DEVICE_LIMIT);
	assert_int_equal(device_key("S-1-5-21-1-2-3-50", "1", key), 0);
	cli(&s, "HSET t:device:%s state blocked", hex(key));
	assert_int_equal(by_password(n.d, "S-1-5-21-1-2-3-50", "5", 4, false), DEVICE_ALLOWED);
	assert_int_equal(by_password(n.d, "S-1-5-21-1-2-3-50", "6", 4, false), DEVICE_LIMIT);
	assert_int_equal(device_key("S-1-5-21-1-2-3-50", "2", key), 0);
	cli(&s, "DEL t:device:%s", hex(key));
	assert_int_equal(by_password(n.d, "S-1-5-21-1-2-3-50", "6", 4, false), DEVICE_ALLOWED);
	node_stop(&n);
	redis_server_stop(&s);
}

static void at_the_limit_exactly_one_of_two_new_devices_gets_in(void **state)
{
	struct redis_server s = { 0 };
	struct node one = { 0 }, two = { 0 };
	uint8_t cert[SHA256_SIZE] = { 7 }, key[SHA256_SIZE];

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&one, &s, SECRET);
	node_start(&two, &s, SECRET);
	for (int i = 0; i < 100; i++) {
		char sid[64];
		struct device_ask a, b;
		struct answer x = { 0 }, y = { 0 };

		snprintf(sid, sizeof(sid), "S-1-5-21-1-2-3-%d", 5000 + i);
		cert[1] = (uint8_t)i;
		assert_int_equal(by_password(one.d, sid, "first", 2, false), DEVICE_ALLOWED);
		a = question(cert, sid, "by certificate", false);
		assert_int_equal(device_key(sid, "by password", key), 0);
		b = question(key, sid, "by password", false);
		set_use(&b, "iPhone");
		a.limit = b.limit = 2;
		assert_int_not_equal(device_check(i % 2 ? one.d : two.d, &a, on_answer, &x), 0);
		assert_int_not_equal(device_check(i % 2 ? two.d : one.d, &b, on_answer, &y), 0);
		assert_true(wait_for(loop, &x.done, 10));
		assert_true(wait_for(loop, &y.done, 10));
		assert_int_equal((x.answer == DEVICE_PINNED) + (y.answer == DEVICE_ALLOWED), 1);
		assert_int_equal((x.answer == DEVICE_LIMIT) + (y.answer == DEVICE_LIMIT), 1);
	}
	node_stop(&one);
	node_stop(&two);
	redis_server_stop(&s);
}

static void threat_28_who_writes_to_redis_lets_no_waiting_device_in(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };
	uint8_t key[SHA256_SIZE], fresh[SHA256_SIZE];
	unsigned rounds;

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	assert_int_equal(device_key(SID, "W", key), 0);
	assert_int_equal(by_password(n.d, SID, "W", 10, true), DEVICE_QUARANTINED);
	for (unsigned i = 0; i < 3; i++) {
		cli(&s, "HSET t:device:%s state %s", hex(key), i == 0 ? "seen" : i == 1 ? "registered" : "pinned");
		devices_changed(n.d, hex(key));
		assert_int_equal(by_password(n.d, SID, "W", 10, true), DEVICE_UNAVAILABLE);
	}
	cli(&s, "HSET t:device:%s state let-in", hex(key));
	assert_int_equal(by_password(n.d, SID, "W", 10, true), DEVICE_UNAVAILABLE);
	cli(&s, "DEL t:device:%s", hex(key));
	assert_int_equal(by_password(n.d, SID, "W", 10, true), DEVICE_QUARANTINED);
	/* wrong types */
	assert_int_equal(device_key(SID, "X", fresh), 0);
	cli(&s, "DEL t:devices:%s t:quarantine", SID);
	cli(&s, "SET t:devices:%s x", SID);
	assert_int_equal(by_password(n.d, SID, "X", 10, false), DEVICE_UNAVAILABLE);
	assert_false(holds(&s, fresh));
	cli(&s, "DEL t:devices:%s", SID);
	cli(&s, "SET t:quarantine x");
	assert_int_equal(by_password(n.d, SID, "X", 10, true), DEVICE_UNAVAILABLE);
	assert_false(holds(&s, fresh));
	assert_int_equal(by_password(n.d, SID, "X", 10, false), DEVICE_ALLOWED);
	/* a set of nobody's devices keeps new ones out, costs bounded time, and is cleaned */
	cli(&s, "EVAL \"for i=1,3000 do redis.call('SADD','t:devices:%s','f'..i) end return 1\" 0", "S-1-5-21-1-2-3-60");
	for (rounds = 0; by_password(n.d, "S-1-5-21-1-2-3-60", "N", 10, false) == DEVICE_LIMIT; rounds++)
		assert_true(rounds < 20);
	assert_in_range(rounds, 15, 17);
	wanted(&s, "1", "SCARD t:devices:%s", "S-1-5-21-1-2-3-60");
	node_stop(&n);
	redis_server_stop(&s);
}

static void last_seen_is_written_at_most_once_a_minute(void **state)
{
	struct redis_server s = { 0 };
	struct node n = { 0 };

	(void)state;
	redis_server_start(&s, NULL);
	node_start(&n, &s, SECRET);
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_PINNED);
	assert_int_equal(check(n.d, CERT2, SID, "B", false), DEVICE_PINNED);	/* what was written before this has arrived */
	turn_for(loop, 50);
	cli(&s, "CONFIG RESETSTAT");
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_ALLOWED);
	wanted(&s, "0", "INFO commandstats | grep -c cmdstat_eval || true");
	/* remembered no more: asked once, and not written again */
	devices_changed(n.d, hex(CERT));
	assert_int_equal(check(n.d, CERT, SID, "A", false), DEVICE_ALLOWED);
	node_stop(&n);
	redis_server_stop(&s);
}

int main(void)
{
	const struct CMUnitTest local[] = {
		cmocka_unit_test(the_first_use_binds_and_every_other_device_or_account_is_refused),
		cmocka_unit_test(a_registered_certificate_binds_its_first_device_and_a_blocked_one_is_refused),
		cmocka_unit_test(questions_that_cannot_be_asked_are_refused_and_cancelled_ones_are_not_answered),
		cmocka_unit_test(the_table_keeps_methods_limits_and_quarantine),
	};
	const struct CMUnitTest remote[] = {
		cmocka_unit_test(of_two_nodes_that_bind_at_once_exactly_one_wins),
		cmocka_unit_test(threat_28_a_record_without_the_fleets_mac_lets_nobody_in),
		cmocka_unit_test(threat_27_a_flushed_or_wrong_typed_record_does_not_free_the_certificate_for_another_device),
		cmocka_unit_test(an_event_ends_what_is_remembered_and_a_registered_record_binds_once),
		cmocka_unit_test(threat_27_without_redis_the_known_are_served_for_a_while_and_the_unknown_are_not),
		cmocka_unit_test(after_a_reload_the_other_redis_is_asked_and_what_was_under_way_is_answered_once),
		cmocka_unit_test(threat_28_a_changed_secret_ends_what_the_old_one_vouched_for_at_once),
		cmocka_unit_test(of_many_reloads_in_a_row_the_last_one_counts_and_nothing_is_left_behind),
		cmocka_unit_test(redis_keeps_methods_limits_and_quarantine),
		cmocka_unit_test(at_the_limit_exactly_one_of_two_new_devices_gets_in),
		cmocka_unit_test(threat_28_who_writes_to_redis_lets_no_waiting_device_in),
		cmocka_unit_test(last_seen_is_written_at_most_once_a_minute),
		cmocka_unit_test(threat_27_a_paused_redis_is_unavailable_within_the_time_limit),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_ERROR, "test", -1);
	failed = cmocka_run_group_tests(local, setup, teardown);
	if (!redis_server_exists()) {
		print_message("skipped: there is no redis-server (apt-get install redis-server)\n");
		return failed;
	}
	return failed + cmocka_run_group_tests(remote, setup, teardown);
}
