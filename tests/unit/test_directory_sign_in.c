/*
 * Passwords: hashes of the accounts' file, sign-in by it, and what Active Directory's answers to a bind mean.
 */
#include "common/directory/sign_in.h"

#include "common/directory/accounts.h"
#include "common/directory/file.h"
#include "common/directory/ldap_parts.h"
#include "common/directory/password_hash.h"

#include <crypt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char good_hash[CRYPT_OUTPUT_SIZE], other_hash[CRYPT_OUTPUT_SIZE];

struct site {
	struct loop *loop;
	struct directory_file *file;
	struct sign_ins *sign_ins;
	char path[64];
};

static struct directory_signed_in last;
static unsigned answers;
static char asker;

static void on_answer(void *who, uint64_t number, const struct directory_signed_in *answer)
{
	assert_ptr_equal(who, &asker);
	assert_int_equal(number, 7);
	last = *answer;
	answers++;
}

static void on_changed(void *arg, const char *sid)
{
	(void)arg;
	(void)sid;
}

static void make_hash(const char *password, char *out)
{
	struct crypt_data data;
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];

	memset(&data, 0, sizeof(data));
	assert_non_null(crypt_gensalt_rn("$y$", 1, NULL, 0, setting, sizeof(setting)));
	assert_non_null(crypt_r(password, setting, &data));
	snprintf(out, CRYPT_OUTPUT_SIZE, "%s", data.output);
}

static int set_up(void **state)
{
	struct site *s = calloc(1, sizeof(*s));
	struct directory_file_setup setup = { .changed = on_changed };
	char text[4096];

	assert_non_null(s);
	make_hash("Correct-1 \xc3\xa9", good_hash);
	make_hash("another", other_hash);
	snprintf(text, sizeof(text),
	    "accounts:\n"
	    "  - { sam: alice, sid: S-1-5-21-1-2-3-4, upn: alice@corp.example, realm: CORP.EXAMPLE, netbios: CORP, enabled: true, password: \"%s\" }\n"
	    "  - { sam: bob, sid: S-1-5-21-1-2-3-5, realm: CORP.EXAMPLE, enabled: true }\n"
	    "  - { sam: dora, sid: S-1-5-21-1-2-3-6, realm: CORP.EXAMPLE, enabled: false, password: \"%s\" }\n"
	    "  - { sam: eve, sid: S-1-5-21-1-2-3-7, realm: CORP.EXAMPLE, enabled: true, expires: 2020-01-01, password: \"%s\" }\n",
	    good_hash, other_hash, other_hash);
	s->loop = loop_new();
	setup.path = "/nonexistent/accounts.yaml";
	s->file = directory_file_new(s->loop, &setup, strv_from(text));
	assert_non_null(s->file);
	s->sign_ins = sign_ins_new(
	    &(struct sign_ins_setup){ .loop = s->loop, .file = s->file, .answer = on_answer });
	assert_non_null(s->sign_ins);
	answers = 0;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct site *s = *state;

	sign_ins_free(s->sign_ins);
	directory_file_free(s->file);
	loop_free(s->loop);
	free(s);
	return 0;
}

static uint32_t try(struct site *s, const char *name, const char *password)
{
	struct directory_sign_in ask = { .margin = 2, .password_n = (uint32_t)strlen(password) };

	snprintf(ask.name, sizeof(ask.name), "%s", name);
	memcpy(ask.password, password, strlen(password));
	answers = 0;
	assert_int_equal(sign_ins_ask(s->sign_ins, &asker, 7, &ask), 0);
	assert_int_equal(answers, 1);
	return last.result;
}

static void the_right_password_signs_in_by_every_form_of_the_name(void **state)
{
	static const char *const names[] = { "alice", "ALICE", "alice@corp.example",
		"CORP\\alice" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(try(*state, names[i], "Correct-1 \xc3\xa9"), SIGNED_IN);
		assert_string_equal(last.account.sid, "S-1-5-21-1-2-3-4");
	}
}

static void anything_else_does_not(void **state)
{
	assert_int_equal(try(*state, "alice", "correct-1 \xc3\xa9"), SIGN_IN_WRONG);
	assert_int_equal(try(*state, "alice", "another"), SIGN_IN_WRONG);
	assert_int_equal(try(*state, "alice", good_hash), SIGN_IN_WRONG);
	assert_int_equal(try(*state, "bob", "another"), SIGN_IN_WRONG); /* has no password at all */
	assert_int_equal(try(*state, "nobody", "another"), SIGN_IN_UNKNOWN);
	assert_int_equal(try(*state, "al\nice", "another"), SIGN_IN_UNKNOWN);
}

static void a_right_password_of_an_account_that_may_not_says_why_and_a_wrong_one_does_not(
    void **state)
{
	assert_int_equal(try(*state, "dora", "another"), SIGN_IN_DISABLED);
	assert_int_equal(try(*state, "dora", "wrong"), SIGN_IN_WRONG);
	assert_int_equal(try(*state, "eve", "another"), SIGN_IN_EXPIRED);
}

static void threat_35_an_empty_password_is_refused_before_anything_is_asked(void **state)
{
	struct site *s = *state;
	struct directory_sign_in ask = { .name = "alice" };

	assert_int_equal(sign_ins_ask(s->sign_ins, &asker, 7, &ask), -1);
	ask.password_n = sizeof(ask.password) + 1;
	assert_int_equal(sign_ins_ask(s->sign_ins, &asker, 7, &ask), -1);
	ask.password_n = 3;
	memcpy(ask.password, "a\0b", 3);
	assert_int_equal(sign_ins_ask(s->sign_ins, &asker, 7, &ask), -1);
	ask.password_n = 1;
	memset(ask.name, 'a', sizeof(ask.name));
	assert_int_equal(sign_ins_ask(s->sign_ins, &asker, 7, &ask), -1);
	assert_int_equal(answers, 0);
}

static uint64_t nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t cost(struct site *s, const char *name)
{
	uint64_t best = UINT64_MAX, began;

	for (int i = 0; i < 5; i++) {
		began = nanoseconds();
		(void)try(s, name, "wrong");
		began = nanoseconds() - began;
		best = began < best ? began : best;
	}
	return best;
}

static void threat_47_an_unknown_name_costs_as_much_work_as_a_known_one(void **state)
{
	uint64_t known = cost(*state, "alice"), unknown = cost(*state, "nobody"),
		 without = cost(*state, "bob");

	assert_true(unknown > known / 2 && unknown < known * 2);
	assert_true(without > known / 2 && without < known * 2);
}

static void a_file_with_a_password_in_clear_is_refused_whole(void **state)
{
	static const char *const bad[] = { "secret", "$1$abc$deadbeef", "$y$short", "*",
		"!$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o" };
	struct config_error error;
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(text, sizeof(text),
		    "accounts:\n  - { sam: a, sid: S-1-5-21-1-2-3-4, password: \"%s\" }\n", bad[i]);
		assert_null(accounts_load("f", strv_from(text), NULL, 0, NULL, &error));
		assert_non_null(strstr(error.text, "password"));
		assert_null(strstr(error.text, "secret"));
	}
}

static void what_active_directory_answers_is_read(void **state)
{
	static const struct {
		int code;
		const char *diagnostic;
		enum sign_in_result result;
	} table[] = {
		{ LDAP_SUCCESS, "", SIGNED_IN },
		{ LDAP_INVALID_CREDENTIALS,
		    "80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data 52e, v3839",
		    SIGN_IN_WRONG },
		{ LDAP_INVALID_CREDENTIALS,
		    "80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data 525, v3839",
		    SIGN_IN_UNKNOWN },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 530, v1db1",
		    SIGN_IN_NOT_NOW },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 531, v1db1",
		    SIGN_IN_NOT_NOW },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 532, v1db1",
		    SIGN_IN_MUST_CHANGE },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 533, v1db1",
		    SIGN_IN_DISABLED },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 701, v1db1",
		    SIGN_IN_EXPIRED },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 773, v1db1",
		    SIGN_IN_MUST_CHANGE },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 775, v1db1",
		    SIGN_IN_LOCKED },
		{ LDAP_INVALID_CREDENTIALS, "AcceptSecurityContext error, data 7755, v1db1",
		    SIGN_IN_WRONG },
		{ LDAP_INVALID_CREDENTIALS, "", SIGN_IN_WRONG },
		{ LDAP_SASL_BIND_IN_PROGRESS, "", SIGN_IN_UNAVAILABLE },
		{ LDAP_STRONG_AUTH_REQUIRED, "", SIGN_IN_UNAVAILABLE },
		{ LDAP_BUSY, "", SIGN_IN_UNAVAILABLE },
		{ LDAP_REFERRAL, "", SIGN_IN_UNAVAILABLE },
		{ -1, "data 52e", SIGN_IN_UNAVAILABLE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		assert_int_equal(
		    ldap_user_bind_judge(table[i].code, table[i].diagnostic), table[i].result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    the_right_password_signs_in_by_every_form_of_the_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(anything_else_does_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_right_password_of_an_account_that_may_not_says_why_and_a_wrong_one_does_not,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    threat_35_an_empty_password_is_refused_before_anything_is_asked, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    threat_47_an_unknown_name_costs_as_much_work_as_a_known_one, set_up, tear_down),
		cmocka_unit_test(a_file_with_a_password_in_clear_is_refused_whole),
		cmocka_unit_test(what_active_directory_answers_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
