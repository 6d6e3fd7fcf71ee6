/*
 * session: the conductor: states, deadlines, the one close, and what changes from outside do to live connections. Worker process.
 */
#include "proxy/worker/session.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/device.h"
#include "common/log.h"
#include "common/proxy_protocol.h"
#include "common/text.h"
#include "common/tls_socket.h"
#include "proxy/metric_table.h"
#include "proxy/worker/session_state.h"

#define IN_MAX	   (160u << 10)
#define OUT_MAX	   (256u << 10)
#define LINGER_MS  5000
#define LINGER_LAST_MS 1000	/* the program ends: nobody else is to wait for a phone that does not hang up */
#define LINGER_MAX (32u << 20)
#define LINGER_TURN (256u << 10)	/* thrown away at once: the others get their turn too */

static void on_device_readable(evutil_socket_t fd, short what, void *arg);

/* --- states --- */

#define TO(state) (1u << (state))
#define ASKING (TO(SESSION_ACCOUNT) | TO(SESSION_PASSWORD) | TO(SESSION_DEVICE) | TO(SESSION_CREDENTIAL) | TO(SESSION_UPSTREAM) | TO(SESSION_RELAY) | \
	TO(SESSION_COLLECT) | TO(SESSION_ANSWER))
/* Something is done for it. In all other states its own client can keep it as long as the deadline lets him. */
#define SERVED (TO(SESSION_ACCOUNT) | TO(SESSION_PASSWORD) | TO(SESSION_DEVICE) | TO(SESSION_CREDENTIAL) | TO(SESSION_UPSTREAM) | TO(SESSION_RELAY))

static const struct session_rule {
	const char *name;
	unsigned next;
	size_t limit;		/* offset of the limit in struct limit_settings, in seconds; SIZE_MAX: armed by the stage itself */
} rules[SESSION_STATES] = {
	[SESSION_PROXY] = { "proxy", TO(SESSION_HANDSHAKE), offsetof(struct limit_settings, handshake_seconds) },
	[SESSION_HANDSHAKE] = { "handshake", TO(SESSION_REQUEST), offsetof(struct limit_settings, handshake_seconds) },
	[SESSION_REQUEST] = { "request", TO(SESSION_REQUEST) | ASKING, SIZE_MAX },
	[SESSION_ACCOUNT] = { "account", ASKING, SIZE_MAX },
	[SESSION_PASSWORD] = { "password", ASKING, SIZE_MAX },
	[SESSION_DEVICE] = { "device", ASKING, SIZE_MAX },
	[SESSION_CREDENTIAL] = { "credential", ASKING, SIZE_MAX },
	[SESSION_UPSTREAM] = { "upstream", ASKING, SIZE_MAX },
	[SESSION_RELAY] = { "relay", TO(SESSION_REQUEST) | TO(SESSION_ANSWER) | TO(SESSION_LINGER), SIZE_MAX },
	[SESSION_COLLECT] = { "collect", TO(SESSION_ANSWER) | TO(SESSION_COLLECT) | TO(SESSION_ACCOUNT), offsetof(struct limit_settings, body_idle_seconds) },
	[SESSION_ANSWER] = { "answer", TO(SESSION_REQUEST) | TO(SESSION_LINGER), offsetof(struct limit_settings, body_idle_seconds) },
	[SESSION_LINGER] = { "linger", 0, SIZE_MAX },
};

static void on_deadline(struct deadline *d)
{
	struct session *s = CONTAINER_OF(d, struct session, deadline);

	switch (s->state) {
	case SESSION_HANDSHAKE:
		metrics_add(M_HANDSHAKES, HANDSHAKE_SUB(HANDSHAKE_TIMEOUT, TLS_OTHER), 1);
		session_close(s, "handshake too slow");
		return;
	case SESSION_REQUEST:
		if (buffer_len(&s->in) > 0)
			session_refuse(s, FACT_TOO_SLOW, "the head did not come in time");
		else
			session_close(s, "idle");
		return;
	case SESSION_COLLECT:
		session_refuse(s, FACT_TOO_SLOW, "the body did not come in time");
		return;
	default:
		session_close(s, "too slow");
		return;
	}
}

void session_go(struct session *s, enum session_state to)
{
	const struct session_rule *rule = &rules[to];

	if (to != s->state && (rules[s->state].next & TO(to)) == 0)
		bug("session %llu: %s -> %s", (unsigned long long)s->id, rules[s->state].name, rule->name);
	s->state = to;
	if ((SERVED & TO(to)) != 0)
		crowd_served(&s->crowd);
	else
		crowd_waits(&s->crowd);
	if (rule->limit != SIZE_MAX) {
		const char *limits = (const char *)&s->worker->now->settings->proxy.limits;
		uint32_t seconds;
		memcpy(&seconds, limits + rule->limit, sizeof(seconds));
		deadline_arm(s->worker->loop, &s->deadline, (uint64_t)seconds * 1000, on_deadline);
	} else if (to == SESSION_LINGER) {
		deadline_arm(s->worker->loop, &s->deadline, s->worker->draining ? LINGER_LAST_MS : LINGER_MS, on_deadline);
	} else {
		deadline_disarm(&s->deadline);
	}
}

/* Between requests: a kept connection may be idle; once a head has begun it must come whole in time. */
void session_await_request(struct session *s)
{
	const struct limit_settings *limits = &s->worker->now->settings->proxy.limits;
	bool first = s->exchanges == 0, begun = buffer_len(&s->in) > 0;

	session_go(s, SESSION_REQUEST);
	s->scan = (struct http_scan){ 0 };
	deadline_arm(s->worker->loop, &s->deadline, (uint64_t)(first || begun ? limits->head_seconds : limits->idle_seconds) * 1000, on_deadline);
	/* the next request may have come with this one: in our buffer, or inside TLS, where no event announces it */
	if (begun || SSL_has_pending(s->ssl))
		session_again(s);
}

/* --- the end --- */

void session_free_exchange(struct session *s)
{
	if (s->x == NULL)
		return;
	if (s->x->held)
		metrics_add(M_SESSIONS_HELD, 0, -1);
	buffer_clear(&s->x->collected);
	free(s->x->user_name);
	free(s->x);
	s->x = NULL;
}

/* 1. nothing may call back into us; every cancel accepts NULL */
static void cancel_all(struct session *s)
{
	deadline_disarm(&s->deadline);
	deadline_disarm(&s->ticket);
	account_cancel(s->account_op);
	s->account_op = NULL;
	password_cancel(s->password_op);
	s->password_op = NULL;
	credential_cancel(s->credential_op);
	s->credential_op = NULL;
	upstream_cancel(s->upstream_op);
	s->upstream_op = NULL;
	if (s->device_op != 0)
		device_cancel(s->worker->devices, s->device_op);
	s->device_op = 0;
	upstream_release(s->upstream, false);
	s->upstream = NULL;
	credential_clear(&s->credential);
}

void session_close(struct session *s, const char *why)
{
	struct worker *w = s->worker;

	cancel_all(s);
	/* 2. tell the story while the facts are still here */
	if (s->x != NULL) {
		if (s->x->detail == NULL)
			s->x->detail = why;
		audit_access(s);
		session_free_exchange(s);
	}
	/* 3. give back in reverse order of taking */
	event_del(&s->on_read);
	event_del(&s->on_write);
	if (s->ssl != NULL) {
		ERR_clear_error();
		if (SSL_is_init_finished(s->ssl))
			SSL_shutdown(s->ssl);
		SSL_free(s->ssl);
		ERR_clear_error();
	}
	close(s->fd);
	session_forget_password(s);
	session_forget_bearer(s);
	free(s->claimed_sid);
	account_unref(w->accounts, s->account);
	peer_free(s->peer);
	free(s->device);
	buffer_clear(&s->in);
	buffer_clear(&s->out);
	if (s->next != NULL)
		s->next->prev = s->prev;
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		w->newest = s->next;
	crowd_leave(w->crowd, &s->crowd);
	w->sessions--;
	if (w->head_owner == s)
		w->head_owner = NULL;
	metrics_add(M_SESSIONS, 0, -1);
	free((char *)(uintptr_t)s->host_name);
	free(s);
	worker_session_gone(w);
}

/* --- answers of our own --- */

static void after_answer(struct session *s)
{
	if (s->closing) {
		/* close_notify and FIN, then wait a moment for the device to read: a reset would take the answer away */
		ERR_clear_error();
		SSL_shutdown(s->ssl);
		(void)shutdown(s->fd, SHUT_WR);
		session_go(s, SESSION_LINGER);
		session_pause(s, false);
		buffer_clear(&s->in);
		session_again(s);
		return;
	}
	session_pause(s, false);
	session_await_request(s);
}

void session_answer(struct session *s)
{
	switch (session_flush(s)) {
	case IO_OK:
		after_answer(s);
		return;
	case IO_AGAIN:
		return;		/* writable comes, or the deadline */
	default:
		session_close(s, "the device went away");
	}
}

/* Whether all of the request's body has come, so that the next request can be read behind it. */
static bool body_is_behind_us(const struct session *s)
{
	const struct exchange *x = s->x;

	if (x == NULL)
		return false;
	return x->body_done || x->request.body == HTTP_BODY_NONE || (x->request.body == HTTP_BODY_LENGTH && x->request.length == 0);
}

void session_refuse(struct session *s, enum fact fact, const char *detail)
{
	const struct proxy_settings *settings = &s->worker->now->settings->proxy;
	struct reply_more more = { .retry_after_seconds = settings->limits.retry_after_seconds, .bearer = settings->bearer != NULL ? settings->bearer->challenge : NULL };

	/* a head that could not be read has no exchange yet: the log wants one */
	if (s->x == NULL && (s->x = calloc(1, sizeof(*s->x))) != NULL) {
		s->x->number = ++s->exchanges;
		s->x->started_us = now_us();
	}
	if (s->x == NULL || (s->x->answer_started)) {
		session_close(s, detail);
		return;
	}
	s->closing = s->closing || reply_closes(fact) || s->worker->draining || !s->x->request.keep_alive || !body_is_behind_us(s);
	cancel_all(s);
	if (detail != NULL && detail != s->x->text) {
		snprintf(s->x->text, sizeof(s->x->text), "%s", detail);
		detail = s->x->text;
	}
	s->x->fact = fact;
	s->x->detail = detail;
	s->x->status = fact_status(fact);
	metrics_add(M_REFUSALS, fact, 1);
	if (fact_is_audited(fact) || fact_is_fault(fact))
		audit_refusal(s, fact, detail);
	audit_access(s);
	if (s->x->head_n > 0)
		buffer_eat(&s->in, s->x->head_n);
	more.challenges = s->x->challenges;
	if (s->x->wait_seconds > 0)
		more.retry_after_seconds = s->x->wait_seconds;
	session_free_exchange(s);
	if (reply_write(&s->out, fact, &more, s->closing) < 0) {
		session_close(s, "no memory for an answer");
		return;
	}
	session_go(s, SESSION_ANSWER);
	session_answer(s);
}

void session_exchange_done(struct session *s)
{
	struct exchange *x = s->x;

	s->closing = s->closing || x->close_after || s->worker->draining;
	audit_access(s);
	if (x->unverified)
		metrics_add(M_BEARER_UNVERIFIED, metric_unverified_sub(x->status), 1);
	session_note_use(s);
	session_free_exchange(s);
	if (buffer_len(&s->in) == 0)
		buffer_release_empty(&s->in);
	session_pause(s, false);
	if (s->closing) {
		session_go(s, SESSION_LINGER);
		after_answer(s);
		return;
	}
	session_await_request(s);
}

/* --- bytes from the device --- */

/* A phone that is sending its mail reads our answer only behind it. */
static void discard(struct session *s)
{
	char waste[16384];

	for (size_t turn = 0; turn < LINGER_TURN; turn += sizeof(waste)) {
		ssize_t n = recv(s->fd, waste, sizeof(waste), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		s->discarded += n > 0 ? (size_t)n : 0;
		if (n <= 0 || s->discarded > LINGER_MAX) {
			session_close(s, "answered");
			return;
		}
	}
}

/* While others are asked: what comes is kept for later up to the buffer's ceiling, and an end is noticed. */
static void keep_for_later(struct session *s)
{
	enum io rc = session_read(s);

	if (rc == IO_ENDED) {
		session_close(s, "the device went away");
		return;
	}
	if (buffer_room(&s->in) == 0)
		session_pause(s, true);
}

static void on_device_readable(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	(void)what;
	switch (s->state) {
	case SESSION_PROXY:
		session_proxy_header(s);
		return;
	case SESSION_HANDSHAKE:
		session_handshake(s);
		return;
	case SESSION_REQUEST:
		session_read_request(s);
		return;
	case SESSION_RELAY:
		relay_from_device(s);
		return;
	case SESSION_COLLECT:
		session_collect(s);
		return;
	case SESSION_LINGER:
		discard(s);
		return;
	default:
		keep_for_later(s);
	}
}

static void on_device_writable(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;
	int rc;

	(void)fd;
	(void)what;
	event_del(&s->on_write);
	s->want_write = false;
	rc = tls_socket_send(s->ssl);
	if (rc < 0) {
		session_close(s, "the device went away");
		return;
	}
	if (rc == 0) {
		s->want_write = true;
		event_add(&s->on_write, NULL);
		return;
	}
	switch (s->state) {
	case SESSION_HANDSHAKE:
		session_handshake(s);
		return;
	case SESSION_RELAY:
		relay_device_writable(s);
		return;
	case SESSION_ANSWER:
		session_answer(s);
		return;
	default:
		return;
	}
}

/* --- the beginning --- */

void session_start(struct worker *w, int fd, const struct sockaddr *from, bool proxy_header)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		goto no_memory;
	s->worker = w;
	address_print(from, s->client);
	/* behind a load balancer it is known later */
	if (!proxy_header && !session_crowd(s, from))
		goto refused;
	s->ssl = handshake_new(w->now->hosts);
	if (s->ssl == NULL || tls_socket_set(s->ssl, fd) < 0)
		goto no_memory;
	s->id = ++w->next_session;
	s->fd = fd;
	buffer_init(&s->in, IN_MAX);
	buffer_init(&s->out, OUT_MAX);
	s->next = w->newest;
	if (w->newest != NULL)
		w->newest->prev = s;
	w->newest = s;
	if (++w->sessions > w->most_sessions)
		w->most_sessions = w->sessions;	/* a rush between two sweeps counts too */
	metrics_add(M_SESSIONS, 0, 1);
	metrics_add(M_ACCEPTED, 0, 1);
	session_watch(s, on_device_readable, on_device_writable);
	s->state = proxy_header ? SESSION_PROXY : SESSION_HANDSHAKE;
	session_go(s, s->state);
	return;
no_memory:
	metrics_add(M_ACCEPT_REFUSED, ACCEPT_MEMORY, 1);
refused:
	if (s != NULL) {
		SSL_free(s->ssl);
		crowd_leave(w->crowd, &s->crowd);
	}
	free(s);
	close(fd);
}
