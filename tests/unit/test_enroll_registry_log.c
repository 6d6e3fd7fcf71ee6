/*
 * The registry's write-ahead log: a commit is few writes, and what is in the file then is what SQLite alone would have put there: another program reads it
 * by its checksums. What cannot be written fails the commit.
 */
#include "tests/unit/registry_site.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "enroll/worker/registry_parts.h"

/* Writes that this process has asked the kernel for. */
static long writes(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	char line[128];
	long n = -1;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		sscanf(line, "syscw: %ld", &n);
	fclose(f);
	assert_true(n >= 0);
	return n;
}

static void copy(const char *from, const char *to)
{
	char command[512];

	snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
	assert_int_equal(system(command), 0);
}

/* One number, of copies of file and log without the shared index: SQLite finds what is committed by the log's checksums. */
static int64_t of_copy(struct registry_site *s, const char *sql)
{
	char from[200], to[200];
	sqlite3_stmt *st = NULL;
	sqlite3 *db = NULL;
	int64_t n;

	snprintf(to, sizeof(to), "%s/copy.db", s->dir);
	copy(s->path, to);
	snprintf(from, sizeof(from), "%s-wal", s->path);
	snprintf(to, sizeof(to), "%s/copy.db-wal", s->dir);
	copy(from, to);
	snprintf(to, sizeof(to), "%s/copy.db", s->dir);
	assert_int_equal(sqlite3_open_v2(to, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'", -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(st, 0), 1);
	sqlite3_finalize(st);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

static void a_commit_of_some_pages_is_one_write(void **state)
{
	struct registry_site *s = *state;
	struct registry_device d;
	uint8_t serial[REGISTRY_SERIAL];
	struct stat before, after;
	char log[200];
	long n;

	snprintf(log, sizeof(log), "%s-wal", s->path);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(reg_run(s->registry, "BEGIN IMMEDIATE", ""), REGISTRY_OK);
		for (int i = 0; i < 40; i++) {
			RAND_bytes(serial, sizeof(serial));
			text_hex(d.id, serial, sizeof(serial));
			assert_int_equal(reg_run(s->registry, "INSERT INTO devices(id,account,name,kind,state,created,last_seen) VALUES(?,?,'x','ios',2,1,1)",
			    "ti", d.id, s->owner.id), REGISTRY_OK);
			assert_int_equal(reg_run(s->registry, "INSERT INTO crls(issuer,number,base,this_update,next_update,upto) VALUES(?,?,0,1,2,0)", "ti",
			    "a text that is long enough for some pages, if it is there forty times and more", (int64_t)(1000 * round + i)), REGISTRY_OK);
			assert_int_equal(registry_account_by_sid(s->registry, s->account.sid, &s->owner), REGISTRY_OK);
		}
		assert_int_equal(stat(log, &before), 0);
		n = writes();
		assert_int_equal(reg_run(s->registry, "COMMIT", ""), REGISTRY_OK);
		n = writes() - n;
		assert_int_equal(stat(log, &after), 0);
		/* one, and two for a first frame behind what was read of the log */
		assert_in_range(n, 1, 3);
		assert_true(after.st_size - before.st_size > 5 * 4096);
		assert_int_equal(of_copy(s, "SELECT count(*) FROM crls"), 40 * (round + 1));
	}
}

/* With a cache of ten pages: frames are written before the commit, read again, written once more in their place, and their checksums after them. */
static void what_does_not_fit_in_the_cache_is_written_and_rewritten_as_ever(void **state)
{
	struct registry_site *s = *state;

	assert_int_equal(sqlite3_exec(s->registry->db, "PRAGMA cache_size=10; PRAGMA cache_spill=10", NULL, NULL, NULL), SQLITE_OK);
	for (int round = 1; round <= 3; round++) {
		assert_int_equal(sqlite3_exec(s->registry->db, "BEGIN;"
		    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) INSERT INTO secrets(mac,account,device,profile,purpose,made,ends)"
		    " SELECT randomblob(32),1,'','mail','scep',1,2 FROM n; UPDATE secrets SET made=made+1; COMMIT", NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(of_copy(s, "SELECT count(*) FROM secrets WHERE made>=2"), 2000 * round);
		assert_int_equal(sqlite3_exec(s->registry->db, "BEGIN; UPDATE secrets SET made=0; ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(of_copy(s, "SELECT count(*) FROM secrets WHERE made>=2"), 2000 * round);
		/* the log is begun anew */
		if (round == 2)
			assert_int_equal(sqlite3_wal_checkpoint_v2(s->registry->db, "main", SQLITE_CHECKPOINT_RESTART, NULL, NULL), SQLITE_OK);
	}
}

static void a_log_that_cannot_grow_fails_the_commit_and_nothing_else(void **state)
{
	struct registry_site *s = *state;
	struct rlimit limit, small;
	struct stat log;
	char path[200];

	snprintf(path, sizeof(path), "%s-wal", s->path);
	assert_int_equal(stat(path, &log), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = (struct rlimit){ .rlim_cur = (rlim_t)log.st_size + 6000, .rlim_max = limit.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(reg_run(s->registry, "BEGIN IMMEDIATE", ""), REGISTRY_OK);
		assert_int_equal(sqlite3_exec(s->registry->db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) INSERT INTO secrets"
		    "(mac,account,device,profile,purpose,made,ends) SELECT randomblob(32),1,'','mail','scep',1,2 FROM n", NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, i == 0 ? &small : &limit), 0);
		assert_int_equal(reg_run(s->registry, "COMMIT", ""), i == 0 ? REGISTRY_FAILED : REGISTRY_OK);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		if (sqlite3_get_autocommit(s->registry->db) == 0)
			assert_int_equal(reg_run(s->registry, "ROLLBACK", ""), REGISTRY_OK);
		assert_int_equal(of_copy(s, "SELECT count(*) FROM secrets"), 200 * i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_commit_of_some_pages_is_one_write, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(what_does_not_fit_in_the_cache_is_written_and_rewritten_as_ever, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_log_that_cannot_grow_fails_the_commit_and_nothing_else, site_setup, site_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
