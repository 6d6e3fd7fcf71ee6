/*
 * fetch: a transfer of libcurl's (curl_loop.h). Verifies TLS, follows nobody, stops at the bound.
 * Runs in the revocation process.
 */
#include "proxy/revocation/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fetch {
	struct curl_loop *owner;
	CURL *easy;
	struct curl_transfer transfer;
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
	curl_loop_remove(f->owner, f->easy);
	curl_slist_free_all(f->headers);
	free(f);
}

static void finish(void *arg_of_transfer, CURLcode code)
{
	struct fetch *f = arg_of_transfer;
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

/* Only the configured CAs where there are any: libcurl would ask the system's folder as well. */
static int trust(CURL *e, struct strv ca)
{
	struct curl_blob blob = { (void *)(uintptr_t)ca.p, ca.n, CURL_BLOB_NOCOPY };

	if (curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK)
		return -1;
	if (ca.n == 0)
		return 0;
	return curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK && curl_easy_setopt(e, CURLOPT_CAPATH, NULL) == CURLE_OK ? 0 : -1;
}

static int configure(struct fetch *f, const char *url, const struct fetch_rules *rules)
{
	CURL *e = f->easy;

	return curl_loop_rules(e, url, rules->schemes, rules->timeout_s, f->why) == 0 && trust(e, rules->ca) == 0 &&
	    curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->max) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEDATA, f) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HEADERDATA, f) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HTTPHEADER, f->headers) == CURLE_OK ? 0 : -1;
}

struct fetch *fetch_start(struct curl_loop *owner, const char *url, int fd, const struct fetch_rules *rules,
    const struct fetch_version *version, fetch_done_fn *done, void *arg)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	*f = (struct fetch){ .owner = owner, .fd = fd, .max = rules->max_bytes, .done = done, .arg = arg, .easy = curl_easy_init(),
		.transfer = { finish, f } };
	if (f->easy == NULL)
		goto fail;
	if (version != NULL && (add_condition(f, "If-None-Match", version->etag) < 0 ||
	    add_condition(f, "If-Modified-Since", version->modified) < 0))
		goto fail;
	if (configure(f, url, rules) < 0 || curl_loop_add(owner, f->easy, &f->transfer) < 0)
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
