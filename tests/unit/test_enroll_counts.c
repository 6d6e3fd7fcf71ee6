/* What the registry counts as it changes is what is there, and costs the same however much that is. */
#include "tests/unit/registry_site.h"
#include "tests/unit/registry_steps.h"

#include "enroll/worker/registry_parts.h"

/* What is kept against what is there. */
static void assert_counts(struct registry_site *s)
{
	static const char *const counted[] = { "SELECT count(*) FROM accounts", "SELECT count(*) FROM devices", "SELECT count(*) FROM certificates WHERE state=2",
		"SELECT count(*) FROM certificates WHERE state=3", "SELECT count(*) FROM certificates WHERE revoked_at>0 AND state<>3",
		"SELECT count(*) FROM devices WHERE state=1", "SELECT count(*) FROM acts WHERE steps<>3" };
	struct registry_counts c;
	int64_t n;

	assert_int_equal(registry_count(s->registry, &c), REGISTRY_OK);
	for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
		const int64_t kept[] = { c.accounts, c.devices, c.live, c.held, c.revoked, c.waiting, c.undone_acts };
		assert_int_equal(reg_number(s->registry, &n, counted[i], ""), REGISTRY_OK);
		if (n != kept[i])
			fail_msg("%s: %lld, kept: %lld", counted[i], (long long)n, (long long)kept[i]);
	}
}

static void counts_are_kept_through_a_life_and_made_for_an_older_file(void **state)
{
	struct registry_site *s = *state;
	struct registry_device d = { .account = s->owner.id, .kind = "ios", .name = "waits", .state = REGISTRY_DEVICE_WAITING }, waiting;
	struct registry_act act;
	uint8_t serial[4][REGISTRY_SERIAL];
	struct account other;
	sqlite3 *db;
	unsigned n;

	site_account(&other, "bert", "S-1-5-21-1-2-3-1105");
	assert_int_equal(registry_account_seen(s->registry, &site_by, &other, NULL), REGISTRY_OK);
	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 100, &waiting), REGISTRY_OK);
	assert_counts(s);
	assert_int_equal(registry_device_set_state(s->registry, &site_by, waiting.id, REGISTRY_DEVICE_ACTIVE), REGISTRY_OK);
	for (size_t i = 0; i < ARRAY_LEN(serial); i++) {
		site_add_device(s, "one more", &d);
		site_live(s, d.id, serial[i]);
		assert_counts(s);
	}
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_HOLD, serial[0], 6, &act), REGISTRY_OK);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_HOLD, serial[1], 6, &act), REGISTRY_OK);
	assert_counts(s);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_RELEASE, serial[1], 0, &act), REGISTRY_OK);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_REVOKE, serial[2], 1, &act), REGISTRY_OK);
	assert_counts(s);
	assert_int_equal(registry_act_step(s->registry, act.id, REGISTRY_STEPS_ALL), REGISTRY_OK);
	assert_int_equal(registry_device_act(s->registry, &site_by, REGISTRY_ACT_REVOKE, d.id, 1, &n), REGISTRY_OK);
	assert_counts(s);
	assert_int_equal(registry_account_seen(s->registry, &site_by, &s->account, NULL), REGISTRY_OK);
	assert_int_equal(registry_expire(s->registry, SITE_NOW + 86400 * 366), REGISTRY_OK);
	assert_counts(s);
	/* what is refused is not counted */
	assert_int_equal(registry_device_add(s->registry, &(struct registry_by){ "", "", SITE_NOW }, &waiting, 100, &d), REGISTRY_BAD);
	assert_counts(s);
	assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
	registry_close(s->registry);
	assert_int_equal(sqlite3_exec(db, AS_STEP_2, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	site_open(s);
	assert_counts(s);
}

/* Steps of SQLite's machine for all that registry_count() asks. */
static int count_steps(struct registry_site *s)
{
	struct registry_counts c;
	int steps = 0;

	assert_int_equal(registry_count(s->registry, &c), REGISTRY_OK);
	for (unsigned i = 0; i < s->registry->statements; i++)
		sqlite3_stmt_status(s->registry->statement[i].st, SQLITE_STMTSTATUS_VM_STEP, 1);
	assert_int_equal(registry_count(s->registry, &c), REGISTRY_OK);
	for (unsigned i = 0; i < s->registry->statements; i++)
		steps += sqlite3_stmt_status(s->registry->statement[i].st, SQLITE_STMTSTATUS_VM_STEP, 1);
	return steps;
}

static void counting_costs_the_same_however_much_there_is(void **state)
{
	struct registry_site *s = *state;
	struct registry_device d;
	uint8_t serial[REGISTRY_SERIAL];
	int before;

	site_live(s, s->device.id, serial);
	assert_int_equal(reg_run(s->registry, "UPDATE acts SET steps=3", ""), REGISTRY_OK);
	before = count_steps(s);
	assert_true(before > 0);
	for (int i = 0; i < 90; i++) {
		site_add_device(s, "one more", &d);
		site_live(s, d.id, serial);
	}
	assert_int_equal(reg_run(s->registry, "UPDATE acts SET steps=3", ""), REGISTRY_OK);
	assert_int_equal(count_steps(s), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(counts_are_kept_through_a_life_and_made_for_an_older_file, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(counting_costs_the_same_however_much_there_is, site_setup, site_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
