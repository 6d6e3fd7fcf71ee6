/*
 * The accounts' file: what it says, what is wrong in it, what changed in it, and that it is
 * followed.
 */
#include "common/directory/accounts.h"
#include "common/directory/claim_kind.h"
#include "common/directory/file.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define ALICE                                                                                      \
	"  - {sam: alice, sid: S-1-5-21-1-2-3-1, upn: alice@corp.example, mail: a@example.com, "   \
	"realm: corp.example, "                                                                    \
	"netbios: CORP, enabled: true, groups: [\"CN=EAS-Users, OU=Groups,DC=corp,DC=example\"], " \
	"alt_security_identities: [\"X509:<I>DC=x,CN=CA<SR>00AA\"]}\n"
#define BOB                                                                           \
	"  - {sam: bob, sid: S-1-5-21-1-2-3-2, upn: bob.builder@example.com, realm: " \
	"CORP.EXAMPLE}\n"

static const char *const groups[] = { "CN=Other,DC=x",
	"cn=EAS-Users,ou=Groups,dc=corp,dc=example" };

static struct accounts *load(const char *text, unsigned *twice, struct config_error *error)
{
	return accounts_load("accounts.yaml", strv_from(text), groups, 2, twice, error);
}

static struct accounts *good(const char *text)
{
	struct config_error error = { "" };
	struct accounts *a = load(text, NULL, &error);

	if (a == NULL)
		fail_msg("%s", error.text);
	return a;
}

static void each_name_of_an_account_finds_it(void **state)
{
	static const struct {
		uint32_t kind;
		const char *value;
		enum account_result want;
		const char *sam;
	} cases[] = {
		{ CLAIM_SID, "S-1-5-21-1-2-3-1", ACCOUNT_FOUND, "alice" },
		{ CLAIM_SID, "S-1-5-21-1-2-3-9", ACCOUNT_UNKNOWN, "" },
		{ CLAIM_UPN, "Alice@corp.example", ACCOUNT_FOUND, "alice" },
		{ CLAIM_UPN, "bob.builder@example.com", ACCOUNT_FOUND, "bob" },
		{ CLAIM_UPN, "bob@corp.example", ACCOUNT_FOUND, "bob" },
		{ CLAIM_UPN, "bob@example.com", ACCOUNT_UNKNOWN, "" },
		{ CLAIM_EMAIL, "a@example.com", ACCOUNT_FOUND, "alice" },
		{ CLAIM_EMAIL, "@", ACCOUNT_UNKNOWN, "" },
		{ CLAIM_SUBJECT_CN, "alice", ACCOUNT_FOUND, "alice" },
		{ CLAIM_ALT_ISSUER_SERIAL, "X509:<I>DC=x,CN=CA<SR>00aa", ACCOUNT_FOUND, "alice" },
		{ CLAIM_ALT_ISSUER_SERIAL, "X509:<I>CN=CA,DC=x<SR>00aa", ACCOUNT_FOUND, "alice" },
		{ CLAIM_ALT_ISSUER_SERIAL, "X509:<I>CN=CA,DC=x<SR>00ab", ACCOUNT_UNKNOWN, "" },
		{ CLAIM_USER, "alice", ACCOUNT_FOUND, "alice" },
		{ CLAIM_USER, "CORP\\alice", ACCOUNT_FOUND, "alice" },
		{ CLAIM_USER, "CORP\\bob", ACCOUNT_UNKNOWN, "" },
		{ CLAIM_USER, "", ACCOUNT_UNKNOWN, "" },
		{ CLAIM_NONE, "alice", ACCOUNT_UNKNOWN, "" },
	};
	struct accounts *a = good("accounts:\n" ALICE BOB);
	struct account found;

	(void)state;
	assert_int_equal(accounts_count(a), 2);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (accounts_find(a, cases[i].kind, cases[i].value, &found) != cases[i].want)
			fail_msg("%s", cases[i].value);
		assert_string_equal(found.sam, cases[i].sam);
	}
	accounts_free(a);
}

static void what_is_left_out_lets_nobody_in(void **state)
{
	struct accounts *a = good("accounts:\n" ALICE BOB);
	struct account found;

	(void)state;
	assert_int_equal(accounts_find(a, CLAIM_USER, "alice", &found), ACCOUNT_FOUND);
	assert_int_equal(found.flags, ACCOUNT_ENABLED);
	assert_int_equal(found.groups, 2);
	assert_string_equal(found.realm, "CORP.EXAMPLE");
	assert_int_equal(accounts_find(a, CLAIM_USER, "bob", &found), ACCOUNT_FOUND);
	assert_int_equal(found.flags, 0);
	assert_int_equal(found.groups, 0);
	accounts_free(a);
}

static void times_and_switches_are_read(void **state)
{
	struct accounts *a = good(
	    "accounts:\n"
	    "  - {sam: a, sid: S-1-5-21-1, expires: 2027-01-31, enabled: true, protected: true}\n"
	    "  - {sam: b, sid: S-1-5-21-2, expires: \"2027-01-31T12:00:00Z\", not_delegated: "
	    "true}\n");
	struct account found;

	(void)state;
	assert_int_equal(accounts_find(a, CLAIM_USER, "a", &found), ACCOUNT_FOUND);
	assert_int_equal(found.expires, 1801353600);
	assert_int_equal(found.flags, ACCOUNT_ENABLED | ACCOUNT_PROTECTED);
	assert_int_equal(accounts_find(a, CLAIM_USER, "b", &found), ACCOUNT_FOUND);
	assert_int_equal(found.expires, 1801353600 + 43200);
	assert_int_equal(found.flags, ACCOUNT_NOT_DELEGATED);
	accounts_free(a);
}

/* Each is refused whole, with the line. */
static void a_wrong_file_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text, *says;
	} wrong[] = {
		{ "accounts:\n" ALICE "  - {sam: b, sid: S-1-5-21-2, enable: true}\n",
		    "accounts.yaml:3: " },
		{ "accounts:\n  - {sam: b}\n", "sid" },
		{ "accounts:\n  - {sid: S-1-5-21-2}\n", "sam" },
		{ "accounts:\n  - {sam: b, sid: S-1-5-021}\n",
		    "accounts.yaml:2: accounts[0].sid: " },
		{ "accounts:\n  - {sam: \"b\\x07\", sid: S-1-5-21-2}\n", "accounts[0].sam" },
		{ "accounts:\n  - {sam: \"\", sid: S-1-5-21-2}\n", "sam" },
		{ "accounts:\n  - {sam: b, sid: S-1-5-21-2, expires: 2027-02-31}\n",
		    "accounts[0].expires" },
		{ "accounts:\n  - {sam: b, sid: S-1-5-21-2, expires: tomorrow}\n",
		    "accounts[0].expires" },
		{ "accounts:\n  - {sam: b, sid: S-1-5-21-2, enabled: perhaps}\n", "enabled" },
		{ "accounts: 7\n", "accounts.yaml:1" },
		{ "", "accounts.yaml:1: " },
	};
	struct config_error error;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		error.text[0] = '\0';
		if (load(wrong[i].text, NULL, &error) != NULL)
			fail_msg("was taken: %s", wrong[i].text);
		if (strstr(error.text, wrong[i].says) == NULL)
			fail_msg("\"%s\" does not say \"%s\"", error.text, wrong[i].says);
	}
}

static void a_name_that_stands_twice_is_reported_and_lets_neither_in(void **state)
{
	struct config_error error = { "" };
	struct account found;
	unsigned twice = 0;
	struct accounts *a = load("accounts:\n" ALICE BOB
				  "  - {sam: carol, sid: S-1-5-21-1-2-3-3, upn: "
				  "Alice@corp.example, mail: b@example.com}\n",
	    &twice, &error);

	(void)state;
	assert_non_null(a);
	assert_int_equal(twice, 1);
	assert_int_equal(
	    accounts_find(a, CLAIM_UPN, "alice@corp.example", &found), ACCOUNT_AMBIGUOUS);
	assert_string_equal(found.sam, "");
	assert_int_equal(accounts_find(a, CLAIM_EMAIL, "b@example.com", &found), ACCOUNT_FOUND);
	accounts_free(a);
}

static char told[8][ACCOUNT_SID_MAX];
static unsigned told_n;

static void note(void *arg, const char *sid)
{
	(void)arg;
	assert_true(told_n < ARRAY_LEN(told));
	snprintf(told[told_n++], ACCOUNT_SID_MAX, "%s", sid);
}

static void only_what_changed_is_told(void **state)
{
	struct accounts *before = good("accounts:\n" ALICE BOB),
			*same = good("accounts:\n" BOB ALICE),
			*after = good("accounts:\n" ALICE
				      "  - {sam: bob, sid: S-1-5-21-1-2-3-2, enabled: true}\n");

	(void)state;
	told_n = 0;
	accounts_compare(before, same, note, NULL);
	assert_int_equal(told_n, 0);
	accounts_compare(before, after, note, NULL);
	assert_int_equal(told_n, 2); /* as it was, and as it is: the same SID */
	assert_string_equal(told[0], "S-1-5-21-1-2-3-2");
	assert_string_equal(told[1], "S-1-5-21-1-2-3-2");
	told_n = 0;
	accounts_compare(NULL, before, note, NULL);
	assert_int_equal(told_n, 2);
	accounts_free(before);
	accounts_free(same);
	accounts_free(after);
}

/* --- following --- */

struct site {
	char folder[64], path[128];
	struct loop *loop;
	struct directory_file *file;
	unsigned until; /* stop when so many changes were told */
};

static void write_file(const struct site *s, const char *text)
{
	FILE *f = fopen(s->path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void on_told(void *arg, const char *sid)
{
	struct site *s = arg;

	note(NULL, sid);
	if (told_n >= s->until)
		loop_stop(s->loop);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	loop_stop(((struct site *)arg)->loop);
}

/* Runs until so many changes were told, at most that long. */
static void run(struct site *s, unsigned until, unsigned ms)
{
	struct timeval limit = { ms / 1000, (ms % 1000) * 1000 };
	struct event *late = event_new(loop_base(s->loop), -1, 0, on_late, s);

	told_n = 0;
	s->until = until;
	event_add(late, &limit);
	assert_int_equal(loop_run(s->loop), 0);
	event_free(late);
}

static void the_file_is_followed_and_a_wrong_one_changes_nothing(void **state)
{
	struct site s = { .folder = "/tmp/accounts-XXXXXX" };
	struct directory_file_setup setup = {
		.path = s.path, .groups = groups, .groups_count = 2, .changed = on_told, .arg = &s
	};
	struct account found;

	(void)state;
	assert_non_null(mkdtemp(s.folder));
	snprintf(s.path, sizeof(s.path), "%s/accounts.yaml", s.folder);
	s.loop = loop_new();
	s.until = 100;
	write_file(&s, "accounts:\n" ALICE);
	s.file = directory_file_new(s.loop, &setup, STRV("accounts:\n" ALICE));
	assert_int_equal(directory_file_find(s.file, CLAIM_USER, "alice", &found), ACCOUNT_FOUND);
	write_file(&s, "accounts:\n" ALICE BOB);
	run(&s, 1, 5000);
	assert_int_equal(told_n, 1);
	assert_int_equal(directory_file_find(s.file, CLAIM_USER, "bob", &found), ACCOUNT_FOUND);
	write_file(&s, "accounts:\n  - {sam: mallory}\n");
	run(&s, 1, 1000);
	assert_int_equal(told_n, 0);
	assert_int_equal(directory_file_find(s.file, CLAIM_USER, "alice", &found), ACCOUNT_FOUND);
	assert_int_equal(unlink(s.path), 0);
	run(&s, 1, 1000);
	assert_int_equal(directory_file_find(s.file, CLAIM_USER, "alice", &found), ACCOUNT_FOUND);
	write_file(&s, "accounts:\n" BOB);
	run(&s, 1, 5000);
	assert_int_equal(directory_file_find(s.file, CLAIM_USER, "alice", &found), ACCOUNT_UNKNOWN);
	directory_file_free(s.file);
	loop_free(s.loop);
	assert_int_equal(unlink(s.path), 0);
	assert_int_equal(rmdir(s.folder), 0);
}

static void with_a_file_that_was_never_right_nobody_is_known_or_unknown(void **state)
{
	struct directory_file_setup setup = { .path = "/nowhere/accounts.yaml", .changed = note };
	struct loop *loop = loop_new();
	struct directory_file *f = directory_file_new(loop, &setup, STRV("accounts: nonsense\n"));
	struct account found;

	(void)state;
	assert_int_equal(directory_file_find(f, CLAIM_USER, "alice", &found), ACCOUNT_UNAVAILABLE);
	directory_file_free(f);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_name_of_an_account_finds_it),
		cmocka_unit_test(what_is_left_out_lets_nobody_in),
		cmocka_unit_test(times_and_switches_are_read),
		cmocka_unit_test(a_wrong_file_is_refused_with_its_line),
		cmocka_unit_test(a_name_that_stands_twice_is_reported_and_lets_neither_in),
		cmocka_unit_test(only_what_changed_is_told),
		cmocka_unit_test(the_file_is_followed_and_a_wrong_one_changes_nothing),
		cmocka_unit_test(with_a_file_that_was_never_right_nobody_is_known_or_unknown),
	};

	log_setup(LOG_ERROR, "test", -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
