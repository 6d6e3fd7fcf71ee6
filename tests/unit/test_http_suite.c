/*
 * Public cases of request smuggling and malformed requests (http1.jsonl in the folder that SUITES
 * names, default
 * ../shared/suites; skipped where it is absent): none that must be rejected is read to its end, and
 * of those that may be accepted only the ones listed here are refused.
 */
#include "common/http_chunk.h"

#include "table.h"

#include <jansson.h>

struct verdict {
	enum http_result
	    result; /* the first refusal; HTTP_MORE: it breaks off; HTTP_DONE: all of it was read */
	size_t forwarded; /* heads that were read to their end */
};

/* Accepted elsewhere, refused here, and why. */
static const struct {
	const char *name, *why;
} stricter[] = {
	{ "Compliant URL", "'#' in the target: one reader cuts there, another does not" },
	{ "International in URI",
	    "bytes above 7f in the target: no two servers agree on their encoding" },
};

/* Reads as many requests as `raw` holds, the way a connection is read. */
static struct verdict read_all(struct strv raw)
{
	static struct http_head head;
	struct http_limits limits = { .head_bytes = 16384, .fields = 100 };
	struct verdict v = { .result = HTTP_DONE };
	size_t at = 0, used = 0;

	while (at < raw.n && v.result == HTTP_DONE) {
		struct http_scan scan = { 0 };
		struct http_chunk chunk = { 0 };
		struct strv data;

		v.result = http_read_request(&head, &scan, raw.p + at, raw.n - at, &limits, &used);
		if (v.result != HTTP_DONE)
			break;
		v.forwarded++;
		at += used;
		if (head.body == HTTP_BODY_LENGTH) {
			if (head.length > raw.n - at) {
				v.result = HTTP_MORE;
				break;
			}
			at += head.length;
		}
		if (head.body == HTTP_BODY_CHUNKED) {
			do {
				v.result =
				    http_chunk_read(&chunk, raw.p + at, raw.n - at, &used, &data);
				at += used;
			} while (v.result == HTTP_MORE && at < raw.n);
		}
		if (!head.keep_alive || head.has_upgrade)
			break;
	}
	return v;
}

/* JSON has the bytes as Latin-1 characters. The caller frees p. */
static struct strv raw_bytes(const json_t *value)
{
	const unsigned char *p = (const unsigned char *)json_string_value(value);
	size_t size = json_string_length(value), n = 0;
	char *out = malloc(size + 1);

	assert_non_null(out);
	for (size_t i = 0; i < size; i++) {
		unsigned point = p[i];

		if (point >= 0x80)
			point = (point & 0x1f) << 6 | (p[++i] & 0x3fu);
		assert_true(point < 256);
		out[n++] = (char)point;
	}
	return (struct strv){ out, n };
}

static bool is_known_stricter(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(stricter); i++) {
		if (strcmp(stricter[i].name, name) == 0)
			return true;
	}
	return false;
}

static unsigned check_case(const char *line, size_t n, unsigned *rejects)
{
	json_t *one = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
	const char *name, *exp;
	struct strv raw;
	struct verdict v;
	unsigned failed = 0;

	assert_non_null(one);
	name = json_string_value(json_object_get(one, "name"));
	exp = json_string_value(json_object_get(one, "exp"));
	raw = raw_bytes(json_object_get(one, "raw"));
	v = read_all(raw);
	if (strcmp(exp, "reject") == 0) {
		++*rejects;
		/* only what is wrong with a body may show when the head has gone on */
		if (v.result >= 0 || (v.forwarded > 0 && v.result != HTTP_BAD_CHUNK))
			failed = 1;
	} else if (strcmp(exp, "ok") == 0 || strcmp(exp, "accept") == 0) {
		if (v.result < 0 && !is_known_stricter(name))
			failed = 1;
	}
	if (failed || getenv("VERBOSE") != NULL)
		print_message("%s %-16s forwarded=%zu %-60s %s\n", failed ? "WRONG" : "     ", exp,
		    v.forwarded, http_result_text(v.result), name);
	free((char *)(uintptr_t)raw.p);
	json_decref(one);
	return failed;
}

static void nothing_that_must_be_rejected_is_read_and_only_known_cases_are_stricter(void **state)
{
	const char *folder = getenv("SUITES");
	unsigned rejects = 0, failed = 0;
	char path[512], *line = NULL;
	size_t size = 0;
	ssize_t n;
	FILE *f;

	(void)state;
	snprintf(
	    path, sizeof(path), "%s/http1.jsonl", folder != NULL ? folder : "../shared/suites");
	f = fopen(path, "r");
	if (f == NULL) {
		print_message("skipped: %s is not here (name its folder in SUITES)\n", path);
		skip();
	}
	while ((n = getline(&line, &size, f)) > 0)
		failed += check_case(line, (size_t)n, &rejects);
	free(line);
	fclose(f);
	assert_true(rejects > 0);
	assert_int_equal(failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    nothing_that_must_be_rejected_is_read_and_only_known_cases_are_stricter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
