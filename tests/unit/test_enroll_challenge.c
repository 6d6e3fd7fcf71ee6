/* Which static challenges of SCEP can be guessed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "enroll/challenge.h"
#include "enroll/worker/csr.h"

static void short_and_monotonous_ones_are_told(void **state)
{
	static const struct { const char *text, *why; } row[] = {
		{ "", "is empty" }, { "Spring2026!", "fewer than 16" }, { "0123456789abcde", "fewer than 16" }, { "0123456789abcdef", NULL },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "fewer than 8" }, { "abcdefgabcdefgabcdefg", "fewer than 8" }, { "abcdefghabcdefgh", NULL },
		{ "q2bU0rH1m0yUoV4Xc9wO8lqgBf1oH1Hs", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const char *why = challenge_weakness((struct strv){ row[i].text, strlen(row[i].text) });
		if ((why == NULL) != (row[i].why == NULL) || (why != NULL && strstr(why, row[i].why) == NULL))
			fail_msg("%s: %s", row[i].text, why != NULL ? why : "good");
	}
}

static void one_that_no_request_can_bring_is_told(void **state)
{
	char text[CHALLENGE_LONG + 1];

	(void)state;
	assert_int_equal(CHALLENGE_LONG, CSR_CHALLENGE_MAX);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	assert_null(challenge_weakness((struct strv){ text, sizeof(text) - 1 }));
	assert_non_null(challenge_weakness((struct strv){ text, sizeof(text) }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_and_monotonous_ones_are_told),
		cmocka_unit_test(one_that_no_request_can_bring_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
