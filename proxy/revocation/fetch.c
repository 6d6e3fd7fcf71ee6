/*
 * fetch: libcurl's multi interface on the process's loop. Verifies TLS, follows nobody, stops at the bound.
 * Runs in the revocation process.
 */
#include "proxy/revocation/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONNECT_S 10

struct fetcher {
	CURLM *multi;
	struct event_base *base;
	struct event *timer;
};

struct fetch {
	struct fetcher *owner;
	CURL *easy;
	struct curl_slist *headers;
	int fd;
	uint64_t written, max;
	struct fetch_version version;
	fetch_done_fn *done;
	void *arg;
	char why[CURL_ERROR_SIZE];	/* curl's words */
	char own[128];			/* ours, when we stopped it: they say more */
};

static void fetch_release(struct fetch *f)
{
	if (f->easy != NULL) {
		curl_multi_remove_handle(f->owner->multi, f->easy);
		curl_easy_cleanup(f->easy);
	}
	curl_slist_free_all(f->headers);
	free(f);
}

static void finish(struct fetch *f, CURLcode code)
{
	enum fetch_result result = FETCH_FAILED;
	struct fetch_version version = f->version;
	fetch_done_fn *done = f->done;
	char why[CURL_ERROR_SIZE + 64] = "", *elsewhere = NULL;
	void *arg = f->arg;
	long status = 0;

	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(f->easy, CURLINFO_REDIRECT_URL, &elsewhere);
	if (code != CURLE_OK)
		snprintf(why, sizeof(why), "%s", f->own[0] != '\0' ? f->own : f->why[0] != '\0' ? f->why :
		    curl_easy_strerror(code));
	else if (status == 304)
		result = FETCH_SAME;
	else if (status == 200 && f->written > 0)
		result = FETCH_NEW;
	else if (elsewhere != NULL)
		snprintf(why, sizeof(why), "redirects to %.200s, which is not followed: configure that URL", elsewhere);
	else
		snprintf(why, sizeof(why), "HTTP status %ld%s", status, status == 200 ? " with an empty body" : "");
	fetch_release(f);
	done(arg, result, &version, result == FETCH_FAILED ? why : NULL);
}

/* Ended transfers are handed out one at a time: done() may start or cancel others. */
static void reap(struct fetcher *f)
{
	CURLMsg *message;
	CURLcode code;
	CURL *easy;
	char *fetch;
	int left;

	while ((message = curl_multi_info_read(f->multi, &left)) != NULL) {
		if (message->msg != CURLMSG_DONE)
			continue;
		easy = message->easy_handle;
		code = message->data.result;
		if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &fetch) == CURLE_OK && fetch != NULL)
			finish((struct fetch *)(void *)fetch, code);
	}
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	int action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0), running;
	struct fetcher *f = arg;

	curl_multi_socket_action(f->multi, fd, action, &running);
	reap(f);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct fetcher *f = arg;
	int running;

	(void)fd;
	(void)what;
	curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(f);
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *held)
{
	short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	struct event *event = held;
	struct fetcher *f = arg;

	(void)easy;
	if (event != NULL)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		event = event_new(f->base, fd, (short)(events | EV_PERSIST), on_socket, f);
		if (event == NULL || event_add(event, NULL) < 0)
			return -1;
	}
	curl_multi_assign(f->multi, fd, event);
	return 0;
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	struct fetcher *f = arg;

	(void)multi;
	if (ms < 0)
		event_del(f->timer);
	else
		event_add(f->timer, &tv);
	return 0;
}

struct fetcher *fetcher_new(struct loop *loop)
{
	struct fetcher *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		free(f);
		return NULL;
	}
	f->base = loop_base(loop);
	f->multi = curl_multi_init();
	f->timer = evtimer_new(f->base, on_timer, f);
	if (f->multi == NULL || f->timer == NULL) {
		fetcher_free(f);
		return NULL;
	}
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, 4L);
	return f;
}

void fetcher_free(struct fetcher *f)
{
	if (f == NULL)
		return;
	if (f->multi != NULL)
		curl_multi_cleanup(f->multi);
	if (f->timer != NULL)
		event_free(f->timer);
	curl_global_cleanup();
	free(f);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct fetch *f = arg;
	ssize_t done;
	size_t at = 0;

	(void)size;
	if (f->written + n > f->max) {
		snprintf(f->own, sizeof(f->own), "longer than %llu bytes", (unsigned long long)f->max);
		return 0;
	}
	while (at < n) {
		done = write(f->fd, p + at, n - at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			snprintf(f->own, sizeof(f->own), "cannot store it: %s", strerror(errno));
			return 0;
		}
		at += (size_t)done;
	}
	f->written += n;
	return n;
}

static void keep_value(char out[FETCH_TAG_MAX], struct strv line, const char *name)
{
	size_t n = strlen(name);

	if (line.n <= n || strncasecmp(line.p, name, n) != 0)
		return;
	line.p += n;
	line.n -= n;
	while (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
		line.p++, line.n--;
	while (line.n > 0 && (unsigned char)line.p[line.n - 1] <= ' ')
		line.n--;
	out[0] = '\0';
	if (line.n < FETCH_TAG_MAX && memchr(line.p, '\0', line.n) == NULL) {
		memcpy(out, line.p, line.n);
		out[line.n] = '\0';
	}
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct fetch *f = arg;

	(void)size;
	keep_value(f->version.etag, (struct strv){ p, n }, "ETag:");
	keep_value(f->version.modified, (struct strv){ p, n }, "Last-Modified:");
	return n;
}

static int add_condition(struct fetch *f, const char *name, const char *value)
{
	char line[FETCH_TAG_MAX + 32];
	struct curl_slist *longer;

	if (value[0] == '\0')
		return 0;
	snprintf(line, sizeof(line), "%s: %s", name, value);
	longer = curl_slist_append(f->headers, line);
	if (longer == NULL)
		return -1;
	f->headers = longer;
	return 0;
}

static int configure(struct fetch *f, const char *url, unsigned timeout_s)
{
	CURL *e = f->easy;

	return curl_easy_setopt(e, CURLOPT_URL, url) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_TIMEOUT, (long)timeout_s) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->max) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEDATA, f) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HEADERDATA, f) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HTTPHEADER, f->headers) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->why) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_USERAGENT, "easgate") == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PRIVATE, f) == CURLE_OK ? 0 : -1;
}

struct fetch *fetch_start(struct fetcher *owner, const char *url, int fd, uint64_t max_bytes, unsigned timeout_s,
    const struct fetch_version *version, fetch_done_fn *done, void *arg)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	*f = (struct fetch){ .owner = owner, .fd = fd, .max = max_bytes, .done = done, .arg = arg, .easy = curl_easy_init() };
	if (f->easy == NULL)
		goto fail;
	if (version != NULL && (add_condition(f, "If-None-Match", version->etag) < 0 ||
	    add_condition(f, "If-Modified-Since", version->modified) < 0))
		goto fail;
	if (configure(f, url, timeout_s) < 0 || curl_multi_add_handle(owner->multi, f->easy) != CURLM_OK)
		goto fail;
	return f;
fail:
	if (f->easy != NULL)
		curl_easy_cleanup(f->easy);
	curl_slist_free_all(f->headers);
	free(f);
	return NULL;
}

void fetch_cancel(struct fetch *f)
{
	if (f != NULL)
		fetch_release(f);
}
