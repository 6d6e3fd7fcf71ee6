/*
 * Heads: however the bytes arrive, the answer is the same; what was accepted, written out again,
 * reads the same.
 */
#include "common/http_head.h"

#include "fuzz.h"

static const struct http_limits limits = { .head_bytes = 4096, .fields = 64 };

static enum http_result read_once(
    struct http_head *head, struct http_scan *scan, const char *p, size_t n, size_t *used)
{
	bool response = n >= 5 && memcmp(p, "HTTP/", 5) == 0;

	return (response ? http_read_response : http_read_request)(head, scan, p, n, &limits, used);
}

/* As a response too where the whole begins like one, whatever the piece at hand shows of it. */
static enum http_result read_steps(
    struct http_head *head, const char *p, size_t n, size_t first, size_t step, size_t *used)
{
	bool response = n >= 5 && memcmp(p, "HTTP/", 5) == 0;
	struct http_scan scan = { 0 };
	enum http_result r;

	for (size_t have = first;; have = have + step < n ? have + step : n) {
		char *piece = fuzz_exact(p, have);

		r = (response ? http_read_response : http_read_request)(
		    head, &scan, piece, have, &limits, used);
		free(piece);
		if (r != HTTP_MORE || have == n)
			return r;
	}
}

/* All but the pointers. */
static void check_same(const struct http_head *a, const struct http_head *b)
{
	FUZZ_CHECK(a->minor == b->minor && a->status == b->status && a->fields == b->fields &&
	    a->body == b->body);
	FUZZ_CHECK(
	    a->length == b->length && a->keep_alive == b->keep_alive && a->has_port == b->has_port);
	FUZZ_CHECK(a->expect_continue == b->expect_continue && a->has_upgrade == b->has_upgrade);
}

static void check_again(const struct http_head *head)
{
	char text[16384];
	struct http_scan scan = { 0 };
	struct http_head again;
	size_t n, used = 0;

	if (head->status != 0)
		n = (size_t)snprintf(text, sizeof(text), "HTTP/1.%u %u %.*s\r\n", head->minor,
		    head->status, STRV_FMT(head->reason));
	else
		n = (size_t)snprintf(text, sizeof(text), "%.*s %.*s HTTP/1.%u\r\n",
		    STRV_FMT(head->method), STRV_FMT(head->target), head->minor);
	for (size_t i = 0; i < head->fields; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s: %.*s\r\n",
		    STRV_FMT(head->field[i].name), STRV_FMT(head->field[i].value));
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	if (n > limits.head_bytes)
		return;
	FUZZ_CHECK(read_once(&again, &scan, text, n, &used) == HTTP_DONE && used == n);
	check_same(head, &again);
	FUZZ_CHECK(strv_eq(head->path, again.path) && strv_eq(head->query, again.query));
	FUZZ_CHECK(strv_eq(head->host, again.host) && strv_eq(head->method, again.method));
	for (size_t i = 0; i < head->fields; i++) {
		FUZZ_CHECK(head->field[i].id == again.field[i].id);
		FUZZ_CHECK(strv_eq(head->field[i].value, again.field[i].value));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *p = fuzz_exact(bytes, n);
	struct http_head whole, parts;
	struct http_scan scan = { 0 };
	size_t used = 0, other = 0, step = n > 256 ? n / 64 : 1;
	enum http_result r = read_once(&whole, &scan, p, n, &used);

	if (r == HTTP_DONE) {
		FUZZ_CHECK(used <= n && used <= limits.head_bytes && whole.fields <= limits.fields);
		check_again(&whole);
	}
	for (size_t first = 0; first < n; first += step) {
		FUZZ_CHECK(read_steps(&parts, p, n, first, n, &other) == r);
		FUZZ_CHECK(r != HTTP_DONE || other == used);
		if (r == HTTP_DONE)
			check_same(&whole, &parts);
	}
	FUZZ_CHECK(read_steps(&parts, p, n, 0, 1, &other) == r);
	free(p);
	return 0;
}
