/*
 * test_switch_list: what Redis may answer about switched groups: each answer that is none changes nothing, and a name counts byte for byte.
 */
#include "proxy/worker/switch_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const groups[] = { "CN=Sales,DC=corp", "CN=Staff,DC=corp", "CN=Sales" };

/* The wire's bytes, read by hiredis. */
static redisReply *reply_of(const char *bytes, size_t n)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	assert_non_null(reader);
	assert_int_equal(redisReaderFeed(reader, bytes, n), REDIS_OK);
	assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
	assert_non_null(reply);
	redisReaderFree(reader);
	return reply;
}

#define MASK(bytes, mask, many) check_mask(bytes, sizeof(bytes) - 1, mask, many)
static void check_mask(const char *bytes, size_t n, uint64_t mask, bool many)
{
	redisReply *reply = reply_of(bytes, n);
	struct switch_list list;
	bool more;

	assert_int_equal(switch_list_read(&list, reply, &more), 0);
	freeReplyObject(reply);
	assert_int_equal(switch_list_mask(&list, groups, ARRAY_LEN(groups)), mask);
	assert_int_equal(more, many);
	switch_list_clear(&list);
	assert_int_equal(switch_list_mask(&list, groups, ARRAY_LEN(groups)), 0);
	switch_list_clear(&list);
}

static void a_group_counts_by_its_name_and_whatever_its_value_is(void **state)
{
	(void)state;
	MASK("*0\r\n", 0, false);
	MASK("*2\r\n$16\r\nCN=Sales,DC=corp\r\n$22\r\ncertificate 1800000000\r\n", 1, false);
	MASK("*2\r\n$16\r\nCN=Sales,DC=corp\r\n$0\r\n\r\n", 1, false);
	MASK("*4\r\n$16\r\nCN=Sales,DC=corp\r\n:1\r\n$16\r\nCN=Staff,DC=corp\r\n$-1\r\n", 3, false);
	/* other letters, a beginning, more, or a NUL behind it: other groups */
	MASK("*2\r\n$16\r\ncn=sales,DC=corp\r\n$1\r\nx\r\n", 0, false);
	MASK("*2\r\n$15\r\nCN=Sales,DC=cor\r\n$1\r\nx\r\n", 0, false);
	MASK("*2\r\n$17\r\nCN=Sales,DC=corp \r\n$1\r\nx\r\n", 0, false);
	MASK("*4\r\n$18\r\nCN=Sales,DC=corp\0x\r\n$1\r\nx\r\n$8\r\nCN=Sales\r\n$1\r\nx\r\n", 4, false);
	MASK("*2\r\n$0\r\n\r\n$1\r\nx\r\n", 0, false);
}

static void what_is_no_such_answer_changes_nothing(void **state)
{
	static const char *const others[] = { "+OK\r\n", ":5\r\n", "$-1\r\n", "*-1\r\n", "-ERR wrong kind\r\n", "*1\r\n$1\r\nx\r\n",
		"*3\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n", "*2\r\n:1\r\n$1\r\nx\r\n", "*2\r\n*0\r\n$1\r\nx\r\n", "*2\r\n$-1\r\n$1\r\nx\r\n",
		"*4\r\n$16\r\nCN=Sales,DC=corp\r\n$1\r\nx\r\n*0\r\n$1\r\nx\r\n" };
	struct switch_list list;
	bool more = true;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		redisReply *reply = reply_of(others[i], strlen(others[i]));
		if (switch_list_read(&list, reply, &more) != -1 || list.dn != NULL || list.n != 0 || more)
			fail_msg("taken: %s", others[i]);
		freeReplyObject(reply);
	}
	assert_int_equal(switch_list_read(&list, NULL, &more), -1);
}

static void a_list_without_end_is_looked_at_up_to_its_bound(void **state)
{
	size_t n = SWITCHES_MAX + 2, size = 64 + n * 64;
	char *bytes = malloc(size);
	int at;

	(void)state;
	assert_non_null(bytes);
	at = snprintf(bytes, size, "*%zu\r\n", 2 * n);
	for (size_t i = 0; i < n; i++) {
		/* the last one within the bound, and the first one beyond it */
		const char *dn = i == SWITCHES_MAX - 1 ? groups[1] : i == SWITCHES_MAX ? groups[0] : "CN=x";
		at += snprintf(bytes + at, size - (size_t)at, "$%zu\r\n%s\r\n$1\r\nv\r\n", strlen(dn), dn);
	}
	check_mask(bytes, (size_t)at, 2, true);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_group_counts_by_its_name_and_whatever_its_value_is),
		cmocka_unit_test(what_is_no_such_answer_changes_nothing),
		cmocka_unit_test(a_list_without_end_is_looked_at_up_to_its_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
