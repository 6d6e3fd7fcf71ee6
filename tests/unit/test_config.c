/*
 * Config: a YAML text is taken whole or refused in one line that names file, line, key, what was found and what was
 * expected; defaults and limits of the sections that both programs share.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/config_fill.h"
#include "common/config_shape.h"

/* The smallest program that reads such a file. */
struct sample {
	struct config_common common;
	struct config_redis *others;
	unsigned others_count;
	bool flag;
	uint32_t number;
};

static const cyaml_schema_value_t other = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_redis, config_redis_fields) };
static const cyaml_schema_field_t fields[] = {
	CYAML_FIELD_STRING_PTR("user", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, common.user, 0, CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("state_dir", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, common.state_dir, 0, CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("run_dir", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, common.run_dir, 0, CYAML_UNLIMITED),
	CYAML_FIELD_MAPPING("log", CYAML_FLAG_OPTIONAL, struct sample, common.log, config_log_fields),
	CYAML_FIELD_MAPPING_PTR("redis", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, common.redis, config_redis_fields),
	CYAML_FIELD_MAPPING("directory", CYAML_FLAG_DEFAULT, struct sample, common.directory, config_directory_fields),
	CYAML_FIELD_MAPPING("lockout", CYAML_FLAG_OPTIONAL, struct sample, common.lockout, config_lockout_fields),
	CYAML_FIELD_SEQUENCE("others", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, others, &other, 0, 8),
	CYAML_FIELD_BOOL("flag", CYAML_FLAG_OPTIONAL, struct sample, flag),
	CYAML_FIELD_UINT("number", CYAML_FLAG_OPTIONAL, struct sample, number),
	CYAML_FIELD_IGNORE("enroll", CYAML_FLAG_OPTIONAL),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t schema = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct sample, fields) };

#define GOOD "directory: {kind: file, file: /a}\n"

/* The sample, or NULL with error: loaded, filled and checked. */
static struct sample *load(struct strv text, struct config_error *error)
{
	cyaml_data_t *data = NULL;
	struct sample *s;

	memset(error, 0, sizeof(*error));
	if (config_load("x.yaml", text, &schema, &data, error) < 0) {
		assert_null(data);
		return NULL;
	}
	s = data;
	if (config_check_common(&s->common, "x.yaml", text, error) == 0)
		return s;
	config_release(&schema, data);
	return NULL;
}

static void refused(const char *text, const char *wanted)
{
	struct config_error error;
	struct sample *s = load(strv_from(text), &error);

	if (s != NULL)
		fail_msg("taken: %s", text);
	if (strstr(error.text, wanted) == NULL)
		fail_msg("said \"%s\", expected \"%s\" for: %s", error.text, wanted, text);
	assert_null(strchr(error.text, '\n'));
}

static void what_is_left_out_has_its_default(void **state)
{
	struct config_error error;
	struct sample *s = load(STRV(GOOD "redis: {servers: [\"a:1\"]}\n"), &error);

	(void)state;
	assert_non_null(s);
	assert_string_equal(s->common.user, "easgate");
	assert_string_equal(s->common.state_dir, "/var/lib/easgate");
	assert_string_equal(s->common.log.level, "info");
	assert_int_equal(s->common.log.parsed_level, LOG_INFO);
	assert_true(s->common.log.access);
	assert_string_equal(s->common.redis->prefix, "easgate:");
	assert_int_equal(s->common.redis->timeout_ms, 2000);
	assert_int_equal(s->common.directory.ttl_seconds, 60);
	assert_int_equal(s->common.directory.cache_entries, 100000);
	assert_null(s->common.directory.ldap);
	config_release(&schema, s);
}

static void what_is_given_is_taken(void **state)
{
	struct config_error error;
	struct sample *s = load(STRV("user: \"007\"\nlog: {level: debug, access: false}\n"
				     "directory:\n  kind: ldap\n  ttl_seconds: 1\n  ldap:\n    servers: [ldap://a]\n    start_tls: true\n"
				     "    base: DC=x\n    bind: gssapi\n    bind_name: me\n    keytab: /k\n"
				     "enroll: {whatever: [1, {a: b}]}\nnumber: 4294967295\n"), &error);

	(void)state;
	if (s == NULL)
		fail_msg("%s", error.text);
	assert_string_equal(s->common.user, "007");
	assert_false(s->common.log.access);
	assert_int_equal(s->common.log.parsed_level, LOG_DEBUG);
	assert_int_equal(s->common.directory.ttl_seconds, 1);
	assert_true(s->common.directory.ldap->start_tls);
	assert_string_equal(s->common.directory.ldap->servers[0], "ldap://a");
	assert_int_equal(s->number, UINT32_MAX);
	config_release(&schema, s);
}

static void text_that_is_no_yaml_is_refused_with_its_line(void **state)
{
	(void)state;
	refused("", "x.yaml:1: the file says nothing");
	refused("# nothing\n\n", "x.yaml:1: the file says nothing");
	refused(GOOD "log: [1\n", "x.yaml:3: this is no YAML: ");
	refused(GOOD "\tlog: 1\n", "x.yaml:2: this is no YAML: ");
	refused(GOOD "\n# \xff\n", "x.yaml:3: this is no YAML: ");
	refused(GOOD "user: \"a\x01\"\n", "x.yaml:2: this is no YAML: ");
	refused(GOOD "---\n" GOOD, "x.yaml:2: found a second document: expected one");
}

static void a_zero_byte_is_refused(void **state)
{
	static const char text[] = GOOD "user: a\0b\n";
	struct config_error error;

	(void)state;
	assert_null(load((struct strv){ text, sizeof(text) - 1 }, &error));
	assert_non_null(strstr(error.text, "x.yaml:2: this is no YAML"));
	/* YAML's own way to write one */
	refused(GOOD "user: \"a\\0b\"\n", "x.yaml:2: user: found a text with control characters: expected a text");
}

static void unknown_keys_are_refused_with_those_that_are_known(void **state)
{
	(void)state;
	refused(GOOD "usr: a\n", "x.yaml:2: unknown key \"usr\": expected one of user, state_dir");
	refused("directory:\n  kind: file\n  file: /a\n  fiel: /b\n", "x.yaml:4: directory: unknown key \"fiel\": expected one of kind, file");
	refused(GOOD "others:\n  - servers: [a]\n  - servers: [b]\n    port: 1\n", "x.yaml:5: others[1]: unknown key \"port\"");
	refused(GOOD "? {a: b}\n: c\n", "x.yaml:2: unknown key keys with values");
	refused(GOOD "<<: {user: a}\n", "x.yaml:2: unknown key \"<<\"");
	refused(GOOD "User: a\n", "x.yaml:2: unknown key \"User\"");
}

static void keys_that_stand_twice_are_refused(void **state)
{
	(void)state;
	refused(GOOD "user: a\nuser: a\n", "x.yaml:3: user stands twice: expected it once");
	refused("directory: {kind: file, kind: file, file: /a}\n", "x.yaml:1: directory: kind stands twice");
}

static void missing_keys_are_refused(void **state)
{
	(void)state;
	refused("user: a\n", "x.yaml:1: directory is missing: expected keys with values");
	refused("directory: {file: /a}\n", "x.yaml:1: directory.kind: is missing: expected \"file\" or \"ldap\"");
	refused("directory: {kind: file}\n", "x.yaml:1: directory.file: is missing");
	refused("\ndirectory:\n  kind: ldap\n", "x.yaml:2: directory.ldap: is missing");
	refused(GOOD "redis: {prefix: a}\n", "x.yaml:2: redis.servers: is missing: expected a list");
}

static void values_of_another_type_are_refused(void **state)
{
	(void)state;
	refused(GOOD "user: [a]\n", "x.yaml:2: user: found a list: expected a text");
	refused(GOOD "user: {a: b}\n", "x.yaml:2: user: found keys with values: expected a text");
	refused(GOOD "user:\n", "x.yaml:2: user: found nothing: expected a text");
	refused(GOOD "user: ~\n", "x.yaml:2: user: found \"~\": expected a text");
	refused(GOOD "user: null\n", "x.yaml:2: user: found \"null\": expected a text");
	refused("directory: file\n", "x.yaml:1: directory: found \"file\": expected keys with values");
	refused(GOOD "others: a\n", "x.yaml:2: others: found \"a\": expected a list");
	refused(GOOD "redis:\n  servers:\n    - a\n    - [b]\n", "x.yaml:5: redis.servers[1]: found a list: expected a text");
	refused("- a\n", "x.yaml:1: found a list: expected keys with values");
	refused("a\n", "x.yaml:1: found \"a\": expected keys with values");
}

/* "1.5" is 1 to the library, 010 is 8, and every word is true. */
static void numbers_and_truths_have_one_form(void **state)
{
	static const char *const no_numbers[] = { "one", "-1", "+1", "1.5", "1e3", "0x10", "010", "00", "1 2", "\"\"", "\" 1\"",
		"4294967296", "18446744073709551616", "1_000", "true" };
	static const char *const no_truths[] = { "yes", "no", "on", "True", "TRUE", "1", "0", "maybe", "\"\"", "tru" };
	char text[128], wanted[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(no_numbers); i++) {
		snprintf(text, sizeof(text), GOOD "number: %s\n", no_numbers[i]);
		refused(text, "x.yaml:2: number: found ");
		refused(text, ": expected a whole number");
	}
	for (size_t i = 0; i < ARRAY_LEN(no_truths); i++) {
		snprintf(text, sizeof(text), GOOD "flag: %s\n", no_truths[i]);
		snprintf(wanted, sizeof(wanted), "x.yaml:2: flag: found ");
		refused(text, wanted);
		refused(text, ": expected true or false");
	}
}

static void aliases_are_refused(void **state)
{
	(void)state;
	refused("user: &a me\nstate_dir: *a\n" GOOD, "x.yaml:2: found an alias (*a): expected the value itself");
	refused(GOOD "enroll: &a [x]\nothers: *a\n", "x.yaml:3: found an alias");
}

static void numbers_outside_their_limits_are_refused(void **state)
{
	(void)state;
	refused("directory: {kind: file, file: /a, ttl_seconds: 86401}\n", "x.yaml:1: directory.ttl_seconds: 86401 is out of range: expected 1 to 86400");
	refused("directory: {kind: file, file: /a, cache_entries: 15}\n", "directory.cache_entries: 15 is out of range: expected 16 to");
	/* a 0 that is given is not "left out" */
	refused("directory: {kind: file, file: /a, ttl_seconds: 0}\n", "directory.ttl_seconds: 0 is out of range");
	refused(GOOD "redis:\n  servers: [a]\n  timeout_ms: 49\n", "x.yaml:4: redis.timeout_ms: 49 is out of range: expected 50 to 60000");
}

static void words_outside_their_choices_are_refused(void **state)
{
	(void)state;
	refused("directory: {kind: nis}\n", "x.yaml:1: directory.kind: \"nis\" is none of: file, ldap");
	refused(GOOD "log: {level: loud}\n", "x.yaml:2: log.level: \"loud\" is none of: error, warning, info, debug");
}

static void nothing_is_sent_to_a_directory_in_clear(void **state)
{
	const char *head = "directory:\n  kind: ldap\n  ldap:\n    base: DC=x\n    bind_name: me\n    bind_password_file: /p\n";
	char text[512];

	(void)state;
	snprintf(text, sizeof(text), "%s    servers: [ldaps://a, ldap://b]\n", head);
	refused(text, "x.yaml:7: directory.ldap.servers: \"ldap://b\" would send the password in clear");
	snprintf(text, sizeof(text), "%s    servers: [http://b]\n", head);
	refused(text, "\"http://b\" is no ldap:// or ldaps:// URL");
	snprintf(text, sizeof(text), "%s    servers: [ldaps://a]\n    bind: ntlm\n", head);
	refused(text, "x.yaml:8: directory.ldap.bind: \"ntlm\" is none of: simple, gssapi");
	snprintf(text, sizeof(text), "%s    servers: [ldaps://a, ldap://b]\n    bind: gssapi\n    keytab: /k\n", head);
	refused(text, "x.yaml:7: directory.ldap.servers: \"ldap://b\" would send what is asked and answered in clear: expected ldaps://, or start_tls: true");
	snprintf(text, sizeof(text), "%s    servers: [ldaps://a]\n    bind: gssapi\n", head);
	refused(text, "directory.ldap.keytab: is missing");
	refused("directory:\n  kind: ldap\n  ldap: {servers: [ldaps://a], base: DC=x, bind_name: me}\n", "directory.ldap.bind_password_file: is missing");
}

static void long_values_and_names_do_not_break_the_line(void **state)
{
	char text[4096], value[3000];

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	snprintf(text, sizeof(text), GOOD "number: %s\n", value);
	refused(text, "x.yaml:2: number: found \"vvv");
	refused(text, "vvv\"...: expected a whole number");
	/* longer than YAML lets a key be */
	snprintf(text, sizeof(text), GOOD "%s: 1\n", value);
	refused(text, "x.yaml:2: ");
	snprintf(text, sizeof(text), GOOD "? %s\n: 1\n", value);
	refused(text, "x.yaml:2: unknown key \"vvv");
	snprintf(text, sizeof(text), GOOD "log: {level: %s}\n", value);
	refused(text, "x.yaml:2: log.level: \"vvv");
}

static void deep_nesting_ends(void **state)
{
	/* libyaml's time is quadratic in the depth, the stack of what recurses is not: a small one shows as much as much depth */
	enum { DEPTH = 10000, STACK = 1 << 20 };
	char *text = malloc(2 * DEPTH + 1);
	struct config_error error;
	struct rlimit before, small;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_STACK, &before), 0);
	small = before;
	small.rlim_cur = STACK;
	assert_int_equal(setrlimit(RLIMIT_STACK, &small), 0);
	memset(text, '[', DEPTH);
	memset(text + DEPTH, ']', DEPTH);
	text[2 * DEPTH] = '\0';
	assert_null(load(strv_from(text), &error));
	assert_non_null(strstr(error.text, "x.yaml:1: "));
	text[DEPTH] = '\0';
	assert_null(load(strv_from(text), &error));
	assert_non_null(strstr(error.text, "this is no YAML"));
	free(text);
	assert_int_equal(setrlimit(RLIMIT_STACK, &before), 0);
}

static void the_line_of_a_key_is_found(void **state)
{
	struct strv text = STRV("user: a\nproxy:\n  hosts:\n    - names: [a]\n      key: b\n    -\n      names: [c]\n  limits: {headers: 5}\n");

	(void)state;
	assert_int_equal(config_line_of(text, "user"), 1);
	assert_int_equal(config_line_of(text, "proxy"), 2);
	assert_int_equal(config_line_of(text, "proxy.hosts[0].key"), 5);
	assert_int_equal(config_line_of(text, "proxy.hosts[1]"), 7);
	assert_int_equal(config_line_of(text, "proxy.limits.headers"), 8);
	/* a missing key is reported where its mapping is */
	assert_int_equal(config_line_of(text, "proxy.limits.nothing"), 8);
	assert_int_equal(config_line_of(text, "proxy.hosts[7].key"), 3);
	assert_int_equal(config_line_of(text, "user.below"), 1);
	assert_true(config_names_key(text, "proxy.limits.headers"));
	assert_true(config_names_key(text, "proxy.hosts[1].names"));
	assert_false(config_names_key(text, "proxy.hosts[2].names"));
	assert_false(config_names_key(text, "proxy.limits.header"));
	assert_false(config_names_key(text, "user.below"));
	assert_false(config_names_key(STRV("[1"), "user"));
}

static void files_are_read_whole_or_not_at_all(void **state)
{
	char dir[] = "/tmp/easgate-config-XXXXXX", path[64];
	struct config_error error = { "" };
	char *text = NULL;
	size_t n = 0;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(config_read_file(path, &text, &n, &error), -1);
	assert_non_null(strstr(error.text, "/f: No such file or directory: expected a file"));
	assert_int_equal(config_read_file(dir, &text, &n, &error), -1);
	assert_non_null(strstr(error.text, "Is a directory"));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(config_read_file(path, &text, &n, &error), -1);	/* and does not wait for a writer */
	unlink(path);
	f = fopen(path, "w");
	fputs("abc\n", f);
	fclose(f);
	assert_int_equal(config_read_file(path, &text, &n, &error), 0);
	assert_int_equal(n, 4);
	assert_string_equal(text, "abc\n");
	free(text);
	assert_int_equal(truncate(path, (1 << 20) + 1), 0);
	assert_int_equal(config_read_file(path, &text, &n, &error), -1);
	assert_non_null(strstr(error.text, "File too large"));
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_left_out_has_its_default),
		cmocka_unit_test(what_is_given_is_taken),
		cmocka_unit_test(text_that_is_no_yaml_is_refused_with_its_line),
		cmocka_unit_test(a_zero_byte_is_refused),
		cmocka_unit_test(unknown_keys_are_refused_with_those_that_are_known),
		cmocka_unit_test(keys_that_stand_twice_are_refused),
		cmocka_unit_test(missing_keys_are_refused),
		cmocka_unit_test(values_of_another_type_are_refused),
		cmocka_unit_test(numbers_and_truths_have_one_form),
		cmocka_unit_test(aliases_are_refused),
		cmocka_unit_test(numbers_outside_their_limits_are_refused),
		cmocka_unit_test(words_outside_their_choices_are_refused),
		cmocka_unit_test(nothing_is_sent_to_a_directory_in_clear),
		cmocka_unit_test(long_values_and_names_do_not_break_the_line),
		cmocka_unit_test(deep_nesting_ends),
		cmocka_unit_test(the_line_of_a_key_is_found),
		cmocka_unit_test(files_are_read_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
