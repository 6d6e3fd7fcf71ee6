/*
 * names: accounts that no ticket is made for, whatever else holds. Knows no directory and no
 * ticket. Runs in the *kerberos* process.
 */
#include "proxy/kerberos/names.h"

#include "common/directory/ask.h"
#include "common/text.h"

_Static_assert(
    sizeof(((struct krb_name *)0)->name) == ACCOUNT_NAME_MAX, "a name of the directory fits");

static bool is_realm(struct strv realm)
{
	for (size_t i = 0; i < realm.n; i++) {
		char c = realm.p[i];
		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			c == '.' || c == '-' || c == '_'))
			return false;
	}
	return realm.n > 0;
}

/* `allowed`: characters of AD's list that are let through here. */
static bool is_account_name(struct strv name, const char *allowed)
{
	static const char forbidden[] = "\"/\\[]:;|=,+*?<>@";

	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (c == '\0' || (strchr(forbidden, c) != NULL && strchr(allowed, c) == NULL))
			return false;
	}
	return name.n > 0 && text_is_clean(name);
}

int krb_name_parse(struct krb_name *out, const char *text)
{
	struct strv realm = strv_from(text), name = text_split(&realm, '@');
	struct krb_name n;

	if (realm.p == NULL || !is_realm(realm) || !is_account_name(name, "/"))
		return -1;
	if (text_copy(n.name, sizeof(n.name), name) < 0 ||
	    text_copy(n.realm, sizeof(n.realm), realm) < 0)
		return -1;
	*out = n;
	return 0;
}

const char *krb_name_refused(const char *sam, const char *realm, const struct krb_name *own)
{
	static const char *const never[] = { "administrator", "krbtgt", "guest", "defaultaccount",
		"wdagutilityaccount" };
	struct strv name = strv_from(sam);

	if (!is_account_name(name, ""))
		return "this is no sAMAccountName";
	if (strcmp(realm, own->realm) != 0)
		return "the account is of another realm than proxy.kerberos.principal: only that "
		       "one is served";
	if (name.p[name.n - 1] == '$')
		return "computers and trusts get no ticket in their name";
	/* krbtgt_12345 are the read-only DCs' */
	if (text_starts_nocase(name, STRV("krbtgt_")))
		return "the KDC's own accounts get no ticket in their name";
	for (size_t i = 0; i < ARRAY_LEN(never); i++) {
		if (text_eq_nocase(name, strv_from(never[i])))
			return "built-in accounts get no ticket in their name";
	}
	if (text_eq_nocase(name, strv_from(own->name)))
		return "the proxy's own account gets no ticket in its name";
	return NULL;
}
