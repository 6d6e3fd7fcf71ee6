/*
 * redis_connect: finds the master and introduces itself: the configured servers in turn, or what the Sentinels name; AUTH; ROLE
 * must say master. Back-off between rounds. Commands are redis.c's.
 */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "common/address.h"
#include "common/log.h"
#include "common/redis_parts.h"
#include "common/text.h"
#include "common/tls.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 3000
#define HEALTH_MS      5000		/* how often a master is asked whether it still is one */

static const char *server_text(const struct redis *r)
{
	return r->c.settings->servers[r->server];
}

static void on_retry(struct deadline *d)
{
	redis_connect(CONTAINER_OF(d, struct redis, retry));
}

static void close_connection(struct redis *r)
{
	deadline_disarm(&r->limit);
	deadline_disarm(&r->health);
	if (r->bev != NULL)
		bufferevent_free(r->bev);
	r->bev = NULL;
	redis_reader_free(r);
	r->stage = REDIS_WAITING;
}

static void wait_and_retry(struct redis *r)
{
	unsigned in_ms = 0;

	/* The other servers at once; after the last one a pause that doubles, with some spread between the nodes. */
	if (++r->tried >= r->c.settings->servers_count) {
		r->tried = 0;
		r->backoff_ms = r->backoff_ms == 0 ? BACKOFF_MIN_MS : r->backoff_ms * 2;
		if (r->backoff_ms > BACKOFF_MAX_MS)
			r->backoff_ms = BACKOFF_MAX_MS;
		in_ms = r->backoff_ms - arc4random_uniform(r->backoff_ms / 4 + 1);
	}
	r->server = (r->server + 1) % r->c.settings->servers_count;
	r->named_by_sentinel = r->on_sentinel = false;
	deadline_arm(r->c.loop, &r->retry, in_ms, on_retry);
}

void redis_drop(struct redis *r, const char *fmt, ...)
{
	bool was_up = r->stage == REDIS_READY;
	struct log_line l;
	char why[160];
	va_list ap;

	if (r->dropping || (r->bev == NULL && r->stage == REDIS_WAITING && r->retry.next != NULL))
		return;
	r->dropping = true;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (r->named_by_sentinel)
		snprintf(r->problem, sizeof(r->problem), "%s:%u (named by %s): %s", r->master_host, r->master_port,
		    server_text(r), why);
	else
		snprintf(r->problem, sizeof(r->problem), "%s: %s", server_text(r), why);
	redis_count_connection(r, was_up ? REDIS_LOST : REDIS_FAILED);
	if (was_up || !r->said) {
		log_begin(&l, LOG_ERROR, "redis_down");
		log_cstr(&l, "connection", r->c.name);
		log_cstr(&l, "message", r->problem);
		log_end(&l);
		r->said = true;
	}
	close_connection(r);
	wait_and_retry(r);
	redis_answer_all_down(r);
	r->dropping = false;
	if (was_up && r->c.state != NULL)
		r->c.state(r->c.arg, false);
}

/* --- introduction --- */

static void ask(struct redis *r, redis_done_fn *done, int argc, const char *const *argv, const size_t *lens)
{
	if (redis_send(r, r->c.settings->timeout_ms, done, r, argc, argv, lens) == 0)
		redis_drop(r, "out of memory");
}

/* "": the answer is as it must be; else what to say. */
static void reason(const char *step, enum redis_status status, const redisReply *reply, char *out, size_t size)
{
	if (status == REDIS_ERROR)
		snprintf(out, size, "%s: %.*s", step, (int)(reply->len < 100 ? reply->len : 100), reply->str);
	else if (status == REDIS_TIMEOUT)
		snprintf(out, size, "%s: no answer within the time limit", step);
	else
		snprintf(out, size, "%s: not what a Redis server answers", step);
}

static void ask_role(struct redis *r, redis_done_fn *done)
{
	static const char *const role[] = { "ROLE" };

	ask(r, done, 1, role, NULL);
}

static bool says_master(enum redis_status status, const redisReply *reply)
{
	struct strv role;

	return status == REDIS_ANSWER && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
	    redis_text(reply->element[0], &role) && strv_eq(role, STRV("master"));
}

static void drop_for_role(struct redis *r, enum redis_status status, const redisReply *reply)
{
	char why[160];

	if (status == REDIS_DOWN)
		return;
	if (status == REDIS_ANSWER)
		snprintf(why, sizeof(why), "is not a master");
	else
		reason("ROLE", status, reply, why, sizeof(why));
	redis_drop(r, "%s", why);
}

static void on_health(void *arg, enum redis_status status, const redisReply *reply);

static void on_health_due(struct deadline *d)
{
	struct redis *r = CONTAINER_OF(d, struct redis, health);

	deadline_arm(r->c.loop, &r->health, HEALTH_MS, on_health_due);
	ask_role(r, on_health);
}

static void on_health(void *arg, enum redis_status status, const redisReply *reply)
{
	if (!says_master(status, reply))
		drop_for_role(arg, status, reply);
}

static void on_role(void *arg, enum redis_status status, const redisReply *reply)
{
	struct redis *r = arg;
	struct log_line l;

	if (!says_master(status, reply)) {
		drop_for_role(r, status, reply);
		return;
	}
	deadline_disarm(&r->limit);
	deadline_arm(r->c.loop, &r->health, HEALTH_MS, on_health_due);
	r->stage = REDIS_READY;
	r->tried = r->backoff_ms = 0;
	r->said = false;
	redis_count_connection(r, REDIS_FOUND);
	log_begin(&l, LOG_INFO, "redis_up");
	log_cstr(&l, "connection", r->c.name);
	log_cstr(&l, "server", r->named_by_sentinel ? r->master_host : server_text(r));
	log_end(&l);
	if (r->c.state != NULL)
		r->c.state(r->c.arg, true);
}

static void on_auth(void *arg, enum redis_status status, const redisReply *reply)
{
	struct redis *r = arg;
	char why[160];

	if (status == REDIS_DOWN)
		return;
	if (status == REDIS_ANSWER) {
		ask_role(r, on_role);
		return;
	}
	reason("AUTH", status, reply, why, sizeof(why));
	redis_drop(r, "%s", why);
}

static void ask_auth(struct redis *r, redis_done_fn *done)
{
	const char *argv[3] = { "AUTH", r->c.settings->username, r->password };
	size_t lens[3] = { 4, strlen(r->c.settings->username), r->password_n };

	if (lens[1] == 0) {		/* the default user: also servers before 6.0 */
		argv[1] = argv[2];
		lens[1] = lens[2];
		ask(r, done, 2, argv, lens);
	} else {
		ask(r, done, 3, argv, lens);
	}
}

static void on_sentinel(void *arg, enum redis_status status, const redisReply *reply)
{
	struct redis *r = arg;
	struct strv host, port;
	uint64_t number;
	char why[160];

	if (status == REDIS_DOWN)
		return;
	if (status != REDIS_ANSWER || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
	    !redis_text(reply->element[0], &host) || !redis_text(reply->element[1], &port) || host.n == 0 ||
	    text_copy(r->master_host, sizeof(r->master_host), host) < 0 || text_u64(port, 65535, &number) < 0 || number == 0) {
		if (status == REDIS_ANSWER && reply->type == REDIS_REPLY_NIL)
			snprintf(why, sizeof(why), "this Sentinel knows no master of that name");
		else
			reason("SENTINEL", status, reply, why, sizeof(why));
		redis_drop(r, "%s", why);
		return;
	}
	r->master_port = (uint16_t)number;
	close_connection(r);
	r->named_by_sentinel = true;
	/* Not from within this connection's callback. */
	deadline_arm(r->c.loop, &r->retry, 0, on_retry);
}

static void ask_sentinel(struct redis *r)
{
	const char *argv[3] = { "SENTINEL", "get-master-addr-by-name", r->c.settings->sentinel };

	ask(r, on_sentinel, 3, argv, NULL);
}

/* Sentinels often have no password of their own: whether this one let us in shows in its next answer. */
static void on_sentinel_auth(void *arg, enum redis_status status, const redisReply *reply)
{
	(void)reply;
	if (status == REDIS_ANSWER || status == REDIS_ERROR)
		ask_sentinel(arg);
}

static void introduce(struct redis *r)
{
	r->stage = REDIS_INTRODUCING;
	if (r->password_n > 0)
		ask_auth(r, r->on_sentinel ? on_sentinel_auth : on_auth);
	else if (r->on_sentinel)
		ask_sentinel(r);
	else
		ask_role(r, on_role);
}

/* --- connection --- */

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	unsigned long code = bufferevent_get_openssl_error(bev);
	struct redis *r = arg;
	char text[128];
	int dns;

	if (what & BEV_EVENT_CONNECTED) {
		introduce(r);
		return;
	}
	dns = bufferevent_socket_get_dns_error(bev);
	if (code != 0) {
		ERR_error_string_n(code, text, sizeof(text));
		redis_drop(r, "TLS: %s", text);
	} else if (dns != 0) {
		redis_drop(r, "%s", evutil_gai_strerror(dns));
	} else if (what & BEV_EVENT_EOF) {
		redis_drop(r, "it closed the connection");
	} else {
		redis_drop(r, "%s", evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
	}
}

static void on_limit(struct deadline *d)
{
	redis_drop(CONTAINER_OF(d, struct redis, limit), "no connection within the time limit");
}

static int connect_unix(struct redis *r, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(sa.sun_path))
		return -1;
	memcpy(sa.sun_path, path, strlen(path));
	return bufferevent_socket_connect(r->bev, (struct sockaddr *)(void *)&sa, (int)sizeof(sa));
}

static int connect_name(struct redis *r, const char *host, uint16_t port)
{
	struct sockaddr_storage sa;
	char text[300];
	int n = (int)sizeof(sa);

	snprintf(text, sizeof(text), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)(void *)&sa, &n) == 0)
		return bufferevent_socket_connect(r->bev, (struct sockaddr *)(void *)&sa, n);
	if (r->c.dns != NULL)
		return bufferevent_socket_connect_hostname(r->bev, r->c.dns, AF_UNSPEC, host, port);
	if (r->dns == NULL)
		r->dns = evdns_base_new(loop_base(r->c.loop), EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (r->dns == NULL) {
		/* No resolv.conf: /etc/hosts may still do. */
		r->dns = evdns_base_new(loop_base(r->c.loop), EVDNS_BASE_DISABLE_WHEN_INACTIVE);
		if (r->dns != NULL)
			evdns_base_load_hosts(r->dns, "/etc/hosts");
	}
	return r->dns == NULL ? -1 : bufferevent_socket_connect_hostname(r->bev, r->dns, AF_UNSPEC, host, port);
}

static struct bufferevent *new_connection(struct redis *r, const char *host)
{
	struct event_base *base = loop_base(r->c.loop);
	int options = BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS;
	struct bufferevent *bev;
	SSL *ssl;

	if (r->tls == NULL || host == NULL)
		return bufferevent_socket_new(base, -1, options);
	ssl = tls_client_new(r->tls, host);
	if (ssl == NULL)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, options);
	if (bev == NULL)
		SSL_free(ssl);
	return bev;
}

void redis_connect(struct redis *r)
{
	const char *text = server_text(r), *path = strncmp(text, "unix:", 5) == 0 ? text + 5 : NULL;
	char host[256] = "";
	uint16_t port = 0;
	int rc;

	r->stage = REDIS_CONNECTING;
	r->on_sentinel = r->c.settings->sentinel[0] != '\0' && !r->named_by_sentinel;
	if (r->named_by_sentinel) {
		path = NULL;
		memcpy(host, r->master_host, sizeof(host));
		port = r->master_port;
	} else if (path == NULL && host_port_parse(strv_from(text), r->on_sentinel ? 26379 : 6379, host, &port) < 0) {
		redis_drop(r, "not host:port nor unix:/path");
		return;
	}
	r->bev = new_connection(r, path == NULL ? host : NULL);
	if (r->bev == NULL || redis_reader_new(r) < 0) {
		redis_drop(r, "out of memory, or not a name that TLS can verify");
		return;
	}
	bufferevent_setcb(r->bev, redis_on_read, NULL, on_event, r);
	bufferevent_setwatermark(r->bev, EV_READ, 0, 262144);
	deadline_arm(r->c.loop, &r->limit, r->c.settings->timeout_ms, on_limit);
	rc = path != NULL ? connect_unix(r, path) : connect_name(r, host, port);
	if (rc < 0) {
		redis_drop(r, "cannot connect: %s", strerror(errno));
		return;
	}
	if (r->bev != NULL)
		bufferevent_enable(r->bev, EV_READ | EV_WRITE);
}
