/*
 * Text: numbers, UTF-8, hexadecimal, base64, percent-escapes, refused where they are not exactly
 * what they should be.
 */
#include "common/text.h"

#include "table.h"

#include <inttypes.h>

static bool yes(struct strv word)
{
	return strv_eq(word, STRV("yes"));
}

/* Decimal and hexadecimal numbers: name | text | maximum | value, or "refused" */
static void check_decimal(const struct table_row *row)
{
	uint64_t value = 77, max = strtoull(row->column[2].p, NULL, 0);
	char got[32] = "refused";

	if (text_u64(row->column[1], max, &value) == 0)
		snprintf(got, sizeof(got), "%" PRIu64, value);
	else
		assert_int_equal(value, 77);
	table_want(row, got, row->column[3]);
}

static void check_hexadecimal(const struct table_row *row)
{
	uint64_t value = 77, max = strtoull(row->column[2].p, NULL, 0);
	char got[32] = "refused";

	if (text_hex_u64(row->column[1], max, &value) == 0)
		snprintf(got, sizeof(got), "%" PRIx64, value);
	table_want(row, got, row->column[3]);
}

static void check_base64(const struct table_row *row)
{
	unsigned char bytes[64];
	char got[256] = "refused";
	long n = text_base64_decode(bytes, sizeof(bytes), row->column[1]);

	if (n >= 0)
		text_hex(got, bytes, (size_t)n);
	table_want(row, got, row->column[2]);
	if (n >= 0) {
		assert_int_equal(text_base64(got, bytes, (size_t)n), row->column[1].n);
		table_want(row, got, row->column[1]);
	}
}

static void check_base64url(const struct table_row *row)
{
	unsigned char bytes[64];
	char got[256] = "refused";
	long n = text_base64url_decode(bytes, sizeof(bytes), row->column[1]);

	if (n >= 0)
		text_hex(got, bytes, (size_t)n);
	table_want(row, got, row->column[2]);
	assert_int_equal(text_base64url_decode(bytes, n > 0 ? (size_t)n - 1 : 0, row->column[1]), n == 0 ? 0 : -1);
}

static void check_percent(const struct table_row *row)
{
	char bytes[16], got[64] = "refused";
	long n = text_percent_decode(bytes, sizeof(bytes), row->column[1]);

	if (n >= 0)
		text_hex(got, bytes, (size_t)n);
	table_want(row, got, row->column[2]);
}

static void check_utf8(const struct table_row *row)
{
	char copy[64] = "x";
	struct strv text = row->column[1];

	assert_int_equal(text_copy(copy, sizeof(copy), text) == 0, yes(row->column[2]));
	table_want(row, copy, yes(row->column[2]) ? text : STRV(""));
	if (text_is_clean(text) != yes(row->column[3]))
		fail_msg("%s:%u: clean?", row->file, row->line);
}

static void decimal_numbers_are_digits_alone_and_stay_below_the_maximum(void **state)
{
	(void)state;
	table_run("text.tbl", "decimal", 4, check_decimal);
}

static void hexadecimal_numbers_are_digits_alone_and_stay_below_the_maximum(void **state)
{
	(void)state;
	table_run("text.tbl", "hexadecimal", 4, check_hexadecimal);
}

static void base64_has_one_spelling_for_each_content(void **state)
{
	(void)state;
	table_run("text.tbl", "base64", 3, check_base64);
}

static void base64url_has_no_padding_and_one_spelling_for_each_content(void **state)
{
	(void)state;
	table_run("text.tbl", "url-safe", 3, check_base64url);
}

static void percent_escapes_are_whole_and_hide_no_control_byte(void **state)
{
	(void)state;
	table_run("text.tbl", "percent", 3, check_percent);
}

static void threat_05_text_with_control_bytes_or_malformed_utf8_is_not_copied(void **state)
{
	(void)state;
	table_run("text.tbl", "utf-8", 4, check_utf8);
}

static void base64_and_hexadecimal_come_back_as_they_were_for_every_length(void **state)
{
	unsigned char bytes[100] = { 0 }, back[100];
	char text[256];

	(void)state;
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		struct strv written = { text, 0 };

		for (size_t i = 0; i < n; i++)
			bytes[i] = (unsigned char)(i * 37 + n * 101);
		written.n = text_base64(text, bytes, n);
		assert_int_equal(written.n, 4 * ((n + 2) / 3));
		assert_int_equal(strlen(text), written.n);
		assert_int_equal(text_base64_decode(back, sizeof(back), written), (long)n);
		assert_memory_equal(bytes, back, n);
		if (n > 0)
			assert_int_equal(text_base64_decode(back, n - 1, written), -1);
		text_hex(text, bytes, n);
		assert_int_equal(text_unhex(back, n, strv_from(text)), 0);
		assert_memory_equal(bytes, back, n);
		assert_int_equal(text_unhex(back, n + 1, strv_from(text)), -1);
	}
	assert_int_equal(text_unhex(back, 1, STRV("aG")), -1);
	assert_int_equal(text_unhex(back, 1, STRV("AfB")), -1);
	assert_int_equal(text_unhex(back, 1, STRV("Af")), 0);
	assert_int_equal(back[0], 0xaf);
}

static void a_copy_fits_with_its_end_or_is_refused(void **state)
{
	char out[4];

	(void)state;
	assert_int_equal(text_copy(out, sizeof(out), STRV("abc")), 0);
	assert_string_equal(out, "abc");
	assert_int_equal(text_copy(out, sizeof(out), STRV("abcd")), -1);
	assert_string_equal(out, "");
	assert_int_equal(text_copy(out, sizeof(out), (struct strv){ NULL, 0 }), 0);
	assert_int_equal(text_copy(out, 0, STRV("")), -1);
}

static void a_split_walks_over_every_part_and_ends(void **state)
{
	struct strv rest = STRV("a,,b,"), part;
	const char *const want[] = { "a", "", "b", "" };
	size_t n = 0;

	(void)state;
	do {
		part = text_split(&rest, ',');
		assert_true(n < ARRAY_LEN(want) && strv_eq(part, strv_from(want[n])));
		n++;
	} while (rest.p != NULL);
	assert_int_equal(n, ARRAY_LEN(want));
	rest = (struct strv){ NULL, 0 };
	assert_int_equal(text_split(&rest, ',').n, 0);
	assert_null(rest.p);
}

static void case_is_that_of_ascii_alone(void **state)
{
	char text[] = "AZaz[@`{\xc4\xd6 19";

	(void)state;
	assert_true(text_eq_nocase(STRV("Host-1"), STRV("hOST-1")));
	assert_false(text_eq_nocase(STRV("Host"), STRV("Hos")));
	assert_false(text_eq_nocase(STRV("@"), STRV("`")));
	assert_false(text_eq_nocase(STRV("\xc4"), STRV("\xe4")));
	assert_true(text_starts_nocase(STRV("HTTPS://x"), STRV("https://")));
	assert_false(text_starts_nocase(STRV("HTTPS:/"), STRV("https://")));
	text_lower(text, sizeof(text) - 1);
	assert_string_equal(text, "azaz[@`{\xc4\xd6 19");
}

static void trimming_takes_spaces_and_tabs_and_nothing_else(void **state)
{
	(void)state;
	assert_true(strv_eq(text_trim(STRV(" \t a b\t ")), STRV("a b")));
	assert_true(strv_eq(text_trim(STRV("\r a\v")), STRV("\r a\v")));
	assert_int_equal(text_trim(STRV(" \t ")).n, 0);
	assert_int_equal(text_trim((struct strv){ NULL, 0 }).n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decimal_numbers_are_digits_alone_and_stay_below_the_maximum),
		cmocka_unit_test(hexadecimal_numbers_are_digits_alone_and_stay_below_the_maximum),
		cmocka_unit_test(base64_has_one_spelling_for_each_content),
		cmocka_unit_test(base64url_has_no_padding_and_one_spelling_for_each_content),
		cmocka_unit_test(percent_escapes_are_whole_and_hide_no_control_byte),
		cmocka_unit_test(threat_05_text_with_control_bytes_or_malformed_utf8_is_not_copied),
		cmocka_unit_test(base64_and_hexadecimal_come_back_as_they_were_for_every_length),
		cmocka_unit_test(a_copy_fits_with_its_end_or_is_refused),
		cmocka_unit_test(a_split_walks_over_every_part_and_ends),
		cmocka_unit_test(case_is_that_of_ascii_alone),
		cmocka_unit_test(trimming_takes_spaces_and_tabs_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
