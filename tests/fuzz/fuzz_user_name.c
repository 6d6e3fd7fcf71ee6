/*
 * Two accounts of any names and a spelling of any bytes: it is never taken for both, and where it is one's userPrincipalName never for
 * the other. The input is seven texts, each to a NUL: sAMAccountName, UPN and mail of the one and of the other, and the spelling.
 */
#include "proxy/worker/user_name.h"

#include "common/directory/claim_search.h"
#include "common/text.h"
#include "fuzz.h"

#define TEXTS 7

struct person {
	const char *sam, *upn, *mail, *sid;
};

static bool found_by(const struct person *p, uint32_t kind, const char *spelling)
{
	static const struct directory_names names = { "CORP.EXAMPLE", "CORP" };
	struct claim_search search[CLAIM_SEARCHES_MAX];
	unsigned n = claim_searches(kind, spelling, &names, search);

	for (unsigned i = 0; i < n; i++) {
		const char *value = strcmp(search[i].attribute, "userPrincipalName") == 0 ? p->upn :
		    strcmp(search[i].attribute, "sAMAccountName") == 0 ? p->sam : strcmp(search[i].attribute, "mail") == 0 ? p->mail : "";
		if (value[0] != '\0' && claim_matches(&search[i], strv_from(value)))
			return true;
	}
	return false;
}

static bool accepts(const struct person people[2], unsigned who, const char *spelling)
{
	struct account_view view = { .sid = people[who].sid, .sam = people[who].sam, .realm = "CORP.EXAMPLE", .netbios = "CORP",
		.upn = people[who].upn, .mail = people[who].mail, .display_name = "" };
	enum user_name verdict = user_name_judge(&view, strv_from(spelling));
	const char *asked = spelling[0] == '\\' ? spelling + 1 : spelling;

	for (unsigned round = 0; verdict == USER_ASK_LOGIN || verdict == USER_ASK_ADDRESS; round++) {
		uint32_t kind = verdict == USER_ASK_LOGIN ? CLAIM_USER : CLAIM_EMAIL;
		bool one = found_by(&people[0], kind, asked), other = found_by(&people[1], kind, asked);

		FUZZ_CHECK(round < 2);
		verdict = user_name_found(&view, verdict, one && other ? ACCOUNT_AMBIGUOUS : one || other ? ACCOUNT_FOUND : ACCOUNT_UNKNOWN,
		    people[one ? 0 : 1].sid);
	}
	return verdict == USER_OWN;
}

/* What a directory does not allow two accounts to share. */
static bool unique(const char *a, const char *b)
{
	return a[0] == '\0' || !text_eq_nocase(strv_from(a), strv_from(b));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *copy = malloc(n + TEXTS);
	const char *text[TEXTS], *at = copy;
	struct person people[2];

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, bytes, n);
	memset(copy + n, '\0', TEXTS);
	for (unsigned i = 0; i < TEXTS; i++) {
		text[i] = at;
		if ((size_t)(at - copy) < n)
			at += strlen(at) + 1;
	}
	people[0] = (struct person){ text[0], text[1], text[2], "S-1-5-21-1-2-3-1" };
	people[1] = (struct person){ text[3], text[4], text[5], "S-1-5-21-1-2-3-2" };
	if (text[6][0] != '\0' && unique(text[0], text[3]) && unique(text[1], text[4])) {
		bool one = accepts(people, 0, text[6]), other = accepts(people, 1, text[6]);

		FUZZ_CHECK(!(one && other));
		FUZZ_CHECK(!one || strchr(text[6], '@') == NULL || strchr(text[6], '\\') != NULL ||
		    !text_eq_nocase(strv_from(text[4]), strv_from(text[6])));
		FUZZ_CHECK(!other || strchr(text[6], '@') == NULL || strchr(text[6], '\\') != NULL ||
		    !text_eq_nocase(strv_from(text[1]), strv_from(text[6])));
	}
	free(copy);
	return 0;
}
