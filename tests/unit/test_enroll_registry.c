/*
 * Registry: what it refuses, that an act and its audit entry are one, one live certificate per purpose, and what lists say.
 */
#include "tests/unit/registry_site.h"
#include "tests/unit/registry_steps.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include "enroll/worker/audit_trail.h"
#include "enroll/worker/registry_parts.h"

static int64_t entries(struct registry_site *s)
{
	int64_t n = 0;

	assert_int_equal(registry_audit_last(s->registry, &n), REGISTRY_OK);
	return n;
}

static void the_file_is_for_its_owner_alone_and_keeps_what_it_was_told(void **state)
{
	struct registry_site *s = *state;
	struct registry_account a;
	struct stat st;

	assert_int_equal(stat(s->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	registry_close(s->registry);
	site_open(s);
	assert_int_equal(registry_account_by_sid(s->registry, s->account.sid, &a), REGISTRY_OK);
	assert_string_equal(a.upn, "anna@example.com");
	assert_int_equal(registry_account_by_sid(s->registry, "S-1-5-21-9", &a), REGISTRY_NONE);
}

static void a_file_of_a_newer_program_is_refused(void **state)
{
	struct registry_site *s = *state;
	char why[400];
	sqlite3 *db;

	registry_close(s->registry);
	assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=999", NULL, NULL, NULL), SQLITE_OK);
	s->registry = registry_open(s->path, why, sizeof(why));
	assert_null(s->registry);
	assert_non_null(strstr(why, "newer"));
	/* nothing of it was touched: what stood there serves whoever knows it */
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=4", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	site_open(s);
}

/* As the first release wrote it: each step is done once, and what was in it is there. */
static void a_file_of_an_older_program_is_brought_up_to_date(void **state)
{
	struct registry_site *s = *state;
	struct registry_device d;
	struct audit_trail_report report;
	sqlite3 *db;

	registry_close(s->registry);
	assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, AS_STEP_1, NULL, NULL, NULL), SQLITE_OK);
	site_open(s);
	assert_true(registry_is_up(s->registry));
	assert_int_equal(sqlite3_exec(db, AS_STEP_1, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	registry_close(s->registry);
	site_open(s);
	assert_int_equal(registry_device_get(s->registry, s->device.id, &d), REGISTRY_OK);
	assert_int_equal(audit_trail_verify(s->registry, &report), 0);
}

static void texts_that_are_no_clean_utf8_or_too_long_are_refused(void **state)
{
	static const char *const bad[] = { "", "a\nb", "\xff\xfe", "a\x1b[31m", "\xe2\x80\xae live" };
	struct registry_site *s = *state;
	struct registry_device d = { .account = s->owner.id, .kind = "ios", .state = REGISTRY_DEVICE_ACTIVE };
	int64_t before = entries(s);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(d.name, sizeof(d.name), "%s", bad[i]);
		assert_int_equal(registry_device_add(s->registry, &site_by, &d, 10, NULL), REGISTRY_BAD);
	}
	memset(d.name, 'x', sizeof(d.name));	/* no end */
	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 10, NULL), REGISTRY_BAD);
	assert_int_equal(registry_device_get(s->registry, "' OR 1=1 --", &d), REGISTRY_BAD);
	assert_int_equal(entries(s), before);
	/* markup is text: whoever shows it escapes it */
	snprintf(d.name, sizeof(d.name), "<script>alert(1)</script>");
	d.account = s->owner.id;
	d.state = REGISTRY_DEVICE_ACTIVE;
	snprintf(d.kind, sizeof(d.kind), "ios");
	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 10, &d), REGISTRY_OK);
}

static void an_account_has_no_more_devices_than_its_limit(void **state)
{
	struct registry_site *s = *state;
	struct registry_device d = { .account = s->owner.id, .kind = "ios", .name = "two", .state = REGISTRY_DEVICE_ACTIVE };

	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 2, &d), REGISTRY_OK);
	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 2, NULL), REGISTRY_LIMIT);
	assert_int_equal(registry_device_set_state(s->registry, &site_by, d.id, REGISTRY_DEVICE_REVOKED), REGISTRY_OK);
	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 2, NULL), REGISTRY_OK);
	assert_int_equal(registry_device_set_state(s->registry, &site_by, d.id, REGISTRY_DEVICE_ACTIVE), REGISTRY_STATE);
}

static void what_cannot_be_audited_does_not_happen(void **state)
{
	struct registry_site *s = *state;
	struct registry_by nobody = { "", "", SITE_NOW };
	struct registry_device d;
	int64_t before = entries(s);

	assert_int_equal(registry_device_set_state(s->registry, &nobody, s->device.id, REGISTRY_DEVICE_REVOKED), REGISTRY_BAD);
	assert_int_equal(registry_device_get(s->registry, s->device.id, &d), REGISTRY_OK);
	assert_int_equal(d.state, REGISTRY_DEVICE_ACTIVE);
	assert_int_equal(entries(s), before);
}

struct count { unsigned n, live; };

static bool count_certificate(void *arg, const struct registry_certificate *c)
{
	struct count *n = arg;

	n->n++;
	n->live += c->state == REGISTRY_LIVE && !c->replaced;
	return true;
}

static void a_device_has_one_live_certificate_and_renewing_keeps_the_old_until_the_new_is_used(void **state)
{
	struct registry_site *s = *state;
	uint8_t old[REGISTRY_SERIAL], new[REGISTRY_SERIAL];
	struct count n = { 0, 0 };

	site_live(s, s->device.id, old);
	site_live(s, s->device.id, new);
	assert_int_equal(site_state(s, old), REGISTRY_LIVE);
	assert_int_equal(site_state(s, new), REGISTRY_LIVE);
	assert_int_equal(registry_certificates(s->registry, s->device.id, count_certificate, &n), REGISTRY_OK);
	assert_int_equal(n.n, 2);
	assert_int_equal(n.live, 1);
	n.n = 0;
	assert_int_equal(registry_superseded(s->registry, SITE_NOW, 10, count_certificate, &n), REGISTRY_OK);
	assert_int_equal(n.n, 0);
	assert_int_equal(registry_certificate_used(s->registry, &site_by, new), REGISTRY_OK);
	assert_int_equal(registry_superseded(s->registry, SITE_NOW, 10, count_certificate, &n), REGISTRY_OK);
	assert_int_equal(n.n, 1);
}

static void renewals_that_nobody_uses_come_to_an_end(void **state)
{
	struct registry_site *s = *state;
	uint8_t serial[REGISTRY_LIVE_MAX][REGISTRY_SERIAL], more[REGISTRY_SERIAL], spki[SHA256_SIZE] = { 7 };
	struct registry_issue issue = { .serial = more, .issuer = s->name, .device = s->device.id, .profile = "mail", .spki_sha256 = spki,
		.not_before = SITE_NOW, .not_after = SITE_NOW + 86400 };
	struct registry_certificate there;
	struct registry_act act;

	for (unsigned i = 0; i < REGISTRY_LIVE_MAX; i++)
		site_live(s, s->device.id, serial[i]);
	site_serial(more);
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &issue, &there), REGISTRY_LIMIT);
	assert_int_equal(there.state, 0);
	assert_non_null(strstr(registry_problem(s->registry), "the device has 8 valid certificates"));
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_REVOKE, serial[0], 1, &act), REGISTRY_OK);
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &issue, &there), REGISTRY_OK);
}

static void a_hold_catches_a_certificate_that_is_being_signed(void **state)
{
	struct registry_site *s = *state;
	uint8_t old[REGISTRY_SERIAL], new[REGISTRY_SERIAL], more[REGISTRY_SERIAL], spki[SHA256_SIZE] = { 7 };
	struct registry_issue i = { .serial = new, .issuer = s->name, .device = s->device.id, .profile = "mail", .spki_sha256 = spki,
		.not_before = SITE_NOW, .not_after = SITE_NOW + 86400 };
	struct registry_certificate there;
	struct registry_counts counts;
	unsigned n;

	site_live(s, s->device.id, old);
	site_serial(new);
	site_serial(more);
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_OK);
	assert_int_equal(registry_device_act(s->registry, &site_by, REGISTRY_ACT_HOLD, s->device.id, 0, &n), REGISTRY_OK);
	assert_int_equal(n, 2);
	assert_int_equal(registry_device_act(s->registry, &site_by, REGISTRY_ACT_HOLD, s->device.id, 0, &n), REGISTRY_OK);
	assert_int_equal(n, 0);
	/* and the device gets no other meanwhile, its old one apart */
	i.serial = more;
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_STATE);
	assert_int_equal(registry_issue_live(s->registry, &site_by, new, STRV("a certificate"), true), REGISTRY_OK);
	assert_int_equal(site_state(s, old), REGISTRY_HOLD);
	assert_int_equal(site_state(s, new), REGISTRY_HOLD);
	assert_int_equal(registry_count(s->registry, &counts), REGISTRY_OK);
	assert_int_equal(counts.held, 2);
	assert_int_equal(registry_device_act(s->registry, &site_by, REGISTRY_ACT_RELEASE, s->device.id, 0, &n), REGISTRY_OK);
	assert_int_equal(n, 2);
	assert_int_equal(site_state(s, old), REGISTRY_LIVE);
	assert_int_equal(site_state(s, new), REGISTRY_LIVE);
	/* released before it was there: it comes as if nothing had been */
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_OK);
	assert_int_equal(registry_device_act(s->registry, &site_by, REGISTRY_ACT_HOLD, s->device.id, 0, &n), REGISTRY_OK);
	assert_int_equal(registry_device_act(s->registry, &site_by, REGISTRY_ACT_RELEASE, s->device.id, 0, &n), REGISTRY_OK);
	assert_int_equal(n, 3);
	assert_int_equal(site_state(s, more), REGISTRY_ISSUING);
	assert_int_equal(registry_issue_live(s->registry, &site_by, more, STRV("another"), true), REGISTRY_OK);
	assert_int_equal(site_state(s, more), REGISTRY_LIVE);
	assert_int_equal(registry_count(s->registry, &counts), REGISTRY_OK);
	assert_int_equal(counts.live, 3);
}

static void a_rejected_request_is_kept_no_more(void **state)
{
	struct registry_site *s = *state;
	struct registry_device d = { .account = s->owner.id, .kind = "ios", .name = "waits", .state = REGISTRY_DEVICE_WAITING }, waiting;
	uint8_t spki[SHA256_SIZE] = { 3 }, csr[64];
	struct registry_transaction t;
	size_t n = sizeof(csr);
	unsigned certificates;

	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 100, &waiting), REGISTRY_OK);
	assert_int_equal(registry_transaction_wait(s->registry, &site_by, STRV("t"), waiting.id, "mail", spki, STRV("a request with its challenge")),
	    REGISTRY_OK);
	assert_int_equal(registry_transaction_request(s->registry, STRV("t"), spki, csr, &n), REGISTRY_OK);
	assert_int_equal(registry_device_act(s->registry, &site_by, REGISTRY_ACT_REVOKE, waiting.id, 0, &certificates), REGISTRY_OK);
	assert_int_equal(registry_transaction_request(s->registry, STRV("t"), spki, csr, &n), REGISTRY_NONE);
	assert_int_equal(registry_transaction_get(s->registry, STRV("t"), spki, &t), REGISTRY_OK);
	assert_int_equal(t.state, REGISTRY_DENIED);
}

static void a_replaced_certificate_is_retired_after_the_period_even_unused(void **state)
{
	struct registry_site *s = *state;
	uint8_t old[REGISTRY_SERIAL], new[REGISTRY_SERIAL];
	struct count n = { 0, 0 };

	site_live(s, s->device.id, old);
	site_live(s, s->device.id, new);
	assert_int_equal(registry_superseded(s->registry, SITE_NOW + 1, 10, count_certificate, &n), REGISTRY_OK);
	assert_int_equal(n.n, 1);
}

static void threat_46_the_database_itself_refuses_to_forget_or_to_take_back(void **state)
{
	static const char *const bad[] = { "DELETE FROM certificates", "UPDATE certificates SET state=2", "UPDATE audit SET detail='x'",
		"DELETE FROM audit", "INSERT INTO audit VALUES(99,1,'a','a','a','a',x'00',x'00')",
		"INSERT OR REPLACE INTO audit SELECT 1,at,actor,action,object,'forged',previous,hash FROM audit WHERE n=1" };
	struct registry_site *s = *state;
	uint8_t serial[REGISTRY_SERIAL];
	struct registry_act act;
	sqlite3 *db;

	site_live(s, s->device.id, serial);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_REVOKE, serial, 1, &act), REGISTRY_OK);
	assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_not_equal(sqlite3_exec(db, bad[i], NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void a_transaction_with_the_same_key_is_answered_with_the_same_certificate(void **state)
{
	struct registry_site *s = *state;
	uint8_t serial[REGISTRY_SERIAL], second[REGISTRY_SERIAL], spki[SHA256_SIZE] = { 1 }, other[SHA256_SIZE] = { 2 };
	struct registry_issue i = { .serial = serial, .issuer = s->name, .device = s->device.id, .profile = "mail", .spki_sha256 = spki,
		.not_before = SITE_NOW, .not_after = SITE_NOW + 100, .transaction = { "tx\0\xff", 4 } };
	struct registry_certificate there;

	site_serial(serial);
	site_serial(second);
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_OK);
	i.serial = second;
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_TAKEN);
	assert_memory_equal(there.serial, serial, REGISTRY_SERIAL);
	assert_int_equal(site_state(s, second), 0);
	/* the id alone proves nothing: another key is another request */
	i.spki_sha256 = other;
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_OK);
}

static void a_failed_issue_is_revoked_and_gives_its_secret_and_transaction_back(void **state)
{
	struct registry_site *s = *state;
	uint8_t serial[REGISTRY_SERIAL], spki[SHA256_SIZE] = { 1 };
	struct registry_secret secret = { .mac = { 7 }, .account = s->owner.id, .profile = "mail", .purpose = "scep", .ends = SITE_NOW + 900 };
	struct registry_issue i = { .serial = serial, .issuer = s->name, .device = s->device.id, .profile = "mail", .spki_sha256 = spki,
		.not_before = SITE_NOW, .not_after = SITE_NOW + 100, .transaction = { "t", 1 }, .secret_mac = secret.mac, .purpose = "scep" };
	struct registry_certificate there;
	unsigned n = 0;

	site_serial(serial);
	assert_int_equal(registry_secret_add(s->registry, &site_by, &secret, 5), REGISTRY_OK);
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_OK);
	assert_int_equal(registry_secret_get(s->registry, secret.mac, &secret), REGISTRY_OK);
	assert_int_equal(secret.used, SITE_NOW);
	assert_int_equal(registry_issue_recover(s->registry, &site_by, &n), REGISTRY_OK);
	assert_int_equal(n, 1);
	assert_int_equal(site_state(s, serial), REGISTRY_REVOKING);
	assert_int_equal(registry_secret_get(s->registry, secret.mac, &secret), REGISTRY_OK);
	assert_int_equal(secret.used, 0);
	/* and the very certificate never becomes live any more */
	assert_int_equal(registry_issue_live(s->registry, &site_by, serial, STRV("late"), true), REGISTRY_STATE);
	site_serial(serial);
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_OK);
	site_serial(serial);
	i.transaction = (struct strv){ "u", 1 };
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_TAKEN);
	assert_int_equal(there.state, 0);
}

static bool remember_entry(void *arg, const struct registry_entry *e)
{
	struct registry_entry **at = arg;

	*(*at)++ = *e;
	return true;
}

static void lists_say_what_is_revoked_and_deltas_what_was_released(void **state)
{
	struct registry_site *s = *state;
	uint8_t serial[REGISTRY_SERIAL];
	struct registry_entry row[4], *at = row;
	struct registry_crl full, delta;
	struct registry_act act;

	site_live(s, s->device.id, serial);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_HOLD, serial, 0, &act), REGISTRY_OK);
	assert_int_equal(registry_crl_begin(s->registry, s->name, false, SITE_NOW, SITE_NOW + 100, &full), REGISTRY_OK);
	assert_int_equal(registry_entries(s->registry, &full, NULL, 10, remember_entry, &at), REGISTRY_OK);
	assert_int_equal(at - row, 1);
	assert_int_equal(row[0].reason, 6);
	assert_int_equal(registry_crl_begin(s->registry, s->name, true, SITE_NOW, SITE_NOW + 100, &delta), REGISTRY_NONE);
	assert_int_equal(registry_crl_made(s->registry, &full), REGISTRY_OK);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_RELEASE, serial, 0, &act), REGISTRY_OK);
	assert_int_equal(registry_crl_begin(s->registry, s->name, true, SITE_NOW, SITE_NOW + 100, &delta), REGISTRY_OK);
	assert_true(delta.number > full.number);
	assert_int_equal(delta.base, full.number);
	at = row;
	assert_int_equal(registry_entries(s->registry, &delta, NULL, 10, remember_entry, &at), REGISTRY_OK);
	assert_int_equal(at - row, 1);
	assert_int_equal(row[0].reason, 8);
	assert_int_equal(registry_crl_begin(s->registry, s->name, false, SITE_NOW, SITE_NOW + 100, &full), REGISTRY_OK);
	at = row;
	assert_int_equal(registry_entries(s->registry, &full, NULL, 10, remember_entry, &at), REGISTRY_OK);
	assert_int_equal(at - row, 0);
	/* a held one cannot be renewed, a released one can be revoked */
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_REVOKE, serial, 6, &act), REGISTRY_BAD);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_REVOKE, serial, 1, &act), REGISTRY_OK);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_RELEASE, serial, 0, &act), REGISTRY_STATE);
}

static void an_act_ends_when_all_its_steps_are_done(void **state)
{
	struct registry_site *s = *state;
	uint8_t serial[REGISTRY_SERIAL];
	struct registry_act act, again;
	struct registry_status status;

	site_live(s, s->device.id, serial);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_REVOKE, serial, 1, &act), REGISTRY_OK);
	assert_int_equal(registry_act_begin(s->registry, &site_by, REGISTRY_ACT_REVOKE, serial, 1, &again), REGISTRY_OK);
	assert_int_equal(again.id, act.id);
	assert_int_equal(registry_certificate_status(s->registry, s->name, serial, &status), REGISTRY_OK);
	assert_int_equal(status.state, REGISTRY_REVOKING);
	assert_int_equal(status.reason, 1);
	/* the registration of the same certificate was never told: it is an act of its own */
	assert_int_equal(registry_act_step(s->registry, act.id - 1, REGISTRY_STEP_PUBLISHED), REGISTRY_OK);
	assert_int_equal(registry_act_step(s->registry, act.id, REGISTRY_STEP_PUBLISHED), REGISTRY_OK);
	assert_int_equal(site_state(s, serial), REGISTRY_REVOKING);
	assert_int_equal(registry_acts_listed(s->registry, s->name, act.id), REGISTRY_OK);
	assert_int_equal(site_state(s, serial), REGISTRY_REVOKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_file_is_for_its_owner_alone_and_keeps_what_it_was_told, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_file_of_a_newer_program_is_refused, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_file_of_an_older_program_is_brought_up_to_date, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(texts_that_are_no_clean_utf8_or_too_long_are_refused, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(an_account_has_no_more_devices_than_its_limit, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_audited_does_not_happen, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_device_has_one_live_certificate_and_renewing_keeps_the_old_until_the_new_is_used, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(renewals_that_nobody_uses_come_to_an_end, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_hold_catches_a_certificate_that_is_being_signed, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_rejected_request_is_kept_no_more, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_replaced_certificate_is_retired_after_the_period_even_unused, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(threat_46_the_database_itself_refuses_to_forget_or_to_take_back, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_transaction_with_the_same_key_is_answered_with_the_same_certificate, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(a_failed_issue_is_revoked_and_gives_its_secret_and_transaction_back, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(lists_say_what_is_revoked_and_deltas_what_was_released, site_setup, site_teardown),
		cmocka_unit_test_setup_teardown(an_act_ends_when_all_its_steps_are_done, site_setup, site_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
