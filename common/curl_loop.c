/*
 * curl_loop: libcurl's sockets and its one timer as events of the loop.
 */
#include "common/curl_loop.h"

#include <stdlib.h>

#define CONNECT_S 10

struct curl_loop {
	CURLM *multi;
	struct event_base *base;
	struct event *timer;
};

/* Ended transfers are handed out one at a time: done() may start or remove others. */
static void reap(struct curl_loop *c)
{
	CURLMsg *message;
	CURLcode code;
	CURL *easy;
	char *transfer;
	int left;

	while ((message = curl_multi_info_read(c->multi, &left)) != NULL) {
		if (message->msg != CURLMSG_DONE)
			continue;
		easy = message->easy_handle;
		code = message->data.result;
		if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer) == CURLE_OK && transfer != NULL) {
			const struct curl_transfer *t = (const struct curl_transfer *)(void *)transfer;

			t->done(t->arg, code);
		}
	}
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	int action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0), running;
	struct curl_loop *c = arg;

	curl_multi_socket_action(c->multi, fd, action, &running);
	reap(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct curl_loop *c = arg;
	int running;

	(void)fd;
	(void)what;
	curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(c);
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *held)
{
	short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	struct event *event = held;
	struct curl_loop *c = arg;

	(void)easy;
	if (event != NULL)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		event = event_new(c->base, fd, (short)(events | EV_PERSIST), on_socket, c);
		if (event == NULL || event_add(event, NULL) < 0)
			return -1;
	}
	curl_multi_assign(c->multi, fd, event);
	return 0;
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	struct curl_loop *c = arg;

	(void)multi;
	if (ms < 0)
		event_del(c->timer);
	else
		event_add(c->timer, &tv);
	return 0;
}

struct curl_loop *curl_loop_new(struct loop *loop)
{
	struct curl_loop *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		free(c);
		return NULL;
	}
	c->base = loop_base(loop);
	c->multi = curl_multi_init();
	c->timer = evtimer_new(c->base, on_timer, c);
	if (c->multi == NULL || c->timer == NULL) {
		curl_loop_free(c);
		return NULL;
	}
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 4L);
	return c;
}

void curl_loop_free(struct curl_loop *c)
{
	if (c == NULL)
		return;
	if (c->multi != NULL)
		curl_multi_cleanup(c->multi);
	if (c->timer != NULL)
		event_free(c->timer);
	curl_global_cleanup();
	free(c);
}

int curl_loop_rules(CURL *easy, const char *url, const char *schemes, unsigned timeout_s, char *why)
{
	return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, schemes) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)timeout_s) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, why) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_USERAGENT, "easgate") == CURLE_OK ? 0 : -1;
}

int curl_loop_add(struct curl_loop *c, CURL *easy, struct curl_transfer *transfer)
{
	return curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK && curl_multi_add_handle(c->multi, easy) == CURLM_OK ? 0 : -1;
}

void curl_loop_remove(struct curl_loop *c, CURL *easy)
{
	if (easy == NULL)
		return;
	curl_multi_remove_handle(c->multi, easy);
	curl_easy_cleanup(easy);
}
