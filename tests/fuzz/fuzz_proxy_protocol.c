/*
 * PROXY headers: every longer beginning of the same bytes gives the same final answer, and none
 * takes more than it got.
 */
#include "common/proxy_protocol.h"

#include "common/text.h"
#include "fuzz.h"

#define HEX "hex:"

/* "hex:0d0a..." stands for those bytes, so that seeds of the binary version are text. */
static struct strv input_of(const uint8_t *bytes, size_t n)
{
	struct strv text = { (const char *)bytes, n };
	size_t prefix = sizeof(HEX) - 1, half;
	char *out;

	if (n < prefix || memcmp(bytes, HEX, prefix) != 0)
		return (struct strv){ fuzz_exact(bytes, n), n };
	half = (n - prefix) / 2;
	out = malloc(half + 1);
	FUZZ_CHECK(out != NULL);
	text = (struct strv){ text.p + prefix, 2 * half };
	return (struct strv){ out, text_unhex(out, half, text) == 0 ? half : 0 };
}

static void check(const char *bytes, size_t n)
{
	enum proxy_result before = PROXY_MORE;
	struct proxy_source first = { 0 };
	size_t taken = 0;

	for (size_t have = 0; have <= n && have <= PROXY_HEADER_MAX + 16; have++) {
		char *p = fuzz_exact(bytes, have);
		struct proxy_source source = { 0 };
		size_t used = 0;
		enum proxy_result r = proxy_protocol_read(&source, p, have, &used);

		free(p);
		if (before != PROXY_MORE)
			FUZZ_CHECK(r == before);
		if (r == PROXY_DONE && before == PROXY_MORE) {
			FUZZ_CHECK(used == have);
			taken = used;
			first = source;
		}
		if (r == PROXY_DONE) {
			FUZZ_CHECK(used == taken && memcmp(&first, &source, sizeof(first)) == 0);
			FUZZ_CHECK(source.local == (source.size == 0));
			FUZZ_CHECK(source.local == (source.address.ss_family == 0));
		}
		FUZZ_CHECK(r != PROXY_MORE || have < PROXY_HEADER_MAX);
		before = r;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct strv input = input_of(bytes, n);

	check(input.p, input.n);
	free((char *)(uintptr_t)input.p);
	return 0;
}
