/*
 * The table of krb5 codes: each gives the answer, the remedy and a sentence with cause and cure;
 * the rest fails closed.
 */
#include <errno.h>
#include <krb5/krb5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/text.h"
#include "proxy/kerberos/errors.h"

static const struct krb_parties who = { "svc@CORP.EXAMPLE", "alice@CORP.EXAMPLE",
	"HTTP/mail.corp.example", "dc1:88, dc2:88" };

static struct krb_fault fault(enum krb_step step, long code, bool forwardable)
{
	struct krb_fault f;

	memset(&f, 0x7f, sizeof(f));
	krb_fault_from_code(step, code, forwardable, &who, &f);
	assert_non_null(memchr(f.text, '\0', sizeof(f.text)));
	assert_true(f.text[0] != '\0' && text_is_clean(strv_from(f.text)));
	assert_null(strchr(f.text, '{'));
	return f;
}

static const struct {
	enum krb_step step;
	long code;
	bool forwardable;
	enum kerberos_result result;
	enum krb_remedy remedy;
	const char *words;
} cases[] = {
	{ STEP_LOGIN, KRB5_KDC_UNREACH, false, KERBEROS_NO_KDC, REMEDY_NONE,
	    "dc1:88, dc2:88" },
	{ STEP_SELF, KRB5_KDC_UNREACH, false, KERBEROS_NO_KDC, REMEDY_NONE,
	    "no KDC answered" },
	{ STEP_PROXY, KRB5_KDC_UNREACH, true, KERBEROS_NO_KDC, REMEDY_NONE,
	    "no KDC answered" },
	{ STEP_SELF, KRB5KDC_ERR_SVC_UNAVAILABLE, false, KERBEROS_NO_KDC, REMEDY_NONE,
	    "not available" },
	{ STEP_LOGIN, KRB5KRB_AP_ERR_SKEW, false, KERBEROS_BROKEN, REMEDY_WAIT, "clock" },
	{ STEP_LOGIN, KRB5KDC_ERR_PREAUTH_FAILED, false, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "keytab of svc@CORP.EXAMPLE" },
	{ STEP_LOGIN, KRB5KRB_AP_ERR_BAD_INTEGRITY, false, KERBEROS_BROKEN,
	    REMEDY_NEW_KEYTAB, "export a new keytab" },
	{ STEP_KEYTAB, KRB5_KT_NOTFOUND, false, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "holds no AES key of svc@CORP.EXAMPLE" },
	{ STEP_KEYTAB, KRB5_KEYTAB_BADVNO, false, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "not a keytab" },
	{ STEP_LOGIN, KRB5KDC_ERR_CLIENT_REVOKED, false, KERBEROS_BROKEN, REMEDY_WAIT,
	    "disabled or locked out" },
	{ STEP_LOGIN, KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, false, KERBEROS_BROKEN, REMEDY_WAIT,
	    "proxy.kerberos.principal" },
	{ STEP_SELF, KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, false, KERBEROS_DENIED, REMEDY_NONE,
	    "Windows Authorization Access Group" },
	{ STEP_SELF, KRB5KDC_ERR_POLICY, false, KERBEROS_DENIED, REMEDY_NONE,
	    "alice@CORP.EXAMPLE" },
	{ STEP_PROXY, KRB5KDC_ERR_POLICY, true, KERBEROS_DENIED, REMEDY_NONE, "disabled" },
	{ STEP_SELF, KRB5KDC_ERR_CLIENT_REVOKED, false, KERBEROS_DENIED, REMEDY_NONE,
	    "locked out" },
	{ STEP_SELF, KRB5KDC_ERR_NAME_EXP, false, KERBEROS_DENIED, REMEDY_NONE,
	    "has expired" },
	{ STEP_PROXY, KRB5KDC_ERR_KEY_EXP, true, KERBEROS_DENIED, REMEDY_NONE, "password" },
	{ STEP_SELF, KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, false, KERBEROS_DENIED, REMEDY_NONE,
	    "setspn" },
	{ STEP_PROXY, KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, true, KERBEROS_DENIED, REMEDY_NONE,
	    "no account owns the SPN HTTP/mail" },
	{ STEP_PROXY, KRB5KDC_ERR_BADOPTION, true, KERBEROS_DENIED, REMEDY_NONE,
	    "msDS-AllowedToDelegateTo" },
	{ STEP_PROXY, KRB5KDC_ERR_BADOPTION, false, KERBEROS_DENIED, REMEDY_NONE,
	    "TRUSTED_TO_AUTH_FOR_DELEGATION" },
	{ STEP_PROXY, KRB5KDC_ERR_ETYPE_NOSUPP, true, KERBEROS_DENIED, REMEDY_NONE, "AES" },
	{ STEP_SELF, KRB5KRB_AP_ERR_TKT_EXPIRED, false, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "expired" },
	{ STEP_SELF, KRB5KDC_ERR_TGT_REVOKED, false, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "revoked" },
};

static void each_case_of_the_table_names_cause_and_cure(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct krb_fault f = fault(cases[i].step, cases[i].code, cases[i].forwardable);
		if (f.result != cases[i].result || f.remedy != cases[i].remedy ||
		    strstr(f.text, cases[i].words) == NULL)
			fail_msg(
			    "case %zu: result %d remedy %d: %s", i, f.result, f.remedy, f.text);
	}
}

static void an_unknown_code_is_never_a_success_and_gives_its_number(void **state)
{
	(void)state;
	for (enum krb_step step = STEP_KEYTAB; step <= STEP_TOKEN; step++) {
		struct krb_fault f = fault(step, -1234567, false);
		assert_int_equal(f.result, step <= STEP_LOGIN ? KERBEROS_BROKEN : KERBEROS_DENIED);
		assert_non_null(strstr(f.text, "-1234567"));
		f = fault(step, KRB5KDC_ERR_NONE + 77, true);
		assert_int_not_equal(f.result, KERBEROS_OK);
		assert_non_null(strstr(f.text, "77"));
	}
	assert_non_null(strstr(fault(STEP_SELF, ENOMEM, false).text, "out of memory"));
}

static void names_that_are_missing_or_too_long_do_no_harm(void **state)
{
	char longest[600];
	struct krb_parties empty = { NULL, NULL, NULL, NULL },
			   huge = { longest, longest, longest, longest };
	struct krb_fault f;

	(void)state;
	/* A two-byte character at every place, so that one of them meets the cut. */
	for (size_t i = 0; i + 2 < sizeof(longest); i += 2)
		memcpy(longest + i, "\xc3\xa9", 2);
	longest[sizeof(longest) - 2] = '\0';
	krb_fault_from_code(STEP_PROXY, KRB5KDC_ERR_BADOPTION, true, &empty, &f);
	assert_int_equal(f.result, KERBEROS_DENIED);
	krb_fault_from_code(STEP_PROXY, KRB5KDC_ERR_BADOPTION, true, &huge, &f);
	assert_true(text_is_clean(strv_from(f.text)));
	longest[1] = 'x', longest[0] = 'x';
	krb_fault_from_code(STEP_SELF, KRB5KDC_ERR_POLICY, true, &huge, &f);
	assert_true(strlen(f.text) < FAULT_TEXT_MAX && text_is_clean(strv_from(f.text)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_case_of_the_table_names_cause_and_cure),
		cmocka_unit_test(an_unknown_code_is_never_a_success_and_gives_its_number),
		cmocka_unit_test(names_that_are_missing_or_too_long_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
