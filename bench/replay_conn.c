/*
 * replay_conn: one connection of the replaying load generator: connect, TLS, a request out, an answer in and checked.
 */
#include "replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

void conn_close(struct conn *c)
{
	SSL_free(c->ssl);
	c->ssl = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	free(c->body);
	c->body = NULL;
	c->stage = STAGE_CLOSED;
}

static void fail(struct replay *r, struct conn *c, const char *why)
{
	conn_close(c);
	if (c->asked)
		replay_ended(r, c, why);
	else if (r->first_failure[0] == '\0')
		snprintf(r->first_failure, sizeof(r->first_failure), "%s", why);
}

void conn_open(struct replay *r, struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
	int one = 1;

	c->stage = STAGE_CONNECT;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    (connect(c->fd, (const struct sockaddr *)&r->opt.target, sizeof(r->opt.target)) < 0 && errno != EINPROGRESS) ||
	    epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
		fail(r, c, strerror(errno));
		return;
	}
	if (r->ctx != NULL) {
		c->ssl = SSL_new(r->ctx);
		if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_set_tlsext_host_name(c->ssl, r->opt.host) != 1 ||
		    SSL_set1_host(c->ssl, r->opt.host) != 1) {
			fail(r, c, "no TLS connection can be made");
			return;
		}
		SSL_set_connect_state(c->ssl);
	}
}

void conn_begin(struct replay *r, struct conn *c, unsigned op)
{
	c->op = op;
	c->asked = true;
	c->sent = c->head_n = c->body_n = 0;
	c->head_done = false;
	c->since = replay_now();
	if (c->stage == STAGE_CLOSED) {
		conn_open(r, c);
		return;
	}
	c->stage = STAGE_SEND;
	conn_drive(r, c);
}

/* Bytes moved, 0: later, -1: the connection ended or broke. */
static long result(struct conn *c, long n)
{
	int error;

	if (n > 0)
		return n;
	if (c->ssl == NULL)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	error = SSL_get_error(c->ssl, (int)n);
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static long send_some(struct conn *c, const char *p, size_t n)
{
	return result(c, c->ssl != NULL ? SSL_write(c->ssl, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL));
}

static long receive_some(struct conn *c, char *p, size_t n)
{
	return result(c, c->ssl != NULL ? SSL_read(c->ssl, p, (int)n) : recv(c->fd, p, n, 0));
}

static const char *field(const char *head, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':')
			return line + 3 + n + strspn(line + 3 + n, " ");
	return NULL;
}

/* NULL, or what is wrong with the head, which ends at `end`. */
static const char *read_head(struct replay *r, struct conn *c, char *end)
{
	static char why[120];
	size_t extra = c->head_n - (size_t)(end + 4 - c->head);
	const char *type, *length, *connection;

	end[2] = '\0';
	type = field(c->head, "Content-Type");
	length = field(c->head, "Content-Length");
	connection = field(c->head, "Connection");
	if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0 || type == NULL || length == NULL ||
	    strncmp(type, r->opt.type, strlen(r->opt.type)) != 0) {
		snprintf(why, sizeof(why), "answered %.12s, %.60s", c->head, type != NULL ? type : "of no type");
		return why;
	}
	c->close = connection != NULL && strncasecmp(connection, "close", 5) == 0;
	c->body_size = strtoul(length, NULL, 10);
	if (c->body_size == 0 || c->body_size > REPLAY_BODY_MAX || extra > c->body_size || (c->body = malloc(c->body_size)) == NULL)
		return "an answer of no, too little or too much length";
	memcpy(c->body, end + 4, extra);
	c->body_n = extra;
	c->head_done = true;
	return NULL;
}

/* 1: the answer is there, 0: later, -1 with *why. */
static int receive(struct replay *r, struct conn *c, const char **why)
{
	while (!c->head_done || c->body_n < c->body_size) {
		long n = c->head_done ? receive_some(c, c->body + c->body_n, c->body_size - c->body_n) :
					receive_some(c, c->head + c->head_n, REPLAY_HEAD_MAX - c->head_n);
		char *end;

		*why = "closed before its answer";
		if (n <= 0)
			return (int)n;
		if (c->head_done) {
			c->body_n += (size_t)n;
			continue;
		}
		c->head_n += (size_t)n;
		c->head[c->head_n] = '\0';
		end = strstr(c->head, "\r\n\r\n");
		*why = end != NULL ? read_head(r, c, end) : c->head_n == REPLAY_HEAD_MAX ? "a head without an end" : NULL;
		if (*why != NULL)
			return -1;
	}
	return 1;
}

static void keep_answer(struct replay *r, struct conn *c)
{
	if (r->answers != NULL && c->op < r->opt.ops) {
		r->answers[c->op] = (struct strand){ c->body, c->body_n };
		c->body = NULL;
	}
	free(c->body);
	c->body = NULL;
}

static void exchange(struct replay *r, struct conn *c)
{
	const struct strand *request = &r->requests[c->op % r->request_n];
	const char *why = NULL;
	int rc;

	while (c->stage == STAGE_SEND) {
		long n = send_some(c, request->p + c->sent, request->n - c->sent);
		if (n < 0) {
			fail(r, c, "closed while the request was sent");
			return;
		}
		if (n == 0)
			return;
		c->sent += (size_t)n;
		if (c->sent == request->n)
			c->stage = STAGE_RECEIVE;
	}
	rc = receive(r, c, &why);
	if (rc < 0)
		fail(r, c, why);
	if (rc <= 0)
		return;
	keep_answer(r, c);
	c->stage = STAGE_IDLE;
	if (c->close || !r->opt.kept)
		conn_close(c);
	replay_ended(r, c, NULL);
}

void conn_drive(struct replay *r, struct conn *c)
{
	if (c->stage == STAGE_CONNECT || c->stage == STAGE_HANDSHAKE) {
		long n = c->ssl != NULL ? result(c, SSL_do_handshake(c->ssl)) : 1;
		if (n < 0)
			fail(r, c, "no connection, or no handshake");
		if (n <= 0)
			return;
		if (c->ssl != NULL)
			r->handshakes++;
		c->stage = c->asked ? STAGE_SEND : STAGE_IDLE;
	}
	if (c->stage == STAGE_SEND || c->stage == STAGE_RECEIVE)
		exchange(r, c);
}
