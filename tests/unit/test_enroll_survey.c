/*
 * What a survey makes of records: verdicts, groups, order, bounds; and what records, figures and switches are read from, whatever Redis holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "enroll/worker/migration.h"
#include "enroll/worker/survey_table.h"

#define NOW   1800000000
#define SINCE (NOW - 30 * 86400)

static struct enroll_group groups[2] = { { (char *)(uintptr_t)"CN=a", 3, true }, { (char *)(uintptr_t)"CN=b", 63, true } };
static const struct enroll_migration migration = { .all = groups, .all_n = 2, .days = 30 };

static struct device_row row_of(unsigned number, const char *sid, const char *name, const char *id, const char *method, const char *state, int64_t seen)
{
	struct device_row row = { .last_seen = seen };

	snprintf(row.key, sizeof(row.key), "%064x", number);
	snprintf(row.sid, sizeof(row.sid), "%s", sid);
	snprintf(row.upn, sizeof(row.upn), "%s", name);
	snprintf(row.device, sizeof(row.device), "%s", id);
	snprintf(row.method, sizeof(row.method), "%s", method);
	snprintf(row.state, sizeof(row.state), "%s", state);
	return row;
}

static void add(struct survey_table *t, const struct device_row row)
{
	assert_true(survey_table_add(t, &row));
}

static enum survey_verdict verdict(const struct survey_user *u, const char *id, enum device_method method)
{
	for (const struct survey_device *d = u->devices; d != NULL; d = d->next) {
		if (strcmp(d->id, id) == 0 && d->method == method)
			return (enum survey_verdict)d->verdict;
	}
	fail_msg("%s is not there", id);
	return SURVEY_VERDICTS;
}

static void who_is_listed_by_the_directory_and_has_no_device_is_counted_once(void **state)
{
	static const struct { const char *sid, *name; unsigned group; } listed[] = { { "S-1-1", "alice", 0 }, { "S-1-2", "bob", 0 }, { "S-1-3", "carol", 0 },
		{ "S-1-3", "carol", 0 }, { "S-1-3", "carol", 1 }, { "S-1-4", "", 1 }, { "S-1-5", "eve", 1 } };
	struct survey_table *t = survey_table_new();
	struct survey_totals totals = { .users = 0 };

	(void)state;
	add(t, row_of(1, "S-1-1", "alice", "a", "certificate", "registered", NOW));
	add(t, row_of(2, "S-1-2", "bob", "b", "certificate", "registered", SINCE - 1));
	add(t, row_of(3, "S-1-5", "eve", "e", "password", "blocked", NOW));
	assert_int_equal(survey_table_arrange(t), 0);
	for (size_t i = 0; survey_table_user(t, i) != NULL; i++)
		survey_table_judge(survey_table_user(t, i), &migration, SINCE, &totals);
	for (size_t i = 0; i < ARRAY_LEN(listed); i++)
		assert_true(survey_table_list(t, listed[i].sid, listed[i].name, listed[i].group, &totals));
	assert_int_equal(survey_table_arrange(t), 0);
	assert_int_equal(totals.groups[0].without, 2);	/* bob, carol */
	assert_int_equal(totals.groups[1].without, 3);	/* carol, S-1-4, eve */
	assert_int_equal(totals.without, 4);
	assert_int_equal(totals.users, 1);
	assert_string_equal(survey_table_user(t, 3)->upn, "eve");
	assert_string_equal(survey_table_user(t, 4)->upn, "S-1-4");
	assert_null(survey_table_user(t, 5));
	assert_int_equal(survey_table_find(t, "S-1-3")->listed, 3);
	assert_int_equal(survey_table_find(t, "S-1-3")->known, SURVEY_NOT_ASKED);
	survey_table_free(t);
}

static void each_device_is_judged_by_how_it_came_last_and_when(void **state)
{
	struct survey_table *t = survey_table_new();
	struct survey_totals totals = { .users = 0 };
	struct survey_user *u;

	(void)state;
	add(t, row_of(1, "S-1-1", "alice", "new", "certificate", "registered", NOW - 5));
	add(t, row_of(2, "S-1-1", "alice", "old", "password", "seen", SINCE - 1));
	add(t, row_of(3, "S-1-1", "alice", "edge", "password", "seen", SINCE));
	add(t, row_of(4, "S-1-1", "alice", "gone", "password", "blocked", NOW));
	add(t, row_of(5, "S-1-1", "alice", "moved", "password", "seen", NOW - 86400 - 9));
	add(t, row_of(6, "S-1-1", "alice", "moved", "certificate", "pinned", NOW - 9));
	add(t, row_of(7, "S-1-1", "alice", "both", "password", "seen", NOW - 86399));
	add(t, row_of(8, "S-1-1", "alice", "both", "certificate", "pinned", NOW));
	add(t, row_of(9, "S-1-1", "alice", "token", "bearer", "seen", NOW));
	add(t, row_of(10, "S-1-1", "alice", "odd", "?", "seen", NOW));
	add(t, row_of(9, "S-1-1", "alice", "twice", "password", "seen", NOW));		/* SCAN may give a key again */
	assert_int_equal(survey_table_devices(t), 10);
	assert_int_equal(survey_table_arrange(t), 0);
	u = survey_table_user(t, 0);
	u->known = SURVEY_KNOWN;
	u->groups = UINT64_C(1) << 63;
	survey_table_judge(u, &migration, SINCE, &totals);
	assert_int_equal(verdict(u, "new", DEVICE_BY_CERTIFICATE), SURVEY_CERTIFICATE);
	assert_int_equal(verdict(u, "old", DEVICE_BY_PASSWORD), SURVEY_OLD);
	assert_int_equal(verdict(u, "edge", DEVICE_BY_PASSWORD), SURVEY_PASSWORD);
	assert_int_equal(verdict(u, "gone", DEVICE_BY_PASSWORD), SURVEY_BLOCKED);
	assert_int_equal(verdict(u, "moved", DEVICE_BY_PASSWORD), SURVEY_MOVED_ON);
	assert_int_equal(verdict(u, "both", DEVICE_BY_PASSWORD), SURVEY_PASSWORD);
	assert_int_equal(verdict(u, "token", DEVICE_BY_BEARER), SURVEY_BEARER);
	assert_int_equal(verdict(u, "odd", DEVICE_METHODS), SURVEY_UNKNOWN);
	assert_int_equal(u->holding, 4);
	assert_int_equal(totals.groups[0].users, 0);
	assert_int_equal(totals.groups[1].users, 1);
	assert_int_equal(totals.groups[1].ready, 0);
	assert_int_equal(totals.groups[1].holding, 4);
	assert_int_equal(totals.groups[1].devices, 8);
	u->known = SURVEY_UNAVAILABLE;		/* whose groups nobody can say is in none, and is not forgotten */
	memset(&totals, 0, sizeof(totals));
	survey_table_judge(u, &migration, SINCE, &totals);
	assert_int_equal(totals.groups[1].users, 0);
	assert_int_equal(totals.unknown_users, 1);
	assert_int_equal(totals.unknown_holding, 4);
	survey_table_free(t);
}

static void people_come_by_name_whatever_the_order_of_their_records(void **state)
{
	struct survey_table *t = survey_table_new();

	(void)state;
	add(t, row_of(1, "S-1-3", "Carol", "c", "certificate", "seen", NOW));
	add(t, row_of(2, "S-1-1", "", "a", "certificate", "seen", NOW));
	add(t, row_of(3, "S-1-2", "bob", "b", "certificate", "seen", NOW - 5));
	add(t, row_of(4, "S-1-2", "bob", "d", "certificate", "seen", NOW));
	assert_int_equal(survey_table_arrange(t), 0);
	assert_string_equal(survey_table_user(t, 0)->upn, "bob");
	assert_string_equal(survey_table_user(t, 0)->devices->id, "d");		/* the newest first */
	assert_string_equal(survey_table_user(t, 1)->upn, "Carol");
	assert_string_equal(survey_table_user(t, 2)->upn, "S-1-1");
	assert_null(survey_table_user(t, 3));
	assert_ptr_equal(survey_table_find(t, "S-1-3"), survey_table_user(t, 1));
	assert_null(survey_table_find(t, "S-1-4"));
	survey_table_free(t);
}

/* As many as there may be, all of one person, which is the worst: no more are taken, and nothing takes their square. */
static void a_hundred_thousand_devices_of_one_person_are_the_end_and_take_no_minute(void **state)
{
	struct survey_table *t = survey_table_new();
	struct survey_totals totals = { .users = 0 };
	clock_t began = clock();

	(void)state;
	for (unsigned i = 0; i < SURVEY_DEVICES; i++)
		add(t, row_of(i + 1, "S-1-1", "alice", "same", i % 2 == 0 ? "password" : "certificate", "seen", NOW - (int64_t)i % 1000));
	assert_false(survey_table_add(t, &(struct device_row){ .key = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" }));
	assert_int_equal(survey_table_devices(t), SURVEY_DEVICES);
	assert_int_equal(survey_table_arrange(t), 0);
	survey_table_judge(survey_table_user(t, 0), &migration, SINCE, &totals);
	assert_int_equal(totals.verdicts[SURVEY_PASSWORD], SURVEY_DEVICES / 2);
	survey_table_free(t);
	assert_true((clock() - began) / CLOCKS_PER_SEC < 20);
}

static redisReply text_reply(const char *text, size_t n)
{
	return (redisReply){ .type = REDIS_REPLY_STRING, .str = (char *)(uintptr_t)text, .len = n };
}

static void a_switch_is_one_whatever_its_value_says(void **state)
{
	static const struct { const char *text; int64_t at; } values[] = { { "certificate 1700000000", 1700000000 }, { "certificate", 0 }, { "", 0 },
		{ "certificate -1", 0 }, { "certificate 99999999999999999999", 0 }, { "password 1", 0 }, { "certificate 1 2", 0 } };
	redisReply value = { .type = REDIS_REPLY_NIL };
	int64_t at = 1;

	(void)state;
	assert_false(migration_switch_read(&value, &at));
	assert_false(migration_switch_read(NULL, &at));
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		value = text_reply(values[i].text, strlen(values[i].text));
		assert_true(migration_switch_read(&value, &at));
		assert_int_equal(at, values[i].at);
	}
	value = (redisReply){ .type = REDIS_REPLY_INTEGER, .integer = 5 };
	assert_true(migration_switch_read(&value, &at));
}

static void a_figure_is_a_number_and_no_larger_than_it_may_be(void **state)
{
	redisReply value = text_reply("12", 2);

	(void)state;
	assert_int_equal(device_figure(&value, 100), 12);
	assert_int_equal(device_figure(&value, 10), 10);
	value = text_reply("-1", 2);
	assert_int_equal(device_figure(&value, 100), 0);
	value = (redisReply){ .type = REDIS_REPLY_INTEGER, .integer = -1 };
	assert_int_equal(device_figure(&value, 100), 0);
	assert_int_equal(device_figure(NULL, 100), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_listed_by_the_directory_and_has_no_device_is_counted_once),
		cmocka_unit_test(each_device_is_judged_by_how_it_came_last_and_when),
		cmocka_unit_test(people_come_by_name_whatever_the_order_of_their_records),
		cmocka_unit_test(a_hundred_thousand_devices_of_one_person_are_the_end_and_take_no_minute),
		cmocka_unit_test(a_switch_is_one_whatever_its_value_says),
		cmocka_unit_test(a_figure_is_a_number_and_no_larger_than_it_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
