/*
 * method: the table of methods, applied. Each refusal is a line in one function. Worker process.
 */
#include "proxy/worker/method.h"

#include "proxy/worker/user_name.h"

#define BIT(method) (1u << (method))

static bool matches(const struct method_rule *r, const struct account_view *account)
{
	if (r->user[0] != '\0')
		return user_name_configured(account, strv_from(r->user));
	return r->group[0] == '\0' || (account->groups >> r->group_bit & 1) != 0;
}

int method_rule_of(const struct policy_settings *policy, const struct account_view *account)
{
	for (unsigned i = 0; i < policy->methods_count; i++) {
		if (matches(&policy->methods[i], account))
			return (int)i;
	}
	return -1;
}

enum method_use method_use_of(const struct policy_settings *policy, int rule, uint64_t switched, enum method method)
{
	const struct method_rule *r;

	/* no table: a certificate is required. A table that has no rule for somebody lets him in by nothing. */
	if (rule < 0)
		return policy->methods_count == 0 && method == METHOD_CERTIFICATE ? METHOD_REQUIRED : METHOD_OFF;
	r = &policy->methods[rule];
	if (r->group[0] != '\0' && (switched >> r->group_bit & 1) != 0)
		return method == METHOD_CERTIFICATE ? METHOD_REQUIRED : METHOD_OFF;
	return (enum method_use)r->use[method];
}

static unsigned offers(bool password, bool bearer)
{
	return (password ? REPLY_BASIC : 0) | (bearer ? REPLY_BEARER : 0);
}

static struct method_verdict refuse(struct method_verdict v, enum fact fact, const char *detail)
{
	v.fact = fact;
	v.detail = detail;
	v.checks = 0;
	return v;
}

static struct method_verdict decide(struct method_verdict v, const enum method_use use[METHODS], struct method_brings brings)
{
	bool password = use[METHOD_PASSWORD] != METHOD_OFF, bearer = use[METHOD_BEARER] != METHOD_OFF;
	bool more = use[METHOD_PASSWORD] == METHOD_REQUIRED || use[METHOD_BEARER] == METHOD_REQUIRED;

	if (brings.certificate && use[METHOD_CERTIFICATE] == METHOD_OFF)
		return refuse(v, FACT_METHOD_OFF, "its rule takes no certificate, and a device with one is let in by nothing else");
	if (!brings.certificate && use[METHOD_CERTIFICATE] == METHOD_REQUIRED)
		return refuse(v, FACT_NO_CERTIFICATE, "its rule requires one");
	/* a certificate that is enough: an Authorization beside it is not looked at */
	if (brings.certificate && !more)
		return v;
	v.challenges = more ? offers(use[METHOD_PASSWORD] == METHOD_REQUIRED, use[METHOD_BEARER] == METHOD_REQUIRED)
			    : offers(password, bearer);
	if (use[METHOD_PASSWORD] == METHOD_REQUIRED && use[METHOD_BEARER] == METHOD_REQUIRED)
		return refuse(v, FACT_METHOD_OFF, "its rule requires two things that one request cannot bring");
	if (v.challenges == 0)
		return refuse(v, brings.password || brings.bearer ? FACT_METHOD_OFF : FACT_NO_CERTIFICATE, "its rule takes neither password nor token");
	if (brings.password && (v.challenges & REPLY_BASIC) != 0)
		v.checks = BIT(METHOD_PASSWORD);
	else if (brings.bearer && (v.challenges & REPLY_BEARER) != 0)
		v.checks = BIT(METHOD_BEARER);
	else
		return refuse(v, FACT_PASSWORD_WANTED, NULL);
	return v;
}

struct method_verdict method_decide(const struct policy_settings *policy, const struct account_view *account, uint64_t switched,
    struct method_brings brings)
{
	struct method_verdict v = { .fact = FACT_NONE, .rule = -1 };
	enum method_use use[METHODS];

	/* what most sites end with, and each request of a certificate device there */
	if (policy->methods_count == 0)
		return brings.certificate ? v : refuse(v, FACT_NO_CERTIFICATE, NULL);
	v.rule = method_rule_of(policy, account);
	if (v.rule < 0)
		return refuse(v, FACT_METHOD_OFF, "no rule of the policy's methods is for this account");
	for (unsigned m = 0; m < METHODS; m++)
		use[m] = method_use_of(policy, v.rule, switched, (enum method)m);
	return decide(v, use, brings);
}

unsigned method_challenges(const struct policy_settings *policy, bool certificate)
{
	unsigned found = 0;

	for (unsigned i = 0; i < policy->methods_count; i++) {
		const struct method_rule *r = &policy->methods[i];
		if ((r->use[METHOD_CERTIFICATE] == METHOD_REQUIRED && !certificate) || (r->use[METHOD_CERTIFICATE] == METHOD_OFF && certificate))
			continue;
		found |= offers(r->use[METHOD_PASSWORD] != METHOD_OFF && r->use[METHOD_BEARER] != METHOD_REQUIRED,
		    r->use[METHOD_BEARER] != METHOD_OFF && r->use[METHOD_PASSWORD] != METHOD_REQUIRED);
	}
	return found;
}
