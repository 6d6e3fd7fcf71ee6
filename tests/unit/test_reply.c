/*
 * test_reply: each fact's status and the bytes of its answer: reply.tbl has DESIGN's table of answers.
 */
#include "proxy/worker/reply.h"

#include "common/http_head.h"
#include "table.h"

static const struct reply_more more = { 37, REPLY_BASIC, NULL };

static unsigned rows;

static enum fact fact_called(struct strv name)
{
	for (int i = 0; i < FACT_COUNT; i++) {
		if (strv_eq(name, strv_from(fact_name((enum fact)i))))
			return (enum fact)i;
	}
	fail_msg("no fact is called %.*s", STRV_FMT(name));
	return FACT_NONE;
}

static void check_facts(const struct table_row *row)
{
	enum fact fact = fact_called(row->column[0]);
	char got[64];

	rows++;
	snprintf(got, sizeof(got), "%u", fact_status(fact));
	table_want(row, got, row->column[1]);
	snprintf(got, sizeof(got), "%s%s%s", fact_is_audited(fact) ? "audited " : "",
	    fact_is_fault(fact) ? "fault " : "", reply_closes(fact) ? "" : "keeps ");
	if (got[0] != '\0')
		got[strlen(got) - 1] = '\0';
	table_want(row, got, row->column[2]);
	assert_string_equal(fact_names[fact], fact_name(fact));
	/* an error line without a cure helps nobody */
	assert_true(!fact_is_fault(fact) || fact_cure(fact) != NULL);
}

static void every_fact_has_the_answer_of_the_table(void **state)
{
	(void)state;
	rows = 0;
	table_run("reply.tbl", "", 3, check_facts);
	assert_int_equal(rows, FACT_COUNT);
	assert_null(fact_names[FACT_COUNT]);
	assert_string_equal(fact_name((enum fact)9999), fact_name(FACT_NONE));
}

static bool has_field(const struct http_head *head, const char *name, const char *value)
{
	for (size_t i = 0; i < head->fields; i++) {
		if (text_eq_nocase(head->field[i].name, strv_from(name)) && (value == NULL || strv_eq(head->field[i].value, strv_from(value))))
			return true;
	}
	return false;
}

static void check_answer(enum fact fact, bool close)
{
	static struct http_head head;
	struct http_limits limits = { 4096, 20 };
	struct http_scan scan = { 0 };
	struct buffer out;
	size_t used;

	buffer_init(&out, 4096);
	assert_int_equal(reply_write(&out, fact, &more, close), 0);
	assert_int_equal(http_read_response(&head, &scan, buffer_data(&out), buffer_len(&out),
			     &limits, &used),
	    HTTP_DONE);
	assert_int_equal(used, buffer_len(&out));
	assert_int_equal(head.status, fact_status(fact));
	assert_true(head.reason.n > 0);
	assert_int_equal(head.body, HTTP_BODY_LENGTH);
	assert_int_equal(head.length, 0);
	assert_int_equal(head.keep_alive, !close);
	assert_int_equal(has_field(&head, "Retry-After", "37"), head.status == 503);
	assert_int_equal(has_field(&head, "Retry-After", NULL), head.status == 503);
	assert_int_equal(has_field(&head, "Allow", "OPTIONS, POST"), head.status == 405);
	assert_int_equal(has_field(&head, "WWW-Authenticate", NULL), head.status == 401);
	buffer_clear(&out);
}

static void every_answer_is_one_whole_message_without_a_body(void **state)
{
	(void)state;
	for (int i = 0; i < FACT_COUNT; i++) {
		check_answer((enum fact)i, true);
		check_answer((enum fact)i, false);
	}
}

static void only_who_may_help_by_another_password_gets_401(void **state)
{
	(void)state;
	for (int i = 0; i < FACT_COUNT; i++)
		assert_int_equal(fact_status((enum fact)i) == 401, i == FACT_PASSWORD_WANTED || i == FACT_PASSWORD_WRONG || i == FACT_TOKEN_REFUSED);
}

static void tokens_are_offered_with_what_the_configuration_says_of_them(void **state)
{
	static const struct { unsigned challenges; enum fact fact; const char *bearer, *first, *second; } cases[] = {
		{ REPLY_BEARER, FACT_PASSWORD_WANTED, "realm=\"mail\"", "Bearer realm=\"mail\"", NULL },
		{ REPLY_BEARER, FACT_TOKEN_REFUSED, "realm=\"mail\"", "Bearer realm=\"mail\", error=\"invalid_token\"", NULL },
		{ REPLY_BEARER, FACT_TOKEN_REFUSED, "authorization_uri=\"https://login/\"", "Bearer authorization_uri=\"https://login/\", error=\"invalid_token\"", NULL },
		{ REPLY_BEARER | REPLY_BASIC, FACT_PASSWORD_WANTED, "x=\"y\"", "Bearer x=\"y\"", "Basic realm=\"mail\", charset=\"UTF-8\"" },
		{ REPLY_BEARER | REPLY_BASIC, FACT_PASSWORD_WRONG, NULL, "Basic realm=\"mail\", charset=\"UTF-8\"", NULL },
	};
	static struct http_head head;
	struct http_limits limits = { 4096, 20 };
	size_t used;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct reply_more offers = { 37, cases[i].challenges, cases[i].bearer };
		struct http_scan scan = { 0 };
		struct buffer out;
		unsigned n = 0;

		buffer_init(&out, 4096);
		assert_int_equal(reply_write(&out, cases[i].fact, &offers, true), 0);
		assert_int_equal(http_read_response(&head, &scan, buffer_data(&out), buffer_len(&out), &limits, &used), HTTP_DONE);
		for (size_t k = 0; k < head.fields; k++)
			n += text_eq_nocase(head.field[k].name, STRV("WWW-Authenticate"));
		assert_true(has_field(&head, "WWW-Authenticate", cases[i].first));
		assert_true(cases[i].second == NULL || has_field(&head, "WWW-Authenticate", cases[i].second));
		assert_int_equal(n, cases[i].second == NULL ? 1 : 2);
		buffer_clear(&out);
	}
}

static void an_answer_that_does_not_fit_leaves_nothing_behind(void **state)
{
	struct buffer out;

	(void)state;
	buffer_init(&out, 40);
	assert_int_equal(reply_write(&out, FACT_REVOKED, &more, true), -1);
	assert_int_equal(buffer_len(&out), 0);
	buffer_clear(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_fact_has_the_answer_of_the_table),
		cmocka_unit_test(every_answer_is_one_whole_message_without_a_body),
		cmocka_unit_test(only_who_may_help_by_another_password_gets_401),
		cmocka_unit_test(tokens_are_offered_with_what_the_configuration_says_of_them),
		cmocka_unit_test(an_answer_that_does_not_fit_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
