/*
 * admin: answers operators and their tools, one small request a connection. Reads sessions and metrics, changes nothing. Worker process.
 */
#include "proxy/worker/admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/device.h"
#include "common/http_head.h"
#include "common/log.h"
#include "common/redis.h"
#include "proxy/metric_table.h"
#include "proxy/revocation/process.h"
#include "proxy/worker/accept.h"
#include "proxy/worker/explain.h"
#include "proxy/worker/switches.h"

#define CLIENTS_MAX 32
#define LIMIT_MS    5000
#define PAUSE_MS    500
#define ANSWER_MAX  (4u << 20)

struct admin_listener {
	struct event *readable;
};

struct admin {
	struct worker *worker;
	struct admin_listener listeners[4];
	unsigned listeners_n, clients;
	struct admin_client *first;
	struct deadline pause;
};

struct admin_client {
	struct admin *admin;
	struct admin_client *next, *prev;
	int fd;
	struct event *io;
	struct deadline deadline;
	struct buffer in, out;
	struct http_scan scan;
	bool answering;
	bool local;			/* came by run_dir's socket: whom its mode lets in */
	struct explain_op *explain;
};

static void client_free(struct admin_client *c)
{
	deadline_disarm(&c->deadline);
	explain_cancel(c->explain);
	if (c->io != NULL)
		event_free(c->io);
	close(c->fd);
	buffer_clear(&c->in);
	buffer_clear(&c->out);
	if (c->next != NULL)
		c->next->prev = c->prev;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->admin->first = c->next;
	c->admin->clients--;
	free(c);
}

static void on_deadline(struct deadline *d)
{
	client_free(CONTAINER_OF(d, struct admin_client, deadline));
}

/* --- what is told --- */

struct readiness {
	bool ready;
	struct buffer *out;
};

PRINTF(3, 4) static void check(struct readiness *r, bool good, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	r->ready &= good;
	if (buffer_printf(r->out, "%s %s\n", good ? "ok" : "MISSING", text) < 0)
		r->ready = false;
}

static void check_revocation(struct readiness *r, struct worker *w)
{
	const struct revocation_settings *set = &w->now->settings->proxy.revocation;
	int64_t age = revocation_age(w->revocation, loop_wall(w->loop));

	if (set->crls_count == 0 && !set->redis) {
		check(r, true, "revocation: no source configured, unknown: allow");
	} else if (age < 0) {
		check(r, set->unknown_allows, "revocation: a source was never loaded: see the revocation process's lines for the file, URL or Redis");
	} else if (age > set->max_age_seconds) {
		check(r, set->unknown_allows, "revocation: data are %" PRId64 " s old, more than max_age_seconds (%u): bring the CRL or Redis up to date",
		    age, set->max_age_seconds);
	} else if (revocation_is_out_of_date(w->revocation, loop_wall(w->loop))) {
		check(r, set->unknown_allows, "revocation: an issuer's list is out of date: see the revocation process's lines for which, and renew it");
	} else {
		check(r, true, "revocation: %" PRIu64 " serials, %" PRId64 " s old", revocation_serials(w->revocation), age);
	}
}

/* One line a dependency: "ok what" or "MISSING what: cure". */
static bool print_readiness(struct worker *w, struct buffer *out)
{
	struct readiness r = { true, out };
	const struct proxy_settings *p = &w->now->settings->proxy;

	check(&r, !w->draining, w->draining ? "draining: no new connections" : "accepting connections");
	check_revocation(&r, w);
	check(&r, asker_is_up(w->directory), "directory process (%s)", w->now->settings->common.directory.kind);
	if (w->directory_down[0] != '\0')
		check(&r, false, "directory: %s", w->directory_down);
	for (unsigned i = 0; i < w->kerberos_n; i++)
		check(&r, asker_is_up(w->kerberos[i]), "kerberos process %u", i);
	if (w->devices != NULL && w->now->settings->common.redis != NULL)
		check(&r, devices_are_up(w->devices), "redis: device state and events%s", devices_are_up(w->devices) ? "" : ": bring Redis back, see redis.servers");
	if (w->devices != NULL && w->now->settings->common.redis != NULL)
		check(&r, switches_are_known(w->switches), "redis: which groups are switched to certificates%s", switches_are_known(w->switches) ? "" :
		    ": not read yet: passwords and tokens are answered with 503");
	for (unsigned i = 0; i < p->upstreams_count; i++)
		check(&r, upstream_group_is_healthy(w->now->upstreams, i), "upstream %s: %s", p->upstreams[i].name,
		    upstream_group_is_healthy(w->now->upstreams, i) ? "at least one server answers" : "no server answers, see upstream_down lines");
	return r.ready;
}

static int print_own_metrics(struct worker *w, struct buffer *out)
{
	const char *group, *server, *name;
	bool healthy;
	time_t now = loop_wall(w->loop);
	int64_t age = revocation_age(w->revocation, now);
	int rc = 0;

	rc |= buffer_printf(out, "# HELP easproxy_up This build.\n# TYPE easproxy_up gauge\neasproxy_up{version=\"%s\"} 1\n", EASGATE_VERSION);
	rc |= buffer_printf(out, "# HELP easproxy_revocation_age_seconds Age of the oldest revocation data; -1: a source was never loaded.\n"
		"# TYPE easproxy_revocation_age_seconds gauge\neasproxy_revocation_age_seconds %" PRId64 "\n", age);
	rc |= buffer_printf(out, "# HELP easproxy_revoked_serials Serials in the revocation index.\n# TYPE easproxy_revoked_serials gauge\n"
		"easproxy_revoked_serials %" PRIu64 "\n", revocation_serials(w->revocation));
	rc |= buffer_printf(out, "# HELP easproxy_certificate_expiry_timestamp_seconds End of a virtual host's own certificate.\n"
		"# TYPE easproxy_certificate_expiry_timestamp_seconds gauge\n");
	for (unsigned i = 0; i < tls_hosts_count(w->now->hosts); i++) {
		int64_t end = tls_hosts_expiry(w->now->hosts, i, &name);
		rc |= buffer_printf(out, "easproxy_certificate_expiry_timestamp_seconds{host=\"%s\"} %" PRId64 "\n", name, end);
	}
	rc |= buffer_printf(out, "# HELP easproxy_upstream_healthy Whether a mail server answers, as this worker sees it.\n# TYPE easproxy_upstream_healthy gauge\n");
	for (unsigned i = 0; upstream_health(w->now->upstreams, i, &group, &server, &healthy); i++)
		rc |= buffer_printf(out, "easproxy_upstream_healthy{upstream=\"%s\",server=\"%s\"} %d\n", group, server, healthy);
	return rc;
}

/* What the revocation process does for all workers. */
static int print_revocation(struct buffer *out)
{
	int64_t taken = 0, refused = 0, lists = 0, wrong = 0, fine = metrics_total(M_REDIS_COMMANDS, REDIS_ANSWER), failed = 0;

	for (unsigned type = 0; type < EVENT_TYPES; type++)
		for (unsigned verdict = 0; verdict < EVENT_VERDICTS; verdict++)
			*(verdict <= EVENT_FOREIGN ? &taken : &refused) += metrics_total(M_REVOCATION_EVENTS, EVENT_SUB(type, verdict));
	for (unsigned look = 0; look <= LOOK_SCOPE; look++)
		*(look <= LOOK_UNCHANGED ? &lists : &wrong) += metrics_total(M_CRL_LOADS, look);
	for (unsigned result = 0; result <= REDIS_NOT_SENT; result++)
		failed += result != REDIS_ANSWER ? metrics_total(M_REDIS_COMMANDS, result) : 0;
	return buffer_printf(out, "redis              %" PRId64 " commands answered, %" PRId64 " not; %" PRId64 " connections made, %" PRId64 " lost, %" PRId64 " failed\n"
	    "events             %" PRId64 " taken, %" PRId64 " refused\n"
	    "CRLs               %" PRId64 " looks found them right (%" PRId64 " new lists), %" PRId64 " not\n",
	    fine, failed, metrics_total(M_REDIS_CONNECTIONS, REDIS_FOUND), metrics_total(M_REDIS_CONNECTIONS, REDIS_LOST),
	    metrics_total(M_REDIS_CONNECTIONS, REDIS_FAILED), taken, refused, lists, metrics_total(M_CRL_LOADS, LOOK_LOADED), wrong);
}

static int print_status(struct worker *w, struct buffer *out)
{
	const char *group, *server, *name;
	bool healthy;
	time_t now = loop_wall(w->loop);
	int rc = buffer_printf(out, "easproxy %s\n\n", EASGATE_VERSION);

	print_readiness(w, out);
	rc |= buffer_printf(out, "\nsessions           %" PRId64 " open, %" PRId64 " waiting (Ping or Sync)\n", metrics_total(M_SESSIONS, 0), metrics_total(M_SESSIONS_HELD, 0));
	rc |= buffer_printf(out, "handshakes         %" PRId64 " full, %" PRId64 " resumed, %" PRId64 " failed\n",
	    metrics_total(M_HANDSHAKES, HANDSHAKE_SUB(HANDSHAKE_FULL, TLS_13)) + metrics_total(M_HANDSHAKES, HANDSHAKE_SUB(HANDSHAKE_FULL, TLS_12)),
	    metrics_total(M_HANDSHAKES, HANDSHAKE_SUB(HANDSHAKE_RESUMED, TLS_13)) + metrics_total(M_HANDSHAKES, HANDSHAKE_SUB(HANDSHAKE_RESUMED, TLS_12)),
	    metrics_total(M_HANDSHAKES, HANDSHAKE_SUB(HANDSHAKE_FAILED, TLS_OTHER)));
	rc |= buffer_printf(out, "upstream           %" PRId64 " connections in use, %" PRId64 " idle\n", metrics_total(M_UPSTREAM_CONNECTIONS, CONNECTIONS_ACTIVE),
	    metrics_total(M_UPSTREAM_CONNECTIONS, CONNECTIONS_IDLE));
	for (unsigned i = 0; upstream_health(w->now->upstreams, i, &group, &server, &healthy); i++)
		rc |= buffer_printf(out, "  %-16s %s %s\n", group, server, healthy ? "up" : "DOWN");
	if (settings_takes_anywhere(w->now->settings, METHOD_PASSWORD))
		rc |= buffer_printf(out, "passwords          %" PRId64 " processes that stretch them, %" PRId64 " passwords wait\n",
		    metrics_total(M_LOCKOUT_STRETCHERS, 0), metrics_total(M_LOCKOUT_WAITING, 0));
	rc |= print_revocation(out);
	for (unsigned i = 0; i < tls_hosts_count(w->now->hosts); i++) {
		int64_t end = tls_hosts_expiry(w->now->hosts, i, &name);
		rc |= buffer_printf(out, "certificate        %s ends in %" PRId64 " days\n", name, (end - now) / 86400);
	}
	return rc;
}

/* --- the protocol --- */

static void answer(struct admin_client *c, unsigned status, const char *type, struct buffer *body)
{
	const char *text = status == 200 ? "OK" : status == 503 ? "Service Unavailable" : status == 404 ? "Not Found" : "Bad Request";

	c->answering = true;
	if (buffer_printf(&c->out, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, text, type, buffer_len(body)) < 0 ||
	    buffer_addv(&c->out, buffer_view(body)) < 0)
		buffer_clear(&c->out);
	buffer_clear(body);
}

static void begin_answer(struct admin_client *c);

static void on_explained(void *arg, const char *json)
{
	struct admin_client *c = arg;
	struct buffer body;

	c->explain = NULL;
	buffer_init(&body, ANSWER_MAX);
	(void)!buffer_addv(&body, strv_from(json != NULL ? json : "the directory is not to be had"));
	answer(c, json != NULL ? 200 : 503, json != NULL ? "application/json" : "text/plain", &body);
	begin_answer(c);
}

static void serve_explain(struct admin_client *c, struct strv query)
{
	struct buffer none;

	if (explain_start(c->admin->worker, query, on_explained, c, &c->explain) == 0) {
		event_del(c->io);	/* nothing more is read */
		return;
	}
	buffer_init(&none, 64);
	answer(c, 400, "text/plain", &none);
}

static void serve(struct admin_client *c, const struct http_head *head)
{
	struct worker *w = c->admin->worker;
	struct buffer body;
	bool get = strv_eq(head->method, STRV("GET"));

	buffer_init(&body, ANSWER_MAX);
	if (get && strv_eq(head->path, STRV("/healthz"))) {
		(void)!buffer_addv(&body, STRV("ok\n"));
		answer(c, 200, "text/plain", &body);
	} else if (get && strv_eq(head->path, STRV("/readyz"))) {
		bool ready = print_readiness(w, &body);
		answer(c, ready ? 200 : 503, "text/plain", &body);
	} else if (get && strv_eq(head->path, STRV("/metrics"))) {
		int rc = metrics_print(&body) | print_own_metrics(w, &body);
		answer(c, rc == 0 ? 200 : 503, "text/plain; version=0.0.4", &body);
	} else if (get && strv_eq(head->path, STRV("/status"))) {
		int rc = print_status(w, &body);
		answer(c, rc == 0 ? 200 : 503, "text/plain", &body);
	} else if (get && c->local && strv_eq(head->path, STRV("/explain"))) {
		serve_explain(c, head->query);
	} else {
		(void)!buffer_addv(&body, STRV("there are /healthz /readyz /metrics /status\n"));
		answer(c, 404, "text/plain", &body);
	}
}

static void send_out(struct admin_client *c)
{
	while (buffer_len(&c->out) > 0) {
		ssize_t n = send(c->fd, buffer_data(&c->out), buffer_len(&c->out), MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
		buffer_eat(&c->out, (size_t)n);
	}
	client_free(c);
}

static void on_client(evutil_socket_t fd, short what, void *arg)
{
	static const struct http_limits limits = { 8192, 64 };
	static struct http_head head;
	struct admin_client *c = arg;
	struct buffer none;
	enum http_result rc;
	size_t room, used;
	ssize_t n;
	char *p;

	(void)what;
	if (c->answering) {
		send_out(c);
		return;
	}
	p = buffer_reserve(&c->in, 4096, &room);
	n = p != NULL ? recv(fd, p, room, 0) : -1;
	if (n < 0 && p != NULL && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_free(c);
		return;
	}
	buffer_added(&c->in, (size_t)n);
	rc = http_read_request(&head, &c->scan, buffer_data(&c->in), buffer_len(&c->in), &limits, &used);
	if (rc == HTTP_MORE)
		return;
	if (rc == HTTP_DONE) {
		serve(c, &head);
	} else {
		buffer_init(&none, 64);
		answer(c, 400, "text/plain", &none);
	}
	if (c->explain == NULL)
		begin_answer(c);
}

static void begin_answer(struct admin_client *c)
{
	event_free(c->io);
	c->io = event_new(loop_base(c->admin->worker->loop), c->fd, EV_WRITE | EV_PERSIST, on_client, c);
	if (c->io == NULL || event_add(c->io, NULL) < 0) {
		client_free(c);
		return;
	}
	send_out(c);
}

static void on_pause_over(struct deadline *d)
{
	struct admin *a = CONTAINER_OF(d, struct admin, pause);

	for (unsigned i = 0; i < a->listeners_n; i++) {
		if (event_add(a->listeners[i].readable, NULL) < 0)
			deadline_arm(a->worker->loop, &a->pause, PAUSE_MS, on_pause_over);
	}
}

/* No descriptor or no memory for who waits there: to try again at once would only take the processor's time. */
static void pause_accepting(struct admin *a)
{
	for (unsigned i = 0; i < a->listeners_n; i++)
		event_del(a->listeners[i].readable);
	deadline_arm(a->worker->loop, &a->pause, PAUSE_MS, on_pause_over);
}

static bool is_local(int fd)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &n) == 0 && sa.ss_family == AF_UNIX;
}

static void on_acceptable(evutil_socket_t socket, short what, void *arg)
{
	struct admin *a = arg;
	struct admin_client *c;
	int fd = accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			pause_accepting(a);
		return;
	}
	c = a->clients < CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (c == NULL) {
		close(fd);
		return;
	}
	c->admin = a;
	c->fd = fd;
	c->local = is_local(fd);
	buffer_init(&c->in, 8192);
	buffer_init(&c->out, ANSWER_MAX + 1024);
	c->next = a->first;
	if (a->first != NULL)
		a->first->prev = c;
	a->first = c;
	a->clients++;
	c->io = event_new(loop_base(a->worker->loop), fd, EV_READ | EV_PERSIST, on_client, c);
	if (c->io == NULL || event_add(c->io, NULL) < 0) {
		client_free(c);
		return;
	}
	deadline_arm(a->worker->loop, &c->deadline, LIMIT_MS, on_deadline);
}

int admin_start(struct worker *w)
{
	const struct child_socket *sockets;
	size_t n;

	w->admin = calloc(1, sizeof(*w->admin));
	if (w->admin == NULL)
		return -1;
	w->admin->worker = w;
	sockets = child_sockets(w->child, &n);
	for (size_t i = 0; i < n; i++) {
		struct event *e;
		if (sockets[i].tag < SOCKET_TAG_ADMIN || w->admin->listeners_n == ARRAY_LEN(w->admin->listeners))
			continue;
		e = event_new(loop_base(w->loop), sockets[i].fd, EV_READ | EV_PERSIST, on_acceptable, w->admin);
		if (e == NULL)
			return -1;
		w->admin->listeners[w->admin->listeners_n++].readable = e;	/* freed with the others, added or not */
		if (event_add(e, NULL) < 0)
			return -1;
	}
	return 0;
}

void admin_free(struct worker *w)
{
	if (w->admin == NULL)
		return;
	deadline_disarm(&w->admin->pause);
	while (w->admin->first != NULL)
		client_free(w->admin->first);
	for (unsigned i = 0; i < w->admin->listeners_n; i++)
		event_free(w->admin->listeners[i].readable);
	free(w->admin);
	w->admin = NULL;
}
