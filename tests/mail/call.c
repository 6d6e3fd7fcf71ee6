/*
 * call: running, holding, waking and answering.
 * A handler never runs inside another one: waking goes through the event loop.
 * Part of the sample mail server, which runs as one process.
 */
#include "call.h"

#include <stdlib.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "text.h"
#include "wbxml.h"

#define EARLY_BYTES 65536       /* what a device may send ahead while its call is held */
#define STATUS_GONE 499         /* in the log only: the device hung up */

int64_t call_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void call_log(const char *user, const char *command, const char *device, int status,
    int64_t began)
{
	fputs("user=", stderr);
	text_log(stderr, user);
	fputs(" cmd=", stderr);
	text_log(stderr, command);
	fputs(" device=", stderr);
	text_log(stderr, device);
	fprintf(stderr, " status=%d ms=%lld\n", status, (long long)(call_clock() - began));
}

/* Nothing calls back into `c` after this. The request keeps the connection's reading as it is. */
static void unhold(struct call *c)
{
	if (c->deadline == 0)
		return;
	c->deadline = 0;
	TAILQ_REMOVE(&c->account->waiting, c, entry);
	c->device->holds--;
	if (c->device->waiting == c)
		c->device->waiting = NULL;
	event_free(c->timer);
	c->timer = NULL;
}

static void call_free(struct call *c)
{
	xml_out_clear(&c->out);
	xmlFreeDoc(c->doc);
	free(c);
}

static struct bufferevent *bufferevent_of(struct call *c)
{
	return evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->http));
}

/* Fills `body` with the answer. Returns the status to send. */
static int encode(struct call *c, struct evbuffer *body)
{
	unsigned char *bytes = NULL;
	const char *xml;
	size_t xml_n = 0, n = 0;
	int rc;

	if (c->out.buffer == NULL && !c->out.failed)
		return 200;
	xml = xml_out_end(&c->out, &xml_n);
	if (xml == NULL || wbxml_encode(xml, xml_n, &bytes, &n) < 0)
		return 500;
	rc = evbuffer_add(body, bytes, n);
	free(bytes);
	return rc < 0 ? 500 : 200;
}

/* Answers and frees. */
static void finish(struct call *c, int status)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(c->http);
	struct evbuffer *body = evbuffer_new();

	if (c->deadline != 0) {
		bufferevent_setwatermark(bufferevent_of(c), EV_READ, 0, 0);
		unhold(c);
	}
	if (status == 200)
		status = body == NULL ? 500 : encode(c, body);
	evhttp_add_header(headers, "MS-Server-ActiveSync", "15.2");
	evhttp_add_header(headers, "Cache-Control", "private");
	if (status == 503)
		evhttp_add_header(headers, "Retry-After", "30");
	if (status == 200 && evbuffer_get_length(body) > 0)
		evhttp_add_header(headers, "Content-Type", "application/vnd.ms-sync.wbxml");
	if (c->env->log)
		call_log(c->account->name, c->command, c->query.device_id, status, c->began);
	evhttp_send_reply(c->http, status, NULL, status == 200 ? body : NULL);
	if (body != NULL)
		evbuffer_free(body);
	call_free(c);
}

void call_run(struct call *c)
{
	int status = c->run(c);

	if (status != CALL_HELD)
		finish(c, status);
}

/* The device hung up while its call was held: there is nobody to answer. */
static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct call *c = arg;
	struct evhttp_connection *connection = evhttp_request_get_connection(c->http);

	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) == 0) {
		bufferevent_enable(bev, EV_READ);       /* a time-out of idle connections */
		return;
	}
	unhold(c);
	if (c->env->log)
		call_log(c->account->name, c->command, c->query.device_id, STATUS_GONE, c->began);
	call_free(c);
	evhttp_connection_free(connection);     /* and the request with it */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct call *c = arg;

	(void)fd;
	(void)what;
	c->expired = call_clock() >= c->deadline;
	call_run(c);
}

static int arm(struct call *c)
{
	int64_t left = c->deadline - call_clock();
	struct timeval tv;

	if (left < 0)
		left = 0;
	tv.tv_sec = left / 1000;
	tv.tv_usec = left % 1000 * 1000 + 999;  /* never a millisecond early */
	return event_add(c->timer, &tv);
}

int call_hold(struct call *c, uint32_t seconds)
{
	struct call *older = c->device->waiting;

	if (c->deadline != 0)
		return arm(c) < 0 ? 503 : CALL_HELD;
	c->timer = evtimer_new(c->env->base, on_timer, c);
	if (c->timer == NULL)
		return 503;
	c->deadline = call_clock() + (int64_t)seconds * 1000;
	if (arm(c) < 0) {
		event_free(c->timer);
		c->deadline = 0;
		return 503;
	}
	if (older != NULL) {
		older->superseded = true;
		event_active(older->timer, EV_TIMEOUT, 1);
	}
	c->device->waiting = c;
	c->device->holds++;
	TAILQ_INSERT_TAIL(&c->account->waiting, c, entry);
	/*
	 * evhttp does not read while a request is unanswered, so it would not see the device go.
	 * It puts its own callbacks back when the reply is sent.
	 */
	bufferevent_setwatermark(bufferevent_of(c), EV_READ, 0, EARLY_BYTES);
	bufferevent_setcb(bufferevent_of(c), NULL, NULL, on_event, c);
	bufferevent_enable(bufferevent_of(c), EV_READ);
	return CALL_HELD;
}

void calls_wake(struct account *account)
{
	struct call *c;

	TAILQ_FOREACH(c, &account->waiting, entry)
		event_active(c->timer, EV_TIMEOUT, 1);
}

void calls_stop(struct accounts *accounts)
{
	for (struct account *a = NULL; (a = accounts_next(accounts, a)) != NULL;) {
		struct call *c;

		while ((c = TAILQ_FIRST(&a->waiting)) != NULL)
			finish(c, 503);
	}
}
