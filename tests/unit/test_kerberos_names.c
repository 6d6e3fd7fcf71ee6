/*
 * Which names may be asked for, and how the proxy's own one is read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy/kerberos/names.h"

static const struct krb_name own = { "svc-easproxy", "CORP.EXAMPLE" };

static void ordinary_accounts_may_be_asked_for(void **state)
{
	static const char *const good[] = { "alice", "Alice", "bob.builder", "zoë", "a", "o'neil",
		"x y", "user$x", "krbtgtx", "administrators", "admin" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_null(krb_name_refused(good[i], "CORP.EXAMPLE", &own));
}

static void built_in_computer_and_own_accounts_may_not_in_any_case_of_letters(void **state)
{
	static const char *const bad[] = { "Administrator", "ADMINISTRATOR", "krbtgt", "KrbTgt",
		"krbtgt_123", "KRBTGT_x", "Guest", "DefaultAccount", "MAIL$", "$", "svc-easproxy",
		"SVC-EASPROXY" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_non_null(krb_name_refused(bad[i], "CORP.EXAMPLE", &own));
}

static void what_is_no_account_name_may_not(void **state)
{
	static const char *const bad[] = { "", "a/b", "a@b", "a\\b", "a:b", "a;b", "a|b", "a=b",
		"a,b", "a+b", "a*b", "a?b", "a<b", "a>b", "a[b", "a]b", "a\"b", "a\nb", "a\x7f",
		"\xff", "a\xc3", "\x01" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_non_null(krb_name_refused(bad[i], "CORP.EXAMPLE", &own));
}

static void only_the_own_realm_is_served_exactly_as_written(void **state)
{
	static const char *const bad[] = { "", "corp.example", "CORP.EXAMPLE ", "CORP",
		"OTHER.EXAMPLE", "CORP.EXAMPLE.COM" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_non_null(krb_name_refused("alice", bad[i], &own));
}

static void a_principal_is_taken_apart(void **state)
{
	static const char *const bad[] = { "", "@", "a@", "@R", "a", "a@b@c", "a@R\n", "a@R{}",
		"a@R R", "a\\/b@R", "a\nb@R", "a@R]\n[realms", "\xff@R" };
	struct krb_name n;

	(void)state;
	assert_int_equal(krb_name_parse(&n, "svc-easproxy@CORP.EXAMPLE"), 0);
	assert_string_equal(n.name, "svc-easproxy");
	assert_string_equal(n.realm, "CORP.EXAMPLE");
	assert_int_equal(krb_name_parse(&n, "HTTP/proxy.corp.example@A-B_C.1"), 0);
	assert_string_equal(n.realm, "A-B_C.1");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(krb_name_parse(&n, bad[i]), -1);
}

static void names_longer_than_the_directory_knows_are_no_principal(void **state)
{
	char text[400];
	struct krb_name n;

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text + 127, "@R", 3);
	assert_int_equal(krb_name_parse(&n, text), 0);
	memset(text, 'a', sizeof(text));
	memcpy(text + 128, "@R", 3);
	assert_int_equal(krb_name_parse(&n, text), -1);
	memset(text, 'A', sizeof(text));
	text[1] = '@';
	text[2 + 128] = '\0';
	assert_int_equal(krb_name_parse(&n, text), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_accounts_may_be_asked_for),
		cmocka_unit_test(built_in_computer_and_own_accounts_may_not_in_any_case_of_letters),
		cmocka_unit_test(what_is_no_account_name_may_not),
		cmocka_unit_test(only_the_own_realm_is_served_exactly_as_written),
		cmocka_unit_test(a_principal_is_taken_apart),
		cmocka_unit_test(names_longer_than_the_directory_knows_are_no_principal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
