/*
 * What EST and the NDES page are made of: credentials that are read whole or not at all, base64 as each client needs it, the page to the byte; and
 * nothing of them in clear text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/text.h"
#include "enroll/worker/basic.h"
#include "enroll/worker/est_parts.h"
#include "enroll/worker/ndes.h"
#include "tests/unit/enroll_site.h"

/* A request with this one field, as a TLS listener would have read it. */
struct asked {
	char text[1024];
	struct http_head head;
	struct http_request request;
};

static void ask(struct asked *a, enum http_way way, const char *field, const char *value)
{
	const struct http_limits limits = { .head_bytes = sizeof(a->text), .fields = 16 };
	struct http_scan scan = { 0 };
	size_t used;
	int n = snprintf(a->text, sizeof(a->text), "GET / HTTP/1.1\r\nHost: x\r\n%s: %s\r\n\r\n", field, value);

	assert_int_equal(http_read_request(&a->head, &scan, a->text, (size_t)n, &limits, &used), HTTP_DONE);
	a->request = (struct http_request){ .head = &a->head, .way = way };
}

static void credentials_are_read_whole_or_not_at_all(void **state)
{
	static const struct { const char *value, *user, *password; } rows[] = {
		{ "Basic YWxpY2U6c2VjcmV0", "alice", "secret" }, { "basic YWxpY2U6c2VjcmV0", "alice", "secret" },
		{ "Basic YWxpY2U6YTpi", "alice", "a:b" }, { "Basic OnNlY3JldA==", "", "secret" }, { "Basic YWxpY2U6", "alice", "" },
		{ "Basic YWxpY2U=", NULL, NULL }, { "Basic Og==", NULL, NULL }, { "Basic YWxpY2U6c2VjcmV0Cg==", NULL, NULL },
		{ "Basic YWxpY2U6AA==", NULL, NULL }, { "Basic !!", NULL, NULL }, { "Basic", NULL, NULL }, { "Bearer YWxpY2U6YQ==", NULL, NULL },
	};
	struct asked a;
	struct basic b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ask(&a, HTTP_WAY_TLS, "Authorization", rows[i].value);
		assert_int_equal(basic_read(&a.request, &b), rows[i].user != NULL);
		if (rows[i].user == NULL)
			continue;
		assert_true(strv_eq(b.user, strv_from(rows[i].user)));
		assert_true(strv_eq(b.password, strv_from(rows[i].password)));
	}
	ask(&a, HTTP_WAY_PLAIN, "Authorization", rows[0].value);
	assert_false(basic_read(&a.request, &b));
}

static void base64_is_one_line_but_for_libest(void **state)
{
	unsigned char bytes[200];
	struct buffer out;
	struct asked a;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	buffer_init(&out, 1000);
	ask(&a, HTTP_WAY_TLS, "User-Agent", "curl/7.88");
	assert_int_equal(est_base64(&a.request, (struct strv){ (char *)bytes, sizeof(bytes) }, &out), 0);
	assert_int_equal(buffer_len(&out), 268);
	assert_null(memchr(buffer_data(&out), '\n', buffer_len(&out)));
	buffer_clear(&out);
	ask(&a, HTTP_WAY_TLS, "User-Agent", "libest 3.2.0p");
	assert_int_equal(est_base64(&a.request, (struct strv){ (char *)bytes, sizeof(bytes) }, &out), 0);
	assert_int_equal(buffer_len(&out), 268 + 5);
	for (size_t i = 64; i < buffer_len(&out); i += 65)
		assert_int_equal(buffer_data(&out)[i], '\n');
	buffer_clear(&out);
	buffer_init(&out, 100);
	assert_int_equal(est_base64(&a.request, (struct strv){ (char *)bytes, sizeof(bytes) }, &out), -1);
	buffer_clear(&out);
}

static void the_page_is_what_device_managers_look_for(void **state)
{
	static const uint8_t thumbprint[16] = { 0xA6, 0x56, 0xFA, 0x66, 0xAB, 0x12, 0xB4, 0x33, 0xA2, 0xDA, 0x5C, 0xF7, 0xCC, 0x15, 0x3D, 0x9A };
	static const char *const wanted[] = {
		"<P> The thumbprint (hash value) for the CA certificate is: <B> A656FA66 AB12B433 A2DA5CF7 CC153D9A </B> ",
		"<P> The enrollment challenge password is: <B> 8CE317021F690069 </B> ",
		"<P> This password can be used only once and will expire within 60 minutes. ",
		"<Meta HTTP-Equiv=\"Content-Type\" Content=\"text/html; charset=UTF-8\">", "Width=100% BgColor=#008080>",
	};
	struct buffer narrow, wide;

	(void)state;
	buffer_init(&narrow, 16384);
	buffer_init(&wide, 16384);
	assert_int_equal(ndes_page(&narrow, NDES_CHALLENGE, thumbprint, "8CE317021F690069", 60, true), 0);
	assert_int_equal(ndes_page(&wide, NDES_CHALLENGE, thumbprint, "8CE317021F690069", 60, false), 0);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		assert_non_null(memmem(buffer_data(&narrow), buffer_len(&narrow), wanted[i], strlen(wanted[i])));
	assert_null(memchr(buffer_data(&narrow), '\n', buffer_len(&narrow)));
	assert_int_equal(buffer_len(&wide), 2 + 2 * buffer_len(&narrow));
	assert_memory_equal(buffer_data(&wide), "\xff\xfe<\0H\0", 6);
	for (size_t i = 0; i < buffer_len(&narrow); i++) {
		assert_int_equal(buffer_data(&wide)[2 + 2 * i], buffer_data(&narrow)[i]);
		assert_int_equal(buffer_data(&wide)[3 + 2 * i], 0);
	}
	buffer_clear(&narrow);
	assert_int_equal(ndes_page(&narrow, NDES_CACHE_FULL, NULL, NULL, 60, true), 0);
	assert_non_null(memmem(buffer_data(&narrow), buffer_len(&narrow), "The password cache is full.", 27));
	buffer_clear(&narrow);
	assert_int_equal(ndes_page(&narrow, NDES_NO_PERMISSION, NULL, NULL, 60, true), 0);
	assert_non_null(memmem(buffer_data(&narrow), buffer_len(&narrow),
	    "You do not have sufficient permission to enroll with SCEP.  Please contact your system administrator.", 101));
	buffer_clear(&narrow);
	buffer_clear(&wide);
}

static void nothing_of_it_is_served_in_clear_text(void **state)
{
	static const char *const paths[] = { "/.well-known/est/cacerts", "/.well-known/est/simpleenroll", "/certsrv/mscep_admin/", "/certsrv/mscep_admin" };
	struct strv head, body;

	(void)state;
	site_make(est_routes);
	site.w.routes[1] = ndes_routes;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		assert_int_equal(site_get(paths[i], &head, &body), 404);
	site_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credentials_are_read_whole_or_not_at_all),
		cmocka_unit_test(base64_is_one_line_but_for_libest),
		cmocka_unit_test(the_page_is_what_device_managers_look_for),
		cmocka_unit_test(nothing_of_it_is_served_in_clear_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
