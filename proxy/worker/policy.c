/*
 * policy: the rules of DESIGN §4.1.8, each a line in one function. Worker process.
 */
#include "proxy/worker/policy.h"

#include "common/text.h"

static bool same(const char *a, struct strv b)
{
	return a[0] != '\0' && text_eq_nocase(strv_from(a), b);
}

/* The part of an address before the '@'. */
static struct strv local_part(const char *address)
{
	struct strv rest = strv_from(address);

	return text_split(&rest, '@');
}

bool policy_names_account(const struct account_view *account, struct strv user)
{
	struct strv name, domain;

	if (user.n == 0)
		return true;	/* the base64 form names nobody: identity never came from here */
	if (same(account->upn, user) || same(account->mail, user))
		return true;
	eas_user_split(user, &name, &domain);
	if (!same(account->sam, name) && !(account->upn[0] != '\0' && text_eq_nocase(local_part(account->upn), name) && domain.n == 0))
		return false;
	/* DOMAIN\user and user@domain: the domain must be the account's own. */
	return domain.n == 0 || same(account->netbios, domain) || same(account->realm, domain);
}

static bool listed(char *const *list, unsigned n, const char *value)
{
	for (unsigned i = 0; i < n; i++) {
		if (text_eq_nocase(strv_from(list[i]), strv_from(value)))
			return true;
	}
	return false;
}

enum fact policy_decide(const struct policy_settings *policy, const struct account_view *account,
    const struct eas_request *request, bool kerberos, time_t now, const char **detail)
{
	*detail = NULL;
	if ((account->flags & ACCOUNT_ENABLED) == 0)
		return FACT_ACCOUNT_DISABLED;
	if ((account->flags & ACCOUNT_EXPIRED) != 0 || (account->expires != 0 && now >= account->expires))
		return FACT_ACCOUNT_EXPIRED;
	if (policy->required_group[0] != '\0' && (account->groups >> policy->group_bit & 1) == 0)
		return FACT_NOT_IN_GROUP;
	if (kerberos && (account->flags & (ACCOUNT_PROTECTED | ACCOUNT_NOT_DELEGATED)) != 0) {
		*detail = (account->flags & ACCOUNT_PROTECTED) != 0 ? "member of a group that never gets a ticket"
								    : "account is sensitive and cannot be delegated";
		return FACT_DELEGATION_FORBIDDEN;
	}
	if (request->route != ROUTE_EAS)
		return FACT_NONE;
	if (policy->user_must_match && !policy_names_account(account, strv_from(request->query.user)))
		return FACT_OTHER_USER;
	if (request->query.command == EAS_NONE)
		return FACT_NONE;	/* OPTIONS without a query */
	if (policy->device_types_count > 0 && !listed(policy->device_types, policy->device_types_count, request->query.device_type))
		return FACT_DEVICE_TYPE;
	/* OPTIONS asks which versions there are, and names none. */
	if (policy->protocol_versions_count > 0 && !request->is_options &&
	    !listed(policy->protocol_versions, policy->protocol_versions_count, request->version))
		return FACT_PROTOCOL_VERSION;
	return FACT_NONE;
}
