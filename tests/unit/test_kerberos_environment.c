/*
 * The Kerberos library in a box: our profile alone, keytabs from bytes, nothing of the machine.
 */
#include <errno.h>
#include <krb5/krb5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/kerberos/environment.h"

struct bytes {
	uint8_t p[1024];
	size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
	assert_true(b->n + n <= sizeof(b->p));
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void put_number(struct bytes *b, uint32_t v, int size)
{
	for (int i = size - 1; i >= 0; i--) {
		uint8_t c = (uint8_t)(v >> (8 * i));
		put(b, &c, 1);
	}
}

static void put_counted(struct bytes *b, const char *text)
{
	put_number(b, (uint32_t)strlen(text), 2);
	put(b, text, strlen(text));
}

/* An entry of keytab format 5.2: one-component principal. */
static void put_entry(
    struct bytes *b, const char *name, const char *realm, uint32_t enctype, uint32_t key_size)
{
	static const uint8_t key[64] = { 7 };
	struct bytes e = { .n = 0 };

	put_number(&e, 1, 2);
	put_counted(&e, realm);
	put_counted(&e, name);
	put_number(&e, 1, 4);
	put_number(&e, 0x60000000, 4);
	put_number(&e, 3, 1);
	put_number(&e, enctype, 2);
	put_number(&e, key_size, 2);
	put(&e, key, key_size);
	put_number(b, (uint32_t)e.n, 4);
	put(b, e.p, e.n);
}

static krb5_context context;

static int enter(void **state)
{
	static int fd;

	setenv("KRB5_KTNAME", "FILE:/nowhere", 1);
	setenv("KRB5_TRACE", "/dev/stderr", 1);
	fd = environment_enter("CORP.EXAMPLE");
	*state = &fd;
	return fd < 0 || krb5_init_context(&context) != 0;
}

static int leave(void **state)
{
	krb5_free_context(context);
	environment_leave(*(int *)*state);
	return 0;
}

static void the_profile_is_ours_and_the_callers_variables_have_no_say(void **state)
{
	krb5_enctype *types = NULL;
	char *realm = NULL;
	size_t n = 0;

	(void)state;
	assert_null(getenv("KRB5_KTNAME"));
	assert_null(getenv("KRB5_TRACE"));
	assert_int_equal(krb5_get_default_realm(context, &realm), 0);
	assert_string_equal(realm, "CORP.EXAMPLE");
	krb5_free_default_realm(context, realm);
	assert_int_equal(krb5_get_permitted_enctypes(context, &types), 0);
	for (; types[n] != 0; n++)
		assert_true(types[n] >= ENCTYPE_AES128_CTS_HMAC_SHA1_96 &&
		    types[n] <= ENCTYPE_AES256_CTS_HMAC_SHA384_192);
	assert_int_equal(n, 4);
	krb5_free_enctypes(context, types);
}

static void a_keytab_is_read_from_bytes_and_serves_its_principal_alone(void **state)
{
	struct bytes b = { .n = 0 };
	krb5_principal own, other, none;
	krb5_keytab keytab;

	(void)state;
	put(&b, "\x05\x02", 2);
	put_entry(&b, "svc", "CORP.EXAMPLE", ENCTYPE_AES256_CTS_HMAC_SHA1_96, 32);
	put_entry(&b, "old", "CORP.EXAMPLE", ENCTYPE_ARCFOUR_HMAC, 16);
	assert_int_equal(krb5_parse_name(context, "svc", &own), 0);
	assert_int_equal(krb5_parse_name(context, "old", &other), 0);
	assert_int_equal(krb5_parse_name(context, "svc@OTHER", &none), 0);
	assert_int_equal(
	    environment_keytab(context, (struct strv){ (const char *)b.p, b.n }, &keytab), 0);
	assert_true(environment_keytab_serves(context, keytab, own));
	assert_false(environment_keytab_serves(context, keytab, other)); /* RC4 alone does not do */
	assert_false(environment_keytab_serves(context, keytab, none));
	krb5_kt_close(context, keytab);
	krb5_free_principal(context, own);
	krb5_free_principal(context, other);
	krb5_free_principal(context, none);
}

static void what_is_no_keytab_is_refused_whole(void **state)
{
	struct bytes b = { .n = 0 };
	krb5_keytab keytab;

	(void)state;
	assert_int_not_equal(environment_keytab(context, (struct strv){ "", 0 }, &keytab), 0);
	assert_null(keytab);
	assert_int_not_equal(environment_keytab(context, STRV("this is a text"), &keytab), 0);
	assert_int_equal(environment_keytab(context, STRV("\x05\x02"), &keytab), KRB5_KT_END);
	put(&b, "\x05\x02", 2);
	put_entry(&b, "svc", "CORP.EXAMPLE", ENCTYPE_AES256_CTS_HMAC_SHA1_96, 32);
	for (size_t n = 0; n < b.n; n++) {
		krb5_error_code rc =
		    environment_keytab(context, (struct strv){ (const char *)b.p, n }, &keytab);
		assert_int_not_equal(rc, 0);
		assert_null(keytab);
	}
}

static void no_descriptor_is_left_behind(void **state)
{
	struct bytes b = { .n = 0 };
	krb5_keytab keytab;
	int before = dup(0), after;

	(void)state;
	close(before);
	put(&b, "\x05\x02", 2);
	put_entry(&b, "svc", "CORP.EXAMPLE", ENCTYPE_AES256_CTS_HMAC_SHA1_96, 32);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(
		    environment_keytab(context, (struct strv){ (const char *)b.p, b.n }, &keytab),
		    0);
		krb5_kt_close(context, keytab);
		assert_int_not_equal(environment_keytab(context, STRV("bad"), &keytab), 0);
	}
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_profile_is_ours_and_the_callers_variables_have_no_say),
		cmocka_unit_test(a_keytab_is_read_from_bytes_and_serves_its_principal_alone),
		cmocka_unit_test(what_is_no_keytab_is_refused_whole),
		cmocka_unit_test(no_descriptor_is_left_behind),
	};
	return cmocka_run_group_tests(tests, enter, leave);
}
