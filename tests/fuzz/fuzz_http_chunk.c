/*
 * Chunked bodies: however the bytes arrive, the same data, end or refusal comes out, and what was
 * taken in again chunk by chunk is the same body.
 */
#include "common/http_chunk.h"

#include "fuzz.h"

#define LIMIT 5000

struct outcome {
	enum http_result result;
	size_t used, n;
	char data[LIMIT];
};

static void decode(struct outcome *out, const char *p, size_t n, size_t first, size_t step)
{
	struct http_chunk chunk = { .max_body = LIMIT };
	size_t at = 0, end = first < n ? first : n;

	out->result = HTTP_MORE;
	out->used = out->n = 0;
	while (out->result == HTTP_MORE && at < n) {
		char *piece = fuzz_exact(p + at, end - at);
		size_t done = 0, used;
		struct strv data;

		do {
			out->result =
			    http_chunk_read(&chunk, piece + done, end - at - done, &used, &data);
			FUZZ_CHECK(used <= end - at - done && out->n + data.n <= LIMIT);
			FUZZ_CHECK(out->result != HTTP_MORE || used > 0 || end == at);
			if (data.n > 0)
				memcpy(out->data + out->n, data.p, data.n);
			out->n += data.n;
			done += used;
		} while (out->result == HTTP_MORE && done < end - at);
		free(piece);
		at += done;
		end = end + step < n ? end + step : n;
	}
	FUZZ_CHECK(chunk.total == out->n);
	out->used = at;
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
	FUZZ_CHECK(a->result == b->result && a->n == b->n && memcmp(a->data, b->data, a->n) == 0);
	FUZZ_CHECK(a->result != HTTP_DONE || a->used == b->used);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct outcome whole, parts;
	static char again[LIMIT + 64];
	const char *p = (const char *)bytes;
	size_t step = n > 256 ? n / 64 : 1, length;

	decode(&whole, p, n, n, n);
	for (size_t first = 0; first < n; first += step) {
		decode(&parts, p, n, first, n);
		check_same(&whole, &parts);
	}
	decode(&parts, p, n, 0, 1);
	check_same(&whole, &parts);
	if (whole.result != HTTP_DONE || whole.n == 0)
		return 0;
	length = (size_t)snprintf(again, sizeof(again), "%zx\r\n", whole.n);
	memcpy(again + length, whole.data, whole.n);
	memcpy(again + length + whole.n, "\r\n0\r\n\r\n", 7);
	decode(&parts, again, length + whole.n + 7, 3, 17);
	FUZZ_CHECK(parts.result == HTTP_DONE && parts.n == whole.n &&
	    memcmp(parts.data, whole.data, whole.n) == 0);
	return 0;
}
