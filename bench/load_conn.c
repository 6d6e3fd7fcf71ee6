/*
 * load_conn: one connection from connect to close, driven by readiness.
 * Decides nothing about how many there are (load.c). Runs in the load generator.
 */
#include "load.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

static const unsigned char zeros[65536];
static unsigned char scratch[65536];

enum step { STEP_ON, STEP_WAIT };       /* go on with the next stage, or wait for the socket */

void conn_close(struct load *l, struct conn *c)
{
	(void)l;
	if (c->stage == STAGE_CLOSED)
		return;
	if (c->ssl) {
		/* without it OpenSSL would spoil the session that is to be resumed */
		if (SSL_is_init_finished(c->ssl))
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	close(c->fd);           /* leaves the epoll set by itself */
	ERR_clear_error();
	c->ssl = NULL;
	c->fd = -1;
	c->stage = STAGE_CLOSED;
}

/* Gives one of the operations left to a slot; the loop starts it, so that nothing here recurses. */
void op_queue(struct load *l, struct conn *c)
{
	l->left--;
	l->busy++;
	l->todo[l->todo_n++] = c;
}

/* An operation has ended, well or not: the slot takes the next one. */
static void op_end(struct load *l, struct conn *c)
{
	l->counts.ops++;
	l->busy--;
	if (!l->left)
		return;
	if (l->opt.mode != MODE_HOLD)
		op_queue(l, c);
	else if (l->conn_next < l->conn_n)
		op_queue(l, &l->conns[l->conn_next++]);
}

void conn_fail(struct load *l, struct conn *c, const char *why)
{
	bool running = c->stage != STAGE_IDLE && c->stage != STAGE_HELD;
	unsigned long e = ERR_peek_last_error();

	if (!l->first_failure[0])
		snprintf(l->first_failure, sizeof(l->first_failure), "%s%s%s", why, e ? ": " : "",
		         e ? ERR_reason_error_string(e) : "");
	l->counts.failures++;
	conn_close(l, c);
	if (running)
		op_end(l, c);
}

static void request_begin(struct conn *c)
{
	c->sent = 0;
	c->head_n = 0;
	c->head_done = false;
	c->server_closes = false;
	c->stage = STAGE_SEND;
}

static int conn_open(struct load *l, struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	                          .data.ptr = c };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -1;
	c->stage = STAGE_CONNECT;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->ssl = SSL_new(l->ctx);
	if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) ||
	    (!l->opt.password && (!SSL_use_certificate(c->ssl, c->device->certificate) ||
	                          !SSL_use_PrivateKey(c->ssl, c->device->key))) ||
	    !SSL_set_tlsext_host_name(c->ssl, l->opt.host) || !SSL_set1_host(c->ssl, l->opt.host))
		return -1;
	SSL_set_app_data(c->ssl, c);
	SSL_set_connect_state(c->ssl);
	if (l->keep_session && c->session && !SSL_set_session(c->ssl, c->session))
		return -1;
	if (connect(c->fd, (const struct sockaddr *)&l->opt.target, sizeof(l->opt.target)) < 0 &&
	    errno != EINPROGRESS)
		return -1;
	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev);
}

void conn_start(struct load *l, struct conn *c)
{
	if (c->stage == STAGE_IDLE) {
		request_begin(c);
		conn_drive(l, c);
	} else if (conn_open(l, c) < 0) {
		conn_fail(l, c, "cannot open");
	}
}

static enum step ssl_trouble(struct load *l, struct conn *c, int n, const char *where)
{
	int e = SSL_get_error(c->ssl, n);

	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return STEP_WAIT;
	conn_fail(l, c, where);
	return STEP_WAIT;
}

static enum step step_connect(struct load *l, struct conn *c)
{
	int e = 0;
	socklen_t n = sizeof(e);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0 || e) {
		errno = e;
		conn_fail(l, c, "connect refused");
		return STEP_WAIT;
	}
	c->stage = STAGE_HANDSHAKE;
	return STEP_ON;
}

static enum step step_handshake(struct load *l, struct conn *c)
{
	int n = SSL_do_handshake(c->ssl);

	if (n != 1)
		return ssl_trouble(l, c, n, "handshake");
	l->counts.handshakes++;
	if (SSL_session_reused(c->ssl))
		l->counts.resumed++;
	request_begin(c);
	return STEP_ON;
}

static enum step step_send(struct load *l, struct conn *c)
{
	size_t total = c->request_n + l->opt.up;

	while (c->sent < total) {
		const void *p = zeros;
		size_t n = total - c->sent;
		size_t done;
		char first[4096];

		if (c->sent == 0 && total <= sizeof(first)) {
			/* head and a small body leave in one record, as a phone's do */
			memcpy(first, c->request, c->request_n);
			memcpy(first + c->request_n, zeros, l->opt.up);
			p = first;
		} else if (c->sent < c->request_n) {
			p = c->request + c->sent;
			n = c->request_n - c->sent;
		}
		if (n > sizeof(zeros))
			n = sizeof(zeros);
		int rc = SSL_write_ex(c->ssl, p, n, &done);

		if (rc != 1)
			return ssl_trouble(l, c, rc, "write");
		c->sent += done;
	}
	if (l->opt.mode == MODE_HOLD) {
		c->stage = STAGE_HELD;
		op_end(l, c);
	} else {
		c->stage = STAGE_RECEIVE;
	}
	return STEP_ON;
}

/* The value of a header, NUL-terminated in `out`; no stranger wrote the head: a search will do. */
static bool header_value(const char *head, const char *name, char *out, size_t size)
{
	const char *p = strcasestr(head, name);
	size_t n;

	if (!p)
		return false;
	p += strlen(name);
	p += strspn(p, " ");
	n = strcspn(p, "\r");
	if (n >= size)
		return false;
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

/* NULL, or why this answer is not the one that was asked for. */
static const char *head_judge(const struct load *l, struct conn *c)
{
	char value[256];

	if (strncmp(c->head, "HTTP/1.1 200", 12) != 0)
		return c->head;
	if (!header_value(c->head, "\r\nContent-Length:", value, sizeof(value)))
		return "an answer without Content-Length";
	c->body_left = strtoull(value, NULL, 10);
	if (c->body_left != l->opt.down)
		return "a body of another size than asked for";
	if (!header_value(c->head, "\r\nX-Bench-User:", value, sizeof(value)) ||
	    !strstr(value, c->device->user))
		return "the mail server was told another user, or none";
	if (header_value(c->head, "\r\nConnection:", value, sizeof(value)))
		c->server_closes = strcasecmp(value, "close") == 0;
	return NULL;
}

static void answer_complete(struct load *l, struct conn *c)
{
	l->counts.bytes += l->opt.down;
	if (l->opt.mode == MODE_KEEPALIVE && !c->server_closes) {
		c->stage = STAGE_IDLE;
	} else {
		if (l->opt.mode == MODE_KEEPALIVE)
			l->counts.reconnects++;
		conn_close(l, c);
	}
	op_end(l, c);
}

static int head_feed(struct load *l, struct conn *c, size_t n)
{
	const char *why;
	char *end;
	size_t rest;

	c->head_n += n;
	c->head[c->head_n] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end) {
		if (c->head_n < LOAD_HEAD_MAX)
			return 0;
		conn_fail(l, c, "a head without end");
		return -1;
	}
	rest = c->head_n - (size_t)(end + 4 - c->head);
	end[2] = '\0';
	why = head_judge(l, c);
	if (!why && rest > c->body_left)
		why = "more bytes than announced";
	if (why) {
		c->head[strcspn(c->head, "\r")] = '\0';
		conn_fail(l, c, why);
		return -1;
	}
	c->body_left -= rest;
	c->head_done = true;
	return 0;
}

static enum step step_receive(struct load *l, struct conn *c)
{
	for (;;) {
		void *to = c->head_done ? (void *)scratch : c->head + c->head_n;
		size_t room = c->head_done ? sizeof(scratch) : LOAD_HEAD_MAX - c->head_n;
		size_t n;
		int rc = SSL_read_ex(c->ssl, to, room, &n);

		if (rc != 1)
			return ssl_trouble(l, c, rc, "read");
		if (!c->head_done) {
			if (head_feed(l, c, n) < 0)
				return STEP_WAIT;
		} else if (n > c->body_left) {
			conn_fail(l, c, "more bytes than announced");
			return STEP_WAIT;
		} else {
			c->body_left -= n;
		}
		if (c->head_done && !c->body_left) {
			answer_complete(l, c);
			return STEP_WAIT;
		}
	}
}

/* Nothing may come on a quiet connection but sessions, and those SSL_read keeps to itself. */
static enum step step_quiet(struct load *l, struct conn *c)
{
	size_t n;
	int rc = SSL_read_ex(c->ssl, scratch, sizeof(scratch), &n);

	if (rc == 1)
		conn_fail(l, c, "an answer nobody asked for");
	else if (c->stage == STAGE_IDLE && SSL_get_error(c->ssl, rc) == SSL_ERROR_ZERO_RETURN) {
		l->counts.reconnects++;
		conn_close(l, c);
	} else {
		ssl_trouble(l, c, rc, "closed by the proxy");
	}
	return STEP_WAIT;
}

void conn_drive(struct load *l, struct conn *c)
{
	enum step step = STEP_ON;

	while (step == STEP_ON) {
		ERR_clear_error();
		switch (c->stage) {
		case STAGE_CONNECT:   step = step_connect(l, c);   break;
		case STAGE_HANDSHAKE: step = step_handshake(l, c); break;
		case STAGE_SEND:      step = step_send(l, c);      break;
		case STAGE_RECEIVE:   step = step_receive(l, c);   break;
		case STAGE_IDLE:
		case STAGE_HELD:      step = step_quiet(l, c);     break;
		case STAGE_CLOSED:    return;
		}
	}
}
