/*
 * upstream_connect: one connection to a mail server: TCP, TLS with verification, reading and writing. Worker process.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/tls.h"
#include "proxy/metric_table.h"
#include "proxy/worker/upstream_group.h"

#define IN_MAX	(128u << 10)	/* bytes of an answer read ahead of the device */
#define OUT_MAX (256u << 10)
#define READ_AT_ONCE 65536

struct upstream_attempt {
	struct upstream_server *server;
	struct upstream_conn *conn;
	upstream_attempt_fn *done;
	void *arg;
	struct event start;		/* so that done never runs inside upstream_connect() */
	unsigned tried;			/* addresses of the server */
	bool ours;			/* we could not even open a socket: says nothing of the server */
};

static void on_handshake(evutil_socket_t fd, short what, void *arg);
static bool try_next_address(struct upstream_attempt *a);

void upstream_close(struct upstream_conn *c)
{
	deadline_disarm(&c->deadline);
	if (c->fd >= 0) {
		event_del(&c->on_read);
		event_del(&c->on_write);
	}
	if (c->ssl != NULL) {
		ERR_clear_error();
		if (SSL_is_init_finished(c->ssl))
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	if (c->fd >= 0)
		close(c->fd);
	buffer_clear(&c->in);
	buffer_clear(&c->out);
	c->owner->users--;
	upstreams_maybe_free(c->owner);
	free(c);
	ERR_clear_error();
}

static void end_attempt(struct upstream_attempt *a, bool good, const char *why)
{
	struct upstream_server *s = a->server;
	struct upstream_conn *c = a->conn;
	upstream_attempt_fn *done = a->done;
	bool ours = a->ours;
	void *arg = a->arg;

	event_del(&a->start);
	deadline_disarm(&c->deadline);
	free(a);
	if (!good) {
		if (!ours)
			upstream_mark(s, false, why);
		upstream_close(c);
		c = NULL;
	} else {
		upstream_mark(s, true, NULL);
	}
	done(arg, c);
}

static void on_connect_deadline(struct deadline *d)
{
	struct upstream_conn *c = CONTAINER_OF(d, struct upstream_conn, deadline);
	struct upstream_attempt *a = c->arg;

	a->server->next_address++;
	metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_CONNECT, 1);
	end_attempt(a, false, "no connection within connect_ms: see the network and the server");
}

static void assign_events(struct upstream_conn *c, event_callback_fn on_read, event_callback_fn on_write, void *arg)
{
	struct event_base *base = loop_base(c->owner->loop);

	event_assign(&c->on_read, base, c->fd, EV_READ | EV_PERSIST, on_read, arg);
	event_assign(&c->on_write, base, c->fd, EV_WRITE | EV_PERSIST, on_write, arg);
}

static void begin_tls(struct upstream_attempt *a)
{
	struct upstream_conn *c = a->conn;
	struct upstream_server *s = a->server;

	c->ssl = tls_client_new(c->owner->groups[s->group].tls, s->tls_name);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
		end_attempt(a, false, "TLS cannot be set up for this name");
		return;
	}
	event_del(&c->on_write);
	assign_events(c, on_handshake, on_handshake, a);
	on_handshake(c->fd, 0, a);
}

/* What was wrong with the certificate says more than that it was wrong. */
static const char *tls_failure(const SSL *ssl, const char *why)
{
	long verify = SSL_get_verify_result(ssl);

	if (verify != X509_V_OK)
		return X509_verify_cert_error_string(verify);
	return why[0] != '\0' ? why : "closed during the TLS handshake";
}

static void on_handshake(evutil_socket_t fd, short what, void *arg)
{
	struct upstream_attempt *a = arg;
	struct upstream_conn *c = a->conn;
	char why[TLS_WHY_MAX];

	(void)fd;
	(void)what;
	ERR_clear_error();
	switch (tls_step_result(c->ssl, SSL_do_handshake(c->ssl), why, sizeof(why))) {
	case TLS_STEP_DONE:
		tls_forget_peer(c->ssl);
		end_attempt(a, true, NULL);
		return;
	case TLS_STEP_WANT_READ:
		event_del(&c->on_write);
		event_add(&c->on_read, NULL);
		return;
	case TLS_STEP_WANT_WRITE:
		event_add(&c->on_write, NULL);
		return;
	default:
		metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_TLS, 1);
		end_attempt(a, false, tls_failure(c->ssl, why));
		return;
	}
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct upstream_attempt *a = arg;
	int error = 0;
	socklen_t n = sizeof(error);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error != 0) {
		error = error != 0 ? error : errno;
		if (try_next_address(a))
			return;
		metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_CONNECT, 1);
		end_attempt(a, false, strerror(error));
		return;
	}
	if (a->server->url.tls) {
		begin_tls(a);
		return;
	}
	event_del(&a->conn->on_write);
	end_attempt(a, true, NULL);
}

/* Only to report a failure that upstream_connect() met itself. */
static void on_start_failed(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_CONNECT, 1);
	end_attempt(arg, false, "no connection could be begun: refused at once, or no address");
}

static int open_socket(struct upstream_conn *c, const struct address *to)
{
	int on = 1;

	c->fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -1;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* a Ping is silent for up to an hour: the kernel finds a mail server that has vanished */
	(void)setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (connect(c->fd, (const struct sockaddr *)&to->sa, to->len) < 0 && errno != EINPROGRESS)
		return -1;
	return 0;
}

/*
 * A name may have addresses that lead nowhere (IPv6 without a route): the server is down only when none of them works, and
 * the one that did is the next one's first. False: none is left.
 */
static bool try_next_address(struct upstream_attempt *a)
{
	struct upstream_conn *c = a->conn;
	struct upstream_server *s = a->server;

	while (a->tried < s->addresses_n) {
		if (c->fd >= 0) {
			event_del(&c->on_read);
			event_del(&c->on_write);
			close(c->fd);
			s->next_address++;
		}
		a->tried++;
		if (open_socket(c, &s->addresses[s->next_address % s->addresses_n]) == 0) {
			assign_events(c, on_handshake, on_connected, a);
			event_add(&c->on_write, NULL);
			return true;
		}
		if (c->fd < 0) {
			a->ours = true;
			log_say(LOG_ERROR, "no_socket", "%s: no socket can be opened: %s", s->text, strerror(errno));
			return false;
		}
		/* refused at once: its events are set, so that they can be taken off */
		assign_events(c, on_handshake, on_connected, a);
	}
	return false;
}

struct upstream_attempt *upstream_connect(struct upstream_server *s, upstream_attempt_fn *done, void *arg)
{
	static const struct timeval at_once = { 0, 0 };
	struct upstreams *u = s->owner;
	struct upstream_attempt *a = calloc(1, sizeof(*a));
	struct upstream_conn *c = calloc(1, sizeof(*c));

	if (a == NULL || c == NULL) {
		free(a);
		free(c);
		return NULL;
	}
	*a = (struct upstream_attempt){ .server = s, .conn = c, .done = done, .arg = arg };
	c->owner = u;
	c->group = s->group;
	c->server = s->index;
	c->fd = -1;
	c->arg = a;
	u->users++;
	buffer_init(&c->in, IN_MAX);
	buffer_init(&c->out, OUT_MAX);
	event_assign(&a->start, loop_base(u->loop), -1, 0, on_start_failed, a);
	if (!try_next_address(a)) {
		event_add(&a->start, &at_once);
		return a;
	}
	deadline_arm(u->loop, &c->deadline, u->groups[s->group].connect_ms, on_connect_deadline);
	return a;
}

void upstream_connect_cancel(struct upstream_attempt *a)
{
	if (a == NULL)
		return;
	event_del(&a->start);
	upstream_close(a->conn);
	free(a);
}

/* --- bytes --- */

long upstream_read(struct upstream_conn *c)
{
	size_t room, want = buffer_room(&c->in);
	long n;
	char *p;

	if (c->ended)
		return -1;
	if (want == 0)
		return 0;
	p = buffer_reserve(&c->in, want < READ_AT_ONCE ? want : READ_AT_ONCE, &room);
	if (p == NULL)
		return -1;
	if (c->ssl == NULL) {
		do {
			n = recv(c->fd, p, room, 0);
		} while (n < 0 && errno == EINTR);
		if (n < 0 && errno == EAGAIN) {
			buffer_release_empty(&c->in);
			return 0;
		}
	} else {
		char why[TLS_WHY_MAX];
		enum tls_step step;
		ERR_clear_error();
		n = SSL_read(c->ssl, p, (int)room);
		if (n <= 0) {
			step = tls_step_result(c->ssl, (int)n, why, sizeof(why));
			if (step == TLS_STEP_WANT_READ || step == TLS_STEP_WANT_WRITE) {
				buffer_release_empty(&c->in);
				return 0;
			}
			c->cut = step == TLS_STEP_FAILED;
		}
	}
	if (n <= 0) {
		c->ended = true;
		buffer_release_empty(&c->in);
		return -1;
	}
	buffer_added(&c->in, (size_t)n);
	return n;
}

long upstream_write(struct upstream_conn *c, const char *p, size_t n)
{
	long sent;

	if (n == 0)
		return 0;
	if (c->ssl == NULL) {
		do {
			sent = send(c->fd, p, n, MSG_NOSIGNAL);
		} while (sent < 0 && errno == EINTR);
		if (sent < 0 && errno != EAGAIN)
			return -1;
	} else {
		char why[TLS_WHY_MAX];
		enum tls_step step;
		ERR_clear_error();
		sent = SSL_write(c->ssl, p, (int)(n < (1u << 30) ? n : 1u << 30));
		if (sent <= 0) {
			step = tls_step_result(c->ssl, (int)sent, why, sizeof(why));
			if (step != TLS_STEP_WANT_WRITE && step != TLS_STEP_WANT_READ)
				return -1;
		}
	}
	if (sent < 0)
		sent = 0;
	if ((size_t)sent < n && !c->want_write) {
		c->want_write = true;
		event_add(&c->on_write, NULL);
	}
	return sent;
}
