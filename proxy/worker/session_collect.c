/*
 * session_collect: the one answer that needs a request's body and comes from the proxy itself: Autodiscover. Collects at
 * most AUTODISCOVER_BODY_MAX bytes, decodes them, answers. Worker process.
 */
#include <stdio.h>

#include "proxy/worker/autodiscover.h"
#include "proxy/worker/session_state.h"

/* A device is sent where it may come by the method that it came by now. */
static const char *url_for(const struct session *s)
{
	const struct proxy_settings *p = &s->worker->now->settings->proxy;
	const char *const urls[METHODS] = { [METHOD_CERTIFICATE] = p->autodiscover_urls.certificate,
		[METHOD_PASSWORD] = p->autodiscover_urls.password, [METHOD_BEARER] = p->autodiscover_urls.bearer };
	const char *url = urls[session_method(s)];

	return url[0] != '\0' ? url : p->autodiscover_url;
}

/* `request` NULL: it could not be read. */
static void write_answer(struct session *s, const struct autodiscover_request *request)
{
	struct exchange *x = s->x;
	struct autodiscover_answer answer;
	struct buffer body;
	struct timespec now;
	int rc;

	buffer_init(&body, 65536);
	clock_gettime(CLOCK_REALTIME, &now);
	if (request == NULL) {
		rc = autodiscover_print_error(&body, AUTODISCOVER_INVALID_REQUEST, &now);
	} else if (!request->mobilesync) {
		rc = autodiscover_print_error(&body, AUTODISCOVER_NO_PROVIDER, &now);
	} else {
		const char *address = s->account->view.mail[0] != '\0' ? s->account->view.mail : request->address;
		answer = (struct autodiscover_answer){ STRV("en:us"), strv_from(s->account->view.display_name), strv_from(address),
			strv_from(url_for(s)) };
		rc = autodiscover_print(&body, &answer);
	}
	s->closing = s->closing || x->close_after || s->worker->draining;
	if (rc < 0 || buffer_printf(&s->out, "HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nCache-Control: private\r\n"
		"Content-Length: %zu\r\n%s\r\n", buffer_len(&body), s->closing ? "Connection: close\r\n" : "") < 0 ||
	    buffer_addv(&s->out, buffer_view(&body)) < 0) {
		buffer_clear(&body);
		session_refuse(s, FACT_OVERLOADED, "out of memory");
		return;
	}
	x->status = 200;
	x->answer_n = buffer_len(&body);
	buffer_clear(&body);
	audit_access(s);
	session_free_exchange(s);
	session_go(s, SESSION_ANSWER);
	session_answer(s);
}

static void on_user(struct session *s, enum fact fact, const char *detail)
{
	struct autodiscover_request request;

	if (fact != FACT_NONE)
		session_refuse(s, fact, fact == FACT_OTHER_USER ? "Autodiscover for another mailbox" : detail);
	else
		write_answer(s, autodiscover_read(&request, buffer_view(&s->x->collected)) == AUTODISCOVER_OK ? &request : NULL);
}

static void answer_autodiscover(struct session *s)
{
	struct autodiscover_request request;

	if (autodiscover_read(&request, buffer_view(&s->x->collected)) != AUTODISCOVER_OK)
		write_answer(s, NULL);
	else
		session_check_user(s, request.address, on_user);
}

/* Takes what stands in s->in as body. 1: all of it has come; 0: more; -1: refused. */
static int take_body(struct session *s, enum fact *fact, const char **detail)
{
	struct exchange *x = s->x;

	while (!x->body_done && buffer_len(&s->in) > 0) {
		struct strv data = buffer_view(&s->in);
		size_t used = data.n;
		enum http_result rc = HTTP_MORE;

		if (x->request.body == HTTP_BODY_LENGTH) {
			used = data.n = data.n < x->body_left ? data.n : (size_t)x->body_left;
			x->body_left -= used;
			x->body_done = x->body_left == 0;
		} else {
			rc = http_chunk_read(&x->decode, data.p, data.n, &used, &data);
			x->body_done = rc == HTTP_DONE;
		}
		if (rc != HTTP_MORE && rc != HTTP_DONE) {
			*fact = rc == HTTP_TOO_LARGE ? FACT_BODY_TOO_LARGE : FACT_MALFORMED;
			*detail = http_result_text(rc);
			return -1;
		}
		if (data.n > 0 && buffer_add(&x->collected, data.p, data.n) < 0) {
			*fact = FACT_BODY_TOO_LARGE;
			*detail = "an Autodiscover request has at most 16 KiB";
			return -1;
		}
		x->body_n += data.n;
		buffer_eat(&s->in, used);
	}
	return x->body_done ? 1 : 0;
}

void session_collect(struct session *s)
{
	enum fact fact = FACT_NONE;
	const char *detail = NULL;
	enum io io = IO_OK;

	for (;;) {
		int rc = take_body(s, &fact, &detail);
		if (rc > 0) {
			answer_autodiscover(s);
			return;
		}
		if (rc < 0) {
			session_refuse(s, fact, detail);
			return;
		}
		io = session_read(s);
		if (io == IO_ENDED) {
			session_close(s, "the device went away");
			return;
		}
		if (io == IO_AGAIN)
			return;
	}
}
