/*
 * ldap_members: the enabled accounts of one group, page by page, nested groups and primary groups (which `memberOf` leaves out) included.
 *
 * One search a group, (|(memberOf=DN)(primaryGroupID=RID)), in pages (RFC 2696): no list of members is read as values of one object, so
 * no range of 1,500 comes in between, and no page keeps the server long. Groups that come up are gone through in their turn, each once.
 * A cookie belongs to its connection: when that ends the walk has failed. *directory* process.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ldap_parts.h"
#include "common/text.h"

#define GROUPS_MAX 512	/* one within another, of one walk */
#define FILTER_MAX 4096

struct nested {
	char *dn;
	uint32_t rid;	/* 0: of no domain, nobody's primary group */
};

struct ldap_members {
	struct ldap_conn *conn;
	uint64_t opened_ms;		/* of the connection that the cookie is of */
	struct ldap_op *op;
	struct nested group[GROUPS_MAX];
	unsigned groups, at;		/* `at`: gone through now */
	struct berval cookie;		/* of it */
	struct directory_member_page *page;	/* of the caller, while asked */
	ldap_members_done_fn *done;
	void *arg;
};

/* --- groups --- */

static void add_group(struct ldap_members *m, const char *dn, const struct sid *sid)
{
	for (unsigned i = 0; i < m->groups; i++) {
		if (text_eq_nocase(strv_from(m->group[i].dn), strv_from(dn)))
			return;
	}
	if (m->groups == GROUPS_MAX || (m->group[m->groups].dn = strdup(dn)) == NULL) {
		m->page->cut = 1;
		return;
	}
	m->group[m->groups++].rid = sid_is_of_domain(sid) ? sid_rid(sid) : 0;
}

/* --- an entry --- */

static bool may_in(const struct ldap_conn *c, LDAPMessage *e)
{
	struct account_numbers numbers = { .control = 0 };
	struct account a = { .flags = 0 };
	int64_t control;

	numbers.has_control = ldap_entry_number(c->ld, e, "userAccountControl", &control);
	numbers.control = numbers.has_control ? (uint32_t)control : 0;
	numbers.has_expires = ldap_entry_number(c->ld, e, "accountExpires", &numbers.expires);
	facts_from_numbers(&a, &numbers, loop_wall(c->pool->loop));
	return (a.flags & ACCOUNT_ENABLED) != 0 && (a.flags & ACCOUNT_EXPIRED) == 0;
}

static void add_member(struct ldap_members *m, const struct sid *sid, LDAPMessage *e)
{
	struct directory_member *member = &m->page->member[m->page->n];
	LDAP *ld = m->conn->ld;

	if (m->page->n == DIRECTORY_MEMBERS_MAX) {	/* more than the page that was asked for */
		m->page->cut = 1;
		return;
	}
	memset(member, 0, sizeof(*member));
	if (sid_to_text(sid, member->sid, sizeof(member->sid)) < 0 || !may_in(m->conn, e))
		return;
	if (!ldap_entry_text(ld, e, "userPrincipalName", member->name, sizeof(member->name)) || member->name[0] == '\0')
		(void)ldap_entry_text(ld, e, "sAMAccountName", member->name, sizeof(member->name));
	m->page->n++;
}

static void on_entry(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	struct ldap_members *m = arg;
	char dn[LDAP_DN_MAX];
	struct sid sid;

	if (!ldap_entry_sid(c->ld, e, "objectSid", &sid))
		return;
	if (ldap_entry_has_text(c->ld, e, "objectClass", "group")) {
		if (ldap_entry_dn(c->ld, e, dn, sizeof(dn)))
			add_group(m, dn, &sid);
		else
			m->page->cut = 1;
	} else if (ldap_entry_has_text(c->ld, e, "objectClass", "user") && !ldap_entry_has_text(c->ld, e, "objectClass", "computer")) {
		add_member(m, &sid, e);
	}
}

/* --- a page --- */

static void drop_cookie(struct ldap_members *m)
{
	ber_memfree(m->cookie.bv_val);
	m->cookie = (struct berval){ 0, NULL };
}

/* False: no answer of a paged search. */
static bool take_cookie(struct ldap_members *m, struct ldap_conn *c, LDAPMessage *result)
{
	LDAPControl **controls = NULL, *page;
	ber_int_t estimate;
	bool good;

	drop_cookie(m);
	if (result == NULL || ldap_parse_result(c->ld, result, NULL, NULL, NULL, NULL, &controls, 0) != LDAP_SUCCESS)
		return false;
	page = ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, NULL);
	good = page != NULL && ldap_parse_pageresponse_control(c->ld, page, &estimate, &m->cookie) == LDAP_SUCCESS;
	ldap_controls_free(controls);
	return good;
}

static void on_done(void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	struct ldap_members *m = arg;

	(void)diagnostic;
	m->op = NULL;
	if (code != LDAP_SUCCESS || !take_cookie(m, c, result)) {
		m->page->result = ACCOUNT_UNAVAILABLE;
		m->page->n = 0;
		m->done(m->arg);
		return;
	}
	if (m->cookie.bv_len == 0)
		m->at++;
	m->page->result = ACCOUNT_FOUND;
	m->page->more = m->at < m->groups;
	m->done(m->arg);
}

static int write_filter(const struct nested *g, char out[FILTER_MAX])
{
	struct berval in = { strlen(g->dn), g->dn }, escaped = { 0, NULL };
	char primary[48] = "";
	int n = -1;

	if (ldap_bv2escaped_filter_value(&in, &escaped) != 0)
		return -1;
	if (g->rid != 0)
		snprintf(primary, sizeof(primary), "(primaryGroupID=%u)", g->rid);
	if (escaped.bv_val != NULL)
		n = snprintf(out, FILTER_MAX, "(|(memberOf=%s)%s)", escaped.bv_val, primary);
	if (escaped.bv_val != in.bv_val)
		ber_memfree(escaped.bv_val);
	return n > 0 && n < FILTER_MAX ? 0 : -1;
}

int ldap_members_next(struct ldap_members *m, struct directory_member_page *page)
{
	static const char *const attributes[] = { "objectClass", "objectSid", "userPrincipalName", "sAMAccountName", "userAccountControl", "accountExpires", NULL };
	LDAPControl *control = NULL, *controls[] = { NULL, NULL };
	char filter[FILTER_MAX];
	struct ldap_query q = { .base = m->conn->pool->setup.config->base, .scope = LDAP_SCOPE_SUBTREE, .filter = filter, .attributes = attributes,
		.controls = controls, .entry = on_entry, .done = on_done, .arg = m };

	m->page = page;
	if (m->op != NULL || m->at >= m->groups || m->conn->state != CONN_READY || m->conn->opened_ms != m->opened_ms || write_filter(&m->group[m->at], filter) < 0 ||
	    ldap_create_page_control(m->conn->ld, DIRECTORY_MEMBERS_MAX, &m->cookie, 1, &control) != LDAP_SUCCESS)
		return -1;
	controls[0] = control;
	m->op = ldap_conn_search(m->conn, &q);
	ldap_control_free(control);
	return m->op != NULL ? 0 : -1;
}

/* --- life --- */

struct ldap_members *ldap_members_new(struct directory_ldap *d, unsigned group, ldap_members_done_fn *done, void *arg)
{
	struct ldap_members *m;

	for (unsigned i = 0; i < d->conns; i++) {
		struct ldap_conn *c = &d->conn[i];
		if (c->state != CONN_READY || c->domain.group[group].n == 0)
			continue;
		m = calloc(1, sizeof(*m));
		if (m == NULL || (m->group[0].dn = strdup(d->setup.groups[group])) == NULL) {
			free(m);
			return NULL;
		}
		m->group[0].rid = sid_is_of_domain(&c->domain.group[group]) ? sid_rid(&c->domain.group[group]) : 0;
		m->groups = 1;
		m->conn = c;
		m->opened_ms = c->opened_ms;
		m->done = done;
		m->arg = arg;
		return m;
	}
	return NULL;
}

void ldap_members_free(struct ldap_members *m)
{
	if (m == NULL)
		return;
	ldap_op_cancel(m->op);
	for (unsigned i = 0; i < m->groups; i++)
		free(m->group[i].dn);
	drop_cookie(m);
	free(m);
}
