/*
 * The directory's cache: what was put comes back whole, the least used leaves, an account is
 * forgotten under all its names.
 */
#include "common/directory/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct cached item(const char *sid, const char *sam)
{
	struct cached c = { .result = ACCOUNT_FOUND, .fetched_ms = 42 };

	snprintf(c.account.sid, sizeof(c.account.sid), "%s", sid);
	snprintf(c.account.sam, sizeof(c.account.sam), "%s", sam);
	snprintf(c.account.realm, sizeof(c.account.realm), "CORP.EXAMPLE");
	snprintf(c.account.upn, sizeof(c.account.upn), "%s@corp.example", sam);
	c.account.groups = 0x8000000000000001u;
	c.account.flags = ACCOUNT_ENABLED;
	c.account.bad_password_count = 3;
	c.account.lockout_threshold = 5;
	c.account.expires = 1800000000;
	return c;
}

static void put(struct cache *c, uint32_t kind, const char *value, const struct cached *what)
{
	uint8_t key[SHA256_SIZE];

	cache_key(c, kind, value, key);
	cache_put(c, key, what);
}

static bool get(struct cache *c, uint32_t kind, const char *value, struct cached *out)
{
	uint8_t key[SHA256_SIZE];

	cache_key(c, kind, value, key);
	return cache_get(c, key, out);
}

static void what_was_put_comes_back_whole(void **state)
{
	struct cache *c = cache_new(10);
	struct cached in = item("S-1-5-21-1-2-3-4", "alice"), out;

	(void)state;
	memset(in.account.mail, 'm', sizeof(in.account.mail) - 1); /* the longest text */
	put(c, 2, "alice@corp.example", &in);
	assert_true(get(c, 2, "alice@corp.example", &out));
	assert_memory_equal(&in, &out, sizeof(in));
	assert_true(get(c, 2, "ALICE@corp.example", &out));
	assert_false(get(c, 1, "alice@corp.example", &out));
	assert_false(get(c, 2, "alice@corp.exampl", &out));
	cache_free(c);
}

static void what_is_not_found_is_kept_too_and_replaced(void **state)
{
	struct cache *c = cache_new(10);
	struct cached none = { .result = ACCOUNT_UNKNOWN, .fetched_ms = 1 },
		      in = item("S-1-5-21-1-2-3-4", "alice"), out;

	(void)state;
	put(c, 2, "x", &none);
	assert_true(get(c, 2, "x", &out));
	assert_int_equal(out.result, ACCOUNT_UNKNOWN);
	put(c, 2, "x", &in);
	assert_int_equal(cache_count(c), 1);
	assert_true(get(c, 2, "x", &out));
	assert_int_equal(out.result, ACCOUNT_FOUND);
	cache_free(c);
}

static void the_least_recently_used_leaves_first(void **state)
{
	struct cache *c = cache_new(3);
	struct cached in = item("S-1-5-21-1-2-3-4", "alice"), out;

	(void)state;
	put(c, 2, "a", &in);
	put(c, 2, "b", &in);
	put(c, 2, "c", &in);
	assert_true(get(c, 2, "a", &out));
	put(c, 2, "d", &in);
	assert_int_equal(cache_count(c), 3);
	assert_false(get(c, 2, "b", &out));
	assert_true(get(c, 2, "a", &out));
	assert_true(get(c, 2, "c", &out));
	assert_true(get(c, 2, "d", &out));
	cache_free(c);
}

static void an_account_is_forgotten_under_all_its_names(void **state)
{
	struct cache *c = cache_new(100);
	struct cached alice = item("S-1-5-21-1-2-3-4", "alice"),
		      bob = item("S-1-5-21-1-2-3-5", "bob"), out;

	(void)state;
	put(c, 1, "S-1-5-21-1-2-3-4", &alice);
	put(c, 2, "alice@corp.example", &alice);
	put(c, 2, "bob@corp.example", &bob);
	put(c, 9, "alice.adams@example.com", &alice);
	assert_int_equal(cache_forget_sid(c, "S-1-5-21-1-2-3-4"), 3);
	assert_int_equal(cache_forget_sid(c, "S-1-5-21-1-2-3-4"), 0);
	assert_int_equal(cache_count(c), 1);
	assert_false(get(c, 2, "alice@corp.example", &out));
	assert_true(get(c, 2, "bob@corp.example", &out));
	cache_forget_all(c);
	assert_int_equal(cache_count(c), 0);
	assert_false(get(c, 2, "bob@corp.example", &out));
	cache_free(c);
}

static void what_is_doubted_stays_with_its_age_and_what_comes_later_is_not_doubted(void **state)
{
	struct cache *c = cache_new(100);
	struct cached alice = item("S-1-5-21-1-2-3-4", "alice"),
		      bob = item("S-1-5-21-1-2-3-5", "bob"), out;

	(void)state;
	put(c, 2, "alice@corp.example", &alice);
	cache_doubt_all(c);
	put(c, 2, "bob@corp.example", &bob);
	assert_true(get(c, 2, "alice@corp.example", &out));
	assert_true(out.doubtful);
	assert_int_equal(out.fetched_ms, 42);
	assert_string_equal(out.account.sam, "alice");
	assert_true(get(c, 2, "bob@corp.example", &out));
	assert_false(out.doubtful);
	put(c, 2, "alice@corp.example", &alice);
	assert_true(get(c, 2, "alice@corp.example", &out));
	assert_false(out.doubtful);
	bob.doubtful = true; /* found before the doubt, put after it */
	put(c, 2, "bob@corp.example", &bob);
	assert_true(get(c, 2, "bob@corp.example", &out));
	assert_true(out.doubtful);
	cache_doubt_all(c);
	assert_int_equal(cache_forget_sid(c, "S-1-5-21-1-2-3-4"), 1);
	assert_false(get(c, 2, "alice@corp.example", &out));
	cache_free(c);
}

/* Every order of putting, using, replacing and forgetting leaves lists and tables in agreement. */
static void thousands_of_random_steps_keep_it_bounded_and_right(void **state)
{
	struct cache *c = cache_new(50);
	struct cached out;
	char value[32], sid[64];
	unsigned seed = 1;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		unsigned r = seed = seed * 1103515245u + 12345u, which = r >> 8 & 127;
		struct cached in;
		snprintf(value, sizeof(value), "v%u", which);
		snprintf(sid, sizeof(sid), "S-1-5-21-1-2-3-%u", which % 16);
		in = item(sid, value);
		switch (r >> 20 & 7) {
		case 0:
			cache_forget_sid(c, sid);
			assert_false(get(c, 2, value, &out));
			break;
		case 1:
		case 2:
			if (get(c, 2, value, &out))
				assert_string_equal(out.account.sam, value);
			break;
		default:
			put(c, 2, value, &in);
			assert_true(get(c, 2, value, &out));
			assert_string_equal(out.account.sid, sid);
		}
		assert_true(cache_count(c) <= 50);
	}
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_comes_back_whole),
		cmocka_unit_test(what_is_not_found_is_kept_too_and_replaced),
		cmocka_unit_test(the_least_recently_used_leaves_first),
		cmocka_unit_test(an_account_is_forgotten_under_all_its_names),
		cmocka_unit_test(what_is_doubted_stays_with_its_age_and_what_comes_later_is_not_doubted),
		cmocka_unit_test(thousands_of_random_steps_keep_it_bounded_and_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
