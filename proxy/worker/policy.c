/*
 * policy: the rules of DESIGN §4.1.8, each a line in one function. Worker process.
 */
#include "proxy/worker/policy.h"

#include "common/text.h"
#include "proxy/worker/policy_list.h"
#include "proxy/worker/user_name.h"

static enum fact check_list(const struct pattern_lists *lists, const char *text, enum fact fact, const char *denied, const char *missing,
    const char **detail)
{
	switch (policy_list_judge(lists, strv_from(text))) {
	case LIST_PASSES:
		return FACT_NONE;
	case LIST_DENIED:
		*detail = denied;
		return fact;
	default:
		*detail = missing;
		return fact;
	}
}

static enum fact check_user_agent(const struct policy_settings *policy, const struct eas_request *request, const char **detail)
{
	const struct pattern_lists *lists = &policy->user_agents;

	if (request->user_agent_odd && lists->allow_count + lists->deny_count > 0) {
		*detail = "a User-Agent that no list can judge: too long, not text, or twice";
		return FACT_USER_AGENT;
	}
	return check_list(lists, request->user_agent, FACT_USER_AGENT, "in user_agents.deny", "not in user_agents.allow", detail);
}

/* The base64 query names one too: where the header names another, mail servers differ in which of them they go by, and both count. */
static enum fact check_version(const struct policy_settings *policy, const struct eas_request *request, const char **detail)
{
	static const char denied[] = "in protocol_versions.deny", missing[] = "not in protocol_versions.allow";
	char of_query[PROTOCOL_VERSION_MAX];
	enum fact fact = check_list(&policy->protocol_versions, request->version, FACT_PROTOCOL_VERSION, denied, missing, detail);

	if (fact != FACT_NONE || request->query.version == 0)
		return fact;
	request_version_of_query(request->query.version, of_query);
	return check_list(&policy->protocol_versions, of_query, FACT_PROTOCOL_VERSION, denied, missing, detail);
}

/* What the device says of itself. */
static enum fact check_device(const struct policy_settings *policy, const struct eas_request *request, const char **detail)
{
	enum fact fact = check_user_agent(policy, request, detail);

	if (fact != FACT_NONE || request->query.command == EAS_NONE)
		return fact;	/* OPTIONS without a query */
	fact = check_list(&policy->device_types, request->query.device_type, FACT_DEVICE_TYPE, "in device_types.deny",
	    "not in device_types.allow", detail);
	/* OPTIONS asks which versions there are, and names none. */
	if (fact != FACT_NONE || request->is_options)
		return fact;
	return check_version(policy, request, detail);
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
	if (policy->user_must_match && user_name_judge(account, strv_from(request->query.user)) == USER_OTHER)
		return FACT_OTHER_USER;
	return check_device(policy, request, detail);
}
