/*
 * Log: whatever is logged comes out as one JSON object on one line, read back here by another program's JSON reader.
 */
#include "common/log.h"

#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static int real_stderr, reader;

/* Standard error becomes a pipe that the test reads. */
static int catch(void **state)
{
	int fds[2];

	(void)state;
	log_setup(LOG_INFO, "test", 3);
	assert_int_equal(pipe(fds), 0);
	real_stderr = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	reader = fds[0];
	return 0;
}

static int release(void **state)
{
	(void)state;
	log_flush();
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(reader);
	return 0;
}

/* What was written since: bytes and their number. */
static size_t written(char *text, size_t size)
{
	fd_set set;
	struct timeval none = { 0, 0 };
	size_t n = 0;

	for (;;) {
		ssize_t r;
		FD_ZERO(&set);
		FD_SET(reader, &set);
		if (n == size - 1 || select(reader + 1, &set, NULL, NULL, &none) != 1)
			break;
		r = read(reader, text + n, size - 1 - n);
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	text[n] = '\0';
	return n;
}

/* The one line that was written, as an object. */
static json_t *line(void)
{
	char text[LOG_LINE_MAX * 2];
	json_error_t error;
	size_t n = written(text, sizeof(text));
	json_t *object;

	assert_true(n > 0 && n <= LOG_LINE_MAX);
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	object = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (object == NULL)
		fail_msg("%s: %s", error.text, text);
	return object;
}

static void assert_field(json_t *object, const char *key, const char *value)
{
	const char *have = json_string_value(json_object_get(object, key));

	if (have == NULL || strcmp(have, value) != 0)
		fail_msg("%s is \"%s\", expected \"%s\"", key, have != NULL ? have : "(none)", value);
}

static void a_line_says_when_who_and_what(void **state)
{
	struct log_line l;
	json_t *o;

	(void)state;
	log_begin(&l, LOG_ERROR, "thing");
	log_int(&l, "low", INT64_MIN);
	log_int(&l, "high", INT64_MAX);
	log_bool(&l, "yes", true);
	log_bool(&l, "no", false);
	log_cstr(&l, "none", NULL);
	log_text(&l, "empty", (struct strv){ NULL, 0 });
	log_end(&l);
	o = line();
	assert_int_equal(strlen(json_string_value(json_object_get(o, "time"))), strlen("2026-11-23T10:00:00.123Z"));
	assert_field(o, "level", "error");
	assert_field(o, "process", "test");
	assert_int_equal(json_integer_value(json_object_get(o, "index")), 3);
	assert_field(o, "event", "thing");
	assert_true(json_integer_value(json_object_get(o, "low")) == INT64_MIN);
	assert_true(json_integer_value(json_object_get(o, "high")) == INT64_MAX);
	assert_true(json_is_true(json_object_get(o, "yes")));
	assert_true(json_is_false(json_object_get(o, "no")));
	assert_null(json_object_get(o, "none"));
	assert_field(o, "empty", "");
	assert_null(json_object_get(o, "cut"));
	json_decref(o);
}

/* Each byte alone, and all of them together. */
static void every_byte_can_be_logged(void **state)
{
	char all[256];

	(void)state;
	for (int c = 0; c < 256; c++) {
		struct log_line l;
		char byte = (char)c;
		json_t *o;

		all[c] = byte;
		log_begin(&l, LOG_WARNING, "byte");
		log_text(&l, "value", (struct strv){ &byte, 1 });
		log_end(&l);
		o = line();
		/* a byte above 127 alone is no UTF-8 and becomes the character of that number */
		assert_int_equal(json_string_length(json_object_get(o, "value")), c < 128 ? 1 : 2);
		if (c < 128)
			assert_int_equal(json_string_value(json_object_get(o, "value"))[0], c);
		json_decref(o);
	}
	for (int round = 0; round < 2; round++) {
		struct log_line l;
		json_t *o;

		log_begin(&l, LOG_WARNING, "bytes");
		log_text(&l, "value", (struct strv){ all + 128 * round, 128 });
		log_end(&l);
		o = line();
		assert_non_null(json_object_get(o, "value"));
		json_decref(o);
	}
}

static void nothing_in_a_value_starts_another_line_or_field(void **state)
{
	static const char *const hostile[] = { "a\n{\"event\":\"access\"}", "\",\"admin\":\"yes", "\\", "\\\"", "\r\n", "\x1b[31m", "</script>" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		struct log_line l;
		json_t *o;

		log_begin_audit(&l, "refused");
		log_cstr(&l, "claim", hostile[i]);
		log_end(&l);
		o = line();
		assert_field(o, "claim", hostile[i]);
		assert_int_equal(json_object_size(o), 7);
		json_decref(o);
	}
}

static void letters_of_other_languages_stay_as_they_are(void **state)
{
	struct log_line l;
	json_t *o;

	(void)state;
	log_begin(&l, LOG_ERROR, "name");
	log_cstr(&l, "claim", "J\xc3\xb6rg \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x93\xb1");
	log_cstr(&l, "turned", "\xe2\x80\xae" "evil");	/* right-to-left override: not as it stands */
	log_end(&l);
	o = line();
	assert_field(o, "claim", "J\xc3\xb6rg \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x93\xb1");
	assert_null(strstr(json_string_value(json_object_get(o, "turned")), "\xe2\x80\xae"));
	json_decref(o);
}

static void what_does_not_fit_is_cut_at_a_field_and_said(void **state)
{
	static char value[LOG_LINE_MAX];

	(void)state;
	memset(value, 'x', sizeof(value));
	for (size_t n = LOG_LINE_MAX - 400; n < LOG_LINE_MAX; n++) {
		struct log_line l;
		json_t *o;
		bool whole;

		log_begin(&l, LOG_ERROR, "long");
		log_text(&l, "value", (struct strv){ value, n });
		log_int(&l, "after", 1);
		log_end(&l);
		o = line();
		whole = json_object_get(o, "value") != NULL && json_object_get(o, "after") != NULL;
		assert_int_equal(json_is_true(json_object_get(o, "cut")), !whole);
		if (json_object_get(o, "value") != NULL)
			assert_int_equal(json_string_length(json_object_get(o, "value")), n);
		else
			assert_null(json_object_get(o, "after"));
		json_decref(o);
	}
}

/* A message with quotes in it is as long as it is, not six times that. */
static void a_long_message_with_quotes_is_not_lost(void **state)
{
	char text[2000];
	json_t *o;

	(void)state;
	memset(text, 'm', sizeof(text));
	text[0] = '"';
	text[sizeof(text) - 1] = '\0';
	log_say(LOG_ERROR, "long", "%s", text);
	o = line();
	assert_field(o, "message", text);
	json_decref(o);
}

static void levels_below_the_wanted_one_say_nothing(void **state)
{
	enum log_level level;
	char text[1000];
	struct log_line l;

	(void)state;
	log_set_level(LOG_WARNING);
	assert_true(log_wanted(LOG_WARNING));
	assert_false(log_wanted(LOG_INFO));
	log_say(LOG_INFO, "quiet", "%s", "nothing");
	log_begin(&l, LOG_DEBUG, "quiet");
	log_cstr(&l, "a", "b");
	log_end(&l);
	log_flush();
	assert_int_equal(written(text, sizeof(text)), 0);
	/* but for audit lines */
	log_begin_audit(&l, "refused");
	log_end(&l);
	assert_true(written(text, sizeof(text)) > 0);
	assert_non_null(strstr(text, "\"audit\":true"));
	assert_int_equal(log_level_parse(STRV("debug"), &level), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(log_level_parse(STRV("Debug"), &level), -1);
	assert_int_equal(log_level_parse(STRV(""), &level), -1);
}

static void access_lines_wait_and_errors_push_them_out_in_order(void **state)
{
	char text[2000];
	struct log_line l;

	(void)state;
	log_begin(&l, LOG_INFO, "access");
	log_end(&l);
	assert_int_equal(written(text, sizeof(text)), 0);
	log_say(LOG_ERROR, "fault", "now");
	assert_true(written(text, sizeof(text)) > 0);
	assert_true(strstr(text, "access") != NULL && strstr(text, "access") < strstr(text, "fault"));
}

static void many_lines_lose_none(void **state)
{
	static char text[1 << 16];
	size_t lines = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {	/* more than waits, less than a pipe holds */
		struct log_line l;

		log_begin(&l, LOG_INFO, "access");
		log_int(&l, "i", i);
		log_end(&l);
	}
	log_flush();
	written(text, sizeof(text));
	for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	assert_int_equal(lines, 300);
}

/* Nobody reads: the process never waits, some lines do, the others are lost whole, and how many is said once there is a reader again. */
static void a_reader_that_does_not_read_loses_lines_and_is_told_how_many(void **state)
{
	enum { LINES = 20000 };
	static char text[4 << 20];
	unsigned whole = 0, lost = 0;

	(void)state;
	log_never_block();
	for (int i = 0; i < LINES; i++)
		log_say(LOG_ERROR, "flood", "%d", i);
	written(text, sizeof(text));
	for (char *p = text, *end; (end = strchr(p, '\n')) != NULL; p = end + 1, whole++) {
		json_error_t error;
		json_t *o = json_loadb(p, (size_t)(end - p), 0, &error);

		if (o == NULL)
			fail_msg("%s: %.*s", error.text, (int)(end - p), p);
		json_decref(o);
	}
	assert_in_range(whole, 100, LINES - 1);
	log_say(LOG_ERROR, "after", "the reader is back");
	written(text, sizeof(text));
	/* what had waited in the process comes first, then what is missing, then the new line */
	for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
		whole++;
	whole -= 2;
	assert_int_equal(sscanf(strstr(text, "\"lines\":"), "\"lines\":%u", &lost), 1);
	assert_non_null(strstr(text, "\"event\":\"log_lost\""));
	assert_int_equal(whole + lost, LINES);
	assert_true(strstr(text, "log_lost") < strstr(text, "the reader is back"));
}

/* A reader that has gone, and no standard error at all: the program lives on. */
static void a_closed_standard_error_ends_nothing(void **state)
{
	int status, fds[2];
	pid_t child;

	(void)state;
	child = fork();
	if (child == 0) {
		signal(SIGPIPE, SIG_IGN);
		if (pipe(fds) < 0 || dup2(fds[1], STDERR_FILENO) < 0)
			_exit(1);
		close(fds[0]);
		close(fds[1]);
		log_say(LOG_ERROR, "lost", "nobody reads");
		close(STDERR_FILENO);
		log_say(LOG_ERROR, "lost", "nothing is there");
		_exit(7);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void a_bug_is_said_and_ends_the_process(void **state)
{
	pid_t child;
	json_t *o;
	int status;

	(void)state;
	child = fork();
	if (child == 0)
		bug("session %d: %s", 4, "impossible");
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	o = line();
	assert_field(o, "event", "bug");
	assert_non_null(strstr(json_string_value(json_object_get(o, "message")), "session 4: impossible"));
	json_decref(o);
}

int main(void)
{
#define CAUGHT(test) cmocka_unit_test_setup_teardown(test, catch, release)
	const struct CMUnitTest tests[] = {
		CAUGHT(a_line_says_when_who_and_what),
		CAUGHT(every_byte_can_be_logged),
		CAUGHT(nothing_in_a_value_starts_another_line_or_field),
		CAUGHT(letters_of_other_languages_stay_as_they_are),
		CAUGHT(what_does_not_fit_is_cut_at_a_field_and_said),
		CAUGHT(a_long_message_with_quotes_is_not_lost),
		CAUGHT(levels_below_the_wanted_one_say_nothing),
		CAUGHT(access_lines_wait_and_errors_push_them_out_in_order),
		CAUGHT(many_lines_lose_none),
		CAUGHT(a_reader_that_does_not_read_loses_lines_and_is_told_how_many),
		CAUGHT(a_closed_standard_error_ends_nothing),
		CAUGHT(a_bug_is_said_and_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
