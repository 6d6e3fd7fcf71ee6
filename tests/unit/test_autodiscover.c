/*
 * Autodiscover: which requests are read, and the exact answers.
 */
#include "proxy/worker/autodiscover.h"

#include "table.h"

#include <libxml/parser.h>

#define NS "http://schemas.microsoft.com/exchange/autodiscover/"

static const struct {
	enum autodiscover_result result;
	const char *name;
} names[] = {
	{ AUTODISCOVER_BAD_XML, "BAD_XML" },
	{ AUTODISCOVER_BAD_DOCTYPE, "BAD_DOCTYPE" },
	{ AUTODISCOVER_BAD_REQUEST, "BAD_REQUEST" },
	{ AUTODISCOVER_BAD_ADDRESS, "BAD_ADDRESS" },
	{ AUTODISCOVER_NO_MEMORY, "NO_MEMORY" },
};

/* In the table {M} stands for mobilesync's namespaces and {S} for the schema of its response. */
static struct strv expand(struct strv text)
{
	static const struct {
		const char *mark, *text;
	} marks[] = {
		{ "{M}", NS "mobilesync/requestschema/2006" },
		{ "{S}", AUTODISCOVER_MOBILESYNC },
		{ "{O}", NS "outlook/requestschema/2006" },
	};
	char *out = malloc(text.n + 4096);
	size_t n = 0;

	assert_non_null(out);
	for (size_t i = 0; i < text.n; i++) {
		const char *with = NULL;

		for (size_t m = 0; m < ARRAY_LEN(marks); m++) {
			if (text.n - i >= 3 && memcmp(text.p + i, marks[m].mark, 3) == 0)
				with = marks[m].text;
		}
		if (with == NULL) {
			out[n++] = text.p[i];
			continue;
		}
		memcpy(out + n, with, strlen(with));
		n += strlen(with);
		i += 2;
	}
	return (struct strv){ out, n };
}

static void check(const struct table_row *row)
{
	struct autodiscover_request request = { .address = "untouched" };
	struct strv body = expand(row->column[2]);
	char *exact = table_exact(body.p, body.n), got[600] = "?";
	enum autodiscover_result r = autodiscover_read(&request, (struct strv){ exact, body.n });

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].result == r)
			snprintf(got, sizeof(got), "%s", names[i].name);
	}
	if (r == AUTODISCOVER_OK)
		snprintf(got, sizeof(got), "%s %s", request.address,
		    request.mobilesync ? "mobilesync" : "other");
	else
		assert_string_equal(request.address, "untouched");
	table_want(row, got, row->column[1]);
	free(exact);
	free((char *)(uintptr_t)body.p);
}

static void every_request_of_the_table_is_read_as_it_says(void **state)
{
	(void)state;
	table_run("autodiscover.tbl", "", 3, check);
}

static void threat_48_document_types_entities_and_other_encodings_are_refused(void **state)
{
	(void)state;
	table_run("autodiscover.tbl", "threat-48", 3, check);
}

static void a_body_over_the_limit_is_refused(void **state)
{
	static char body[AUTODISCOVER_BODY_MAX + 1];
	struct autodiscover_request request;
	int n = snprintf(body, sizeof(body),
	    "<Autodiscover xmlns=\"" NS "mobilesync/requestschema/2006\"><Request>"
	    "<EMailAddress>a@b</EMailAddress><AcceptableResponseSchema>x</"
	    "AcceptableResponseSchema></Request>"
	    "</Autodiscover>");

	(void)state;
	memset(body + n, ' ', sizeof(body) - (size_t)n);
	assert_int_equal(autodiscover_read(&request, (struct strv){ body, AUTODISCOVER_BODY_MAX }),
	    AUTODISCOVER_OK);
	assert_int_equal(
	    autodiscover_read(&request, (struct strv){ body, AUTODISCOVER_BODY_MAX + 1 }),
	    AUTODISCOVER_BAD_XML);
}

static void the_answer_is_the_one_that_phones_read_with_its_values_escaped(void **state)
{
	struct autodiscover_answer answer = {
		STRV("en:us"),
		STRV("Zo\xc3\xab <O'Neil> & \"Co\""),
		STRV("zoe@corp.example"),
		STRV("https://mail.corp.example/Microsoft-Server-ActiveSync"),
	};
	struct buffer out;

	(void)state;
	buffer_init(&out, 4096);
	assert_int_equal(autodiscover_print(&out, &answer), 0);
	assert_true(strv_eq(buffer_view(&out),
	    STRV("<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n"
		 "<Autodiscover "
		 "xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">"
		 "<Response "
		 "xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/mobilesync/"
		 "responseschema/2006\">"
		 "<Culture>en:us</Culture><User><DisplayName>Zo\xc3\xab &lt;O&apos;Neil&gt; &amp; "
		 "&quot;Co&quot;</DisplayName>"
		 "<EMailAddress>zoe@corp.example</EMailAddress></"
		 "User><Action><Settings><Server><Type>MobileSync</Type>"
		 "<Url>https://mail.corp.example/Microsoft-Server-ActiveSync</Url>"
		 "<Name>https://mail.corp.example/Microsoft-Server-ActiveSync</Name></Server></"
		 "Settings></Action></Response>"
		 "</Autodiscover>\r\n")));
	buffer_clear(&out);
}

static void without_a_display_name_the_address_stands_in_its_place(void **state)
{
	struct autodiscover_answer answer = { STRV("en:us"), { NULL, 0 }, STRV("zoe@corp.example"),
		STRV("https://m/") };
	struct buffer out;

	(void)state;
	buffer_init(&out, 4096);
	assert_int_equal(autodiscover_print(&out, &answer), 0);
	assert_non_null(memmem(buffer_data(&out), buffer_len(&out),
	    "<DisplayName>zoe@corp.example</DisplayName>", 43));
	buffer_clear(&out);
}

static void threat_10_values_with_control_bytes_are_not_printed_nor_anything_by_halves(void **state)
{
	struct autodiscover_answer answer = { STRV("en:us"), STRV("a"), STRV("zoe@corp.example"),
		STRV("https://m/\r\n") };
	struct buffer out;

	(void)state;
	buffer_init(&out, 600);
	assert_int_equal(autodiscover_print(&out, &answer), -1);
	answer.url = STRV("https://m/");
	answer.display_name = STRV("a\xff");
	assert_int_equal(autodiscover_print(&out, &answer), -1);
	answer.display_name = STRV("\xe2\x80\xae");
	assert_int_equal(autodiscover_print(&out, &answer), -1);
	assert_int_equal(buffer_len(&out), 0);
	answer.display_name = STRV("a");
	assert_int_equal(autodiscover_print(&out, &answer), 0);
	assert_int_equal(autodiscover_print(&out, &answer), -1); /* no room for a second one */
	assert_true(buffer_len(&out) < 600);
	buffer_clear(&out);
}

static void the_error_form_has_its_code_and_time(void **state)
{
	struct timespec now = { .tv_sec = 20000L * 86400 + 16 * 3600 + 56 * 60 + 32,
		.tv_nsec = 616402799 };
	struct buffer out;

	(void)state;
	buffer_init(&out, 4096);
	assert_int_equal(autodiscover_print_error(&out, AUTODISCOVER_NO_PROVIDER, &now), 0);
	assert_true(strv_eq(buffer_view(&out),
	    STRV("<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n"
		 "<Autodiscover "
		 "xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/"
		 "2006\"><Response>"
		 "<Error Time=\"16:56:32.6164027\" "
		 "Id=\"0\"><ErrorCode>601</ErrorCode><Message>Provider is not available"
		 "</Message><DebugData /></Error></Response></Autodiscover>\r\n")));
	buffer_clear(&out);
	assert_int_equal(autodiscover_print_error(&out, AUTODISCOVER_INVALID_REQUEST, &now), 0);
	assert_non_null(
	    memmem(buffer_data(&out), buffer_len(&out), "<ErrorCode>600</ErrorCode>", 26));
	buffer_clear(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_request_of_the_table_is_read_as_it_says),
		cmocka_unit_test(threat_48_document_types_entities_and_other_encodings_are_refused),
		cmocka_unit_test(a_body_over_the_limit_is_refused),
		cmocka_unit_test(the_answer_is_the_one_that_phones_read_with_its_values_escaped),
		cmocka_unit_test(without_a_display_name_the_address_stands_in_its_place),
		cmocka_unit_test(
		    threat_10_values_with_control_bytes_are_not_printed_nor_anything_by_halves),
		cmocka_unit_test(the_error_form_has_its_code_and_time),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	xmlCleanupParser();
	return failed;
}
