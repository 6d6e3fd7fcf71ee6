/*
 * PROXY headers: every case of proxy_protocol.tbl at every length of its beginning.
 */
#include "common/proxy_protocol.h"

#include "table.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* "v1 192.0.2.1:40000 used=52", "v2 local used=16", "MORE", "BAD" */
static enum proxy_result summarise(char *out, size_t size, const char *p, size_t n)
{
	struct proxy_source source = { .version = 77 };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&source.address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&source.address;
	char *exact = table_exact(p, n), text[INET6_ADDRSTRLEN] = "local";
	size_t used = 0;
	enum proxy_result r = proxy_protocol_read(&source, exact, n, &used);

	free(exact);
	if (r != PROXY_DONE) {
		assert_int_equal(source.version, 77); /* untouched */
		snprintf(out, size, "%s", r == PROXY_MORE ? "MORE" : "BAD");
		return r;
	}
	if (source.local) {
		assert_int_equal(source.size, 0);
		snprintf(out, size, "v%u local used=%zu", source.version, used);
	} else if (source.address.ss_family == AF_INET) {
		assert_int_equal(source.size, sizeof(*v4));
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
		snprintf(out, size, "v%u %s:%u used=%zu", source.version, text, ntohs(v4->sin_port),
		    used);
	} else {
		assert_int_equal(source.size, sizeof(*v6));
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
		snprintf(out, size, "v%u [%s]:%u used=%zu", source.version, text,
		    ntohs(v6->sin6_port), used);
	}
	return r;
}

/* Each beginning must ask for more until the answer, and the answer must stay. */
static void check(const struct table_row *row)
{
	struct strv raw = row->column[2];
	enum proxy_result r, before = PROXY_MORE;
	char got[256] = "MORE", first[256] = "";

	for (size_t n = 0; n <= raw.n; n++) {
		r = summarise(got, sizeof(got), raw.p, n);
		if (before != PROXY_MORE)
			assert_string_equal(got, first);
		if (r != PROXY_MORE && before == PROXY_MORE)
			snprintf(first, sizeof(first), "%s", got);
		before = r;
	}
	table_want(row, got, row->column[1]);
}

static void every_header_of_the_table_is_read_alike_at_every_length(void **state)
{
	(void)state;
	table_run("proxy_protocol.tbl", "", 3, check);
}

static void a_header_as_long_as_the_limit_is_read_and_one_byte_more_is_refused(void **state)
{
	static char raw[PROXY_HEADER_MAX + 1];
	size_t rest = PROXY_HEADER_MAX - 16, field = rest - 12 - 3;
	char got[256];

	(void)state;
	memcpy(raw, "\r\n\r\n\0\r\nQUIT\n\x21\x11", 14);
	raw[14] = (char)(rest >> 8);
	raw[15] = (char)(rest & 0xff);
	raw[28] = 4;
	raw[29] = (char)(field >> 8);
	raw[30] = (char)(field & 0xff);
	summarise(got, sizeof(got), raw, PROXY_HEADER_MAX - 1);
	assert_string_equal(got, "MORE");
	summarise(got, sizeof(got), raw, PROXY_HEADER_MAX);
	assert_string_equal(got, "v2 0.0.0.0:0 used=4096");
	raw[15]++;
	summarise(got, sizeof(got), raw, 16);
	assert_string_equal(got, "BAD");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_header_of_the_table_is_read_alike_at_every_length),
		cmocka_unit_test(
		    a_header_as_long_as_the_limit_is_read_and_one_byte_more_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
