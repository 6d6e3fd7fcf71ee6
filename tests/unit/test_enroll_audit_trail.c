/*
 * Audit trail: whole as written, and every change, cut and insertion shows.
 */
#include "tests/unit/registry_site.h"

#include <sqlite3.h>

#include "common/text.h"
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

static bool take(void *arg, const struct registry_audit_entry *e)
{
	*(struct registry_audit_entry *)arg = *e;
	return false;
}

/* The forger knows how entries are hashed: the entry hashes right, and only what stands beside it tells. */
static void forge(struct registry_site *s, int64_t n, const uint8_t *previous, const char *before)
{
	char sql[400], link[2 * SHA256_SIZE + 1], own[2 * SHA256_SIZE + 1];
	struct registry_audit_entry e;
	uint8_t hash[SHA256_SIZE];

	assert_int_equal(registry_audit_list(s->registry, n, 1, "", take, &e), REGISTRY_OK);
	snprintf(e.detail, sizeof(e.detail), "forged");
	if (previous != NULL)
		memcpy(e.previous, previous, SHA256_SIZE);
	assert_int_equal(audit_trail_hash(&e, hash), 0);
	text_hex(link, e.previous, SHA256_SIZE);
	text_hex(own, hash, SHA256_SIZE);
	snprintf(sql, sizeof(sql), "%s UPDATE audit SET detail='forged',previous=x'%s',hash=x'%s' WHERE n=%d", before, link, own, (int)n);
	tamper(s, sql);
}

static void threat_46_an_entry_that_was_hashed_again_does_not_fit_the_next_one(void **state)
{
	struct audit_trail_report report;
	struct registry_site *s = *state;

	forge(s, 3, NULL, "");
	assert_int_equal(audit_trail_verify(s->registry, &report), 1);
	assert_int_equal(report.bad, 4);
	assert_string_equal(report.text, "entry 4 does not continue the one before");
}

static void threat_46_a_gap_shows_though_its_edges_were_joined(void **state)
{
	struct audit_trail_report report;
	struct registry_audit_entry second;
	struct registry_site *s = *state;

	assert_int_equal(registry_audit_list(s->registry, 2, 1, "", take, &second), REGISTRY_OK);
	forge(s, 4, second.hash, "DELETE FROM audit WHERE n=3;");
	assert_int_equal(audit_trail_verify(s->registry, &report), 1);
	assert_int_equal(report.bad, 4);
	assert_string_equal(report.text, "after entry 2 comes 4: entries are missing");
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
		cmocka_unit_test_setup_teardown(threat_46_an_entry_that_was_hashed_again_does_not_fit_the_next_one, setup, site_teardown),
		cmocka_unit_test_setup_teardown(threat_46_a_gap_shows_though_its_edges_were_joined, setup, site_teardown),
		cmocka_unit_test(fields_cannot_be_shifted_into_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
