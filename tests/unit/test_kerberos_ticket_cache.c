/*
 * The cache of tickets: bounded, the least recently used goes first, an account's change takes all
 * that is its.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/kerberos/ticket_cache.h"

static unsigned dropped;
static int64_t last_dropped;

/* Tickets of these tests are told apart by their end alone. */
static void drop(struct s4u_ticket *t, void *arg)
{
	assert_ptr_equal(arg, &dropped);
	dropped++;
	last_dropped = t->end;
}

static struct ticket_cache *make(size_t max)
{
	struct ticket_cache *c = ticket_cache_new(max, drop, &dropped);

	assert_non_null(c);
	dropped = 0;
	return c;
}

static struct s4u_ticket ticket(int64_t end)
{
	return (struct s4u_ticket){ .end = end };
}

static void put(struct ticket_cache *c, const char *sam, unsigned service, int64_t end)
{
	struct s4u_ticket t = ticket(end);

	assert_non_null(ticket_cache_put(c, sam, service, &t));
}

static void what_was_put_is_found_for_this_account_and_service_alone(void **state)
{
	struct ticket_cache *c = make(10);

	(void)state;
	put(c, "alice", 0, 100);
	assert_int_equal(ticket_cache_find(c, "alice", 0)->ticket.end, 100);
	assert_null(ticket_cache_find(c, "alice", 1));
	assert_null(ticket_cache_find(c, "Alice", 0));
	assert_null(ticket_cache_find(c, "alic", 0));
	assert_null(ticket_cache_find(c, "", 0));
	ticket_cache_free(c);
	assert_int_equal(dropped, 1);
}

static void a_new_ticket_drops_the_old_one(void **state)
{
	struct ticket_cache *c = make(10);

	(void)state;
	put(c, "alice", 0, 100);
	put(c, "alice", 0, 200);
	assert_int_equal(dropped, 1);
	assert_int_equal(last_dropped, 100);
	assert_int_equal(ticket_cache_count(c), 1);
	ticket_cache_free(c);
	assert_int_equal(dropped, 2);
}

static void the_least_recently_used_goes_first(void **state)
{
	struct ticket_cache *c = make(3);

	(void)state;
	put(c, "a", 0, 1);
	put(c, "b", 0, 2);
	put(c, "c", 0, 3);
	assert_non_null(ticket_cache_find(c, "a", 0));
	put(c, "d", 0, 4);
	assert_int_equal(last_dropped, 2);
	assert_null(ticket_cache_find(c, "b", 0));
	assert_non_null(ticket_cache_find(c, "a", 0));
	assert_int_equal(ticket_cache_count(c), 3);
	ticket_cache_free(c);
	assert_int_equal(dropped, 4);
}

static void forgetting_takes_every_service_and_every_case_but_no_other_account(void **state)
{
	struct ticket_cache *c = make(10);

	(void)state;
	put(c, "alice", 0, 1);
	put(c, "alice", 1, 2);
	put(c, "ALICE", 0, 3);
	put(c, "alicea", 0, 4);
	assert_int_equal(ticket_cache_forget(c, "Alice"), 3);
	assert_int_equal(dropped, 3);
	assert_non_null(ticket_cache_find(c, "alicea", 0));
	assert_int_equal(ticket_cache_forget(c, "Alice"), 0);
	assert_int_equal(ticket_cache_forget(c, ""), 0);
	ticket_cache_free(c);
}

static void a_denial_takes_the_ticket_away_and_a_ticket_the_denial(void **state)
{
	struct ticket_cache *c = make(10);
	struct krb_fault fault = { .result = KERBEROS_DENIED, .text = "because" };
	struct ticket_entry *e;

	(void)state;
	put(c, "alice", 0, 1);
	ticket_cache_deny(c, "alice", 0, &fault, 5000);
	assert_int_equal(dropped, 1);
	e = ticket_cache_find(c, "alice", 0);
	assert_int_equal(e->ticket.end, 0);
	assert_string_equal(e->denied->text, "because");
	assert_int_equal(e->denied_until_ms, 5000);
	put(c, "alice", 0, 2);
	e = ticket_cache_find(c, "alice", 0);
	assert_null(e->denied);
	ticket_cache_deny(c, "bob", 0, &fault, 1);
	assert_int_equal(ticket_cache_forget(c, "bob"), 1);
	ticket_cache_deny(c, "bob", 0, &fault, 1);
	ticket_cache_free(c);
	assert_int_equal(dropped, 2);
}

static void many_more_than_the_maximum_stay_bounded_and_all_are_dropped_once(void **state)
{
	struct ticket_cache *c = make(100);
	char name[32];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		put(c, name, (unsigned)i % 3, i + 1);
		assert_true(ticket_cache_count(c) <= 100);
	}
	for (int i = 4900; i < 5000; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		assert_int_equal(ticket_cache_find(c, name, (unsigned)i % 3)->ticket.end, i + 1);
	}
	ticket_cache_free(c);
	assert_int_equal(dropped, 5000);
	ticket_cache_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found_for_this_account_and_service_alone),
		cmocka_unit_test(a_new_ticket_drops_the_old_one),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(
		    forgetting_takes_every_service_and_every_case_but_no_other_account),
		cmocka_unit_test(a_denial_takes_the_ticket_away_and_a_ticket_the_denial),
		cmocka_unit_test(many_more_than_the_maximum_stay_bounded_and_all_are_dropped_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
