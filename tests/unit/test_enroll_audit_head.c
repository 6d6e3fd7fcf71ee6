/* The log is told where the trail ends, once it is on the disk; and a trail that was cut or changed under the running program is told. */
#include "tests/unit/registry_site.h"

#include <fcntl.h>
#include <sqlite3.h>

#include "common/log.h"
#include "enroll/worker/audit_head.h"

struct log_site {
	struct registry_site site;
	struct audit_head head;
	int log, error;		/* where standard error goes meanwhile; what it was */
};

static int setup(void **state)
{
	struct log_site *s = calloc(1, sizeof(*s));
	char path[160];

	site_begin(&s->site);
	snprintf(path, sizeof(path), "%s/log", s->site.dir);
	s->log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	s->error = dup(STDERR_FILENO);
	assert_true(s->log >= 0 && s->error >= 0 && dup2(s->log, STDERR_FILENO) == STDERR_FILENO);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct log_site *s = *state;

	assert_int_equal(dup2(s->error, STDERR_FILENO), STDERR_FILENO);
	close(s->error);
	close(s->log);
	site_end(&s->site);
	free(s);
	return 0;
}

/* Lines of this event since the last call; the text of all is in out. */
static unsigned lines(struct log_site *s, const char *event, char out[8192])
{
	ssize_t n;
	unsigned count = 0;

	log_flush();
	n = pread(s->log, out, 8191, 0);
	assert_true(n >= 0);
	out[n] = '\0';
	assert_int_equal(ftruncate(s->log, 0), 0);
	for (const char *at = out; (at = strstr(at, event)) != NULL; at++)
		count++;
	return count;
}

static void add(struct log_site *s)
{
	assert_int_equal(registry_audit(s->site.registry, &site_by, "tried", "account x"), REGISTRY_OK);
}

static void tamper(struct log_site *s, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(s->site.path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void the_end_is_told_when_it_grew_and_only_then(void **state)
{
	struct log_site *s = *state;
	char text[8192], head[AUDIT_HEAD_MAX];
	uint8_t hash[SHA256_SIZE];

	add(s);
	audit_head_look(&s->head, s->site.registry, 0);
	assert_int_equal(lines(s, "\"audit_head\"", text), 1);
	assert_int_equal(audit_head_entry(s->site.registry, 3, hash), REGISTRY_OK);	/* account, device, one more */
	audit_head_print(head, 3, hash);
	assert_non_null(strstr(text, head));
	audit_head_look(&s->head, s->site.registry, 0);
	assert_int_equal(lines(s, "\"audit_head\"", text), 0);
	add(s);
	audit_head_look(&s->head, s->site.registry, 0);
	assert_int_equal(lines(s, "\"audit_head\"", text), 1);
}

static void what_is_not_on_the_disk_is_not_told(void **state)
{
	struct log_site *s = *state;
	char text[8192];

	audit_head_look(&s->head, s->site.registry, 7);
	audit_head_reached(&s->head, 6);
	assert_int_equal(lines(s, "\"audit_head\"", text), 0);
	audit_head_reached(&s->head, 7);
	assert_int_equal(lines(s, "\"audit_head\"", text), 1);
	audit_head_reached(&s->head, 8);
	assert_int_equal(lines(s, "\"audit_head\"", text), 0);
}

static void a_trail_that_is_cut_or_written_anew_meanwhile_is_told_once(void **state)
{
	static const char *const changes[] = { "DELETE FROM audit WHERE n=4", "UPDATE audit SET hash=zeroblob(32) WHERE n=4" };
	static const char *const words[] = { "is gone", "is another one now" };
	char text[8192];

	teardown(state);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		struct log_site *s;

		setup(state);
		s = *state;
		add(s);
		add(s);
		audit_head_look(&s->head, s->site.registry, 0);
		tamper(s, changes[i]);
		(void)lines(s, "\"audit_head\"", text);
		audit_head_look(&s->head, s->site.registry, 0);
		assert_int_equal(lines(s, "\"audit_broken\"", text), 1);
		assert_non_null(strstr(text, words[i]));
		audit_head_look(&s->head, s->site.registry, 0);
		assert_int_equal(lines(s, "\"audit_broken\"", text), 0);
		if (i + 1 < ARRAY_LEN(changes))
			teardown(state);
	}
}

static void an_end_is_read_as_it_is_printed(void **state)
{
	static const char *const bad[] = { "", "4", "4:", ":00", "0:", "-1:", "4:zz", "4:00" };
	uint8_t hash[SHA256_SIZE], again[SHA256_SIZE];
	char text[AUDIT_HEAD_MAX + 1];
	int64_t n = 0;

	(void)state;
	memset(hash, 0xa7, sizeof(hash));
	audit_head_print(text, INT64_MAX, hash);
	assert_int_equal(audit_head_parse(strv_from(text), &n, again), 0);
	assert_true(n == INT64_MAX);
	assert_memory_equal(hash, again, sizeof(hash));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(audit_head_parse(strv_from(bad[i]), &n, again), -1);
	strcat(text, "0");
	assert_int_equal(audit_head_parse(strv_from(text), &n, again), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_end_is_told_when_it_grew_and_only_then, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_on_the_disk_is_not_told, setup, teardown),
		cmocka_unit_test_setup_teardown(a_trail_that_is_cut_or_written_anew_meanwhile_is_told_once, setup, teardown),
		cmocka_unit_test(an_end_is_read_as_it_is_printed),
	};

	log_setup(LOG_INFO, "test", -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
