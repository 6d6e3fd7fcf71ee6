/*
 * relay_answer: the half of the relay from the mail server to the device: the answer's head, its body with back-pressure, its
 * exact end, and whether the mail server's connection may serve again. Worker process.
 */
#include <stdio.h>

#include "common/log.h"
#include "proxy/metric_table.h"
#include "proxy/worker/relay_head.h"
#include "proxy/worker/relay_parts.h"

#define INTERIM_MAX 16

static const struct http_limits answer_limits = { 65536, HTTP_FIELDS_MAX };

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

/*
 * A mail server that wants a credential wants it of us, unless the device's own goes on to it: to a device with a certificate, or whose
 * password or token was judged here, a challenge says what is not true. A token that the mail server alone verifies is the device's, beside
 * a certificate too: it gets itself another one.
 */
static bool challenge_is_ours(const struct session *s)
{
	return (s->peer->has_certificate && !s->x->unverified) || relay_settings(s)->credential_kind != CREDENTIAL_PASSTHROUGH;
}

/* What the head said: how the body will come, and how it goes on. */
static int begin_answer(struct session *s, const struct http_head *head)
{
	struct exchange *x = s->x;
	struct relay_answer answer = { .public_host = s->host_name, .no_challenge = challenge_is_ours(s) };
	struct upstream_conn *u = s->upstream;

	x->answer_started = true;
	relay_hold(s, false);
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

static void on_noted(struct session *s, enum fact fact, const char *detail)
{
	s->x->noting = false;
	s->x->noted = true;
	if (fact != FACT_NONE) {
		session_refuse(s, fact, detail);
		return;
	}
	upstream_pause(s->upstream, false);
	(void)relay_pump_answer(s);
}

/* The head stays where it is until the device's record is made. 0, or -1: refused. */
static int note_first(struct session *s)
{
	if (session_note_device(s, on_noted) < 0) {
		session_refuse(s, FACT_OVERLOADED, "too many questions about devices");
		return -1;
	}
	s->x->noting = true;
	upstream_pause(s->upstream, true);
	return 0;
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
			relay_upstream_failed(s, rc != HTTP_DONE ? http_result_text(rc) : "it switches protocols that nobody asked to switch");
			return -1;
		}
		if (head.status >= 200)
			break;
		if (++s->x->interims > INTERIM_MAX) {
			relay_upstream_failed(s, "too many interim answers");
			return -1;
		}
		buffer_eat(&u->in, used);	/* 100: we have answered the device ourselves; others say nothing it needs */
	}
	if ((head.status == 401 || head.status == 407) && challenge_is_ours(s)) {
		metrics_add(M_UPSTREAM_FAILURES, UPSTREAM_AUTH, 1);
		session_refuse(s, FACT_UPSTREAM_AUTH, upstream_server_name(u));
		return -1;
	}
	if (session_must_note(s, head.status))
		return note_first(s);
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
enum pump relay_send_answer(struct session *s)
{
	struct upstream_conn *u = s->upstream;
	struct exchange *x = s->x;
	enum http_result bad;
	bool was_done = x->answer_done;
	enum io io = pass_answer(s, &bad);

	if (bad != HTTP_DONE)
		return relay_upstream_failed(s, http_result_text(bad));
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
	relay_rearm(s);
	if (relay_too_slow(s, &x->answer_pace, io == IO_AGAIN, x->answer_n)) {
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

enum pump relay_pump_answer(struct session *s)
{
	struct upstream_conn *u = s->upstream;
	long n;

	for (int turns = 0; turns < 16; turns++) {
		if (s->x->noting)
			return PUMP_WAIT;
		n = upstream_read(u);
		if (!s->x->answer_started) {
			int rc = read_answer_head(s);
			if (rc < 0)
				return PUMP_GONE;
			if (s->x->noting)
				continue;
			if (rc == 0 && n < 0)
				return relay_upstream_failed(s, "it closed the connection without an answer");
		}
		if (s->x->answer_started) {
			if (relay_send_answer(s) == PUMP_GONE)
				return PUMP_GONE;
			if (n < 0 && buffer_len(&u->in) == 0 && !s->x->answer_done)
				return relay_upstream_failed(s, "it closed the connection inside the answer");
		}
		if (n <= 0 || u->paused || !upstream_has_more(u))
			return PUMP_WAIT;
	}
	/* one mail server's long answer must not keep all others waiting: the rest is announced again */
	event_active(&u->on_read, EV_READ, 1);
	return PUMP_WAIT;
}
