/*
 * Chunked bodies: every case of http_chunk.tbl at once, cut in two at every place, and byte by
 * byte.
 */
#include "common/http_chunk.h"

#include "table.h"

struct outcome {
	enum http_result result;
	size_t used;
	size_t n;
	char data[8192];
};

/* Decodes `raw` in pieces of which the first has `first` bytes and each other one `step`. */
static void decode(
    struct outcome *out, struct strv raw, size_t first, size_t step, uint64_t max_body)
{
	struct http_chunk chunk = { .max_body = max_body };
	size_t at = 0, end = first < raw.n ? first : raw.n;

	*out = (struct outcome){ .result = HTTP_MORE };
	while (out->result == HTTP_MORE && at < raw.n) {
		char *piece = table_exact(raw.p + at, end - at);
		size_t used = 0, done = 0;
		struct strv data;

		do {
			out->result =
			    http_chunk_read(&chunk, piece + done, end - at - done, &used, &data);
			assert_true(used <= end - at - done);
			assert_true(data.n == 0 ||
			    (data.p >= piece + done && data.p + data.n <= piece + done + used));
			assert_true(out->n + data.n <= sizeof(out->data));
			if (data.n > 0)
				memcpy(out->data + out->n, data.p, data.n);
			out->n += data.n;
			done += used;
		} while (out->result == HTTP_MORE && done < end - at);
		free(piece);
		at += done;
		end = end + step < raw.n ? end + step : raw.n;
	}
	out->used = at;
	assert_int_equal(chunk.total, out->n);
}

/* "DONE used=12 data=hello", "MORE data=hel", "BAD_CHUNK" or "TOO_LARGE" */
static void summarise(char *text, size_t size, const struct outcome *o)
{
	switch (o->result) {
	case HTTP_DONE:
		snprintf(text, size, "DONE used=%zu data=%.*s", o->used, (int)o->n, o->data);
		break;
	case HTTP_MORE: snprintf(text, size, "MORE data=%.*s", (int)o->n, o->data); break;
	default:
		snprintf(text, size, "%s",
		    o->result == HTTP_TOO_LARGE     ? "TOO_LARGE" :
			o->result == HTTP_BAD_CHUNK ? "BAD_CHUNK" :
						      "?");
		break;
	}
}

static void check(const struct table_row *row)
{
	static struct outcome outcome;
	struct strv raw = row->column[2];
	char got[9000];

	for (size_t first = 0; first <= raw.n; first++) {
		decode(&outcome, raw, first, raw.n, 1000);
		summarise(got, sizeof(got), &outcome);
		table_want(row, got, row->column[1]);
	}
	decode(&outcome, raw, 1, 1, 1000);
	summarise(got, sizeof(got), &outcome);
	table_want(row, got, row->column[1]);
}

static void every_body_of_the_table_is_read_alike_in_one_piece_and_in_many(void **state)
{
	(void)state;
	table_run("http_chunk.tbl", "", 3, check);
}

static void threat_04_doubtful_chunks_are_refused_and_trailers_never_come_out(void **state)
{
	(void)state;
	table_run("http_chunk.tbl", "threat-04", 3, check);
}

static void without_a_limit_two_to_the_63_is_still_one_too_many(void **state)
{
	static struct outcome outcome;

	(void)state;
	decode(&outcome, STRV("7fffffffffffffff\r\nx"), 3, 100, 0);
	assert_int_equal(outcome.result, HTTP_MORE);
	assert_int_equal(outcome.n, 1);
	decode(&outcome, STRV("8000000000000000\r\nx"), 3, 100, 0);
	assert_int_equal(outcome.result, HTTP_BAD_CHUNK);
	decode(&outcome, STRV("1\r\nx\r\n7fffffffffffffff\r\nx"), 3, 100, 0);
	assert_int_equal(outcome.result, HTTP_TOO_LARGE);
}

static void the_limit_counts_all_chunks_together_and_is_exact(void **state)
{
	static struct outcome outcome;

	(void)state;
	decode(&outcome, STRV("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 100, 100, 5);
	assert_int_equal(outcome.result, HTTP_DONE);
	decode(&outcome, STRV("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 100, 100, 4);
	assert_int_equal(outcome.result, HTTP_TOO_LARGE);
	assert_int_equal(outcome.n, 3);
}

static void a_refusal_is_final_and_so_is_the_end(void **state)
{
	struct http_chunk chunk = { 0 };
	struct strv data;
	size_t used;

	(void)state;
	assert_int_equal(http_chunk_read(&chunk, "x", 1, &used, &data), HTTP_BAD_CHUNK);
	assert_int_equal(http_chunk_read(&chunk, "0\r\n\r\n", 5, &used, &data), HTTP_BAD_CHUNK);
	assert_int_equal(used, 0);
	chunk = (struct http_chunk){ 0 };
	assert_int_equal(http_chunk_read(&chunk, "0\r\n\r\nGET", 8, &used, &data), HTTP_DONE);
	assert_int_equal(used, 5);
	assert_int_equal(http_chunk_read(&chunk, "GET", 3, &used, &data), HTTP_DONE);
	assert_int_equal(used, 0);
}

static void a_trailer_section_has_a_ceiling(void **state)
{
	static struct outcome outcome;
	char raw[5000];
	size_t n = (size_t)snprintf(raw, sizeof(raw), "0\r\n");

	(void)state;
	for (; n < 3 + 4092; n += 6)
		memcpy(raw + n, "a: b\r\n", 6);
	memcpy(raw + n, "\r\n", 2);
	decode(&outcome, (struct strv){ raw, n + 2 }, 7, 64, 0);
	assert_int_equal(n + 2 - 3, 4094);
	assert_int_equal(outcome.result, HTTP_DONE);
	memcpy(raw + n, "a:bcd\r\n\r\n", 9);
	decode(&outcome, (struct strv){ raw, n + 9 }, 7, 64, 0);
	assert_int_equal(outcome.result, HTTP_TOO_LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_body_of_the_table_is_read_alike_in_one_piece_and_in_many),
		cmocka_unit_test(threat_04_doubtful_chunks_are_refused_and_trailers_never_come_out),
		cmocka_unit_test(without_a_limit_two_to_the_63_is_still_one_too_many),
		cmocka_unit_test(the_limit_counts_all_chunks_together_and_is_exact),
		cmocka_unit_test(a_refusal_is_final_and_so_is_the_end),
		cmocka_unit_test(a_trailer_section_has_a_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
