/*
 * test_user_name: the spellings of an account: user_name.tbl, row by row, and over directories of accounts whose names overlap as badly as a
 * directory lets them: no spelling is taken for two accounts, and whoever it is taken for is whom Active Directory would log on by it.
 */
#include "proxy/worker/user_name.h"

#include <fcntl.h>

#include "common/directory/accounts.h"
#include "common/log.h"
#include "table.h"

static const struct account_view alice = { .sid = "S-1-5-21-1-2-3-1104", .sam = "alice", .realm = "CORP.EXAMPLE", .netbios = "CORP",
	.upn = "a.adams@corp.example", .mail = "alice@example.com", .display_name = "Alice" };

static void check(const struct table_row *row)
{
	static const char *const words[] = { [USER_OTHER] = "other", [USER_OWN] = "own", [USER_ASK_LOGIN] = "login" };

	table_want(row, words[user_name_judge(&alice, row->column[2])], row->column[1]);
}

static void every_row_of_the_table_is_judged_as_it_says(void **state)
{
	(void)state;
	table_run("user_name.tbl", "", 3, check);
}

/* An account without mail, UPN or domain must not answer to the empty parts of a name. */
static void an_account_with_few_names_answers_to_those_alone(void **state)
{
	static const char *const others[] = { "@", "\\", "@bare", "CORP\\bare", "bare@", "\\\\", "CORP\\" };
	struct account_view bare = { .sid = "", .sam = "bare", .realm = "", .netbios = "", .upn = "", .mail = "", .display_name = "" };

	(void)state;
	assert_int_equal(user_name_judge(&bare, STRV("bare")), USER_OWN);
	assert_int_equal(user_name_judge(&bare, STRV("")), USER_OWN);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_int_equal(user_name_judge(&bare, strv_from(others[i])), USER_OTHER);
	assert_int_equal(user_name_judge(&bare, STRV("bare@corp.example")), USER_ASK_LOGIN);
	assert_int_equal(user_name_found(&bare, USER_ASK_LOGIN, ACCOUNT_FOUND, ""), USER_OTHER);
	bare.sam = "";
	assert_int_equal(user_name_judge(&bare, STRV("@")), USER_OTHER);
	assert_int_equal(user_name_judge(&bare, STRV("bare")), USER_OTHER);
}

static void the_administrators_spelling_needs_no_proof(void **state)
{
	static const char *const hers[] = { "alice", "CORP\\alice", "a.adams@corp.example", "Alice@Example.com", "alice@corp.example" };
	static const char *const others[] = { "", "bob", "alice@corp", "a.adams", "alice@", "@", "alice@evil.example", "EVIL\\alice" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hers); i++)
		assert_true(user_name_configured(&alice, strv_from(hers[i])));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(user_name_configured(&alice, strv_from(others[i])));
}

static void what_the_directory_says_decides(void **state)
{
	(void)state;
	assert_int_equal(user_name_found(&alice, USER_ASK_LOGIN, ACCOUNT_FOUND, alice.sid), USER_OWN);
	assert_int_equal(user_name_found(&alice, USER_ASK_LOGIN, ACCOUNT_FOUND, "S-1-5-21-1-2-3-1105"), USER_OTHER);
	assert_int_equal(user_name_found(&alice, USER_ASK_LOGIN, ACCOUNT_UNKNOWN, ""), USER_ASK_ADDRESS);
	assert_int_equal(user_name_found(&alice, USER_ASK_LOGIN, ACCOUNT_AMBIGUOUS, ""), USER_OTHER);
	assert_int_equal(user_name_found(&alice, USER_ASK_ADDRESS, ACCOUNT_FOUND, alice.sid), USER_OWN);
	assert_int_equal(user_name_found(&alice, USER_ASK_ADDRESS, ACCOUNT_FOUND, "S-1-5-21-1-2-3-1105"), USER_OTHER);
	assert_int_equal(user_name_found(&alice, USER_ASK_ADDRESS, ACCOUNT_UNKNOWN, ""), USER_OTHER);
	assert_int_equal(user_name_found(&alice, USER_ASK_ADDRESS, ACCOUNT_AMBIGUOUS, ""), USER_OTHER);
	assert_int_equal(user_name_found(&alice, USER_ASK_ADDRESS, ACCOUNT_MISMATCH, alice.sid), USER_OTHER);
}

/* --- directories that overlap --- */

#define PEOPLE 6

/* Small enough that names collide all the time. */
static const char *const locals[] = { "bob", "Bob", "alice", "b\xc3\xb6" "b", "b\xd0\xbe" "b", "bob.", "bob ", "corp", "corp.example", "a",
	"bob@corp.example", "CORP.bob" };
static const char *const suffixes[] = { "corp.example", "CORP.EXAMPLE", "mail.example", "CORP", "corp.example.", "bob" };
static const char *const domains[] = { "CORP", "corp", "corp.example", "CORP.EXAMPLE", "EVIL", "corp.example.", "", "bob" };

static uint64_t seed;

static unsigned any(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 11) % n;
}

#define ONE_OF(list) list[any(ARRAY_LEN(list))]

struct person {
	char sam[64], upn[128], mail[128], sid[64];
};

static void address(char out[128])
{
	snprintf(out, 128, "%s@%s", ONE_OF(locals), ONE_OF(suffixes));
}

static bool taken(const struct person *people, unsigned n, const char *text, bool upn)
{
	for (unsigned i = 0; i < n; i++)
		if (text_eq_nocase(strv_from(upn ? people[i].upn : people[i].sam), strv_from(text)))
			return true;
	return false;
}

/* What a directory enforces, and no more: names and UPNs are each unique without case. Mail addresses are not. */
static void make_people(struct person people[PEOPLE])
{
	char text[128];

	memset(people, 0, PEOPLE * sizeof(*people));
	for (unsigned i = 0; i < PEOPLE; i++) {
		do {
			snprintf(text, sizeof(text), "%s", ONE_OF(locals));
		} while (taken(people, i, text, false));
		snprintf(people[i].sam, sizeof(people[i].sam), "%s", text);
		snprintf(people[i].sid, sizeof(people[i].sid), "S-1-5-21-1-2-3-%u", 1100 + i);
		if (any(4) != 0)
			address(people[i].mail);
		if (any(4) == 0)
			continue;
		for (unsigned tries = 0; tries < 20; tries++) {
			address(text);
			if (!taken(people, i, text, true)) {
				memcpy(people[i].upn, text, sizeof(text));
				break;
			}
		}
	}
}

static struct accounts *directory_of(const struct person people[PEOPLE])
{
	char yaml[8192] = "accounts:\n";
	struct config_error error;
	struct accounts *a;
	size_t n = strlen(yaml);

	for (unsigned i = 0; i < PEOPLE; i++) {
		n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, "  - sam: \"%s\"\n    sid: %s\n    realm: CORP.EXAMPLE\n    netbios: CORP\n"
		    "    enabled: true\n    upn: \"%s\"\n    mail: \"%s\"\n", people[i].sam, people[i].sid, people[i].upn, people[i].mail);
	}
	a = accounts_load("people", (struct strv){ yaml, n }, NULL, 0, NULL, &error);
	if (a == NULL)
		fail_msg("%s", error.text);
	return a;
}

static void spell(const struct person people[PEOPLE], char out[256])
{
	const struct person *p = &people[any(PEOPLE)];
	const char *name = any(4) == 0 ? p->mail : any(3) == 0 ? p->upn : any(2) == 0 ? p->sam : ONE_OF(locals);

	switch (any(8)) {
	case 0:
	case 1:
		snprintf(out, 256, "%s", name);
		break;
	case 2:
	case 3:
		snprintf(out, 256, "%s\\%s", ONE_OF(domains), name);
		break;
	case 4:
	case 5:
		snprintf(out, 256, "%s@%s", name, ONE_OF(suffixes));
		break;
	case 6:
		snprintf(out, 256, "%s\\%s@%s", ONE_OF(domains), name, ONE_OF(suffixes));
		break;
	default:
		snprintf(out, 256, "%s ", name);
		break;
	}
	for (char *c = out; any(3) == 0 && *c != '\0'; c++)
		*c = (char)(*c >= 'a' && *c <= 'z' && any(2) ? *c - 32 : *c);
}

/* As session_user.c asks. */
static bool accepts(const struct accounts *a, const struct account_view *view, const char *spelling)
{
	enum user_name verdict = user_name_judge(view, strv_from(spelling));
	const char *asked = spelling[0] == '\\' ? spelling + 1 : spelling;
	enum account_result result;
	struct account found;

	while (verdict == USER_ASK_LOGIN || verdict == USER_ASK_ADDRESS) {
		result = accounts_find(a, verdict == USER_ASK_LOGIN ? CLAIM_USER : CLAIM_EMAIL, asked, &found);
		verdict = user_name_found(view, verdict, result, found.sid);
	}
	return verdict == USER_OWN;
}

/* Whom AD logs on by a name, written without a look at user_name.c: UPN before implicit UPN, and nobody by mail. -1: nobody. */
static int logon(const struct person people[PEOPLE], const char *spelling)
{
	const char *name = spelling[0] == '\\' ? spelling + 1 : spelling, *slash = strchr(name, '\\'), *at = strrchr(name, '@');
	char implicit[256];

	if (slash == NULL && at != NULL) {
		for (int i = 0; i < PEOPLE; i++)
			if (strcasecmp(people[i].upn, name) == 0)
				return i;
	}
	for (int i = 0; i < PEOPLE; i++) {
		snprintf(implicit, sizeof(implicit), "%s@corp.example", people[i].sam);
		if (slash != NULL ? strcasecmp(people[i].sam, slash + 1) == 0 && ((slash - name == 4 && strncasecmp(name, "CORP", 4) == 0) ||
		        (slash - name == 12 && strncasecmp(name, "corp.example", 12) == 0))
		    : at != NULL ? strcasecmp(implicit, name) == 0 : strcasecmp(people[i].sam, name) == 0)
			return i;
	}
	return -1;
}

static void no_spelling_reaches_another_account(void **state)
{
	struct person people[PEOPLE];
	unsigned taken_by_name = 0, taken_by_mail = 0, refused = 0;
	char spelling[256];

	(void)state;
	seed = 0x9e3779b97f4a7c15ull;
	for (unsigned round = 0; round < 400; round++) {
		struct accounts *a;

		make_people(people);
		a = directory_of(people);
		for (unsigned k = 0; k < 200; k++) {
			int who = -1, owner;

			spell(people, spelling);
			if (spelling[0] == '\0')
				continue;
			owner = logon(people, spelling);
			for (int i = 0; i < PEOPLE; i++) {
				struct account_view view = { .sid = people[i].sid, .sam = people[i].sam, .realm = "CORP.EXAMPLE", .netbios = "CORP",
					.upn = people[i].upn, .mail = people[i].mail, .display_name = "" };

				if (!accepts(a, &view, spelling))
					continue;
				if (who >= 0)
					fail_msg("\"%s\" is taken for %s and for %s", spelling, people[who].sam, people[i].sam);
				if (owner >= 0 && owner != i)
					fail_msg("\"%s\" is taken for %s and logs %s on", spelling, people[i].sam, people[owner].sam);
				who = i;
			}
			taken_by_name += who >= 0 && owner >= 0;
			taken_by_mail += who >= 0 && owner < 0;
			refused += who < 0;
		}
		accounts_free(a);
	}
	/* the generator reaches every kind */
	assert_true(taken_by_name > 1000 && taken_by_mail > 100 && refused > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_is_judged_as_it_says),
		cmocka_unit_test(an_account_with_few_names_answers_to_those_alone),
		cmocka_unit_test(the_administrators_spelling_needs_no_proof),
		cmocka_unit_test(what_the_directory_says_decides),
		cmocka_unit_test(no_spelling_reaches_another_account),
	};

	/* names that stand twice are said by a line each */
	log_setup(LOG_ERROR, "test", open("/dev/null", O_WRONLY | O_CLOEXEC));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
