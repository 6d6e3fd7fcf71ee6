/*
 * Addresses: what the configuration may write for a listener, a host and port, and a server, and nothing else.
 */
#include "common/address.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>
#include <cmocka.h>

static void a_listener_address_comes_back_as_it_was_written(void **state)
{
	static const char *const good[] = { "127.0.0.1:443", "0.0.0.0:0", "[::1]:443", "[::]:65535", "[2001:db8::1]:1" };
	char text[ADDRESS_TEXT_MAX];
	struct address a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(address_parse(strv_from(good[i]), &a), 0);
		address_print((struct sockaddr *)&a.sa, text);
		assert_string_equal(text, good[i]);
	}
}

static void what_is_no_numeric_address_with_a_port_is_refused(void **state)
{
	static const char *const bad[] = { "", ":", ":443", "443", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
		"127.0.0.1:+1", "127.0.0.1: 1", "127.0.0.1:1x", "localhost:443", "mail.example.com:443", "::1:443", "[::1]", "[::1]:",
		"[::1]443", "[::1:443", "[127.0.0.1]:443", "[]:443", "[::1%lo]:443", "256.0.0.1:1", "127.1:80", " 127.0.0.1:1",
		"127.0.0.1:443 ", "/run/x.sock", "127.0.0.1:18446744073709551617" };
	struct address a, before;

	(void)state;
	memset(&a, 7, sizeof(a));
	before = a;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (address_parse(strv_from(bad[i]), &a) == 0)
			fail_msg("taken: \"%s\"", bad[i]);
		assert_memory_equal(&a, &before, sizeof(a));
	}
	assert_int_equal(address_parse((struct strv){ "127.0.0.1\0:443", 14 }, &a), -1);
}

static void host_and_port_take_a_name_and_a_default_port(void **state)
{
	char host[256];
	uint16_t port = 0;

	(void)state;
	assert_int_equal(host_port_parse(STRV("dc1.corp.example:88"), 1, host, &port), 0);
	assert_string_equal(host, "dc1.corp.example");
	assert_int_equal(port, 88);
	assert_int_equal(host_port_parse(STRV("dc1"), 389, host, &port), 0);
	assert_int_equal(port, 389);
	assert_int_equal(host_port_parse(STRV("[fe80::1]:389"), 1, host, &port), 0);
	assert_string_equal(host, "fe80::1");
	assert_int_equal(host_port_parse(STRV("[::1]"), 6379, host, &port), 0);
	assert_int_equal(port, 6379);
}

static void a_host_is_a_name_and_not_a_sentence(void **state)
{
	static const char *const bad[] = { "a b", "a/b", "a@b", "a?b:1", "a\\b", "a%b", "h\xc3\xa4", "a,b", "", "[dc1]:88", "a:b:1", "a\tb" };
	char host[256], longest[300];
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (host_port_parse(strv_from(bad[i]), 1, host, &port) == 0)
			fail_msg("taken: \"%s\"", bad[i]);
	}
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(host_port_parse((struct strv){ longest, 255 }, 1, host, &port), 0);
	assert_int_equal(strlen(host), 255);
	assert_int_equal(host_port_parse((struct strv){ longest, 256 }, 1, host, &port), -1);
}

static void a_server_url_is_scheme_host_and_port(void **state)
{
	static const struct { const char *text; bool tls; const char *host; uint16_t port; } good[] = {
		{ "https://mail.corp.example", true, "mail.corp.example", 443 }, { "http://mail", false, "mail", 80 },
		{ "HTTPS://Mail:8443", true, "Mail", 8443 }, { "http://[::1]:81", false, "::1", 81 },
		{ "https://mail/", true, "mail", 443 },
	};
	static const char *const bad[] = { "", "mail", "ftp://mail", "https:/mail", "https://", "https:///", "https://mail/path",
		"https://mail?x", "https://u@mail", "https://mail:0", "https://mail:65536", "https://mail:", "http s://mail", "https://mail//" };
	struct server_url url;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(server_url_parse(strv_from(good[i].text), &url), 0);
		assert_int_equal(url.tls, good[i].tls);
		assert_string_equal(url.host, good[i].host);
		assert_int_equal(url.port, good[i].port);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (server_url_parse(strv_from(bad[i]), &url) == 0)
			fail_msg("taken: \"%s\"", bad[i]);
	}
}

static void what_is_no_internet_address_prints_as_a_dash(void **state)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	address_print((struct sockaddr *)&local, text);
	assert_string_equal(text, "-");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_address_comes_back_as_it_was_written),
		cmocka_unit_test(what_is_no_numeric_address_with_a_port_is_refused),
		cmocka_unit_test(host_and_port_take_a_name_and_a_default_port),
		cmocka_unit_test(a_host_is_a_name_and_not_a_sentence),
		cmocka_unit_test(a_server_url_is_scheme_host_and_port),
		cmocka_unit_test(what_is_no_internet_address_prints_as_a_dash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
