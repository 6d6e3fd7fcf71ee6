/*
 * session_handshake: a connection's first bytes: the PROXY header where one is believed, then TLS, until it is known who is there.
 * Worker process.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/proxy_protocol.h"
#include "common/tls_socket.h"
#include "proxy/metric_table.h"
#include "proxy/worker/session_state.h"

#define TICKET_MS  100	/* so long a session ticket waits for the answer that takes it along */

static void on_ticket_due(struct deadline *d)
{
	struct session *s = CONTAINER_OF(d, struct session, ticket);

	/* a socket that is full, or gone, is noticed by whatever is written next */
	(void)!tls_socket_send(s->ssl);
}

/* Sends what the handshake has written. False: the connection is gone (closed here). */
static bool handshake_sent(struct session *s)
{
	int rc = tls_socket_send(s->ssl);

	if (rc < 0) {
		session_close(s, "the device went away");
		return false;
	}
	if (rc == 0 && !s->want_write) {
		s->want_write = true;
		event_add(&s->on_write, NULL);
	}
	return true;
}

void session_handshake(struct session *s)
{
	struct handshake_report report;
	enum tls_step step;
	unsigned version;

	tls_socket_gather(s->ssl);
	step = handshake_step(s->ssl, &report);
	/* a ticket goes out with the first answer, when the request has come along with the end of the handshake */
	if (step == TLS_STEP_DONE && SSL_has_pending(s->ssl) && tls_socket_hold(s->ssl) == 0)
		deadline_arm(s->worker->loop, &s->ticket, TICKET_MS, on_ticket_due);
	else if (!handshake_sent(s))
		return;
	switch (step) {
	case TLS_STEP_DONE:
		break;
	case TLS_STEP_WANT_READ:
	case TLS_STEP_WANT_WRITE:
		return;
	default:
		metrics_add(M_HANDSHAKES, HANDSHAKE_SUB(HANDSHAKE_FAILED, TLS_OTHER), 1);
		audit_handshake(s, &report);
		session_close(s, "handshake failed");
		return;
	}
	s->peer = peer_from_ssl(s->ssl);
	if (s->peer == NULL) {
		session_close(s, "out of memory");
		return;
	}
	s->host_name = strdup(s->peer->host_name);
	version = strcmp(s->peer->version, "TLSv1.3") == 0 ? TLS_13 : strcmp(s->peer->version, "TLSv1.2") == 0 ? TLS_12 : TLS_OTHER;
	metrics_add(M_HANDSHAKES, HANDSHAKE_SUB(s->peer->resumed ? HANDSHAKE_RESUMED : HANDSHAKE_FULL, version), 1);
	/* it began under the configuration of its first byte: a reload since then counts for it too */
	if (!session_find_host(s) || !tls_hosts_trust(s->worker->now->hosts, s->host_name, s->peer)) {
		session_close(s, "the configuration changed during the handshake");
		return;
	}
	session_await_request(s);
}

/* Behind bytes that are only peeked at nothing else tells: their end would be announced again and again. */
static bool has_ended(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0;
}

/* Reads exactly the header and not a byte of TLS behind it. */
void session_proxy_header(struct session *s)
{
	char p[PROXY_HEADER_MAX];
	struct proxy_source source;
	size_t used;
	ssize_t n = recv(s->fd, p, sizeof(p), MSG_PEEK);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		session_close(s, "closed before the PROXY header");
		return;
	}
	switch (proxy_protocol_read(&source, p, (size_t)n, &used)) {
	case PROXY_MORE:
		if (has_ended(s->fd)) {
			session_close(s, "closed inside the PROXY header");
			return;
		}
		/* what was peeked at would be announced again at once: take it from the kernel only when it is whole */
		{
			int whole = (int)n + 1;
			(void)setsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &whole, sizeof(whole));
		}
		return;
	case PROXY_DONE:
		break;
	default:
		metrics_add(M_ACCEPT_REFUSED, ACCEPT_NO_HEADER, 1);
		log_say(LOG_WARNING, "proxy_header", "%s sent no valid PROXY header: see proxy_protocol_from and the load balancer", s->client);
		session_close(s, "no PROXY header");
		return;
	}
	{
		int one = 1;
		(void)setsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
	}
	if (recv(s->fd, p, used, 0) != (ssize_t)used) {
		session_close(s, "the PROXY header could not be read");
		return;
	}
	if (!source.local) {
		address_print((const struct sockaddr *)&source.address, s->client);
		if (!session_crowd(s, (const struct sockaddr *)&source.address)) {
			session_close(s, "its address has too many connections");
			return;
		}
	}
	session_go(s, SESSION_HANDSHAKE);
	session_handshake(s);
}
