/*
 * test_relay_head: what of a head crosses, both ways: relay_head.tbl, and the cases with credentials and ceilings.
 */
#include "proxy/worker/relay_head.h"

#include "table.h"

static const struct http_limits limits = { 8192, 100 };

static struct relay_identity identity(void)
{
	return (struct relay_identity){ .host = "ex.corp.example",
		.trusted_name = STRV("X-EAS-User"),
		.trusted_value = STRV("alice"),
		.client = "192.0.2.7",
		.public_host = "mail.example.com" };
}

static void want_bytes(const struct table_row *row, struct buffer *out, struct strv want)
{
	char got[4096];

	assert_true(buffer_len(out) < sizeof(got));
	memcpy(got, buffer_data(out), buffer_len(out));
	got[buffer_len(out)] = '\0';
	table_want(row, got, want);
}

static void check_drop(const struct table_row *row)
{
	struct http_field field = { .name = row->column[2], .value = STRV("x") };

	table_want(row, relay_drops_request_field(&field, STRV("X-EAS-User")) ? "drop" : "pass",
	    row->column[1]);
}

static void check_request(const struct table_row *row)
{
	static struct http_head head;
	struct relay_identity id = identity();
	struct http_scan scan = { 0 };
	struct buffer out;
	size_t used;

	buffer_init(&out, 4096);
	if (http_read_request(&head, &scan, row->column[2].p, row->column[2].n, &limits, &used) !=
	    HTTP_DONE)
		fail_msg("%s:%u: the head itself is refused", row->file, row->line);
	assert_int_equal(relay_request_head(&out, &head, &id), 0);
	want_bytes(row, &out, row->column[1]);
	buffer_clear(&out);
}

static int respond(struct buffer *out, struct strv from, bool close, bool no_challenge)
{
	static const struct strv ours[] = { { "ex1.corp.example", 16 }, { "2001:db8::1", 11 },
		{ "mail.corp.example", 17 } };
	static struct http_head head;
	struct relay_answer answer = { .close = close,
		.no_challenge = no_challenge,
		.upstream_names = ours,
		.upstream_names_n = ARRAY_LEN(ours),
		.public_host = "mail.example.com" };
	struct http_scan scan = { 0 };
	size_t used;

	assert_int_equal(
	    http_read_response(&head, &scan, from.p, from.n, &limits, &used), HTTP_DONE);
	answer.chunked = head.body == HTTP_BODY_CHUNKED || head.body == HTTP_BODY_UNTIL_CLOSE;
	return relay_response_head(out, &head, &answer);
}

static void check_response(const struct table_row *row)
{
	struct buffer out;

	buffer_init(&out, 4096);
	assert_int_equal(respond(&out, row->column[2], false, false), 0);
	want_bytes(row, &out, row->column[1]);
	buffer_clear(&out);
}

static void check_location(const struct table_row *row)
{
	static const char *const names[] = { "X-MS-Location", "Location" };
	char from[512], want[512];
	struct buffer out;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(from, sizeof(from),
		    "HTTP/1.1 451 X\r\n%s: %.*s\r\nContent-Length: 0\r\n\r\n", names[i],
		    STRV_FMT(row->column[2]));
		snprintf(want, sizeof(want),
		    "HTTP/1.1 451 X\r\n%s: %.*s\r\nContent-Length: 0\r\n\r\n", names[i],
		    STRV_FMT(row->column[1]));
		buffer_init(&out, 4096);
		assert_int_equal(respond(&out, strv_from(from), false, false), 0);
		want_bytes(row, &out, strv_from(want));
		buffer_clear(&out);
	}
}

static void threat_13_fields_that_say_who_somebody_is_are_dropped_by_any_spelling(void **state)
{
	(void)state;
	table_run("relay_head.tbl", "drop", 3, check_drop);
	table_run("relay_head.tbl", "pass", 3, check_drop);
}

static void requests_go_on_as_the_table_says(void **state)
{
	(void)state;
	table_run("relay_head.tbl", "request", 3, check_request);
}

static void answers_go_on_as_the_table_says(void **state)
{
	(void)state;
	table_run("relay_head.tbl", "response", 3, check_response);
}

static void locations_of_our_servers_name_the_public_host(void **state)
{
	(void)state;
	table_run("relay_head.tbl", "location", 3, check_location);
}

static const char with_password[] = "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic eA==\r\n"
				    "X-EAS-User: bob\r\n\r\n";

static void print_request(struct buffer *out, const struct relay_identity *id)
{
	static struct http_head head;
	struct http_scan scan = { 0 };
	size_t used;

	buffer_init(out, 4096);
	assert_int_equal(http_read_request(&head, &scan, with_password, sizeof(with_password) - 1,
			     &limits, &used),
	    HTTP_DONE);
	assert_int_equal(relay_request_head(out, &head, id), 0);
	assert_int_equal(buffer_add(out, "", 1), 0);
}

static void a_ticket_takes_the_place_of_what_the_device_sent(void **state)
{
	struct relay_identity id = identity();
	struct buffer out;

	(void)state;
	id.authorization = STRV("Negotiate YII=");
	print_request(&out, &id);
	assert_non_null(strstr(buffer_data(&out), "\r\nAuthorization: Negotiate YII=\r\n"));
	assert_null(strstr(buffer_data(&out), "Basic"));
	assert_null(strstr(buffer_data(&out), "bob"));
	buffer_clear(&out);
}

static void the_devices_own_password_passes_alone_without_a_word_of_ours(void **state)
{
	struct relay_identity id = identity();
	struct buffer out;

	(void)state;
	id.trusted_value = STRV("");
	id.pass_authorization = true;
	print_request(&out, &id);
	assert_non_null(strstr(buffer_data(&out), "\r\nAuthorization: Basic eA==\r\n"));
	assert_null(strstr(buffer_data(&out), "X-EAS-User"));
	buffer_clear(&out);
}

static void the_end_of_the_connection_is_announced(void **state)
{
	struct buffer out;

	(void)state;
	buffer_init(&out, 4096);
	assert_int_equal(
	    respond(&out, STRV("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), true, false), 0);
	assert_int_equal(buffer_add(&out, "", 1), 0);
	assert_non_null(strstr(buffer_data(&out), "\r\nConnection: close\r\n"));
	buffer_clear(&out);
}

static void a_challenge_reaches_nobody_who_has_a_certificate(void **state)
{
	static const char from[] = "HTTP/1.1 200 OK\r\nWWW-Authenticate: Basic\r\n"
				   "Content-Length: 0\r\n\r\n";

	(void)state;
	for (int no = 0; no < 2; no++) {
		struct buffer out;

		buffer_init(&out, 4096);
		assert_int_equal(respond(&out, strv_from(from), false, no != 0), 0);
		assert_int_equal(buffer_add(&out, "", 1), 0);
		assert_int_equal(strstr(buffer_data(&out), "WWW-Authenticate") == NULL, no);
		buffer_clear(&out);
	}
}

/* Out of room at any byte: -1, never a head that was cut. */
static void a_head_that_does_not_fit_is_an_error_at_every_size(void **state)
{
	struct relay_identity id = identity();
	struct buffer out;
	size_t whole;

	(void)state;
	print_request(&out, &id);
	whole = buffer_len(&out) - 1;
	buffer_clear(&out);
	for (size_t max = 1; max < whole; max++) {
		static struct http_head head;
		struct http_scan scan = { 0 };
		size_t used;

		buffer_init(&out, max);
		assert_int_equal(http_read_request(&head, &scan, with_password,
				     sizeof(with_password) - 1, &limits, &used),
		    HTTP_DONE);
		assert_int_equal(relay_request_head(&out, &head, &id), -1);
		buffer_clear(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threat_13_fields_that_say_who_somebody_is_are_dropped_by_any_spelling),
		cmocka_unit_test(requests_go_on_as_the_table_says),
		cmocka_unit_test(answers_go_on_as_the_table_says),
		cmocka_unit_test(locations_of_our_servers_name_the_public_host),
		cmocka_unit_test(a_ticket_takes_the_place_of_what_the_device_sent),
		cmocka_unit_test(the_devices_own_password_passes_alone_without_a_word_of_ours),
		cmocka_unit_test(the_end_of_the_connection_is_announced),
		cmocka_unit_test(a_challenge_reaches_nobody_who_has_a_certificate),
		cmocka_unit_test(a_head_that_does_not_fit_is_an_error_at_every_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
