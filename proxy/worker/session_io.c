/*
 * session_io: bytes between a device's TLS connection and the session's buffers. Worker process.
 */
#include <openssl/err.h>

#include "common/tls_socket.h"
#include "proxy/metric_table.h"
#include "proxy/worker/session_state.h"

#define READ_AT_ONCE 65536
#define RECORD	     16384	/* the most that one TLS record holds */

enum io session_read(struct session *s)
{
	size_t room, want = buffer_room(&s->in);
	char why[TLS_WHY_MAX], *p;
	enum tls_step step;
	int n;

	if (want == 0)
		return IO_AGAIN;
	/* the buffer may move: a head that was parsed in it points nowhere then */
	if (s->worker->head_owner == s)
		s->worker->head_owner = NULL;
	/* a request is small: a body, when one is under way, gets more room at once */
	if (s->state != SESSION_RELAY && want > 4096)
		want = 4096;
	if (want > READ_AT_ONCE)
		want = READ_AT_ONCE;
	/* beside what waits there already, without a larger block */
	if (buffer_len(&s->in) < READ_AT_ONCE && want > READ_AT_ONCE - buffer_len(&s->in))
		want = READ_AT_ONCE - buffer_len(&s->in);
	p = buffer_reserve(&s->in, want, &room);
	if (p == NULL)
		return IO_ENDED;
	/* the bytes that a parsed head points to may have moved */
	if (s->worker->head_owner == s)
		s->worker->head_owner = NULL;
	ERR_clear_error();
	n = SSL_read(s->ssl, p, (int)room);
	if (n > 0) {
		buffer_added(&s->in, (size_t)n);
		metrics_add(M_BYTES, BYTES_FROM_DEVICE, n);
		return IO_OK;
	}
	step = tls_step_result(s->ssl, n, why, sizeof(why));
	buffer_release_empty(&s->in);
	return step == TLS_STEP_WANT_READ || step == TLS_STEP_WANT_WRITE ? IO_AGAIN : IO_ENDED;
}

static enum io wait_writable(struct session *s)
{
	if (!s->want_write) {
		s->want_write = true;
		event_add(&s->on_write, NULL);
	}
	return IO_AGAIN;
}

/* Record by record until all is written or the socket is full. */
static enum io write_records(struct session *s, const char *p, size_t n, size_t *sent)
{
	char why[TLS_WHY_MAX];
	enum tls_step step;

	while (*sent < n) {
		size_t left = n - *sent;
		int rc;
		ERR_clear_error();
		rc = SSL_write(s->ssl, p + *sent, (int)(left < (1u << 30) ? left : 1u << 30));
		if (rc > 0) {
			*sent += (size_t)rc;
			continue;
		}
		step = tls_step_result(s->ssl, rc, why, sizeof(why));
		return step == TLS_STEP_WANT_WRITE || step == TLS_STEP_WANT_READ ? IO_AGAIN : IO_ENDED;
	}
	return IO_OK;
}

enum io session_write(struct session *s, const char *p, size_t n, size_t *sent)
{
	bool gather = n > RECORD;
	enum io io;
	int rc = 1;

	*sent = 0;
	if (gather)
		tls_socket_gather(s->ssl);
	io = write_records(s, p, n, sent);
	if (gather)
		rc = tls_socket_send(s->ssl);
	metrics_add(M_BYTES, BYTES_TO_DEVICE, (int64_t)*sent);
	if (rc < 0 || io == IO_ENDED)
		return IO_ENDED;
	return rc == 0 || io == IO_AGAIN ? wait_writable(s) : IO_OK;
}

enum io session_flush(struct session *s)
{
	size_t sent;
	enum io rc;

	if (buffer_len(&s->out) == 0) {
		int left = tls_socket_send(s->ssl);
		return left < 0 ? IO_ENDED : left > 0 ? IO_OK : wait_writable(s);
	}
	rc = session_write(s, buffer_data(&s->out), buffer_len(&s->out), &sent);
	buffer_eat(&s->out, sent);
	if (buffer_len(&s->out) == 0)
		buffer_release_empty(&s->out);
	return rc;
}

void session_pause(struct session *s, bool paused)
{
	if (s->paused == paused)
		return;
	s->paused = paused;
	if (paused)
		event_del(&s->on_read);
	else
		event_add(&s->on_read, NULL);
}

void session_watch(struct session *s, event_callback_fn on_read, event_callback_fn on_write)
{
	struct event_base *base = loop_base(s->worker->loop);

	event_assign(&s->on_read, base, s->fd, EV_READ | EV_PERSIST, on_read, s);
	event_assign(&s->on_write, base, s->fd, EV_WRITE | EV_PERSIST, on_write, s);
	event_add(&s->on_read, NULL);
}

void session_again(struct session *s)
{
	if (!s->paused)
		event_active(&s->on_read, EV_READ, 1);
}
