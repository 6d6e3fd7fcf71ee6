/*
 * http_connection_io: bytes between a socket, clear or TLS, and a connection's buffers. Worker of easenroll.
 */
#include <errno.h>
#include <sys/socket.h>
#include <openssl/err.h>

#include "common/tls.h"
#include "common/tls_socket.h"
#include "enroll/worker/http_server_parts.h"

static enum io read_some(struct http_connection *c, char *p, size_t room, size_t *got)
{
	char why[TLS_WHY_MAX];
	enum tls_step step;
	ssize_t n;

	*got = 0;
	if (c->ssl == NULL) {
		do {
			n = recv(c->fd, p, room, 0);
		} while (n < 0 && errno == EINTR);
		if (n < 0 && errno == EAGAIN)
			return IO_AGAIN;
		*got = n > 0 ? (size_t)n : 0;
		return n > 0 ? IO_OK : IO_ENDED;
	}
	ERR_clear_error();
	n = SSL_read(c->ssl, p, (int)room);
	if (n > 0) {
		*got = (size_t)n;
		return IO_OK;
	}
	step = tls_step_result(c->ssl, (int)n, why, sizeof(why));
	return step == TLS_STEP_WANT_READ || step == TLS_STEP_WANT_WRITE ? IO_AGAIN : IO_ENDED;
}

static enum io write_some(struct http_connection *c, const char *p, size_t n, size_t *sent)
{
	char why[TLS_WHY_MAX];
	enum tls_step step;
	ssize_t rc;

	*sent = 0;
	if (n > 1u << 20)
		n = 1u << 20;
	if (c->ssl == NULL) {
		do {
			rc = send(c->fd, p, n, MSG_NOSIGNAL);
		} while (rc < 0 && errno == EINTR);
		if (rc < 0 && (errno == EAGAIN || errno == ENOBUFS))
			return IO_AGAIN;
		*sent = rc > 0 ? (size_t)rc : 0;
		return rc > 0 ? IO_OK : IO_ENDED;
	}
	ERR_clear_error();
	rc = SSL_write(c->ssl, p, (int)n);
	if (rc > 0) {
		*sent = (size_t)rc;
		return IO_OK;
	}
	step = tls_step_result(c->ssl, (int)rc, why, sizeof(why));
	return step == TLS_STEP_WANT_READ || step == TLS_STEP_WANT_WRITE ? IO_AGAIN : IO_ENDED;
}

/* What stands in `in` is used up, or more is read into it. */
enum io connection_fill(struct http_connection *c)
{
	size_t room, got;
	char *p = buffer_reserve(&c->in, 4096, &room);
	enum io io;

	if (p == NULL)
		return IO_AGAIN;
	if (room > READ_AT_ONCE)
		room = READ_AT_ONCE;
	io = read_some(c, p, room, &got);
	buffer_added(&c->in, got);
	return io;
}

/* IO_OK: all is with the kernel. */
enum io connection_flush(struct http_connection *c)
{
	enum io io = IO_OK;

	if (c->ssl != NULL)
		tls_socket_gather(c->ssl);
	while ((buffer_len(&c->out) > 0 || c->rest.n > 0) && io == IO_OK) {
		bool own = buffer_len(&c->out) > 0;
		size_t sent;
		io = write_some(c, own ? buffer_data(&c->out) : c->rest.p, own ? buffer_len(&c->out) : c->rest.n, &sent);
		if (own)
			buffer_eat(&c->out, sent);
		else
			c->rest = (struct strv){ c->rest.p + sent, c->rest.n - sent };
		if (sent > 0 && c->state == CONNECTION_WRITING)
			connection_limit(c, (uint64_t)c->server->config.idle_seconds * 1000);
	}
	if (c->ssl != NULL) {
		int rc = tls_socket_send(c->ssl);
		if (rc <= 0)
			return rc < 0 ? IO_ENDED : IO_AGAIN;
	}
	if (io == IO_OK) {
		buffer_clear(&c->out);
		connection_drop_shared(c);
	}
	return io;
}

void connection_drop_shared(struct http_connection *c)
{
	http_shared_drop(c->shared);
	c->shared = NULL;
	c->rest = (struct strv){ NULL, 0 };
}
