/*
 * Networks: what is read as one, and which addresses lie in it.
 */
#include "common/network.h"

#include "table.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static struct sockaddr_storage address_of(const char *text)
{
	struct sockaddr_storage address = { .ss_family = AF_UNIX };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		memcpy(&address, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		memcpy(&address, &v6, sizeof(v6));
	return address;
}

/* name | network | address | in, out or bad */
static void check(const struct table_row *row)
{
	struct network network = { 0 };
	struct sockaddr_storage address;
	char text[64], *exact = table_exact(row->column[1].p, row->column[1].n);
	int rc = network_parse(&network, (struct strv){ exact, row->column[1].n });

	free(exact);
	assert_int_equal(text_copy(text, sizeof(text), row->column[2]), 0);
	address = address_of(text);
	if (rc < 0) {
		table_want(row, "bad", row->column[3]);
		assert_false(network.set);
		assert_false(network_contains(&network, (struct sockaddr *)&address));
		return;
	}
	table_want(row, network_contains(&network, (struct sockaddr *)&address) ? "in" : "out",
	    row->column[3]);
}

static void every_network_of_the_table_holds_what_it_says(void **state)
{
	(void)state;
	table_run("network.tbl", "", 4, check);
}

static void a_list_holds_what_any_of_its_networks_holds_and_an_empty_one_nothing(void **state)
{
	struct sockaddr_storage in = address_of("192.0.2.200"), out = address_of("192.0.3.1");
	struct network list[3] = { { .set = false } };

	(void)state;
	assert_int_equal(network_parse(&list[0], STRV("::1")), 0);
	assert_int_equal(network_parse(&list[2], STRV("192.0.2.0/24")), 0);
	assert_true(network_list_contains(list, 3, (struct sockaddr *)&in));
	assert_false(network_list_contains(list, 3, (struct sockaddr *)&out));
	assert_false(network_list_contains(list, 2, (struct sockaddr *)&in));
	assert_false(network_list_contains(NULL, 0, (struct sockaddr *)&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_network_of_the_table_holds_what_it_says),
		cmocka_unit_test(
		    a_list_holds_what_any_of_its_networks_holds_and_an_empty_one_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
