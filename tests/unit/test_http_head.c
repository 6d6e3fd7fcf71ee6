/*
 * Heads of requests and responses: every case of http_head.tbl at once, cut in two at every place,
 * and byte by byte.
 */
#include "common/http_head.h"

#include "table.h"

#define SUMMARY 4096

static const struct {
	enum http_result result;
	const char *name;
} names[] = {
	{ HTTP_MORE, "MORE" },
	{ HTTP_BAD_LINE, "BAD_LINE" },
	{ HTTP_BAD_LINE_END, "BAD_LINE_END" },
	{ HTTP_BAD_NAME, "BAD_NAME" },
	{ HTTP_BAD_VALUE, "BAD_VALUE" },
	{ HTTP_BAD_FOLD, "BAD_FOLD" },
	{ HTTP_BAD_TARGET, "BAD_TARGET" },
	{ HTTP_BAD_HOST, "BAD_HOST" },
	{ HTTP_BAD_LENGTH, "BAD_LENGTH" },
	{ HTTP_BAD_CODING, "BAD_CODING" },
	{ HTTP_BAD_BOTH, "BAD_BOTH" },
	{ HTTP_BAD_VERSION, "BAD_VERSION" },
	{ HTTP_BAD_EXPECT, "BAD_EXPECT" },
	{ HTTP_TOO_LARGE, "TOO_LARGE" },
	{ HTTP_TOO_MANY, "TOO_MANY" },
};

static const struct http_limits limits = { .head_bytes = 2048, .fields = 20 };

static const char *result_name(enum http_result result)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].result == result)
			return names[i].name;
	}
	return "?";
}

/*
 * "POST /path ?query host 1.1 length=5 keep f=2 used=60 expect upgrade", or the name of the result.
 */
static void summarise(
    char *out, bool response, enum http_result r, const struct http_head *h, size_t used)
{
	static const char *const bodies[] = { "none", "length", "chunked", "until-close" };
	int n;

	if (r != HTTP_DONE) {
		snprintf(out, SUMMARY, "%s", result_name(r));
		return;
	}
	if (response)
		n = snprintf(out, SUMMARY, "%u \"%.*s\"", h->status, STRV_FMT(h->reason));
	else
		n = snprintf(out, SUMMARY, "%.*s %.*s %s%.*s %.*s%s", STRV_FMT(h->method),
		    STRV_FMT(h->path), h->query.p != NULL ? "?" : "-", STRV_FMT(h->query),
		    STRV_FMT(h->host), h->has_port ? ":" : "");
	n += snprintf(out + n, SUMMARY - (size_t)n, " 1.%u %s", h->minor, bodies[h->body]);
	if (h->body == HTTP_BODY_LENGTH)
		n += snprintf(out + n, SUMMARY - (size_t)n, "=%llu", (unsigned long long)h->length);
	snprintf(out + n, SUMMARY - (size_t)n, " %s f=%zu used=%zu%s%s",
	    h->keep_alive ? "keep" : "close", h->fields, used, h->expect_continue ? " expect" : "",
	    h->has_upgrade ? " upgrade" : "");
}

/*
 * Feeds the first `first` bytes and then `step` more each time; every state in between must be
 * MORE.
 */
static void read_in_steps(char *out, bool response, struct strv raw, size_t first, size_t step)
{
	struct http_head *head = malloc(sizeof(*head));
	struct http_scan scan = { 0 };
	enum http_result r = HTTP_MORE;
	size_t n = first, used = 0;

	assert_non_null(head);
	for (;; n = n + step < raw.n ? n + step : raw.n) {
		char *bytes = table_exact(raw.p, n);

		r = (response ? http_read_response : http_read_request)(
		    head, &scan, bytes, n, &limits, &used);
		summarise(out, response, r, head, used);
		free(bytes);
		if (r != HTTP_MORE || n == raw.n)
			break;
	}
	free(head);
}

static void check(const struct table_row *row, bool response)
{
	struct strv raw = row->column[2];
	char got[SUMMARY];

	read_in_steps(got, response, raw, raw.n, 1);
	table_want(row, got, row->column[1]);
	read_in_steps(got, response, raw, 0, 1);
	table_want(row, got, row->column[1]);
	for (size_t cut = 1; cut < raw.n; cut++) {
		read_in_steps(got, response, raw, cut, raw.n);
		table_want(row, got, row->column[1]);
	}
}

static void check_request(const struct table_row *row)
{
	check(row, false);
}

static void check_response(const struct table_row *row)
{
	check(row, true);
}

static void requests(const char *prefix)
{
	table_run("http_request.tbl", prefix, 3, check_request);
}

static void every_request_of_the_table_is_read_alike_in_one_piece_and_in_many(void **state)
{
	(void)state;
	requests("");
}

static void every_response_of_the_table_is_read_alike_in_one_piece_and_in_many(void **state)
{
	(void)state;
	table_run("http_response.tbl", "", 3, check_response);
}

static void threat_01_both_lengths_are_refused(void **state)
{
	(void)state;
	requests("threat-01");
}

static void threat_02_every_doubtful_content_length_is_refused(void **state)
{
	(void)state;
	requests("threat-02");
}

static void threat_03_every_coding_but_one_single_chunked_is_refused(void **state)
{
	(void)state;
	requests("threat-03");
}

static void threat_05_control_bytes_and_empty_names_are_refused(void **state)
{
	(void)state;
	requests("threat-05");
}

static void threat_06_folds_and_spaces_before_the_colon_are_refused(void **state)
{
	(void)state;
	requests("threat-06");
}

static void threat_07_missing_doubled_and_conflicting_hosts_are_refused(void **state)
{
	(void)state;
	requests("threat-07");
}

static void threat_08_what_follows_a_request_is_left_for_another_reading(void **state)
{
	(void)state;
	requests("threat-08");
}

static void threat_12_targets_that_two_readers_could_understand_differently_are_refused(
    void **state)
{
	(void)state;
	requests("threat-12");
}

static enum http_result read_whole(
    struct http_head *head, const char *raw, const struct http_limits *with)
{
	struct http_scan scan = { 0 };
	size_t used;

	return http_read_request(head, &scan, raw, strlen(raw), with, &used);
}

static void fields_point_into_the_bytes_and_known_names_are_known_in_any_case(void **state)
{
	static const char raw[] =
	    "POST /a HTTP/1.1\r\nhOST: h\r\nX-Any:\t one  two \t\r\nUSER-AGENT: x\r\n"
	    "Ms-AsProtocolVersion: 16.1\r\nEmpty:\r\nAuthorization: Basic\r\n\r\n";
	struct http_head head;

	(void)state;
	assert_int_equal(read_whole(&head, raw, &limits), HTTP_DONE);
	assert_int_equal(head.fields, 6);
	assert_int_equal(head.field[0].id, HTTP_HOST);
	assert_int_equal(head.field[1].id, HTTP_OTHER);
	assert_true(strv_eq(head.field[1].name, STRV("X-Any")));
	assert_true(strv_eq(head.field[1].value, STRV("one  two")));
	assert_ptr_equal(head.field[1].name.p, strstr(raw, "X-Any"));
	assert_int_equal(head.field[4].value.n, 0);
	assert_true(strv_eq(http_find(&head, HTTP_MS_ASPROTOCOLVERSION)->value, STRV("16.1")));
	assert_true(strv_eq(http_find(&head, HTTP_USER_AGENT)->value, STRV("x")));
	assert_non_null(http_find(&head, HTTP_AUTHORIZATION));
	assert_null(http_find(&head, HTTP_COOKIE));
}

static const struct {
	const char *name;
	enum http_name id;
} known[] = {
	{ "Host", HTTP_HOST },
	{ "Content-Length", HTTP_CONTENT_LENGTH },
	{ "Transfer-Encoding", HTTP_TRANSFER_ENCODING },
	{ "Connection", HTTP_CONNECTION },
	{ "Keep-Alive", HTTP_KEEP_ALIVE },
	{ "Proxy-Connection", HTTP_PROXY_CONNECTION },
	{ "TE", HTTP_TE },
	{ "Trailer", HTTP_TRAILER },
	{ "Upgrade", HTTP_UPGRADE },
	{ "Expect", HTTP_EXPECT },
	{ "Date", HTTP_DATE },
	{ "Server", HTTP_SERVER },
	{ "Location", HTTP_LOCATION },
	{ "Authorization", HTTP_AUTHORIZATION },
	{ "Proxy-Authorization", HTTP_PROXY_AUTHORIZATION },
	{ "Proxy-Authenticate", HTTP_PROXY_AUTHENTICATE },
	{ "WWW-Authenticate", HTTP_WWW_AUTHENTICATE },
	{ "Cookie", HTTP_COOKIE },
	{ "Set-Cookie", HTTP_SET_COOKIE },
	{ "User-Agent", HTTP_USER_AGENT },
	{ "Content-Type", HTTP_CONTENT_TYPE },
	{ "Retry-After", HTTP_RETRY_AFTER },
	{ "MS-ASProtocolVersion", HTTP_MS_ASPROTOCOLVERSION },
	{ "X-MS-PolicyKey", HTTP_X_MS_POLICYKEY },
	{ "X-MS-Location", HTTP_X_MS_LOCATION },
	{ "Forwarded", HTTP_FORWARDED },
	{ "Via", HTTP_VIA },
};

static void every_known_name_is_found_and_no_neighbour_of_it(void **state)
{
	static const char tokens[] =
	    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char raw[256], name[32];
	struct http_head head;

	(void)state;
	assert_int_equal(ARRAY_LEN(known), HTTP_NAMES - 1);
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t n = strlen(known[i].name);

		for (size_t at = 0; at < n; at++) {
			for (const char *c = tokens; *c != '\0'; c++) {
				bool same =
				    text_lower_char(*c) == text_lower_char(known[i].name[at]);
				enum http_result r;

				memcpy(name, known[i].name, n + 1);
				name[at] = *c;
				snprintf(raw, sizeof(raw), "HTTP/1.1 200 x\r\n%s: 0\r\n\r\n", name);
				r = http_read_response(&head, &(struct http_scan){ 0 }, raw,
				    strlen(raw), &limits, &(size_t){ 0 });
				if (known[i].id == HTTP_TRANSFER_ENCODING || !same) {
					/* "0" is no coding; look-alikes of lengths are refused */
					assert_true(
					    r != HTTP_DONE || head.field[0].id == HTTP_OTHER);
				} else {
					assert_int_equal(r, HTTP_DONE);
					assert_int_equal(head.field[0].id, known[i].id);
				}
			}
		}
	}
}

static void connection_options_are_found_in_every_connection_field(void **state)
{
	static const char raw[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-One "
				  ",,\tTE\r\nConnection: x-two\r\n\r\n";
	struct http_head head;

	(void)state;
	assert_int_equal(read_whole(&head, raw, &limits), HTTP_DONE);
	assert_true(http_is_connection_option(&head, STRV("x-one")));
	assert_true(http_is_connection_option(&head, STRV("te")));
	assert_true(http_is_connection_option(&head, STRV("X-Two")));
	assert_false(http_is_connection_option(&head, STRV("x-three")));
	assert_false(http_is_connection_option(&head, STRV("x")));
	assert_false(head.keep_alive);
}

static void the_limits_are_exact(void **state)
{
	static const char raw[] = "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n";
	struct http_limits exact = { sizeof(raw) - 1, 2 }, fewer = { 100, 1 },
			   less = { sizeof(raw) - 2, 2 };
	struct http_head head;

	(void)state;
	assert_int_equal(read_whole(&head, raw, &exact), HTTP_DONE);
	assert_int_equal(read_whole(&head, raw, &fewer), HTTP_TOO_MANY);
	assert_int_equal(read_whole(&head, raw, &less), HTTP_TOO_LARGE);
}

static void no_more_fields_are_stored_than_there_is_room_for_whatever_the_limit(void **state)
{
	struct http_limits wide = { 1 << 20, 100000 };
	char raw[8192] = "GET / HTTP/1.1\r\nHost: h\r\n";
	size_t n = strlen(raw);
	struct http_head head;

	(void)state;
	for (int i = 0; i < HTTP_FIELDS_MAX; i++, n += 6)
		memcpy(raw + n, "A: 1\r\n", 6);
	memcpy(raw + n, "\r\n", 3);
	assert_int_equal(read_whole(&head, raw, &wide), HTTP_TOO_MANY);
	memcpy(raw + n - 6, "\r\n", 3);
	assert_int_equal(read_whole(&head, raw, &wide), HTTP_DONE);
	assert_int_equal(head.fields, HTTP_FIELDS_MAX);
}

static void every_byte_is_allowed_or_refused_where_the_header_says(void **state)
{
	static const char tokens[] = "!#$%&'*+-.^_`|~";
	struct http_head head;
	char raw[128];

	(void)state;
	for (int c = 1; c < 256; c++) {
		bool alnum =
		    (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool token = alnum || strchr(tokens, c) != NULL;
		enum http_result r;

		snprintf(raw, sizeof(raw), "GET / HTTP/1.1\r\nHost: h\r\nA%cb: 1\r\n\r\n", c);
		r = read_whole(&head, raw, &limits);
		assert_int_equal(r == HTTP_DONE, token || c == ':');
		snprintf(
		    raw, sizeof(raw), "GET / HTTP/1.1\r\nHost: h\r\nAb: 123456%c8123\r\n\r\n", c);
		r = read_whole(&head, raw, &limits);
		assert_int_equal(r == HTTP_DONE, c == '\t' || (c >= 0x20 && c != 0x7f));
		snprintf(raw, sizeof(raw), "GET /?a=%cb HTTP/1.1\r\nHost: h\r\n\r\n", c);
		r = read_whole(&head, raw, &limits);
		assert_int_equal(r == HTTP_DONE, c > 0x20 && c < 0x7f && c != '#');
		snprintf(raw, sizeof(raw), "GET /%cb HTTP/1.1\r\nHost: h\r\n\r\n", c);
		r = read_whole(&head, raw, &limits);
		assert_int_equal(r == HTTP_DONE, alnum || strchr("-._~!$&'()*+,;=:@?", c) != NULL);
		snprintf(raw, sizeof(raw), "GET / HTTP/1.1\r\nHost: h%cb\r\n\r\n", c);
		r = read_whole(&head, raw, &limits);
		assert_int_equal(r == HTTP_DONE, alnum || strchr("-._", c) != NULL);
	}
}

static void every_result_has_a_text_of_its_own(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(
			    http_result_text(names[i].result), http_result_text(names[j].result));
	}
	assert_string_equal(http_result_text((enum http_result)77), "unknown result");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_request_of_the_table_is_read_alike_in_one_piece_and_in_many),
		cmocka_unit_test(
		    every_response_of_the_table_is_read_alike_in_one_piece_and_in_many),
		cmocka_unit_test(threat_01_both_lengths_are_refused),
		cmocka_unit_test(threat_02_every_doubtful_content_length_is_refused),
		cmocka_unit_test(threat_03_every_coding_but_one_single_chunked_is_refused),
		cmocka_unit_test(threat_05_control_bytes_and_empty_names_are_refused),
		cmocka_unit_test(threat_06_folds_and_spaces_before_the_colon_are_refused),
		cmocka_unit_test(threat_07_missing_doubled_and_conflicting_hosts_are_refused),
		cmocka_unit_test(threat_08_what_follows_a_request_is_left_for_another_reading),
		cmocka_unit_test(
		    threat_12_targets_that_two_readers_could_understand_differently_are_refused),
		cmocka_unit_test(fields_point_into_the_bytes_and_known_names_are_known_in_any_case),
		cmocka_unit_test(every_known_name_is_found_and_no_neighbour_of_it),
		cmocka_unit_test(connection_options_are_found_in_every_connection_field),
		cmocka_unit_test(the_limits_are_exact),
		cmocka_unit_test(
		    no_more_fields_are_stored_than_there_is_room_for_whatever_the_limit),
		cmocka_unit_test(every_byte_is_allowed_or_refused_where_the_header_says),
		cmocka_unit_test(every_result_has_a_text_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
