/*
 * test_request: what of a head becomes a request, and which fact refuses the rest: request.tbl.
 */
#include "proxy/worker/request.h"

#include "table.h"

static char *paths[] = { (char *)(uintptr_t) "/ews/Exchange.asmx" };

static void put_body(char *out, size_t size, const struct eas_request *r)
{
	if (r->body == HTTP_BODY_LENGTH)
		snprintf(out, size, "length=%llu", (unsigned long long)r->length);
	else
		snprintf(out, size, "%s", r->body == HTTP_BODY_CHUNKED ? "chunked" : "none");
}

static void summarise(char *out, size_t size, enum fact fact, const struct eas_request *r)
{
	static const char *const routes[] = { "none", "eas", "autodiscover", "path" };
	char body[64], version[64] = "";

	if (fact != FACT_NONE) {
		snprintf(out, size, "%s", fact_name(fact));
		return;
	}
	put_body(body, sizeof(body), r);
	if (r->version[0] != '\0')
		snprintf(version, sizeof(version), " v=%s", r->version);
	snprintf(out, size, "none %s %s 1.%d %s %s%s%s%s%s", routes[r->route],
	    r->is_options ? "OPTIONS" : "POST", r->is_11, body,
	    eas_command_name(r->query.command), r->keep_alive ? " keep" : "",
	    r->expect_continue ? " expect" : "", r->holds ? " holds" : "", version);
}

static void check(const struct table_row *row)
{
	static struct http_head head;
	struct http_limits limits = { 16384, 100 };
	struct proxy_settings settings = { .paths = paths, .paths_count = 1 };
	struct eas_request request;
	struct http_scan scan = { 0 };
	char *exact = table_exact(row->column[2].p, row->column[2].n), got[512];
	const char *detail = "never set";
	enum fact fact;
	size_t used;

	settings.limits.body_bytes = 1000;
	memset(&request, 0xff, sizeof(request));
	if (http_read_request(&head, &scan, exact, row->column[2].n, &limits, &used) != HTTP_DONE)
		fail_msg("%s:%u: the head itself is refused", row->file, row->line);
	fact = request_read(&settings, &head, &request, &detail);
	assert_true(detail == NULL || strcmp(detail, "never set") != 0);
	summarise(got, sizeof(got), fact, &request);
	table_want(row, got, row->column[1]);
	free(exact);
}

static void every_request_of_the_table_is_read_as_it_says(void **state)
{
	(void)state;
	table_run("request.tbl", "", 3, check);
}

static void threat_11_only_post_and_options_pass_and_nothing_upgrades(void **state)
{
	(void)state;
	table_run("request.tbl", "threat-11", 3, check);
}

static void threat_12_no_other_path_is_taken_for_ours(void **state)
{
	(void)state;
	table_run("request.tbl", "threat-12", 3, check);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_request_of_the_table_is_read_as_it_says),
		cmocka_unit_test(threat_11_only_post_and_options_pass_and_nothing_upgrades),
		cmocka_unit_test(threat_12_no_other_path_is_taken_for_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
