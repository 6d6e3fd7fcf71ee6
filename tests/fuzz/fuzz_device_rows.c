/*
 * Records of devices as a hostile Redis may give them: the bytes go through hiredis' reader into rows and a survey. Every text is clean and ends, every time and
 * figure is within its bounds, and the verdicts of all devices are as many as the devices.
 */
#include <hiredis/hiredis.h>

#include "common/text.h"
#include "enroll/worker/migration.h"
#include "enroll/worker/survey_table.h"

#include "fuzz.h"

static struct enroll_group groups[1] = { { (char *)(uintptr_t)"CN=a", 3, true } };
static const struct enroll_migration migration = { .all = groups, .all_n = 1, .days = 30 };

static void check_text(const char *text, size_t size)
{
	FUZZ_CHECK(memchr(text, '\0', size) != NULL && text_is_clean(strv_from(text)));
}

static void check_row(struct survey_table *t, const redisReply *values, unsigned *number)
{
	struct device_row row = { .key = "" };
	int64_t at;

	FUZZ_CHECK(device_figure(values, 1000) <= 1000);
	(void)migration_switch_read(values, &at);
	FUZZ_CHECK(at >= 0 && at <= DEVICE_TIME_MAX);
	if (device_key_of(values, "easgate:device:", row.key))
		FUZZ_CHECK(device_is_key(row.key));
	if (!device_row_read(values, &row))
		return;
	check_text(row.sid, sizeof(row.sid));
	check_text(row.upn, sizeof(row.upn));
	check_text(row.device, sizeof(row.device));
	check_text(row.state, sizeof(row.state));
	check_text(row.method, sizeof(row.method));
	check_text(row.command, sizeof(row.command));
	check_text(row.device_type, sizeof(row.device_type));
	check_text(row.user_agent, sizeof(row.user_agent));
	check_text(row.client, sizeof(row.client));
	FUZZ_CHECK(row.first_seen >= 0 && row.first_seen <= DEVICE_TIME_MAX && row.last_seen >= 0 && row.last_seen <= DEVICE_TIME_MAX);
	snprintf(row.key, sizeof(row.key), "%064x", (*number)++);
	FUZZ_CHECK(survey_table_add(t, &row));
}

static void walk(struct survey_table *t, const redisReply *reply, unsigned depth, unsigned *number)
{
	check_row(t, reply, number);
	if (reply->type != REDIS_REPLY_ARRAY || depth > 8)
		return;
	for (size_t i = 0; i < reply->elements && i < 64; i++) {
		if (reply->element[i] != NULL)
			walk(t, reply->element[i], depth + 1, number);
	}
}

static void check_survey(struct survey_table *t)
{
	struct survey_totals totals = { .users = 0 };
	struct survey_user *u;
	size_t n = 0;

	FUZZ_CHECK(survey_table_arrange(t) == 0);
	for (size_t i = 0; (u = survey_table_user(t, i)) != NULL; i++) {
		FUZZ_CHECK(survey_table_find(t, u->sid) == u);
		u->known = SURVEY_KNOWN;
		u->groups = 8;
		survey_table_judge(u, &migration, 1700000000, &totals);
	}
	for (unsigned v = 0; v < SURVEY_VERDICTS; v++)
		n += totals.verdicts[v];
	FUZZ_CHECK(n == survey_table_devices(t) && totals.groups[0].users == totals.users && totals.groups[0].ready <= totals.users);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct survey_table *t = survey_table_new();
	redisReader *reader = redisReaderCreate();
	char *p = fuzz_exact(bytes, n);
	void *reply = NULL;
	unsigned number = 1;

	FUZZ_CHECK(reader != NULL && t != NULL);
	/* The bound on announced arrays is test_redis' subject: here large ones would only cost the fuzzer its memory. */
	for (size_t i = 0, digits = 0; i < n; i++) {
		digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;
		if (digits > 4 && i >= digits && p[i - digits] == '*')
			goto out;
	}
	if (redisReaderFeed(reader, p, n) == REDIS_OK && redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
		walk(t, reply, 0, &number);
		check_survey(t);
		freeReplyObject(reply);
	}
out:
	redisReaderFree(reader);
	survey_table_free(t);
	free(p);
	return 0;
}
