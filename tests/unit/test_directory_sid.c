/*
 * SIDs: bytes and text, one form only.
 */
#include "common/directory/sid.h"
#include "common/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* text | bytes in hexadecimal */
static const struct {
	const char *text, *hex;
} good[] = {
	{ "S-1-5-21-1055723464-2041945347-970923561-1103",
	    "010500000000000515000000c80fed3e039db579291edf394f040000" },
	{ "S-1-5-32-544", "01020000000000052000000020020000" },
	{ "S-1-5-9", "010100000000000509000000" },
	{ "S-1-0-0", "010100000000000000000000" },
	{ "S-1-4294967295-4294967295", "01010000ffffffffffffffff" },
	{ "S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15",
	    "010f0000000000050100000002000000030000000400000005000000060000000700000008000000090000"
	    "000a0000000b000000"
	    "0c0000000d0000000e0000000f000000" },
};

static const char *const bad_text[] = {
	"",
	"S",
	"S-1",
	"S-1-",
	"S-1-5",
	"S-1-5-",
	"S-2-5-21",
	"s-1-5-21",
	" S-1-5-21",
	"S-1-5-21 ",
	"S-1-5--21",
	"S-1--5-21",
	"S-1-05-21",
	"S-1-5-021",
	"S-1-5-00",
	"S-1-5-4294967296",
	"S-1-4294967296-1",
	"S-1-5-99999999999",
	"S-1-5-0x15",
	"S-1-0x5-21",
	"S-1-5-21-",
	"S-1-5-21-a",
	"S-1-5-+21",
	"S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16",
};

static const char *const bad_hex[] = {
	"",
	"01",
	"0101000000000005",
	"0100000000000005",
	"020100000000000509000000",
	"01010000000000050900000000",
	"010200000000000509000000",
	"0110000000000005",
	"01010000000000050900",
};

static size_t bytes_of(const char *hex, char *out)
{
	size_t n = strlen(hex) / 2;

	assert_int_equal(text_unhex(out, n, strv_from(hex)), 0);
	return n;
}

static void the_bytes_and_the_text_are_the_same_sid(void **state)
{
	char bytes[256], text[192];
	struct sid a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		size_t n = bytes_of(good[i].hex, bytes);
		assert_int_equal(sid_from_bytes((struct strv){ bytes, n }, &a), 0);
		assert_int_equal(sid_from_text(strv_from(good[i].text), &b), 0);
		assert_true(sid_eq(&a, &b));
		assert_int_equal(sid_to_text(&a, text, sizeof(text)), 0);
		assert_string_equal(text, good[i].text);
	}
}

static void a_text_of_any_other_form_is_refused(void **state)
{
	struct sid sid;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_text); i++) {
		assert_int_equal(sid_from_text(strv_from(bad_text[i]), &sid), -1);
		assert_int_equal(sid.n, 0);
	}
	assert_int_equal(sid_from_text((struct strv){ "S-1-5-21\0", 9 }, &sid), -1);
}

static void bytes_that_are_not_exactly_one_sid_are_refused(void **state)
{
	char bytes[256];
	struct sid sid;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_hex); i++) {
		size_t n = bytes_of(bad_hex[i], bytes);
		assert_int_equal(sid_from_bytes((struct strv){ bytes, n }, &sid), -1);
		assert_int_equal(sid.n, 0);
	}
}

static void no_sid_equals_nothing(void **state)
{
	struct sid none = { .n = 0 }, also = { .n = 0 };
	char text[8];

	(void)state;
	assert_false(sid_eq(&none, &also));
	assert_int_equal(sid_rid(&none), 0);
	assert_false(sid_same_domain(&none, &also));
	assert_int_equal(sid_to_text(&none, text, sizeof(text)), -1);
	assert_string_equal(text, "");
}

static void what_does_not_fit_is_not_cut(void **state)
{
	char text[192];
	struct sid sid;

	(void)state;
	assert_int_equal(sid_from_text(strv_from(good[0].text), &sid), 0);
	for (size_t size = 1; size <= strlen(good[0].text); size++) {
		assert_int_equal(sid_to_text(&sid, text, size), -1);
		assert_string_equal(text, "");
	}
	assert_int_equal(sid_to_text(&sid, text, strlen(good[0].text) + 1), 0);
}

static void the_domain_and_the_last_part_are_told_apart(void **state)
{
	struct sid user, admin, other, builtin;

	(void)state;
	assert_int_equal(sid_from_text(STRV("S-1-5-21-1-2-3-1103"), &user), 0);
	assert_int_equal(sid_from_text(STRV("S-1-5-21-1-2-3-512"), &admin), 0);
	assert_int_equal(sid_from_text(STRV("S-1-5-21-1-2-4-512"), &other), 0);
	assert_int_equal(sid_from_text(STRV("S-1-5-32-544"), &builtin), 0);
	assert_true(sid_same_domain(&user, &admin));
	assert_false(sid_same_domain(&user, &other));
	assert_false(sid_same_domain(&user, &builtin));
	assert_true(sid_is_of_domain(&user));
	assert_false(sid_is_of_domain(&builtin));
	assert_int_equal(sid_rid(&admin), 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bytes_and_the_text_are_the_same_sid),
		cmocka_unit_test(a_text_of_any_other_form_is_refused),
		cmocka_unit_test(bytes_that_are_not_exactly_one_sid_are_refused),
		cmocka_unit_test(no_sid_equals_nothing),
		cmocka_unit_test(what_does_not_fit_is_not_cut),
		cmocka_unit_test(the_domain_and_the_last_part_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
