/*
 * Buffers: bytes come out as they went in, ceilings hold, and what was held is wiped.
 */
#include "common/buffer.h"

#include "table.h"

static void bytes_leave_in_the_order_in_which_they_came(void **state)
{
	unsigned char in = 0, out = 0;
	struct buffer b;

	(void)state;
	buffer_init(&b, 50000);
	for (size_t round = 1; round < 3000; round++) {
		size_t put = round * 7919 % 97, get;
		unsigned char bytes[97];

		for (size_t i = 0; i < put; i++)
			bytes[i] = in++;
		assert_int_equal(buffer_add(&b, bytes, put), 0);
		get = round * 104729 % (buffer_len(&b) + 1);
		for (size_t i = 0; i < get; i++)
			assert_int_equal((unsigned char)buffer_data(&b)[i], out++);
		buffer_eat(&b, get);
	}
	buffer_clear(&b);
}

static void an_empty_buffer_holds_no_memory(void **state)
{
	struct buffer b;

	(void)state;
	buffer_init(&b, 100);
	assert_null(b.base);
	assert_null(buffer_data(&b));
	assert_int_equal(buffer_view(&b).n, 0);
	assert_int_equal(buffer_add(&b, "abc", 3), 0);
	buffer_release_empty(&b);
	assert_non_null(b.base);
	buffer_eat(&b, 3);
	buffer_release_empty(&b);
	assert_null(b.base);
	assert_int_equal(buffer_add(&b, "abc", 3), 0);
	buffer_clear(&b);
	assert_null(b.base);
	assert_int_equal(buffer_add(&b, NULL, 0), 0);
	assert_null(b.base);
}

static void the_ceiling_is_exact_at_every_size(void **state)
{
	static const size_t sizes[] = { 1, 100, 4095, 4096, 4097, 16384, 16385, 40000, 65536,
		100001 };
	static char bytes[100002];
	struct buffer b;
	size_t got = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		buffer_init(&b, sizes[i]);
		assert_int_equal(buffer_add(&b, bytes, sizes[i] + 1), -1);
		assert_int_equal(buffer_len(&b), 0);
		assert_int_equal(buffer_add(&b, bytes, sizes[i]), 0);
		assert_int_equal(buffer_room(&b), 0);
		assert_int_equal(buffer_add(&b, bytes, 1), -1);
		assert_null(buffer_reserve(&b, 1, &got));
		assert_null(buffer_reserve(&b, 0, &got));
		buffer_eat(&b, 1);
		assert_non_null(buffer_reserve(&b, 1, &got));
		assert_int_equal(got, 1);
		buffer_clear(&b);
	}
}

static void room_is_at_least_what_was_wanted_and_never_past_the_ceiling(void **state)
{
	struct buffer b;
	size_t got = 0;

	(void)state;
	buffer_init(&b, 5000);
	for (size_t want = 1; want <= 5000; want += 13) {
		assert_non_null(buffer_reserve(&b, want, &got));
		assert_true(got >= want && got <= 5000);
	}
	buffer_added(&b, 3000);
	assert_non_null(buffer_reserve(&b, 2000, &got));
	assert_int_equal(got, 2000);
	assert_null(buffer_reserve(&b, 2001, &got));
	buffer_clear(&b);
}

static void what_was_held_is_wiped_before_the_memory_goes_back(void **state)
{
	struct buffer b, c;
	size_t got = 0;
	char *room;

	(void)state;
	buffer_pool_trim(0);
	buffer_init(&b, 4096);
	buffer_init(&c, 4096);
	assert_int_equal(buffer_add(&b, "a secret that nobody may see", 28), 0);
	buffer_eat(&b, 28); /* eaten bytes are still there until the release */
	assert_int_equal(b.high, 28);
	assert_int_equal(buffer_add(&b, "x", 1), 0);
	assert_int_equal(b.high, 28);
	buffer_clear(&b);
	room = buffer_reserve(&c, 100, &got); /* the same block, where there is a pool */
	assert_non_null(room);
#ifndef __SANITIZE_ADDRESS__
	assert_null(memmem(room, 100, "secret", 6));
	assert_null(memmem(room, 100, "nobody", 6));
#endif
	buffer_clear(&c);
	buffer_pool_trim(0);
}

static void printing_fits_whole_or_not_at_all(void **state)
{
	char large[3001];
	struct buffer b;

	(void)state;
	memset(large, 'y', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	buffer_init(&b, 3010);
	assert_int_equal(buffer_printf(&b, "%s=%d", "a", 12), 0);
	assert_true(strv_eq(buffer_view(&b), STRV("a=12")));
	assert_int_equal(buffer_printf(&b, "%s", large), 0);
	assert_int_equal(buffer_len(&b), 3004);
	assert_int_equal(buffer_printf(&b, "%s", "1234567"), -1);
	assert_int_equal(buffer_len(&b), 3004);
	assert_int_equal(buffer_printf(&b, "%s", "123456"), 0);
	assert_int_equal(buffer_printf(&b, "%s", ""), 0);
	assert_memory_equal(buffer_data(&b) + 4, large, 3000);
	assert_memory_equal(buffer_data(&b) + 3004, "123456", 6);
	buffer_clear(&b);
}

static void a_thousand_buffers_come_and_go_with_their_own_bytes(void **state)
{
	static struct buffer many[1000];
	static char bytes[20000];

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_LEN(many); i++) {
			size_t n = i * 20 + 1;

			buffer_init(&many[i], sizeof(bytes));
			memset(bytes, (int)i & 0xff, n);
			assert_int_equal(buffer_add(&many[i], bytes, n), 0);
		}
		for (size_t i = 0; i < ARRAY_LEN(many); i++) {
			struct strv held = buffer_view(&many[i]);

			assert_int_equal(held.n, i * 20 + 1);
			assert_int_equal((unsigned char)held.p[0], i & 0xff);
			assert_int_equal((unsigned char)held.p[held.n - 1], i & 0xff);
			buffer_clear(&many[i]);
		}
	}
	buffer_pool_trim(10);
	buffer_pool_trim(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_leave_in_the_order_in_which_they_came),
		cmocka_unit_test(an_empty_buffer_holds_no_memory),
		cmocka_unit_test(the_ceiling_is_exact_at_every_size),
		cmocka_unit_test(room_is_at_least_what_was_wanted_and_never_past_the_ceiling),
		cmocka_unit_test(what_was_held_is_wiped_before_the_memory_goes_back),
		cmocka_unit_test(printing_fits_whole_or_not_at_all),
		cmocka_unit_test(a_thousand_buffers_come_and_go_with_their_own_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
