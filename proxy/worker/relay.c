/*
 * relay: bytes both ways between a device and a mail server, with back-pressure and each message's exact end.
 * Framing is decoded strictly on one side and made anew on the other; no whole body is ever held. Worker process.
 */
#include <stdio.h>

#include "common/log.h"
#include "proxy/metric_table.h"
#include "proxy/worker/relay_head.h"
#include "proxy/worker/session_state.h"

#define HIGH	    (64u << 10)	/* more than this unsent, and the source is paused */
#define COALESCE    (16u << 10)	/* a body this small goes out with its head, in one record */
#define INTERIM_MAX 16
#define RATE_MIN    1024	/* bytes a second that a device must manage on the whole, beyond body_idle_seconds */
#define TURNS	    8		/* reads of one device's body before the others' turn */

enum pump { PUMP_WAIT = 0, PUMP_GONE };	/* PUMP_GONE: the session is closed or answered; touch it no more */

static const struct http_limits answer_limits = { 65536, HTTP_FIELDS_MAX };

static void on_upstream_readable(struct upstream_conn *c, void *arg);
static void on_upstream_writable(struct upstream_conn *c, void *arg);
static enum pump pump_answer(struct session *s);
static const struct upstream_user relay_user = { .readable = on_upstream_readable, .writable = on_upstream_writable };

static const struct upstream_settings *settings_of(const struct session *s)
{
	const struct proxy_settings *p = &s->worker->now->settings->proxy;

	return s->peer->host < p->hosts_count ? &p->upstreams[p->hosts[s->peer->host].upstream_index] : &p->upstreams[0];
}

/* --- time --- */

static void on_deadline(struct deadline *d)
{
	struct session *s = CONTAINER_OF(d, struct session, deadline);
	struct exchange *x = s->x;

	if (x->answer_started) {
		session_close(s, "no byte of the answer moved in time");
		return;
	}
	if (!x->body_done && buffer_len(&s->upstream->out) == 0) {
		session_refuse(s, FACT_TOO_SLOW, "the body did not come in time");
		return;
	}
	metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_TIMEOUT, 1);
	session_refuse(s, FACT_UPSTREAM_TIMEOUT, upstream_server_name(s->upstream));
}

/* Something moved: from now on the next thing has its full time again. */
static void rearm(struct session *s)
{
	const struct limit_settings *limits = &s->worker->now->settings->proxy.limits;
	const struct exchange *x = s->x;
	uint64_t ms = (uint64_t)limits->body_idle_seconds * 1000;

	if (x->body_done && !x->answer_started)
		ms = x->request.holds ? (uint64_t)settings_of(s)->ping_seconds * 1000 : settings_of(s)->response_ms;
	deadline_arm(s->worker->loop, &s->deadline, ms, on_deadline);
}

/*
 * A device may send or read in drops, but not for ever: a byte now and then keeps the deadline away, so what it takes
 * altogether is measured too. `n`: bytes moved so far. True: it is too slow.
 */
static bool too_slow(struct session *s, struct pace *p, bool waiting, uint64_t n)
{
	uint64_t now = loop_now_ms(s->worker->loop);
	uint64_t allowed = (uint64_t)s->worker->now->settings->proxy.limits.body_idle_seconds * 1000 + n * 1000 / RATE_MIN;

	if (p->since_ms != 0)
		p->waited_ms += now - p->since_ms;
	p->since_ms = waiting ? now : 0;
	return waiting && p->waited_ms > allowed;
}

static void hold(struct session *s, bool held)
{
	if (s->x->held == held)
		return;
	s->x->held = held;
	metrics_add(M_SESSIONS_HELD, 0, held ? 1 : -1);
}

/* --- towards the mail server --- */

static enum pump upstream_failed(struct session *s, const char *what)
{
	metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_ANSWER, 1);
	if (s->x->answer_started) {
		log_say(LOG_ERROR, "answer_cut", "%s: %s; the device's connection is cut so that it sees it", upstream_server_name(s->upstream), what);
		session_close(s, what);
	} else {
		char text[160];
		snprintf(text, sizeof(text), "%s: %s", upstream_server_name(s->upstream), what);
		session_refuse(s, FACT_UPSTREAM_BROKEN, text);
	}
	return PUMP_GONE;
}

/* Writes u->out; -1: the connection failed. */
static int flush_upstream(struct upstream_conn *u)
{
	long n;

	if (buffer_len(&u->out) == 0)
		return 0;
	n = upstream_write(u, buffer_data(&u->out), buffer_len(&u->out));
	if (n < 0)
		return -1;
	buffer_eat(&u->out, (size_t)n);
	buffer_release_empty(&u->out);
	return 0;
}

/* A run of body with a known length: beside the head while it is small, else straight from the device's buffer. */
static int pass_plain(struct session *s)
{
	struct upstream_conn *u = s->upstream;
	struct exchange *x = s->x;
	size_t n = buffer_len(&s->in);
	long sent;

	if (n > x->body_left)
		n = (size_t)x->body_left;
	if (buffer_len(&u->out) > 0 && n <= COALESCE) {
		if (buffer_add(&u->out, buffer_data(&s->in), n) < 0)
			return -1;
		sent = (long)n;
	} else {
		if (flush_upstream(u) < 0)
			return -1;
		sent = buffer_len(&u->out) > 0 ? 0 : upstream_write(u, buffer_data(&s->in), n);
		if (sent < 0)
			return -1;
	}
	buffer_eat(&s->in, (size_t)sent);
	x->body_left -= (uint64_t)sent;
	x->body_n += (uint64_t)sent;
	x->body_done = x->body_left == 0;
	return sent > 0 ? 1 : 0;
}

/* One run of a chunked body, framed anew. 1: progress; -1: no memory; -2: refused, *rc says why. */
static int pass_chunked(struct session *s, enum http_result *rc)
{
	struct buffer *out = &s->upstream->out;
	struct exchange *x = s->x;
	struct strv data;
	size_t used;

	*rc = http_chunk_read(&x->decode, buffer_data(&s->in), buffer_len(&s->in), &used, &data);
	if (*rc != HTTP_MORE && *rc != HTTP_DONE)
		return -2;
	if (data.n > 0 && (buffer_printf(out, "%zx\r\n", data.n) < 0 || buffer_addv(out, data) < 0 || buffer_addv(out, STRV("\r\n")) < 0))
		return -1;
	x->body_n += data.n;
	buffer_eat(&s->in, used);
	if (*rc == HTTP_DONE) {
		x->body_done = true;
		if (buffer_addv(out, STRV("0\r\n\r\n")) < 0)
			return -1;
	}
	return used > 0 ? 1 : 0;
}

/* Moves what there is of the body; returns like the pass functions, 0: the mail server takes no more now. */
static int pass_body(struct session *s, enum http_result *rc)
{
	int moved = 1;

	if (s->x->body_refused) {
		if (!s->x->body_done)
			buffer_eat(&s->in, buffer_len(&s->in));
		return 0;
	}
	while (moved > 0 && !s->x->body_done && buffer_len(&s->in) > 0 && buffer_len(&s->upstream->out) < HIGH)
		moved = s->x->request.body == HTTP_BODY_LENGTH ? pass_plain(s) : pass_chunked(s, rc);
	if (moved >= 0 && flush_upstream(s->upstream) < 0)
		return -1;
	return moved;
}

/* After each step: whose turn it is. `more`: the last read found bytes, so others may wait inside TLS unannounced. */
static void balance(struct session *s, bool more)
{
	struct upstream_conn *u = s->upstream;
	bool blocked = buffer_len(&u->out) >= HIGH || (!s->x->body_done && u->want_write && buffer_len(&s->in) > 0) || buffer_room(&s->in) == 0;

	if (buffer_len(&s->in) == 0)
		buffer_release_empty(&s->in);
	session_pause(s, blocked);
	if (!blocked && more)
		session_again(s);
	hold(s, s->x->request.holds && s->x->body_done && !s->x->answer_started);
}

/*
 * The mail server takes no more of the request. It may have answered already, and closed because of it (413): what it said
 * counts, and the rest of the body goes nowhere.
 */
static enum pump body_refused(struct session *s)
{
	struct upstream_conn *u = s->upstream;

	if (s->x->body_refused)
		return upstream_failed(s, "the connection failed while the request was sent");
	s->x->body_refused = true;
	u->last = true;
	buffer_clear(&u->out);
	if (pump_answer(s) == PUMP_GONE)
		return PUMP_GONE;
	if (!s->x->answer_started)
		return upstream_failed(s, "the connection failed while the request was sent");
	return PUMP_WAIT;
}

/* `announced`: an event says that the device has sent something. */
static enum pump pump_request(struct session *s, bool announced)
{
	enum http_result rc = HTTP_MORE;
	enum io io = IO_OK;
	int moved, turns;

	for (turns = 0; turns < TURNS; turns++) {
		moved = pass_body(s, &rc);
		if (moved == -2) {
			session_refuse(s, rc == HTTP_TOO_LARGE ? FACT_BODY_TOO_LARGE : FACT_MALFORMED, http_result_text(rc));
			return PUMP_GONE;
		}
		if (moved < 0)
			return body_refused(s);
		if (buffer_len(&s->upstream->out) >= HIGH || (s->upstream->want_write && buffer_len(&s->in) > 0) || buffer_room(&s->in) == 0)
			break;
		/* behind the body only the end, or the next request, can come: the next event will tell */
		if (s->x->body_done && !(announced && turns == 0))
			break;
		io = session_read(s);
		if (io == IO_ENDED) {
			session_close(s, "the device went away");
			return PUMP_GONE;
		}
		if (io == IO_AGAIN || s->x->body_done)
			break;
	}
	rearm(s);
	/* others get their turn; what was read last has not been passed on yet */
	balance(s, turns == TURNS);
	if (too_slow(s, &s->x->body_pace, !s->x->body_done && !s->paused, s->x->body_n)) {
		session_refuse(s, FACT_TOO_SLOW, "the body comes in drops");
		return PUMP_GONE;
	}
	return PUMP_WAIT;
}

/* --- towards the device --- */

static void finish(struct session *s)
{
	struct upstream_conn *u = s->upstream;
	struct exchange *x = s->x;
	bool clean = x->body_done && !u->ended && x->answer_body != HTTP_BODY_UNTIL_CLOSE && buffer_len(&u->in) == 0;

	if (buffer_len(&u->in) > 0)
		log_say(LOG_ERROR, "answer_too_long", "%s sent bytes behind its answer: the connection is not used again", upstream_server_name(u));
	x->close_after |= !x->body_done;
	s->upstream = NULL;
	upstream_release(u, clean && !u->paused && x->answer_done);
	session_exchange_done(s);
}

/* What the head said: how the body will come, and how it goes on. */
static int begin_answer(struct session *s, const struct http_head *head)
{
	struct exchange *x = s->x;
	struct relay_answer answer = { .public_host = s->host_name, .no_challenge = s->peer->has_certificate };
	struct upstream_conn *u = s->upstream;

	x->answer_started = true;
	hold(s, false);
	x->status = head->status;
	x->answer_body = head->body;
	x->answer_left = head->length;
	x->answer_done = head->body == HTTP_BODY_NONE || (head->body == HTTP_BODY_LENGTH && head->length == 0);
	x->answer_chunked = x->request.is_11 && (head->body == HTTP_BODY_CHUNKED || head->body == HTTP_BODY_UNTIL_CLOSE);
	if (!x->answer_done && head->body != HTTP_BODY_LENGTH && !x->answer_chunked)
		x->close_after = true;	/* an HTTP/1.0 device sees the end by the close */
	if (!x->body_done)
		x->close_after = true;	/* nobody will read the rest of the request: what follows it cannot be told apart */
	if (!head->keep_alive)
		u->last = true;	/* nothing else may be sent on it */
	answer.chunked = x->answer_chunked;
	answer.close = x->close_after || s->worker->draining;
	answer.upstream_names = upstream_names(u, &answer.upstream_names_n);
	return relay_response_head(&s->out, head, &answer);
}

/* 1: a final head was taken; 0: more is needed; PUMP_GONE as -1. */
static int read_answer_head(struct session *s)
{
	struct upstream_conn *u = s->upstream;
	static struct http_head head;	/* 5 kB that no stack needs; used within this call only */
	enum http_result rc;
	size_t used;

	for (;;) {
		struct http_scan scan = { 0 };
		if (buffer_len(&u->in) == 0)
			return 0;
		rc = http_read_response(&head, &scan, buffer_data(&u->in), buffer_len(&u->in), &answer_limits, &used);
		if (rc == HTTP_MORE)
			return 0;
		if (rc != HTTP_DONE || head.status == 101) {
			upstream_failed(s, rc != HTTP_DONE ? http_result_text(rc) : "it switches protocols that nobody asked to switch");
			return -1;
		}
		if (head.status >= 200)
			break;
		if (++s->x->interims > INTERIM_MAX) {
			upstream_failed(s, "too many interim answers");
			return -1;
		}
		buffer_eat(&u->in, used);	/* 100: we have answered the device ourselves; others say nothing it needs */
	}
	if ((head.status == 401 || head.status == 407) && s->peer->has_certificate) {
		metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_AUTH, 1);
		session_refuse(s, FACT_UPSTREAM_AUTH, upstream_server_name(u));
		return -1;
	}
	if (begin_answer(s, &head) < 0) {
		session_close(s, "out of memory");
		return -1;
	}
	buffer_eat(&u->in, used);
	return 1;
}

/* Sends a run of body as it stands; *moved: how much of it is done with. */
static enum io send_run(struct session *s, struct strv data, size_t *moved)
{
	enum io io;

	*moved = 0;
	if (s->x->answer_chunked) {
		if (buffer_len(&s->out) >= HIGH)
			return session_flush(s);
		if (buffer_printf(&s->out, "%zx\r\n", data.n) < 0 || buffer_addv(&s->out, data) < 0 || buffer_addv(&s->out, STRV("\r\n")) < 0)
			return IO_ENDED;
		*moved = data.n;
		return IO_OK;
	}
	if (buffer_len(&s->out) > 0) {
		if (data.n <= COALESCE) {
			*moved = buffer_addv(&s->out, data) == 0 ? data.n : 0;
			return *moved > 0 ? IO_OK : IO_ENDED;
		}
		io = session_flush(s);
		if (io != IO_OK)
			return io;
	}
	return session_write(s, data.p, data.n, moved);
}

/* Moves what there is of the answer's body. IO_ENDED: the device is gone or memory is; -1 in *bad: the mail server's framing. */
static enum io pass_answer(struct session *s, enum http_result *bad)
{
	struct upstream_conn *u = s->upstream;
	struct exchange *x = s->x;
	enum io io = IO_OK;

	*bad = HTTP_DONE;
	while (io == IO_OK && !x->answer_done && buffer_len(&u->in) > 0) {
		struct strv data = buffer_view(&u->in);
		size_t moved, used;
		if (x->answer_body == HTTP_BODY_CHUNKED) {
			struct http_chunk before = x->answer_decode;
			enum http_result rc = http_chunk_read(&x->answer_decode, data.p, data.n, &used, &data);
			if (rc != HTTP_MORE && rc != HTTP_DONE) {
				*bad = rc;
				return IO_OK;
			}
			if (data.n > 0) {
				io = send_run(s, data, &moved);
				if (moved < data.n && io != IO_ENDED) {
					/* the rest comes again: the decoder goes back to where it stood, with the sent part done */
					x->answer_decode = before;
					used = (size_t)(data.p - buffer_data(&u->in)) + moved;
					if (http_chunk_read(&x->answer_decode, buffer_data(&u->in), used, &used, &data) != HTTP_MORE)
						io = IO_ENDED;
				}
				x->answer_n += moved;
			}
			x->answer_done = rc == HTTP_DONE && io == IO_OK;
			buffer_eat(&u->in, used);
			continue;
		}
		if (x->answer_body == HTTP_BODY_LENGTH && data.n > x->answer_left)
			data.n = (size_t)x->answer_left;
		io = send_run(s, data, &moved);
		buffer_eat(&u->in, moved);
		x->answer_n += moved;
		if (x->answer_body == HTTP_BODY_LENGTH) {
			x->answer_left -= moved;
			x->answer_done = x->answer_left == 0;
		}
	}
	return io;
}

/* All that can be sent now; then the end, or whose turn it is. */
static enum pump send_answer(struct session *s)
{
	struct upstream_conn *u = s->upstream;
	struct exchange *x = s->x;
	enum http_result bad;
	bool was_done = x->answer_done;
	enum io io = pass_answer(s, &bad);

	if (bad != HTTP_DONE)
		return upstream_failed(s, http_result_text(bad));
	if (io != IO_ENDED && x->answer_body == HTTP_BODY_UNTIL_CLOSE && u->ended && !u->cut && buffer_len(&u->in) == 0)
		x->answer_done = true;
	if (io != IO_ENDED && x->answer_done && !was_done && x->answer_chunked && buffer_addv(&s->out, STRV("0\r\n\r\n")) < 0)
		io = IO_ENDED;
	if (io == IO_OK)
		io = session_flush(s);
	if (io == IO_ENDED) {
		session_close(s, "the device went away");
		return PUMP_GONE;
	}
	rearm(s);
	if (too_slow(s, &x->answer_pace, io == IO_AGAIN, x->answer_n)) {
		session_close(s, "the device reads the answer in drops");
		return PUMP_GONE;
	}
	if (io == IO_AGAIN) {
		upstream_pause(u, true);
		return PUMP_WAIT;
	}
	if (x->answer_done) {
		upstream_pause(u, false);
		finish(s);
		return PUMP_GONE;
	}
	upstream_pause(u, false);
	return PUMP_WAIT;
}

static enum pump pump_answer(struct session *s)
{
	struct upstream_conn *u = s->upstream;
	long n;

	for (int turns = 0; turns < 16; turns++) {
		n = upstream_read(u);
		if (!s->x->answer_started) {
			int rc = read_answer_head(s);
			if (rc < 0)
				return PUMP_GONE;
			if (rc == 0 && n < 0)
				return upstream_failed(s, "it closed the connection without an answer");
		}
		if (s->x->answer_started) {
			if (send_answer(s) == PUMP_GONE)
				return PUMP_GONE;
			if (n < 0 && buffer_len(&u->in) == 0 && !s->x->answer_done)
				return upstream_failed(s, "it closed the connection inside the answer");
		}
		if (n <= 0 || u->paused || !upstream_has_more(u))
			return PUMP_WAIT;
	}
	/* one mail server's long answer must not keep all others waiting: the rest is announced again */
	event_active(&u->on_read, EV_READ, 1);
	return PUMP_WAIT;
}

static void on_upstream_readable(struct upstream_conn *c, void *arg)
{
	(void)c;
	(void)pump_answer(arg);
}

static void on_upstream_writable(struct upstream_conn *c, void *arg)
{
	struct session *s = arg;

	if (flush_upstream(c) < 0)
		(void)body_refused(s);
	else
		(void)pump_request(s, false);
}

void relay_from_device(struct session *s)
{
	(void)pump_request(s, true);
}

void relay_device_writable(struct session *s)
{
	if (!s->x->answer_started) {
		/* only our own 100 Continue can be waiting */
		if (session_flush(s) == IO_ENDED)
			session_close(s, "the device went away");
		return;
	}
	if (send_answer(s) == PUMP_WAIT && (upstream_has_more(s->upstream) || s->upstream->ended))
		(void)pump_answer(s);
}

/* --- the beginning --- */

static struct strv trusted_value(const struct session *s, const struct upstream_settings *u)
{
	switch (u->header_kind) {
	case HEADER_UPN:
		return strv_from(s->account->view.upn);
	case HEADER_MAIL:
		return strv_from(s->account->view.mail);
	default:
		return strv_from(s->account->view.sam);
	}
}

/* "10.0.0.7:51000" → "10.0.0.7", "[::1]:51000" → "::1" */
static const char *bare_address(const char *client, char out[ADDRESS_TEXT_MAX])
{
	const char *from = client[0] == '[' ? client + 1 : client, *colon = strrchr(from, ':');
	size_t n = colon != NULL ? (size_t)(colon - from) : strlen(from);

	if (n > 0 && from[n - 1] == ']')
		n--;
	memcpy(out, from, n);
	out[n] = '\0';
	return out;
}

void relay_start(struct session *s)
{
	char client[ADDRESS_TEXT_MAX];
	const struct upstream_settings *settings = settings_of(s);
	struct upstream_conn *u = s->upstream;
	struct exchange *x = s->x;
	const struct http_head *head = session_head(s);
	/* without a certificate nobody but the mail server has seen the password: it alone may say who this is */
	bool own_password = !s->peer->has_certificate || settings->credential_kind == CREDENTIAL_PASSTHROUGH;
	struct relay_identity id = { .host = upstream_host_field(u), .authorization = s->credential.authorization,
		.pass_authorization = own_password, .client = bare_address(s->client, client), .public_host = s->host_name };

	u->user = &relay_user;
	u->arg = s;
	snprintf(x->server, sizeof(x->server), "%s", upstream_server_name(u));
	session_go(s, SESSION_RELAY);
	if (settings->credential_kind == CREDENTIAL_HEADER)
		id.trusted_name = strv_from(settings->header);
	if (settings->credential_kind == CREDENTIAL_HEADER && !own_password) {
		id.trusted_value = trusted_value(s, settings);
		if (id.trusted_value.n == 0) {
			session_refuse(s, FACT_UPSTREAM_AUTH, "the account has no value for header_value");
			return;
		}
	}
	if (head == NULL || relay_request_head(&u->out, head, &id) < 0) {
		session_refuse(s, FACT_OVERLOADED, "out of memory");
		return;
	}
	credential_clear(&s->credential);
	buffer_eat(&s->in, x->head_n);
	x->head_n = 0;
	s->worker->head_owner = NULL;
	if (x->request.expect_continue && !x->body_done && buffer_len(&s->in) == 0 &&
	    (buffer_addv(&s->out, STRV("HTTP/1.1 100 Continue\r\n\r\n")) < 0 || session_flush(s) == IO_ENDED)) {
		session_close(s, "the device went away");
		return;
	}
	if (pump_request(s, false) == PUMP_WAIT && (upstream_has_more(u) || buffer_len(&u->in) > 0))
		(void)pump_answer(s);
}
