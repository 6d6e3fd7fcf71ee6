/*
 * http_connection: one connection's bytes: TLS or clear text in, a head and a body out of them, an answer back, the next one.
 * Every state has a time limit. Decides nothing about what is asked. Worker of easenroll.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>

#include "common/log.h"
#include "common/tls.h"
#include "common/tls_socket.h"
#include "enroll/worker/http_server_parts.h"

#define LINGER_MS	2000
#define LINGER_BYTES	262144
#define BODY_SLOW	10	/* a whole body may take so many times body_seconds */

static void connection_run(struct http_connection *c);
static void let_go(struct http_connection *c);

void connection_free(struct http_connection *c)
{
	struct http_server *s = c->server;

	deadline_disarm(&c->deadline);
	if (c->state == CONNECTION_HELD)
		let_go(c);
	if (c->pending != NULL)
		c->pending->connection = NULL;
	if (c->pending != NULL && (c->state == CONNECTION_HEAD || c->state == CONNECTION_BODY))
		pending_free(c->pending);	/* nobody has seen it */
	event_del(&c->on_read);
	event_del(&c->on_write);
	room_leave(c);
	SSL_free(c->ssl);
	close(c->fd);
	buffer_clear(&c->in);
	buffer_clear(&c->body);
	buffer_clear(&c->out);
	connection_drop_shared(c);
	free(c->certificate);
	free(c);
	server_connection_gone(s);
}

static void read_events(struct http_connection *c, bool on)
{
	if (c->reading != on)
		(void)(on ? event_add(&c->on_read, NULL) : event_del(&c->on_read));
	c->reading = on;
}

static void write_events(struct http_connection *c, bool on)
{
	if (c->writing != on)
		(void)(on ? event_add(&c->on_write, NULL) : event_del(&c->on_write));
	c->writing = on;
}

static void on_deadline(struct deadline *d);

void connection_limit(struct http_connection *c, uint64_t ms)
{
	deadline_arm(c->server->loop, &c->deadline, ms, on_deadline);
}

/* --- the end of a connection --- */

/* Says that no more comes from us and drops what still comes from there. May free c. */
static void begin_linger(struct http_connection *c)
{
	if (c->ssl != NULL) {
		ERR_clear_error();
		(void)SSL_shutdown(c->ssl);
		ERR_clear_error();
		(void)!tls_socket_send(c->ssl);
	}
	if (shutdown(c->fd, SHUT_WR) < 0 || c->server->draining) {
		connection_free(c);
		return;
	}
	c->busy = false;
	c->state = CONNECTION_LINGER;
	buffer_clear(&c->in);
	write_events(c, false);
	read_events(c, true);
	connection_limit(c, LINGER_MS);
}

/* From the socket itself: what would be a TLS record is dropped as well. */
static void linger(struct http_connection *c)
{
	char waste[4096];
	ssize_t n = recv(c->fd, waste, sizeof(waste), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	c->dropped += n > 0 ? (size_t)n : 0;
	if (n <= 0 || c->dropped > LINGER_BYTES)
		connection_free(c);
}

static void on_deadline(struct deadline *d)
{
	struct http_connection *c = CONTAINER_OF(d, struct http_connection, deadline);

	if (c->state != CONNECTION_HEAD && c->state != CONNECTION_BODY) {
		connection_free(c);
		return;
	}
	/* it began to ask: it may be told */
	pending_refuse(c, 408, "the request did not come in time\n");
}

static void hold(struct http_connection *c, uint64_t number)
{
	struct http_server *s = c->server;

	c->held_for = number;
	c->held_next = NULL;
	c->held_prev = s->held_last;
	if (s->held_last != NULL)
		s->held_last->held_next = c;
	else
		s->held = c;
	s->held_last = c;
}

static void let_go(struct http_connection *c)
{
	struct http_server *s = c->server;

	if (c->held_next != NULL)
		c->held_next->held_prev = c->held_prev;
	else
		s->held_last = c->held_prev;
	if (c->held_prev != NULL)
		c->held_prev->held_next = c->held_next;
	else
		s->held = c->held_next;
}

void connection_answer(struct http_connection *c, bool close_after, uint64_t number)
{
	room_body_over(c);
	c->pending = NULL;
	c->close = close_after || c->server->draining;
	c->state = number != 0 ? CONNECTION_HELD : CONNECTION_WRITING;
	connection_limit(c, (uint64_t)c->server->config.idle_seconds * 1000);
	if (number != 0)
		hold(c, number);
	else
		crowd_waits(&c->crowd);
	if (number == 0 && !c->busy)
		connection_run(c);
}

void http_server_release(struct http_server *s, uint64_t upto)
{
	while (s->held != NULL && s->held->held_for <= upto) {
		struct http_connection *c = s->held;

		let_go(c);
		c->state = CONNECTION_WRITING;
		crowd_waits(&c->crowd);
		connection_run(c);
	}
}

/* --- reading a request --- */

static unsigned status_of(enum http_result rc)
{
	switch (rc) {
	case HTTP_TOO_LARGE:
	case HTTP_TOO_MANY:
		return 431;
	case HTTP_BAD_VERSION:
		return 505;
	case HTTP_BAD_EXPECT:
		return 417;
	default:
		return 400;
	}
}

static void refuse_reading(struct http_connection *c, enum http_result rc)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "request_refused");
	log_cstr(&l, "client", c->client);
	log_cstr(&l, "why", http_result_text(rc));
	log_end(&l);
	pending_refuse(c, rc == HTTP_TOO_LARGE && c->state == CONNECTION_BODY ? 413 : status_of(rc), "the request is malformed or too large\n");
}

static void take_body(struct http_connection *c);

static bool begin_body(struct http_connection *c, const struct http_head *head)
{
	const struct http_server_config *config = &c->server->config;

	c->left = head->body == HTTP_BODY_LENGTH ? head->length : 0;
	c->chunk = (struct http_chunk){ .max_body = config->body_bytes };
	if (head->body == HTTP_BODY_LENGTH && head->length > config->body_bytes) {
		pending_refuse(c, 413, "the body is too large\n");
		return false;
	}
	if (head->expect_continue && head->minor == 1 && buffer_len(&c->in) == 0 && head->body != HTTP_BODY_NONE && (c->left > 0 || head->body == HTTP_BODY_CHUNKED) &&
	    buffer_addv(&c->out, STRV("HTTP/1.1 100 Continue\r\n\r\n")) < 0)
		return false;
	c->state = CONNECTION_BODY;
	c->body_until_ms = loop_now_ms(c->server->loop) + (uint64_t)config->body_seconds * 1000 * BODY_SLOW;
	connection_limit(c, (uint64_t)config->body_seconds * 1000);
	take_body(c);
	return true;
}

/* IO_OK: the head is complete and the next state began, or an answer is to be written. */
static enum io take_head(struct http_connection *c)
{
	static struct http_head head;	/* large; used up before anybody else runs */
	const struct http_server_config *config = &c->server->config;
	const struct http_limits limits = { config->head_bytes, config->headers };
	enum http_result rc;
	size_t used;

	if (buffer_len(&c->in) == 0)
		return IO_AGAIN;
	if (c->state == CONNECTION_IDLE) {
		c->state = CONNECTION_HEAD;
		c->scan = (struct http_scan){ 0, 0 };
		connection_limit(c, (uint64_t)config->head_seconds * 1000);
	}
	rc = http_read_request(&head, &c->scan, buffer_data(&c->in), buffer_len(&c->in), &limits, &used);
	if (rc == HTTP_MORE)
		return IO_AGAIN;
	if (rc != HTTP_DONE) {
		refuse_reading(c, rc);
		return IO_OK;
	}
	c->pending = pending_new(c, &head, used);
	if (c->pending == NULL)
		return IO_ENDED;
	buffer_eat(&c->in, used);
	begin_body(c, &c->pending->head);
	return IO_OK;
}

static void body_complete(struct http_connection *c)
{
	struct pending *p = c->pending;

	p->body = c->body;
	buffer_init(&c->body, c->server->config.body_bytes + 1);
	deadline_disarm(&c->deadline);
	c->state = CONNECTION_SERVING;
	crowd_served(&c->crowd);
	pending_serve(p);
}

static bool keep_body(struct http_connection *c, struct strv data)
{
	if (buffer_addv(&c->body, data) < 0)
		pending_refuse(c, 413, "the body is too large\n");
	else if (room_body(c, data.n) < 0)
		pending_refuse(c, 503, "too many are sending at once: try again\n");
	else
		return true;
	return false;
}

static void take_chunks(struct http_connection *c)
{
	while (buffer_len(&c->in) > 0) {
		struct strv data;
		size_t used;
		enum http_result rc = http_chunk_read(&c->chunk, buffer_data(&c->in), buffer_len(&c->in), &used, &data);
		if (rc != HTTP_MORE && rc != HTTP_DONE) {
			refuse_reading(c, rc);
			return;
		}
		if (!keep_body(c, data))
			return;
		buffer_eat(&c->in, used);
		if (rc == HTTP_DONE) {
			body_complete(c);
			return;
		}
	}
}

static void take_body(struct http_connection *c)
{
	enum http_body kind = c->pending->head.body;
	size_t n;

	if (kind == HTTP_BODY_CHUNKED) {
		take_chunks(c);
		return;
	}
	n = buffer_len(&c->in) < c->left ? buffer_len(&c->in) : (size_t)c->left;
	if (n > 0 && !keep_body(c, (struct strv){ buffer_data(&c->in), n }))
		return;
	buffer_eat(&c->in, n);
	c->left -= n;
	if (c->left == 0)
		body_complete(c);
}

static void limit_body(struct http_connection *c)
{
	uint64_t now = loop_now_ms(c->server->loop), ms = (uint64_t)c->server->config.body_seconds * 1000;

	if (now + ms > c->body_until_ms)
		ms = c->body_until_ms > now ? c->body_until_ms - now : 0;
	connection_limit(c, ms);
}

/* --- TLS --- */

static void keep_peer(struct http_connection *c)
{
	X509 *leaf = tls_server_peer(c->ssl);
	unsigned char *der = NULL;
	int n = leaf != NULL ? i2d_X509(leaf, &der) : 0;

	if (n > 0 && (c->certificate = malloc((size_t)n)) != NULL) {
		memcpy(c->certificate, der, (size_t)n);
		c->certificate_n = (size_t)n;
	}
	OPENSSL_free(der);
	/* with TLS 1.3 it can be had later (http_request_is_bound()), and few ask */
	if (SSL_version(c->ssl) < TLS1_3_VERSION)
		tls_binding_take(c->ssl, &c->binding);
	tls_forget_peer(c->ssl);
}

static enum io handshake(struct http_connection *c)
{
	char why[TLS_WHY_MAX];
	enum tls_step step;
	int sent, rc;

	tls_socket_gather(c->ssl);
	ERR_clear_error();
	rc = SSL_do_handshake(c->ssl);
	step = tls_step_result(c->ssl, rc, why, sizeof(why));
	sent = tls_socket_send(c->ssl);
	if (sent < 0)
		return IO_ENDED;
	write_events(c, sent == 0);
	if (step == TLS_STEP_WANT_READ || step == TLS_STEP_WANT_WRITE)
		return IO_AGAIN;
	if (step != TLS_STEP_DONE) {
		log_say(LOG_DEBUG, "handshake_failed", "%s: %s", c->client, why);
		return IO_ENDED;
	}
	keep_peer(c);
	c->state = CONNECTION_IDLE;
	connection_limit(c, (uint64_t)c->server->config.head_seconds * 1000);
	return IO_OK;
}

/* --- one step after the other --- */

static enum io step_reading(struct http_connection *c)
{
	enum io io;

	if (c->state != CONNECTION_BODY) {
		io = take_head(c);
		if (io != IO_AGAIN)
			return io;
	} else {
		take_body(c);
		if (c->state != CONNECTION_BODY)
			return IO_OK;
	}
	if (buffer_len(&c->out) > 0 && connection_flush(c) == IO_ENDED)	/* 100 Continue */
		return IO_ENDED;
	io = connection_fill(c);
	if (io == IO_OK && c->state == CONNECTION_BODY)
		limit_body(c);
	return io;
}

static enum io step_writing(struct http_connection *c)
{
	enum io io = connection_flush(c);

	write_events(c, io == IO_AGAIN);
	if (io != IO_OK)
		return io;
	if (c->close) {
		begin_linger(c);
		return IO_LEFT;
	}
	c->state = CONNECTION_IDLE;
	room_answered(c);
	connection_limit(c, (uint64_t)c->server->config.idle_seconds * 1000);
	/* the next request is seldom there already: what is in the socket will be told */
	return buffer_len(&c->in) > 0 || (c->ssl != NULL && SSL_has_pending(c->ssl)) ? IO_OK : IO_AGAIN;
}

static bool reads(const struct http_connection *c)
{
	return c->state != CONNECTION_SERVING && c->state != CONNECTION_HELD && c->state != CONNECTION_WRITING;
}

/* Until nothing more can be done now. May free c. */
static void connection_run(struct http_connection *c)
{
	enum io io = IO_OK;

	c->busy = true;
	while (io == IO_OK) {
		switch (c->state) {
		case CONNECTION_HANDSHAKE:
			io = handshake(c);
			break;
		case CONNECTION_IDLE:
		case CONNECTION_HEAD:
		case CONNECTION_BODY:
			io = step_reading(c);
			break;
		case CONNECTION_WRITING:
			io = step_writing(c);
			break;
		default:
			io = IO_AGAIN;
			break;
		}
	}
	if (io == IO_ENDED)
		connection_free(c);
	if (io == IO_ENDED || io == IO_LEFT)
		return;
	c->busy = false;
	if (reads(c))
		read_events(c, true);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct http_connection *c = arg;

	(void)fd;
	if (c->state == CONNECTION_LINGER)
		linger(c);
	else if ((what & EV_READ) != 0 && !reads(c))
		read_events(c, false);	/* only now: most clients send nothing before they have their answer, and to stop and begin again costs two calls */
	else
		connection_run(c);
}

/* --- the beginning --- */

void connection_start(struct http_listener *l, int fd, const struct sockaddr *from)
{
	struct http_server *s = l->server;
	struct http_connection *c = calloc(1, sizeof(*c));
	struct event_base *base = loop_base(s->loop);

	if (c == NULL) {
		close(fd);
		return;
	}
	c->server = s;
	c->listener = l;
	c->fd = fd;
	buffer_init(&c->in, s->config.head_bytes > READ_AT_ONCE ? s->config.head_bytes + 1 : READ_AT_ONCE);
	buffer_init(&c->body, s->config.body_bytes + 1);
	buffer_init(&c->out, 4096);
	if (room_enter(c, from) < 0) {
		close(fd);
		free(c);
		return;
	}
	event_assign(&c->on_read, base, fd, EV_READ | EV_PERSIST, on_event, c);
	event_assign(&c->on_write, base, fd, EV_WRITE | EV_PERSIST, on_event, c);
	c->state = l->tls != NULL ? CONNECTION_HANDSHAKE : CONNECTION_IDLE;
	if (l->tls != NULL) {
		c->ssl = SSL_new(l->tls);
		if (c->ssl == NULL || tls_socket_set(c->ssl, fd) < 0) {
			connection_free(c);
			return;
		}
		SSL_set_accept_state(c->ssl);
	}
	connection_limit(c, (uint64_t)(l->tls != NULL ? s->config.handshake_seconds : s->config.head_seconds) * 1000);
	read_events(c, true);
}
