/*
 * method: by what may this account come in? Certificate, password or bearer token: the policy's table of methods, read from
 * top to bottom. Pure: no I/O, no clock, no allocation.
 *
 * The rule that decides is the first whose user or group the account has, or that names neither. Everything that it requires must
 * be there, and at least one thing that it takes. What it leaves out is off, and what matches no rule is let in by nothing.
 *
 * A device that shows a certificate is never let in by a password alone: where its rule takes no certificate it is refused.
 */
#ifndef EASGATE_METHOD_H
#define EASGATE_METHOD_H

#include "proxy/settings.h"
#include "proxy/worker/account.h"
#include "proxy/worker/reply.h"

/* What a request brings. A request has one Authorization: at most one of password and bearer. */
struct method_brings {
	bool certificate;	/* accepted by TLS: chain and key */
	bool password, bearer;	/* Basic, Bearer: not yet checked */
};

struct method_verdict {
	enum fact fact;		/* FACT_NONE: may come in, once what `checks` names was found right */
	unsigned checks;	/* bit per enum method: that Authorization counts, and must be right */
	unsigned challenges;	/* REPLY_BASIC, REPLY_BEARER: what a 401 offers */
	int rule;		/* index in policy->methods; -1: none matches, or the policy has no table */
	const char *detail;	/* static, for the log; NULL */
};

/* `switched`: bit i: group i (settings_groups) is switched to certificates: rules of that group are read as certificate: required alone. */
struct method_verdict method_decide(const struct policy_settings *policy, const struct account_view *account, uint64_t switched,
    struct method_brings brings);

/*
 * Before it is known who it is: the request brings a certificate or not, and no Authorization that counts. 0: no rule lets in who
 * brings nothing more (403); else what a 401 offers.
 */
unsigned method_challenges(const struct policy_settings *policy, bool certificate);

/* What rule `i` (-1: the table that is not there) says of a method, now. */
enum method_use method_use_of(const struct policy_settings *policy, int rule, uint64_t switched, enum method method);
/* The first rule that matches; -1: none. */
int method_rule_of(const struct policy_settings *policy, const struct account_view *account);

#endif
