/*
 * ActiveSync queries in both forms: eas_query.tbl, and base64 ones that are built here byte by
 * byte.
 */
#include "proxy/worker/eas_query.h"

#include "table.h"

static const struct {
	enum eas_query_result result;
	const char *name;
} names[] = {
	{ EAS_QUERY_OK, "OK" },
	{ EAS_QUERY_EMPTY, "EMPTY" },
	{ EAS_QUERY_BAD, "BAD" },
	{ EAS_QUERY_DOUBLE, "DOUBLE" },
	{ EAS_QUERY_UNKNOWN_COMMAND, "UNKNOWN_COMMAND" },
	{ EAS_QUERY_BAD_DEVICE, "BAD_DEVICE" },
	{ EAS_QUERY_TOO_LONG, "TOO_LONG" },
};

/*
 * "Sync alice ApplDNQ7 iPhone", for base64 "base64 140 Sync ...", a policy key as "key=1"; "''" for
 * what is empty.
 */
static void summarise(char *out, size_t size, struct strv query)
{
	struct eas_query q;
	enum eas_query_result r = eas_query_read(&q, query);
	int n = 0;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].result == r)
			snprintf(out, size, "%s", names[i].name);
	}
	if (r != EAS_QUERY_OK)
		return;
	if (q.base64)
		n = snprintf(out, size, "base64 %u ", q.version);
	n += snprintf(out + n, size - (size_t)n, "%s %s %s %s", eas_command_name(q.command),
	    q.user[0] != '\0' ? q.user : "''", q.device_id,
	    q.device_type[0] != '\0' ? q.device_type : "''");
	if (q.has_policy_key)
		snprintf(out + n, size - (size_t)n, " key=%u", q.policy_key);
}

static void check(const struct table_row *row)
{
	char *exact = table_exact(row->column[2].p, row->column[2].n), got[1024] = "?";

	summarise(got, sizeof(got), (struct strv){ exact, row->column[2].n });
	table_want(row, got, row->column[1]);
	free(exact);
}

/* The third column is the bytes behind the base64; a row of eas_query_bytes.tbl. */
static void check_bytes(const struct table_row *row)
{
	char *text = malloc(4 * row->column[2].n + 8), got[1024] = "?";
	size_t n;

	assert_non_null(text);
	n = text_base64(text, row->column[2].p, row->column[2].n);
	summarise(got, sizeof(got), (struct strv){ text, n });
	table_want(row, got, row->column[1]);
	free(text);
}

static void every_query_of_the_table_is_read_as_it_says(void **state)
{
	(void)state;
	table_run("eas_query.tbl", "", 3, check);
}

static void every_base64_query_of_the_table_is_read_as_it_says(void **state)
{
	(void)state;
	table_run("eas_query_bytes.tbl", "", 3, check_bytes);
}

static void threat_12_queries_that_could_mean_two_things_are_refused(void **state)
{
	(void)state;
	table_run("eas_query.tbl", "threat-12", 3, check);
	table_run("eas_query_bytes.tbl", "threat-12", 3, check_bytes);
}

static void threat_16_the_user_named_is_read_exactly_and_only_once(void **state)
{
	(void)state;
	table_run("eas_query.tbl", "threat-16", 3, check);
	table_run("eas_query_bytes.tbl", "threat-16", 3, check_bytes);
}

/*
 * A good one, cut after every byte: never read beyond, never taken for whole before its fixed part
 * is.
 */
static void a_base64_query_that_is_cut_anywhere_is_refused(void **state)
{
	static const unsigned char good[] = { 140, 18, 9, 4, 3, 'd', 'e', 'v', 4, 1, 0, 0, 0, 2,
		'W', 'P', 8, 2, 'm', 'e' };
	char text[64];

	(void)state;
	for (size_t n = 0; n < sizeof(good); n++) {
		struct strv query = { text, text_base64(text, good, n) };
		struct eas_query q;
		enum eas_query_result r = eas_query_read(&q, query);

		if (n == 0)
			assert_int_equal(r, EAS_QUERY_EMPTY);
		else if (n == 16) /* all but the parameters, which may be absent */
			assert_int_equal(r, EAS_QUERY_OK);
		else
			assert_true(r < 0);
	}
}

static void every_command_has_a_name_that_is_read_back(void **state)
{
	struct eas_query q;
	char query[128];

	(void)state;
	for (int i = EAS_NONE + 1; i < EAS_COMMANDS; i++) {
		snprintf(query, sizeof(query), "Cmd=%s&DeviceId=d",
		    eas_command_name((enum eas_command)i));
		assert_int_equal(eas_query_read(&q, strv_from(query)), EAS_QUERY_OK);
		assert_int_equal(q.command, i);
		assert_string_equal(eas_command_names[i], eas_command_name((enum eas_command)i));
	}
	assert_null(eas_command_names[EAS_COMMANDS]);
	assert_string_equal(eas_command_name(EAS_NONE), "-");
	assert_string_equal(eas_command_name((enum eas_command)999), "-");
}

static void every_command_code_is_that_of_the_protocol(void **state)
{
	static const enum eas_command want[256] = {
		EAS_SYNC,
		EAS_SENDMAIL,
		EAS_SMARTFORWARD,
		EAS_SMARTREPLY,
		EAS_GETATTACHMENT,
		0,
		0,
		0,
		0,
		EAS_FOLDERSYNC,
		EAS_FOLDERCREATE,
		EAS_FOLDERDELETE,
		EAS_FOLDERUPDATE,
		EAS_MOVEITEMS,
		EAS_GETITEMESTIMATE,
		EAS_MEETINGRESPONSE,
		EAS_SEARCH,
		EAS_SETTINGS,
		EAS_PING,
		EAS_ITEMOPERATIONS,
		EAS_PROVISION,
		EAS_RESOLVERECIPIENTS,
		EAS_VALIDATECERT,
		EAS_FIND,
	};

	(void)state;
	for (unsigned code = 0; code < 256; code++) {
		unsigned char bytes[] = { 141, (unsigned char)code, 9, 4, 1, 'd', 0, 0 };
		struct eas_query q;
		char text[32];
		struct strv query = { text, text_base64(text, bytes, sizeof(bytes)) };
		enum eas_query_result r = eas_query_read(&q, query);

		assert_int_equal(
		    r, want[code] != EAS_NONE ? EAS_QUERY_OK : EAS_QUERY_UNKNOWN_COMMAND);
		if (r == EAS_QUERY_OK)
			assert_int_equal(q.command, want[code]);
	}
}

static void a_refused_query_leaves_nothing_behind(void **state)
{
	struct eas_query q = { .command = EAS_PING };

	(void)state;
	assert_int_equal(
	    eas_query_read(&q, STRV("Cmd=Sync&User=bob&DeviceId=d&User=alice")), EAS_QUERY_DOUBLE);
	assert_int_equal(q.command, EAS_PING);
	assert_string_equal(q.user, "");
}

static void a_user_is_split_into_name_and_domain(void **state)
{
	static const struct {
		const char *user, *name, *domain;
	} cases[] = {
		{ "alice", "alice", "" },
		{ "CORP\\alice", "alice", "CORP" },
		{ "alice@corp.test", "alice", "corp.test" },
		{ "\\alice", "alice", "" },
		{ "\\alice@corp.test", "alice", "corp.test" },
		{ "CORP\\alice@corp.test", "alice@corp.test", "CORP" },
		{ "a\\b\\c", "b\\c", "a" },
		{ "a@b@c", "a@b", "c" },
		{ "@corp", "", "corp" },
		{ "alice@", "alice", "" },
		{ "CORP\\", "", "CORP" },
		{ "", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strv name, domain;

		eas_user_split(strv_from(cases[i].user), &name, &domain);
		assert_true(strv_eq(name, strv_from(cases[i].name)));
		assert_true(strv_eq(domain, strv_from(cases[i].domain)));
	}
}

static void every_result_has_a_text_of_its_own(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(eas_query_result_text(names[i].result),
			    eas_query_result_text(names[j].result));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_query_of_the_table_is_read_as_it_says),
		cmocka_unit_test(every_base64_query_of_the_table_is_read_as_it_says),
		cmocka_unit_test(threat_12_queries_that_could_mean_two_things_are_refused),
		cmocka_unit_test(threat_16_the_user_named_is_read_exactly_and_only_once),
		cmocka_unit_test(a_base64_query_that_is_cut_anywhere_is_refused),
		cmocka_unit_test(every_command_has_a_name_that_is_read_back),
		cmocka_unit_test(every_command_code_is_that_of_the_protocol),
		cmocka_unit_test(a_refused_query_leaves_nothing_behind),
		cmocka_unit_test(a_user_is_split_into_name_and_domain),
		cmocka_unit_test(every_result_has_a_text_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
