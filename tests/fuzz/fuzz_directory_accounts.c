/*
 * Accounts' files of any bytes: refused with a reason, or accounts whose texts end and whose SIDs
 * find one account or several, never none.
 */
#include "common/directory/accounts.h"

#include "common/directory/claim_kind.h"
#include "common/log.h"
#include "fuzz.h"

struct seen {
	const struct accounts *accounts;
};

static void check(void *arg, const char *sid)
{
	const struct seen *seen = arg;
	struct account found;
	enum account_result result = accounts_find(seen->accounts, CLAIM_SID, sid, &found);

	FUZZ_CHECK(result == ACCOUNT_FOUND || result == ACCOUNT_AMBIGUOUS);
	if (result != ACCOUNT_FOUND)
		return;
	FUZZ_CHECK(strcmp(found.sid, sid) == 0);
	FUZZ_CHECK(found.sam[0] != '\0' && memchr(found.sam, '\0', sizeof(found.sam)) != NULL);
	FUZZ_CHECK(memchr(found.upn, '\0', sizeof(found.upn)) != NULL && found.expires >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const char *const groups[] = { "CN=EAS-Users,DC=corp,DC=example" };
	struct config_error error = { "" };
	struct seen seen;
	char *copy;
	struct accounts *a;

	if (n > 65536)
		return 0;
	log_setup(LOG_ERROR, "fuzz", -1);
	copy = fuzz_exact(bytes, n);
	a = accounts_load("fuzz", (struct strv){ copy, n }, groups, 1, NULL, &error);
	free(copy);
	if (a == NULL) {
		FUZZ_CHECK(error.text[0] != '\0');
		return 0;
	}
	seen.accounts = a;
	accounts_compare(NULL, a, check, &seen);
	accounts_free(a);
	return 0;
}
