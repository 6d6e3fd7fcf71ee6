/*
 * ldap_prepare: what must be known of a server and its domain before it is asked for accounts: the
 * domain's names, the lock-out limit, the SIDs of the configured groups, and where its change
 * numbers stand. Runs in the *directory* process.
 */
#include <stdio.h>

#include "common/directory/ldap_parts.h"
#include "common/log.h"
#include "common/text.h"

#define POLICY_MS 60000

static void one_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result);

/* Sends one of the searches that prepare waits for. */
static void ask(struct ldap_conn *c, struct ldap_query *q)
{
	q->done = one_done;
	c->preparing++;
	if (ldap_conn_search(c, q) == NULL) {
		c->preparing--;
		snprintf(c->prepare_why, sizeof(c->prepare_why), "a search cannot be sent");
	}
}

static void finish_if_last(struct ldap_conn *c)
{
	if (c->preparing > 0 || c->state != CONN_PREPARING)
		return;
	if (c->prepare_why[0] != '\0')
		ldap_conn_fail(c, "%s", c->prepare_why);
	else
		ldap_conn_prepared(c);
}

/* Facts that may stay unknown; `arg` names one that may not. */
static void one_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	const char *needed = arg;

	(void)result;
	c->preparing--;
	if (code == LDAP_SERVER_DOWN)
		return;
	if (code != LDAP_SUCCESS && needed != NULL)
		snprintf(c->prepare_why, sizeof(c->prepare_why), "%s: %s %s", needed,
		    ldap_err2string(code), diagnostic);
	finish_if_last(c);
}

/* --- domain --- */

static void take_head(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	int64_t threshold, window;

	(void)arg;
	c->domain.lockout_known = ldap_entry_number(c->ld, e, "lockoutThreshold", &threshold) && threshold >= 0 &&
	    threshold <= UINT32_MAX;
	if (c->domain.lockout_known)
		c->domain.lockout_threshold = (uint32_t)threshold;
	if (ldap_entry_number(c->ld, e, "lockOutObservationWindow", &window))
		c->domain.lockout_window = ldap_window_seconds(window);
}

static void take_partition(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	(void)arg;
	(void)ldap_entry_text(
	    c->ld, e, "nETBIOSName", c->domain.netbios, sizeof(c->domain.netbios));
}

static void take_service(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	struct berval **values = ldap_get_values_len(c->ld, e, "invocationId");

	(void)arg;
	if (values != NULL && values[0] != NULL &&
	    values[0]->bv_len == sizeof(c->domain.invocation)) {
		memcpy(c->domain.invocation, values[0]->bv_val, sizeof(c->domain.invocation));
		c->domain.has_invocation = true;
	}
	ldap_value_free_len(values);
}

static void ask_domain(struct ldap_conn *c)
{
	static const char *const head[] = { "lockoutThreshold", "lockOutObservationWindow", NULL },
				 *const partition[] = { "nETBIOSName", NULL },
				 *const service[] = { "invocationId", NULL },
				 *const nothing[] = { LDAP_NO_ATTRS, NULL };
	struct ldap_domain *d = &c->domain;
	char filter[3 * LDAP_DN_MAX + 64] = "(&(objectClass=crossRef)(nCName=",
				      base[LDAP_DN_MAX + 16];
	size_t n = strlen(filter);

	ask(c, &(struct ldap_query){ .base = c->pool->setup.config->base,
		   .scope = LDAP_SCOPE_BASE,
		   .attributes = nothing,
		   .arg = (char *)"directory.ldap.base cannot be read" });
	ask(c, &(struct ldap_query){ .base = d->naming_context,
		   .scope = LDAP_SCOPE_BASE,
		   .attributes = head,
		   .entry = take_head });
	if (d->service[0] != '\0')
		ask(c, &(struct ldap_query){ .base = d->service,
			   .scope = LDAP_SCOPE_BASE,
			   .attributes = service,
			   .entry = take_service });
	snprintf(base, sizeof(base), "CN=Partitions,%s", d->configuration);
	if (d->configuration[0] != '\0' && claim_escape(strv_from(d->naming_context), false, filter,
					       sizeof(filter) - 3, &n) == 0) {
		memcpy(filter + n, "))", 3);
		ask(c, &(struct ldap_query){ .base = base,
			   .scope = LDAP_SCOPE_ONELEVEL,
			   .filter = filter,
			   .attributes = partition,
			   .entry = take_partition });
	}
}

/* --- groups --- */

/* `arg` is the place for the group's SID: which group it is follows from there. */
static void take_group(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	(void)ldap_entry_sid(c->ld, e, "objectSid", arg);
}

/* Codes that say nothing about the group: the server was not in the mood. */
static bool is_passing(int code)
{
	return code == LDAP_BUSY || code == LDAP_UNAVAILABLE || code == LDAP_TIMELIMIT_EXCEEDED ||
	       code == LDAP_OPERATIONS_ERROR || code == LDAP_ADMINLIMIT_EXCEEDED;
}

static void group_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	struct sid *sid = arg;
	size_t i = (size_t)(sid - c->domain.group);

	(void)result;
	if (c->state == CONN_PREPARING)
		c->preparing--;
	if (code == LDAP_SERVER_DOWN)
		return;
	if (is_passing(code)) {
		snprintf(c->prepare_why, sizeof(c->prepare_why), "a group cannot be read: %s",
		    ldap_err2string(code));
	} else if (code != LDAP_SUCCESS || sid->n == 0) {
		memset(sid, 0, sizeof(*sid));
		log_say(LOG_ERROR, "directory_group_missing",
		    "%s: the group \"%s\" is not found (%s %s): nobody counts as its "
		    "member, and nobody as having left it; correct required_group, or let the service account read it",
		    c->url, c->pool->setup.groups[i], ldap_err2string(code), diagnostic);
	}
	finish_if_last(c);
}

void ldap_prepare_groups(struct ldap_conn *c)
{
	static const char *const attributes[] = { "objectSid", NULL };

	for (unsigned i = 0; i < c->pool->setup.groups_count; i++) {
		struct ldap_query q = { .base = c->pool->setup.groups[i],
			.scope = LDAP_SCOPE_BASE,
			.attributes = attributes,
			.filter = "(objectClass=group)",
			.entry = take_group,
			.done = group_done,
			.arg = &c->domain.group[i] };
		if (ldap_conn_search(c, &q) != NULL && c->state == CONN_PREPARING)
			c->preparing++;
	}
}

/* --- the policy, again --- */

static void take_clock(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	int64_t seconds;

	(void)arg;
	if (ldap_entry_time(c->ld, e, "currentTime", &seconds))
		c->domain.clock_ms = seconds * 1000 - (int64_t)loop_now_ms(c->pool->loop);
}

time_t ldap_conn_clock(const struct ldap_conn *c)
{
	if (c->domain.clock_ms == 0)
		return loop_wall(c->pool->loop);
	return (time_t)((c->domain.clock_ms + (int64_t)loop_now_ms(c->pool->loop)) / 1000);
}

static void policy_done(void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	(void)arg;
	(void)c;
	(void)code;
	(void)diagnostic;
	(void)result;
}

void ldap_prepare_policy(struct ldap_conn *c)
{
	static const char *const head[] = { "lockoutThreshold", "lockOutObservationWindow", NULL }, *const root[] = { "currentTime", NULL };
	uint64_t now = loop_now_ms(c->pool->loop);

	if (c->state != CONN_READY || now - c->domain.policy_ms < POLICY_MS)
		return;
	c->domain.policy_ms = now;
	c->domain.pso_count = c->domain.pso_next = 0; /* they are asked for again when they are needed */
	(void)ldap_conn_search(c, &(struct ldap_query){ .base = "", .scope = LDAP_SCOPE_BASE, .attributes = root, .entry = take_clock,
	    .done = policy_done });
	(void)ldap_conn_search(c, &(struct ldap_query){ .base = c->domain.naming_context, .scope = LDAP_SCOPE_BASE, .attributes = head,
	    .entry = take_head, .done = policy_done });
}

/* --- the server --- */

static void take_root(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	struct ldap_domain *d = &c->domain;
	int64_t usn;

	(void)arg;
	(void)ldap_entry_text(
	    c->ld, e, "defaultNamingContext", d->naming_context, sizeof(d->naming_context));
	(void)ldap_entry_text(
	    c->ld, e, "configurationNamingContext", d->configuration, sizeof(d->configuration));
	(void)ldap_entry_text(c->ld, e, "dsServiceName", d->service, sizeof(d->service));
	take_clock(NULL, c, e);
	if (ldap_entry_number(c->ld, e, "highestCommittedUSN", &usn) && usn >= 0)
		d->usn = (uint64_t)usn;
	if (!ldap_dn_domain(d->naming_context, d->dns, sizeof(d->dns)))
		d->dns[0] = '\0';
	text_lower(d->dns, strlen(d->dns));
}

static void root_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	(void)arg;
	(void)result;
	if (code == LDAP_SERVER_DOWN)
		return;
	if (code != LDAP_SUCCESS || c->domain.dns[0] == '\0') {
		ldap_conn_fail(c,
		    "the root entry names no domain (%s %s): is this an Active Directory domain "
		    "controller?",
		    ldap_err2string(code), diagnostic);
		return;
	}
	ask_domain(c);
	ldap_prepare_groups(c);
	finish_if_last(c);
}

void ldap_prepare(struct ldap_conn *c)
{
	static const char *const attributes[] = { "defaultNamingContext",
		"configurationNamingContext", "dsServiceName", "highestCommittedUSN", "currentTime", NULL };

	memset(&c->domain, 0, sizeof(c->domain));
	c->domain.policy_ms = loop_now_ms(c->pool->loop);
	c->preparing = 0;
	c->prepare_why[0] = '\0';
	if (ldap_conn_search(c, &(struct ldap_query){ .base = "",
				    .scope = LDAP_SCOPE_BASE,
				    .attributes = attributes,
				    .entry = take_root,
				    .done = root_done }) == NULL)
		ldap_conn_fail(c, "a search cannot be sent");
}
