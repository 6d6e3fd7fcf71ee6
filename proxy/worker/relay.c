/*
 * relay: bytes both ways between a device and a mail server, with back-pressure and each message's exact end.
 * Framing is decoded strictly on one side and made anew on the other; no whole body is ever held. Worker process.
 */
#include <stdio.h>

#include "common/log.h"
#include "proxy/metric_table.h"
#include "proxy/worker/relay_head.h"
#include "proxy/worker/relay_parts.h"

#define RATE_MIN    1024	/* bytes a second that a device must manage on the whole, beyond body_idle_seconds */
#define TURNS	    8		/* reads of one device's body before the others' turn */
#define RECORD	    16384	/* the most that one of them brings */
#define GATHER	    65536	/* bytes of a body that one write to the mail server should carry */
#define LARGE	    (256u << 10)	/* a body of which so much comes is read with a larger buffer */
#define LARGE_READ  66048	/* room for four whole records */

static void on_upstream_readable(struct upstream_conn *c, void *arg);
static void on_upstream_writable(struct upstream_conn *c, void *arg);
static const struct upstream_user relay_user = { .readable = on_upstream_readable, .writable = on_upstream_writable };

const struct upstream_settings *relay_settings(const struct session *s)
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
	/* what the mail server does not take is no fault of the device, be it in our hands or still in the device's */
	if (!x->body_done && buffer_len(&s->upstream->out) == 0 && !s->upstream->want_write) {
		session_refuse(s, FACT_TOO_SLOW, "the body did not come in time");
		return;
	}
	metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_TIMEOUT, 1);
	session_refuse(s, FACT_UPSTREAM_TIMEOUT, upstream_server_name(s->upstream));
}

/* Something moved: from now on the next thing has its full time again. */
void relay_rearm(struct session *s)
{
	const struct limit_settings *limits = &s->worker->now->settings->proxy.limits;
	const struct exchange *x = s->x;
	uint64_t ms = (uint64_t)limits->body_idle_seconds * 1000;

	if (x->body_done && !x->answer_started)
		ms = x->request.holds ? (uint64_t)relay_settings(s)->ping_seconds * 1000 : relay_settings(s)->response_ms;
	deadline_arm(s->worker->loop, &s->deadline, ms, on_deadline);
}

/*
 * A device may send or read in drops, but not for ever: a byte now and then keeps the deadline away, so what it takes
 * altogether is measured too. `n`: bytes moved so far. True: it is too slow.
 */
bool relay_too_slow(struct session *s, struct pace *p, bool waiting, uint64_t n)
{
	uint64_t now = loop_now_ms(s->worker->loop);
	uint64_t allowed = (uint64_t)s->worker->now->settings->proxy.limits.body_idle_seconds * 1000 + n * 1000 / RATE_MIN;

	if (p->since_ms != 0)
		p->waited_ms += now - p->since_ms;
	p->since_ms = waiting ? now : 0;
	return waiting && p->waited_ms > allowed;
}

void relay_hold(struct session *s, bool held)
{
	if (s->x->held == held)
		return;
	s->x->held = held;
	metrics_add(M_SESSIONS_HELD, 0, held ? 1 : -1);
}

/* --- towards the mail server --- */

enum pump relay_upstream_failed(struct session *s, const char *what)
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
	relay_hold(s, s->x->request.holds && s->x->body_done && !s->x->answer_started);
}

/*
 * The mail server takes no more of the request. It may have answered already, and closed because of it (413): what it said
 * counts, and the rest of the body goes nowhere.
 */
static enum pump body_refused(struct session *s)
{
	struct upstream_conn *u = s->upstream;

	if (s->x->body_refused)
		return relay_upstream_failed(s, "the connection failed while the request was sent");
	s->x->body_refused = true;
	u->last = true;
	buffer_clear(&u->out);
	if (relay_pump_answer(s) == PUMP_GONE)
		return PUMP_GONE;
	if (!s->x->answer_started)
		return relay_upstream_failed(s, "the connection failed while the request was sent");
	return PUMP_WAIT;
}

static bool wants_more(const struct session *s)
{
	const struct exchange *x = s->x;
	size_t n = buffer_len(&s->in);

	return !x->body_done && !x->body_refused && n + RECORD <= GATHER && (x->request.body != HTTP_BODY_LENGTH || n < x->body_left);
}

/* Several records, where they have come. IO_OK: something came; *last: what the last read said. */
static enum io read_body(struct session *s, int *turns, enum io *last)
{
	enum io first = session_read(s);

	*last = first;
	while (*last == IO_OK && wants_more(s) && ++*turns < TURNS)
		*last = session_read(s);
	return first;
}

/* `announced`: an event says that the device has sent something. */
static enum pump pump_request(struct session *s, bool announced)
{
	enum http_result rc = HTTP_MORE;
	enum io io, last = IO_OK;
	bool behind = announced && s->x->body_done;
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
		if (last != IO_OK || (s->x->body_done && !(announced && turns == 0)))
			break;
		io = read_body(s, &turns, &last);
		if (io == IO_ENDED) {
			session_close(s, "the device went away");
			return PUMP_GONE;
		}
		if (io == IO_AGAIN || s->x->body_done)
			break;
	}
	relay_rearm(s);
	/*
	 * Others get their turn; what was read last has not been passed on yet. What came along behind the body, an end say,
	 * stands inside TLS already: it is looked at once more, and a piece of a record then waits for the rest of it.
	 */
	balance(s, turns >= TURNS || last == IO_ENDED || (s->x->body_done && !behind && SSL_has_pending(s->ssl)));
	if (relay_too_slow(s, &s->x->body_pace, !s->x->body_done && !s->paused, s->x->body_n)) {
		session_refuse(s, FACT_TOO_SLOW, "the body comes in drops");
		return PUMP_GONE;
	}
	return PUMP_WAIT;
}

/* --- events --- */

static void on_upstream_readable(struct upstream_conn *c, void *arg)
{
	(void)c;
	(void)relay_pump_answer(arg);
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
	if (relay_send_answer(s) == PUMP_WAIT && (upstream_has_more(s->upstream) || s->upstream->ended))
		(void)relay_pump_answer(s);
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

void relay_start(struct session *s)
{
	char client[ADDRESS_TEXT_MAX];
	const struct upstream_settings *settings = relay_settings(s);
	struct upstream_conn *u = s->upstream;
	struct exchange *x = s->x;
	const struct http_head *head = session_head(s);
	bool own_password = settings->credential_kind == CREDENTIAL_PASSTHROUGH;
	struct relay_identity id = { .host = upstream_host_field(u),
		.authorization = { s->credential.authorization, s->credential.n },
		.pass_authorization = own_password, .client = address_bare(s->client, client), .public_host = s->host_name };

	u->user = &relay_user;
	u->arg = s;
	snprintf(x->server, sizeof(x->server), "%s", upstream_server_name(u));
	session_go(s, SESSION_RELAY);
	/* the last gate: a reload while the connection was waited for may have made it another kind of mail server */
	if (x->unverified && !own_password) {
		session_refuse(s, FACT_UNVERIFIED, settings->name);
		return;
	}
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
	/* OpenSSL takes it when it next needs a buffer, and lets it go when that is empty */
	SSL_set_default_read_buffer_len(s->ssl, x->request.body == HTTP_BODY_LENGTH && x->request.length >= LARGE ? LARGE_READ : 0);
	x->head_n = 0;
	s->worker->head_owner = NULL;
	if (x->request.expect_continue && !x->body_done && buffer_len(&s->in) == 0 &&
	    (buffer_addv(&s->out, STRV("HTTP/1.1 100 Continue\r\n\r\n")) < 0 || session_flush(s) == IO_ENDED)) {
		session_close(s, "the device went away");
		return;
	}
	if (pump_request(s, false) == PUMP_WAIT && (upstream_has_more(u) || buffer_len(&u->in) > 0))
		(void)relay_pump_answer(s);
}
