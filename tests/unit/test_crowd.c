/*
 * Crowds: who counts as one address, and who of it has waited longest.
 */
#include "common/crowd.h"

#include "table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#define BUCKETS 4	/* few, so that addresses share one */

static struct sockaddr_storage address_of(const char *text)
{
	struct sockaddr_storage address = { .ss_family = AF_UNIX };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)rand()) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)rand()) };

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		memcpy(&address, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		memcpy(&address, &v6, sizeof(v6));
	return address;
}

static void enter(struct crowd *c, struct crowd_member *m, const char *text)
{
	struct sockaddr_storage from = address_of(text);

	assert_int_equal(crowd_enter(c, m, (struct sockaddr *)&from), 0);
}

static unsigned count(struct crowd *c, const char *text)
{
	struct sockaddr_storage from = address_of(text);

	return crowd_count(c, (struct sockaddr *)&from);
}

static struct crowd_member *longest(struct crowd *c, const char *text)
{
	struct sockaddr_storage from = address_of(text);

	return crowd_longest(c, (struct sockaddr *)&from);
}

static void whatever_the_port_an_ipv4_address_is_one_and_so_is_the_first_half_of_an_ipv6_address(void **state)
{
	static const char *const same[][2] = { { "192.0.2.1", "192.0.2.1" }, { "192.0.2.1", "::ffff:192.0.2.1" }, { "2001:db8:1:2::1", "2001:db8:1:2:ffff::9" } };
	static const char *const others[][2] = { { "192.0.2.1", "192.0.2.2" }, { "2001:db8:1:2::1", "2001:db8:1:3::1" }, { "::ffff:192.0.2.1", "::ffff:192.0.2.2" },
		{ "192.0.2.1", "::192.0.2.1" } };
	struct crowd *c = crowd_new(BUCKETS);

	(void)state;
	assert_non_null(c);
	for (size_t i = 0; i < ARRAY_LEN(same) + ARRAY_LEN(others); i++) {
		const char *const *pair = i < ARRAY_LEN(same) ? same[i] : others[i - ARRAY_LEN(same)];
		struct crowd_member m = { 0 };
		enter(c, &m, pair[0]);
		assert_int_equal(count(c, pair[1]), i < ARRAY_LEN(same) ? 1 : 0);
		crowd_leave(c, &m);
		assert_int_equal(count(c, pair[0]), 0);
		assert_null(longest(c, pair[0]));
	}
	crowd_free(c);
}

static void who_was_served_last_has_waited_shortest_and_who_is_being_served_does_not_wait(void **state)
{
	struct crowd *c = crowd_new(BUCKETS);
	struct crowd_member m[3] = { { 0 } }, other = { 0 };

	(void)state;
	assert_non_null(c);
	enter(c, &other, "192.0.2.2");
	for (size_t i = 0; i < ARRAY_LEN(m); i++)
		enter(c, &m[i], "192.0.2.1");
	assert_int_equal(count(c, "192.0.2.1"), 3);
	assert_ptr_equal(longest(c, "192.0.2.1"), &m[0]);
	crowd_served(&m[0]);
	crowd_served(&m[0]);
	assert_ptr_equal(longest(c, "192.0.2.1"), &m[1]);
	crowd_waits(&m[1]);
	assert_ptr_equal(longest(c, "192.0.2.1"), &m[2]);
	crowd_waits(&m[0]);
	crowd_leave(c, &m[2]);
	assert_ptr_equal(longest(c, "192.0.2.1"), &m[1]);
	crowd_served(&m[1]);
	crowd_served(&m[0]);
	assert_null(longest(c, "192.0.2.1"));
	assert_int_equal(count(c, "192.0.2.1"), 2);
	assert_ptr_equal(longest(c, "192.0.2.2"), &other);
	crowd_leave(c, &m[0]);
	crowd_leave(c, &m[1]);
	crowd_leave(c, &other);
	crowd_free(c);
}

static void who_is_in_no_crowd_is_left_alone(void **state)
{
	struct crowd *c = crowd_new(BUCKETS);
	struct crowd_member m = { 0 };

	(void)state;
	assert_non_null(c);
	crowd_waits(&m);
	crowd_served(&m);
	crowd_leave(c, &m);
	assert_false(m.waits);
	crowd_free(c);
	crowd_free(NULL);
}

/* Against a plain list, in any order of calls. */
static void a_thousand_calls_in_any_order_keep_the_order(void **state)
{
	static struct crowd_member m[40];
	unsigned turn[ARRAY_LEN(m)] = { 0 };		/* when it began to wait; 0: it does not */
	bool in[ARRAY_LEN(m)] = { false };
	struct crowd *c = crowd_new(BUCKETS);
	char text[16];

	(void)state;
	assert_non_null(c);
	srand(1);
	for (unsigned n = 1; n < 20000; n++) {
		size_t i = (size_t)rand() % ARRAY_LEN(m), at = i % 7, first = ARRAY_LEN(m);
		snprintf(text, sizeof(text), "10.0.0.%zu", at);
		switch (rand() % 4) {
		case 0:
			if (in[i])
				crowd_leave(c, &m[i]);
			else
				enter(c, &m[i], text);
			in[i] = !in[i];
			turn[i] = in[i] ? n : 0;
			break;
		case 1:
			crowd_served(&m[i]);
			turn[i] = 0;
			break;
		default:
			crowd_waits(&m[i]);
			turn[i] = in[i] ? n : 0;
		}
		for (size_t k = at; k < ARRAY_LEN(m); k += 7) {
			if (turn[k] > 0 && (first == ARRAY_LEN(m) || turn[k] < turn[first]))
				first = k;
		}
		assert_ptr_equal(longest(c, text), first == ARRAY_LEN(m) ? NULL : &m[first]);
	}
	for (size_t i = 0; i < ARRAY_LEN(m); i++)
		crowd_leave(c, &m[i]);
	crowd_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_the_port_an_ipv4_address_is_one_and_so_is_the_first_half_of_an_ipv6_address),
		cmocka_unit_test(who_was_served_last_has_waited_shortest_and_who_is_being_served_does_not_wait),
		cmocka_unit_test(who_is_in_no_crowd_is_left_alone),
		cmocka_unit_test(a_thousand_calls_in_any_order_keep_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
