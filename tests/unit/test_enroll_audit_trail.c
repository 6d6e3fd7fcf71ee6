/*
 * Audit trail: whole as written, and every change, cut and insertion shows.
 */
#include "tests/unit/registry_site.h"

#include <sqlite3.h>

#include "enroll/worker/audit_trail.h"

static int setup(void **state)
{
	struct registry_site *s;

	(void)site_setup(state);
	s = *state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(registry_audit(s->registry, &site_by, "tried", "account x"), REGISTRY_OK);
	return 0;
}

/* As somebody with the file in his hands would. */
static void tamper(struct registry_site *s, const char *sql)
{
	sqlite3 *db;
	char *why = NULL;

	assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete; DROP TRIGGER audit_in_order", NULL, NULL, &why),
	    SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, &why), SQLITE_OK);
	sqlite3_close(db);
}

static void a_trail_is_whole_as_written(void **state)
{
	struct registry_site *s = *state;
	struct audit_trail_report report;

	assert_int_equal(audit_trail_verify(s->registry, &report), 0);
	assert_int_equal(report.entries, 7);	/* the account, the device, five more */
}

static void threat_46_every_change_shows_and_where(void **state)
{
	static const char *const changes[] = { "UPDATE audit SET detail='y' WHERE n=3", "UPDATE audit SET actor='somebody' WHERE n=3",
		"UPDATE audit SET at=at+1 WHERE n=3", "UPDATE audit SET object=action,action=object WHERE n=3", "DELETE FROM audit WHERE n=3",
		"UPDATE audit SET hash=zeroblob(32) WHERE n=3", "UPDATE audit SET previous=zeroblob(32) WHERE n=3" };
	struct audit_trail_report report;

	site_teardown(state);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		setup(state);
		tamper(*state, changes[i]);
		assert_int_equal(audit_trail_verify(((struct registry_site *)*state)->registry, &report), 1);
		assert_in_range(report.bad, 3, 4);
		if (i + 1 < ARRAY_LEN(changes))
			site_teardown(state);
	}
}

static void fields_cannot_be_shifted_into_each_other(void **state)
{
	struct registry_audit_entry a = { .n = 1, .at = 5 }, b = a;
	uint8_t ha[SHA256_SIZE], hb[SHA256_SIZE];

	(void)state;
	strcpy(a.actor, "ab");
	strcpy(a.action, "c");
	strcpy(b.actor, "a");
	strcpy(b.action, "bc");
	assert_int_equal(audit_trail_hash(&a, ha), 0);
	assert_int_equal(audit_trail_hash(&b, hb), 0);
	assert_memory_not_equal(ha, hb, SHA256_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_trail_is_whole_as_written, setup, site_teardown),
		cmocka_unit_test_setup_teardown(threat_46_every_change_shows_and_where, setup, site_teardown),
		cmocka_unit_test(fields_cannot_be_shifted_into_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
