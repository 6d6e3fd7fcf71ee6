/*
 * The Redis client against a real redis-server and against servers that lie (threat 27): every command is answered
 * once and in time, a fault never looks like an answer, and a hostile reply costs a connection and no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <sys/resource.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>

#include <cmocka.h>

#include "common/log.h"
#include "common/text.h"
#include "tests/unit/crl_build.h"
#include "tests/unit/redis_server.h"

static struct loop *loop;

struct client {
	struct redis *r;
	struct config_redis settings;
	char *servers[3];
	volatile int up, downs;
};

struct answer {
	volatile int done;
	enum redis_status status;
	int type;
	long long integer;
	size_t elements;
	char text[128];
};

static void on_state(void *arg, bool up)
{
	struct client *c = arg;

	c->up = up;
	if (!up)
		c->downs++;
}

static void on_answer(void *arg, enum redis_status status, const redisReply *reply)
{
	struct answer *a = arg;

	assert_int_equal(a->done, 0);
	a->done = 1;
	a->status = status;
	if (reply == NULL)
		return;
	a->type = reply->type;
	a->integer = reply->integer;
	a->elements = reply->elements;
	if (reply->str != NULL)
		snprintf(a->text, sizeof(a->text), "%.*s", (int)reply->len, reply->str);
}

static void client_start(struct client *c, const char *server, const char *password, unsigned timeout_ms)
{
	struct redis_config config = { .loop = loop, .settings = &c->settings, .password = strv_from(password), .name = "test",
		.state = on_state, .arg = c };
	char why[256];

	c->servers[0] = strdup(server);
	c->settings.servers = c->servers;
	if (c->settings.servers_count == 0)
		c->settings.servers_count = 1;
	if (c->settings.sentinel == NULL)
		c->settings.sentinel = strdup("");
	if (c->settings.username == NULL)
		c->settings.username = strdup("");
	c->settings.timeout_ms = timeout_ms;
	c->r = redis_new(&config, why, sizeof(why));
	assert_non_null(c->r);
}

static void client_stop(struct client *c)
{
	unsigned i;

	redis_free(c->r);
	for (i = 0; i < 3; i++)
		free(c->servers[i]);
	free(c->settings.sentinel);
	free(c->settings.username);
}

/* Sends words separated by spaces. */
static uint64_t send_words(struct client *c, struct answer *a, const char *words)
{
	struct strv rest = strv_from(words);
	const char *argv[16];
	size_t lens[16];
	int n = 0;

	while (rest.p != NULL && n < 16) {
		struct strv word = text_split(&rest, ' ');

		argv[n] = word.p;
		lens[n++] = word.n;
	}
	memset(a, 0, sizeof(*a));
	return redis_command(c->r, on_answer, a, n, argv, lens);
}

static struct answer command(struct client *c, const char *words)
{
	struct answer a;

	assert_int_not_equal(send_words(c, &a, words), 0);
	assert_true(wait_for(loop, &a.done, 10));
	return a;
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

/* --- the real server --- */

static void commands_are_answered_in_order_and_wrong_types_are_errors(void **state)
{
	struct redis_server s = { 0 };
	struct client c = { 0 };
	struct answer a, many[100];
	char text[64];
	int i;

	(void)state;
	redis_server_start(&s, NULL);
	client_start(&c, s.url, "", 2000);
	assert_int_equal(send_words(&c, &a, "PING"), 0);	/* nothing waits for a connection */
	assert_true(wait_for(loop, &c.up, 10));
	assert_string_equal(redis_problem(c.r), "");
	a = command(&c, "SET key value");
	assert_int_equal(a.status, REDIS_ANSWER);
	assert_int_equal(command(&c, "GET nothing").type, REDIS_REPLY_NIL);
	a = command(&c, "HGETALL key");
	assert_int_equal(a.status, REDIS_ERROR);
	assert_memory_equal(a.text, "WRONGTYPE", 9);
	for (i = 0; i < 100; i++)
		assert_int_not_equal(send_words(&c, &many[i], "INCR n"), 0);
	assert_true(wait_for(loop, &many[99].done, 10));
	for (i = 0; i < 100; i++)
		assert_int_equal(many[i].integer, i + 1);
	snprintf(text, sizeof(text), "EVAL return{'a','1','b','2','a','3'} 0");
	assert_int_equal(command(&c, text).elements, 6);
	client_stop(&c);
	redis_server_stop(&s);
}

static void threat_27_a_paused_server_is_a_timeout_and_its_late_reply_finds_nobody(void **state)
{
	struct redis_server s = { 0 };
	struct client c = { 0 };
	struct answer a, b, pause;
	uint64_t began;

	(void)state;
	redis_server_start(&s, NULL);
	client_start(&c, s.url, "", 300);
	assert_true(wait_for(loop, &c.up, 10));
	pause = command(&c, "CLIENT PAUSE 1500 ALL");
	assert_int_equal(pause.status, REDIS_ANSWER);
	began = loop_now_fresh();
	assert_int_not_equal(send_words(&c, &a, "SET late 1"), 0);
	assert_int_not_equal(send_words(&c, &b, "GET late"), 0);
	assert_true(wait_for(loop, &a.done, 10));
	assert_int_equal(a.status, REDIS_TIMEOUT);
	assert_true(loop_now_fresh() - began < 1000);
	assert_true(wait_for(loop, &b.done, 10));
	assert_true(b.status == REDIS_DOWN || b.status == REDIS_TIMEOUT);
	assert_false(redis_is_up(c.r));				/* hung: another connection is tried */
	assert_true(wait_for(loop, &c.up, 10));
	assert_int_equal(command(&c, "PING").status, REDIS_ANSWER);
	client_stop(&c);
	redis_server_stop(&s);
}

static void a_cancelled_command_is_never_answered_and_the_next_gets_its_own_reply(void **state)
{
	struct redis_server s = { 0 };
	struct client c = { 0 };
	struct answer a, b;
	uint64_t number;

	(void)state;
	redis_server_start(&s, NULL);
	client_start(&c, s.url, "", 2000);
	assert_true(wait_for(loop, &c.up, 10));
	number = send_words(&c, &a, "ECHO first");
	assert_int_not_equal(number, 0);
	redis_cancel(c.r, number);
	redis_cancel(c.r, 999999);
	redis_cancel(NULL, 1);
	b = command(&c, "ECHO second");
	assert_string_equal(b.text, "second");
	assert_int_equal(a.done, 0);
	client_stop(&c);
	redis_server_stop(&s);
}

static void threat_27_a_killed_server_answers_down_and_is_found_again_when_it_returns(void **state)
{
	struct redis_server s = { 0 };
	struct client c = { 0 };
	struct answer a;
	volatile int *downs = &c.downs;

	(void)state;
	redis_server_start(&s, NULL);
	client_start(&c, s.url, "", 2000);
	assert_true(wait_for(loop, &c.up, 10));
	kill(s.pid, SIGSTOP);
	assert_int_not_equal(send_words(&c, &a, "PING"), 0);
	redis_server_kill(&s);
	assert_true(wait_for(loop, &a.done, 10));
	assert_int_equal(a.status, REDIS_DOWN);
	assert_true(wait_for(loop, downs, 10));
	assert_int_equal(send_words(&c, &a, "PING"), 0);
	assert_int_not_equal(strlen(redis_problem(c.r)), 0);
	redis_server_run(&s, NULL);
	assert_true(wait_for(loop, &c.up, 10));
	client_stop(&c);
	redis_server_stop(&s);
}

static void threat_28_password_and_acl_user_are_needed_where_the_server_demands_them(void **state)
{
	static const char *const extra[] = { "--requirepass", "secret", "--user", "gate", "on", ">other", "~*", "+@all", NULL };
	struct redis_server s = { 0 };
	struct client none = { 0 }, wrong = { 0 }, right = { 0 }, user = { 0 };

	(void)state;
	redis_server_start(&s, extra);
	client_start(&none, s.url, "", 500);
	client_start(&wrong, s.url, "guess", 500);
	client_start(&right, s.url, "secret", 500);
	user.settings.username = strdup("gate");
	client_start(&user, s.url, "other", 500);
	assert_true(wait_for(loop, &right.up, 10));
	assert_true(wait_for(loop, &user.up, 10));
	turn_for(loop, 300);
	assert_false(redis_is_up(none.r));
	assert_non_null(strstr(redis_problem(none.r), "NOAUTH"));
	assert_false(redis_is_up(wrong.r));
	assert_non_null(strstr(redis_problem(wrong.r), "WRONGPASS"));
	assert_null(strstr(redis_problem(wrong.r), "guess"));
	client_stop(&none);
	client_stop(&wrong);
	client_stop(&right);
	client_stop(&user);
	redis_server_stop(&s);
}

static void a_replica_is_passed_over_for_the_master_and_left_when_the_master_is_demoted(void **state)
{
	struct redis_server master = { 0 }, replica = { 0 };
	struct client c = { 0 };
	static const char *const of[] = { "--replicaof", "127.0.0.1", "1", NULL };

	(void)state;
	redis_server_start(&master, NULL);
	redis_server_start(&replica, of);
	c.servers[1] = strdup(master.url);
	c.settings.servers_count = 2;
	client_start(&c, replica.url, "", 1000);
	assert_true(wait_for(loop, &c.up, 10));
	assert_int_equal(command(&c, "SET a 1").status, REDIS_ANSWER);
	assert_int_equal(command(&c, "REPLICAOF 127.0.0.1 1").status, REDIS_ANSWER);
	assert_int_equal(command(&c, "SET a 2").status, REDIS_ERROR);	/* READONLY */
	assert_true(wait_for(loop, &c.downs, 10));
	turn_for(loop, 300);
	assert_false(redis_is_up(c.r));
	assert_non_null(strstr(redis_problem(c.r), "not a master"));
	client_stop(&c);
	redis_server_stop(&master);
	redis_server_stop(&replica);
}

static int free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t n = sizeof(sa);

	assert_int_equal(bind(fd, (struct sockaddr *)(void *)&sa, sizeof(sa)), 0);
	getsockname(fd, (struct sockaddr *)(void *)&sa, &n);
	close(fd);
	return ntohs(sa.sin_port);
}

static void write_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	if (key != NULL)
		PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	PEM_write_X509(f, cert);
	fclose(f);
}

/* tls_client_new() demands the address in the certificate. */
static struct test_ca server_cert(const char *san)
{
	struct test_ca ca = test_ca_new("redis", NULL, -1, NULL);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);

	X509_add_ext(ca.cert, e, -1);
	X509_EXTENSION_free(e);
	X509_sign(ca.cert, ca.key, EVP_sha256());
	return ca;
}

static void threat_28_tls_is_spoken_and_the_servers_name_and_ca_are_verified(void **state)
{
	struct test_ca right = server_cert("IP:127.0.0.1"), other = server_cert("IP:127.0.0.1"), named = server_cert("DNS:redis.example");
	struct test_ca *served[] = { &right, &right, &named }, *trusted[] = { &right, &other, &named };
	char port[16], pem[96], url[64], why[256], dir[] = "/tmp/easgate-redis-tls-XXXXXX", *text;
	const char *extra[] = { "--tls-port", port, "--tls-cert-file", pem, "--tls-key-file", pem, "--tls-auth-clients", "no", NULL };
	struct redis_server s;
	struct client c;
	long n;
	int i;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(pem, sizeof(pem), "%s/server.pem", dir);
	for (i = 0; i < 3; i++) {
		struct redis_config config = { .loop = loop, .settings = &c.settings, .name = "test", .state = on_state, .arg = &c };
		BIO *bio = BIO_new(BIO_s_mem());

		s = (struct redis_server){ 0 };
		c = (struct client){ 0 };
		write_pem(pem, served[i]->cert, served[i]->key);
		snprintf(port, sizeof(port), "%d", free_port());
		redis_server_start(&s, extra);
		if (s.pid == 0) {
			print_message("this redis-server has no TLS\n");
			redis_server_stop(&s);
			BIO_free(bio);
			break;
		}
		PEM_write_bio_X509(bio, trusted[i]->cert);
		n = BIO_get_mem_data(bio, &text);
		config.ca_pem = (struct strv){ text, (size_t)n };
		snprintf(url, sizeof(url), "127.0.0.1:%s", port);
		c.servers[0] = strdup(url);
		c.settings = (struct config_redis){ .servers = c.servers, .servers_count = 1, .sentinel = strdup(""), .username = strdup(""),
			.timeout_ms = 2000, .tls = true };
		c.r = redis_new(&config, why, sizeof(why));
		assert_non_null(c.r);
		if (i == 0) {
			assert_true(wait_for(loop, &c.up, 10));
			assert_int_equal(command(&c, "PING").status, REDIS_ANSWER);
		} else {
			turn_for(loop, 400);
			assert_false(redis_is_up(c.r));
			assert_non_null(strstr(redis_problem(c.r), "TLS"));
		}
		client_stop(&c);
		redis_server_stop(&s);
		BIO_free(bio);
	}
	unlink(pem);
	rmdir(dir);
	test_ca_free(&right);
	test_ca_free(&other);
	test_ca_free(&named);
}

/* --- servers that lie --- */

struct liar {
	struct evconnlistener *listener;
	char url[64];
	const char *role;		/* what it says to the first command */
	const char *then;		/* to the second */
	size_t then_n;
	bool hang_up;			/* after `then` */
	int commands, connections;
};

static const char MASTER[] = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";

static void liar_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct liar *l = arg;

	/* One write of the client is one command here: each waits for the other's answer. */
	evbuffer_drain(in, evbuffer_get_length(in));
	if (l->commands++ == 0) {
		bufferevent_write(bev, l->role, strlen(l->role));
	} else if (l->then != NULL) {
		bufferevent_write(bev, l->then, l->then_n);
		if (l->hang_up)
			shutdown(bufferevent_getfd(bev), SHUT_RD);
	}
}

static void liar_event(struct bufferevent *bev, short what, void *arg)
{
	(void)what;
	(void)arg;
	bufferevent_free(bev);
}

static void liar_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
	struct bufferevent *bev = bufferevent_socket_new(loop_base(loop), fd, BEV_OPT_CLOSE_ON_FREE);
	struct liar *l = arg;

	(void)listener;
	(void)sa;
	(void)n;
	l->commands = 0;
	l->connections++;
	bufferevent_setcb(bev, liar_read, NULL, liar_event, l);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void liar_start(struct liar *l)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sa);

	l->listener = evconnlistener_new_bind(loop_base(loop), liar_accept, l, LEV_OPT_CLOSE_ON_FREE, 8,
	    (struct sockaddr *)(void *)&sa, (int)sizeof(sa));
	assert_non_null(l->listener);
	getsockname(evconnlistener_get_fd(l->listener), (struct sockaddr *)(void *)&sa, &n);
	snprintf(l->url, sizeof(l->url), "127.0.0.1:%u", ntohs(sa.sin_port));
	if (l->role == NULL)
		l->role = MASTER;
}

static long rss_kb(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static void threat_27_hostile_replies_end_the_connection_within_bounds(void **state)
{
	static const struct { const char *what, *then; size_t n; enum redis_status status; } cases[] = {
#define CASE(what, text, status) { what, text, sizeof(text) - 1, status }
		CASE("huge array", "*2147483647\r\n", REDIS_DOWN),
		CASE("array beyond 64 bits", "*99999999999999999999\r\n", REDIS_DOWN),
		CASE("array above our bound", "*65537\r\n", REDIS_DOWN),
		CASE("arrays that add up", "*65536\r\n*65536\r\n*65536\r\n", REDIS_DOWN),
		CASE("negative array", "*-2\r\n", REDIS_DOWN),
		CASE("negative bulk", "$-5\r\n", REDIS_DOWN),
		CASE("bulk beyond 64 bits", "$99999999999999999999\r\n", REDIS_DOWN),
		CASE("nesting", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", REDIS_DOWN),
		CASE("not the protocol", "HTTP/1.1 400 Bad Request\r\n\r\n", REDIS_DOWN),
		CASE("an answer too many", "+OK\r\n+OK\r\n", REDIS_ANSWER),
		CASE("loading", "-LOADING Redis is loading the dataset in memory\r\n", REDIS_ERROR),
		CASE("moved", "-MOVED 3999 127.0.0.1:6381\r\n", REDIS_ERROR),
	};
	long before = rss_kb();
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct liar l = { .then = cases[i].then, .then_n = cases[i].n };
		struct client c = { 0 };
		struct answer a;

		liar_start(&l);
		client_start(&c, l.url, "", 2000);
		assert_true(wait_for(loop, &c.up, 10));
		assert_int_not_equal(send_words(&c, &a, "PING"), 0);
		assert_true(wait_for(loop, &a.done, 10));
		if (a.status != cases[i].status)
			fail_msg("%s: %d", cases[i].what, a.status);
		if (!wait_for(loop, &c.downs, 10))
			fail_msg("%s: the connection was kept", cases[i].what);
		client_stop(&c);
		evconnlistener_free(l.listener);
		turn_for(loop, 1);
	}
	assert_true(rss_kb() - before < 20000);
}

static void threat_27_an_endless_bulk_is_cut_off(void **state)
{
	size_t n = REDIS_REPLY_BYTES_MAX * 2;
	char *flood = malloc(n);
	struct client c = { 0 };
	struct liar l = { .then = flood, .then_n = n };
	struct answer a;

	(void)state;
	memset(flood, 'x', n);
	memcpy(flood, "$536870912\r\n", 12);
	liar_start(&l);
	client_start(&c, l.url, "", 5000);
	assert_true(wait_for(loop, &c.up, 10));
	assert_int_not_equal(send_words(&c, &a, "PING"), 0);
	assert_true(wait_for(loop, &a.done, 10));
	assert_int_equal(a.status, REDIS_DOWN);
	assert_non_null(strstr(redis_problem(c.r), "longer than"));
	client_stop(&c);
	evconnlistener_free(l.listener);
	turn_for(loop, 1);
	free(flood);
}

static void threat_27_a_truncated_reply_times_out_or_ends_with_the_connection(void **state)
{
	struct liar l = { .then = "*2\r\n$3\r\nab", .then_n = 10 };
	struct client c = { 0 };
	struct answer a, b;

	(void)state;
	liar_start(&l);
	client_start(&c, l.url, "", 300);
	assert_true(wait_for(loop, &c.up, 10));
	assert_int_not_equal(send_words(&c, &a, "PING"), 0);
	assert_true(wait_for(loop, &a.done, 10));
	assert_int_equal(a.status, REDIS_TIMEOUT);
	assert_true(wait_for(loop, &c.up, 10));
	l.hang_up = true;
	assert_int_not_equal(send_words(&c, &b, "PING"), 0);
	assert_true(wait_for(loop, &b.done, 10));
	assert_int_not_equal(b.status, REDIS_ANSWER);
	client_stop(&c);
	evconnlistener_free(l.listener);
	turn_for(loop, 1);
}

static void threat_27_a_server_that_is_still_loading_is_not_taken_and_tried_again(void **state)
{
	struct liar l = { .role = "-LOADING Redis is loading the dataset in memory\r\n" };
	struct client c = { 0 };

	(void)state;
	liar_start(&l);
	client_start(&c, l.url, "", 300);
	turn_for(loop, 700);
	assert_false(redis_is_up(c.r));
	assert_non_null(strstr(redis_problem(c.r), "LOADING"));
	assert_in_range(l.connections, 2, 8);		/* with back-off */
	l.role = MASTER;
	assert_true(wait_for(loop, &c.up, 10));
	client_stop(&c);
	evconnlistener_free(l.listener);
	turn_for(loop, 1);
}

static void a_sentinel_names_the_master(void **state)
{
	struct liar master = { .then = "+PONG\r\n", .then_n = 7 }, sentinel = { 0 };
	struct client c = { 0 };
	char reply[128];

	(void)state;
	liar_start(&master);
	snprintf(reply, sizeof(reply), "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n", strlen(master.url + 10), master.url + 10);
	sentinel.role = "*-1\r\n";
	liar_start(&sentinel);
	c.settings.sentinel = strdup("gate");
	client_start(&c, sentinel.url, "", 500);
	turn_for(loop, 200);
	assert_non_null(strstr(redis_problem(c.r), "knows no master"));
	sentinel.role = "*2\r\n$4\r\na\nbc\r\n$3\r\n0x1\r\n";
	turn_for(loop, 400);
	assert_false(redis_is_up(c.r));
	sentinel.role = reply;
	assert_true(wait_for(loop, &c.up, 10));
	assert_string_equal(command(&c, "PING").text, "PONG");
	client_stop(&c);
	evconnlistener_free(master.listener);
	evconnlistener_free(sentinel.listener);
	turn_for(loop, 1);
}

static void fields_are_read_length_safe_and_doubles_are_refused(void **state)
{
	static const char one[] = "*6\r\n$1\r\na\r\n$2\r\n1\0\r\n$1\r\nb\r\n:2\r\n$1\r\nc\r\n$0\r\n\r\n";
	static const char two[] = "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n2\r\n";
	redisReader *reader = redisReaderCreate();
	struct strv out;
	void *reply;

	(void)state;
	redisReaderFeed(reader, one, sizeof(one) - 1);
	assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
	assert_non_null(reply);
	assert_true(redis_field(reply, STRV("a"), &out));
	assert_int_equal(out.n, 2);
	assert_false(redis_field(reply, STRV("b"), &out));	/* a number, not text */
	assert_true(redis_field(reply, STRV("c"), &out));
	assert_int_equal(out.n, 0);
	assert_false(redis_field(reply, STRV("d"), &out));
	freeReplyObject(reply);
	redisReaderFeed(reader, two, sizeof(two) - 1);
	assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
	assert_non_null(reply);
	assert_false(redis_field(reply, STRV("a"), &out));
	freeReplyObject(reply);
	redisReaderFree(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_are_answered_in_order_and_wrong_types_are_errors),
		cmocka_unit_test(threat_27_a_paused_server_is_a_timeout_and_its_late_reply_finds_nobody),
		cmocka_unit_test(a_cancelled_command_is_never_answered_and_the_next_gets_its_own_reply),
		cmocka_unit_test(threat_27_a_killed_server_answers_down_and_is_found_again_when_it_returns),
		cmocka_unit_test(threat_28_password_and_acl_user_are_needed_where_the_server_demands_them),
		cmocka_unit_test(a_replica_is_passed_over_for_the_master_and_left_when_the_master_is_demoted),
		cmocka_unit_test(threat_28_tls_is_spoken_and_the_servers_name_and_ca_are_verified),
		cmocka_unit_test(threat_27_hostile_replies_end_the_connection_within_bounds),
		cmocka_unit_test(threat_27_an_endless_bulk_is_cut_off),
		cmocka_unit_test(threat_27_a_truncated_reply_times_out_or_ends_with_the_connection),
		cmocka_unit_test(threat_27_a_server_that_is_still_loading_is_not_taken_and_tried_again),
		cmocka_unit_test(a_sentinel_names_the_master),
		cmocka_unit_test(fields_are_read_length_safe_and_doubles_are_refused),
	};

	if (!redis_server_exists()) {
		print_message("skipped: there is no redis-server (apt-get install redis-server)\n");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_ERROR, "test", -1);
	return cmocka_run_group_tests(tests, setup, teardown);
}
