/*
 * user_name: spellings of an account. Asks nobody. Worker process.
 */
#include "proxy/worker/user_name.h"

#include "common/text.h"

static bool same(const char *a, struct strv b)
{
	return a[0] != '\0' && text_eq_nocase(strv_from(a), b);
}

static bool has(struct strv text, char c)
{
	return text.n > 0 && memchr(text.p, c, text.n) != NULL;
}

/* Something on both sides of its last '@': whoever writes two gets a name that nobody has. */
static bool is_address(struct strv user)
{
	const char *at = memrchr(user.p, '@', user.n);

	return at != NULL && at != user.p && at != user.p + user.n - 1;
}

enum user_name user_name_judge(const struct account_view *account, struct strv user)
{
	struct strv rest = user, domain;

	if (user.n == 0)
		return USER_OWN;
	if (has(user, '\\')) {
		domain = text_split(&rest, '\\');
		if (domain.n > 0)
			return same(account->sam, rest) && (same(account->netbios, domain) || same(account->realm, domain)) ? USER_OWN : USER_OTHER;
		if (rest.n == 0 || has(rest, '\\'))
			return USER_OTHER;
		user = rest;
	}
	if (!has(user, '@'))
		return same(account->sam, user) ? USER_OWN : USER_OTHER;
	if (!is_address(user))
		return USER_OTHER;
	return same(account->upn, user) ? USER_OWN : USER_ASK_LOGIN;
}

bool user_name_configured(const struct account_view *account, struct strv user)
{
	const char *at = user.n > 0 ? memrchr(user.p, '@', user.n) : NULL;

	if (user.n == 0 || user_name_judge(account, user) == USER_OTHER)
		return false;
	if (at == NULL || user_name_judge(account, user) == USER_OWN || same(account->mail, user))
		return true;
	return same(account->sam, (struct strv){ user.p, (size_t)(at - user.p) }) &&
	    same(account->realm, (struct strv){ at + 1, (size_t)(user.p + user.n - at - 1) });
}

enum user_name user_name_found(const struct account_view *account, enum user_name asked, enum account_result result, const char *sid)
{
	switch (result) {
	case ACCOUNT_FOUND:
		return account->sid[0] != '\0' && strcmp(account->sid, sid) == 0 ? USER_OWN : USER_OTHER;
	case ACCOUNT_UNKNOWN:
		return asked == USER_ASK_LOGIN ? USER_ASK_ADDRESS : USER_OTHER;
	default:
		return USER_OTHER;
	}
}
