/*
 * ldap_find: one claim to one account on one connection.
 *
 * First all the searches of the claim at once, each with one equality; what they find is counted by
 * SID. Then, for the one account found, its tokenGroups (every nested membership, only to be had by
 * a search of the object itself), and its password settings object if it has one whose lock-out
 * limit is not known yet. Nothing is repaired: an entry without a usable SID, name or realm is no
 * account, and an error is an error, never "unknown". *directory* process.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ldap_parts.h"
#include "common/log.h"
#include "common/text.h"

#define WINDOW_SPARE 5 /* seconds that we wait longer than the observation window: times are read in whole seconds, twice */
#define TOKEN_MAX 4096 /* SIDs in tokenGroups; Kerberos gives up at about 1,000 */

struct ldap_finding {
	struct ldap_conn *conn;
	ldap_found_fn *done;
	void *arg;
	struct claim_search search[CLAIM_SEARCHES_MAX];
	struct asking {
		struct ldap_finding *finding;
		struct ldap_op *op;
		unsigned index;
	} asking[CLAIM_SEARCHES_MAX + 2];
	unsigned pending;
	int code;	/* the first that was not success */
	unsigned found; /* different accounts */
	bool unusable;	/* some entry was no account that can be used */
	struct sid sid;
	char dn[LDAP_DN_MAX], pso[256];
	int64_t bad_password_time; /* as it stands; 0: never, or not readable */
	struct account account;
	struct sid *token;
	size_t token_count;
};

/* Places in `asking` behind those of the searches. */
enum { ASK_TOKEN = CLAIM_SEARCHES_MAX, ASK_PSO };

static void finding_free(struct ldap_finding *f)
{
	for (size_t i = 0; i < ARRAY_LEN(f->asking); i++)
		ldap_op_cancel(f->asking[i].op);
	free(f->token);
	free(f);
}

void ldap_finding_cancel(struct ldap_finding *f)
{
	if (f != NULL)
		finding_free(f);
}

static void finish(struct ldap_finding *f, bool good, enum account_result result)
{
	static const struct account none;
	ldap_found_fn *done = f->done;
	void *arg = f->arg;
	struct ldap_conn *c = f->conn;
	struct account account = good && result == ACCOUNT_FOUND ? f->account : none;
	char dn[LDAP_DN_MAX] = "";

	if (good && result == ACCOUNT_FOUND)
		memcpy(dn, f->dn, sizeof(dn));
	finding_free(f);
	done(arg, c, good, result, &account, dn);
}

static void fail(struct ldap_finding *f, int code, const char *diagnostic)
{
	struct ldap_conn *c = f->conn;

	if (code != LDAP_SERVER_DOWN && c->told_code != code) {
		c->told_code = code;
		log_say(LOG_ERROR, "directory_search_failed",
		    "%s: %s %s: see directory.ldap.base and the rights of bind_name", c->url,
		    ldap_err2string(code), diagnostic);
	}
	finish(f, false, ACCOUNT_UNAVAILABLE);
}

/* --- the entry --- */

/* The account's own policy, as far as it is known by now. */
static void policy_of(const struct ldap_conn *c, const char *pso, struct account *a)
{
	a->lockout_known = c->domain.lockout_known && pso[0] == '\0';
	a->lockout_threshold = pso[0] == '\0' ? c->domain.lockout_threshold : 0;
	a->lockout_window = pso[0] == '\0' ? c->domain.lockout_window : 0;
	for (unsigned i = 0; pso[0] != '\0' && i < c->domain.pso_count; i++) {
		if (strcmp(c->domain.pso[i].dn, pso) != 0)
			continue;
		a->lockout_known = 1;
		a->lockout_threshold = c->domain.pso[i].lockout_threshold;
		a->lockout_window = c->domain.pso[i].lockout_window;
	}
}

static bool number_of(LDAP *ld, LDAPMessage *e, const char *attribute, uint32_t *out)
{
	int64_t value;

	if (!ldap_entry_number(ld, e, attribute, &value) || value < INT32_MIN || value > UINT32_MAX)
		return false;
	*out = (uint32_t)value; /* AD writes flags as a signed number */
	return true;
}

/*
 * AD leaves badPwdCount as it is when the observation window is over, and begins anew at the next wrong password
 * (MS-ADTS 3.1.1.4.5: lockoutObservationWindow). By the server's clock, which wrote the time.
 */
static bool is_long_ago(const struct ldap_finding *f)
{
	return f->account.lockout_window != 0 && f->bad_password_time > 0 &&
	    ldap_conn_clock(f->conn) - facts_unix_time(f->bad_password_time) > (int64_t)f->account.lockout_window + WINDOW_SPARE;
}

/* False: this is no account that can be used. */
static bool fill(struct ldap_finding *f, LDAP *ld, LDAPMessage *e)
{
	struct account_numbers numbers = { .control = 0 };
	struct account *a = &f->account;

	if (!ldap_entry_sid(ld, e, "objectSid", &f->sid) ||
	    sid_to_text(&f->sid, a->sid, sizeof(a->sid)) < 0 ||
	    !ldap_entry_text(ld, e, "sAMAccountName", a->sam, sizeof(a->sam)) ||
	    a->sam[0] == '\0' || !ldap_entry_dn(ld, e, f->dn, sizeof(f->dn)) ||
	    !ldap_dn_domain(f->dn, a->realm, sizeof(a->realm)))
		return false;
	/* The short name is known for the server's own domain only. */
	if (text_eq_nocase(strv_from(a->realm), strv_from(f->conn->domain.dns)))
		memcpy(a->netbios, f->conn->domain.netbios, sizeof(a->netbios));
	for (char *p = a->realm; *p != '\0'; p++)
		*p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
	(void)ldap_entry_text(ld, e, "userPrincipalName", a->upn, sizeof(a->upn));
	(void)ldap_entry_text(ld, e, "mail", a->mail, sizeof(a->mail));
	(void)ldap_entry_text(ld, e, "displayName", a->display_name, sizeof(a->display_name));
	(void)ldap_entry_text(ld, e, "msDS-ResultantPSO", f->pso, sizeof(f->pso));
	numbers.has_control = number_of(ld, e, "userAccountControl", &numbers.control);
	numbers.has_computed = number_of(
	    ld, e, "msDS-User-Account-Control-Computed", &numbers.computed);
	numbers.has_expires = ldap_entry_number(ld, e, "accountExpires", &numbers.expires);
	(void)number_of(ld, e, "badPwdCount", &a->bad_password_count);
	(void)ldap_entry_number(ld, e, "badPasswordTime", &f->bad_password_time);
	(void)ldap_entry_number(ld, e, "pwdLastSet", &a->pwd_last_set);
	facts_from_numbers(a, &numbers, loop_wall(f->conn->pool->loop));
	return true;
}

/*
 * A value that libldap had no memory for looks like one that is not there: two accounts would be one, a good one disabled. liblber
 * notes it, and never takes the note back by itself.
 */
static void check_memory(struct ldap_finding *f)
{
	if (ber_errno == LBER_ERROR_MEMORY && f->code == LDAP_SUCCESS)
		f->code = LDAP_NO_MEMORY;
}

static void take_account(struct asking *asking, struct ldap_conn *c, LDAPMessage *e)
{
	struct ldap_finding *f = asking->finding;
	struct sid sid;

	/* The server compares loosely; an account that only resembles the claim is not the one. */
	if (!ldap_entry_has(c->ld, e, &f->search[asking->index]))
		return;
	if (f->found > 0) {
		if (!ldap_entry_sid(c->ld, e, "objectSid", &sid) || !sid_eq(&sid, &f->sid))
			f->found++;
		return;
	}
	f->found = 1;
	memset(&f->account, 0, sizeof(f->account));
	f->unusable = !fill(f, c->ld, e);
}

static void on_account(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	struct asking *asking = arg;

	ber_errno = LBER_ERROR_NONE;
	take_account(asking, c, e);
	check_memory(asking->finding);
}

/* --- groups and the lock-out limit --- */

static void conclude(struct ldap_finding *f)
{
	struct directory_ldap *d = f->conn->pool;

	facts_from_token(&f->account, &f->sid, f->token, f->token_count, f->conn->domain.group,
	    d->setup.groups_count, d->setup.refused);
	policy_of(f->conn, f->pso, &f->account);
	if (is_long_ago(f))
		f->account.bad_password_count = 0;
	f->conn->told_code = LDAP_SUCCESS;
	finish(f, true, ACCOUNT_FOUND);
}

static void on_pso(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	struct ldap_finding *f = ((struct asking *)arg)->finding;
	struct ldap_domain *d = &c->domain;
	int64_t window = 0;
	uint32_t threshold;

	if (!number_of(c->ld, e, "msDS-LockoutThreshold", &threshold))
		return;
	(void)ldap_entry_number(c->ld, e, "msDS-LockoutObservationWindow", &window);
	d->pso[d->pso_next].lockout_window = ldap_window_seconds(window);
	memcpy(d->pso[d->pso_next].dn, f->pso, sizeof(f->pso));
	d->pso[d->pso_next].lockout_threshold = threshold;
	d->pso_next = (d->pso_next + 1) % LDAP_PSO_MAX;
	if (d->pso_count < LDAP_PSO_MAX)
		d->pso_count++;
}

static void pso_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	struct asking *asking = arg;
	struct ldap_finding *f = asking->finding;

	(void)c;
	(void)result;
	asking->op = NULL;
	if (code == LDAP_SERVER_DOWN)
		fail(f, code, diagnostic);
	else
		conclude(f); /* not readable by everybody: then the limit is not known */
}

static void on_token(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	struct ldap_finding *f = ((struct asking *)arg)->finding;
	struct berval **values;
	struct sid sid;
	size_t n;

	ber_errno = LBER_ERROR_NONE;
	values = ldap_get_values_len(c->ld, e, "tokenGroups");
	n = (size_t)ldap_count_values_len(values);
	/* It must still be the same object: DNs can be given to another in between. */
	if (f->token == NULL && n > 0 && n <= TOKEN_MAX &&
	    ldap_entry_sid(c->ld, e, "objectSid", &sid) && sid_eq(&sid, &f->sid)) {
		f->token = calloc(n, sizeof(*f->token));
		if (f->token == NULL)
			ber_errno = LBER_ERROR_MEMORY;
	}
	for (size_t i = 0; f->token != NULL && i < n; i++) {
		if (sid_from_bytes(
			(struct strv){ values[i]->bv_val, values[i]->bv_len }, &f->token[i]) < 0) {
			/* One that cannot be read may be the one that refuses. */
			free(f->token);
			f->token = NULL;
			n = 0;
		}
	}
	f->token_count = f->token != NULL ? n : 0;
	ldap_value_free_len(values);
	check_memory(f);
}

static bool ask_one(struct ldap_finding *f, unsigned which, struct ldap_query *q)
{
	f->asking[which] = (struct asking){ f, NULL, which };
	q->arg = &f->asking[which];
	f->asking[which].op = ldap_conn_search(f->conn, q);
	return f->asking[which].op != NULL;
}

static void token_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	static const char *const attributes[] = { "msDS-LockoutThreshold", "msDS-LockoutObservationWindow", NULL };
	struct asking *asking = arg;
	struct ldap_finding *f = asking->finding;

	(void)result;
	asking->op = NULL;
	if (code != LDAP_SUCCESS || f->code != LDAP_SUCCESS) {
		fail(f, code != LDAP_SUCCESS ? code : f->code, diagnostic);
		return;
	}
	policy_of(c, f->pso, &f->account);
	if (f->pso[0] == '\0' || f->account.lockout_known || !ask_one(f, ASK_PSO,
			 &(struct ldap_query){ .base = f->pso,
			     .scope = LDAP_SCOPE_BASE,
			     .attributes = attributes,
			     .entry = on_pso,
			     .done = pso_done }))
		conclude(f);
}

/* --- the searches --- */

/* All have been answered. */
static void count(struct ldap_finding *f, const char *diagnostic)
{
	static const char *const attributes[] = { "tokenGroups", "objectSid", NULL };

	if (f->code != LDAP_SUCCESS)
		fail(f, f->code, diagnostic);
	else if (f->found > 1)
		finish(f, true, ACCOUNT_AMBIGUOUS);
	else if (f->found == 0 || f->unusable)
		finish(f, true, ACCOUNT_UNKNOWN);
	else if (!ask_one(f, ASK_TOKEN,
		     &(struct ldap_query){ .base = f->dn,
			 .scope = LDAP_SCOPE_BASE,
			 .attributes = attributes,
			 .entry = on_token,
			 .done = token_done }))
		fail(f, LDAP_SERVER_DOWN, "");
}

static void account_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	struct asking *asking = arg;
	struct ldap_finding *f = asking->finding;

	(void)c;
	(void)result;
	asking->op = NULL;
	if (code == LDAP_SIZELIMIT_EXCEEDED)
		f->found += 2; /* more than the two that were asked for */
	else if (code != LDAP_SUCCESS && f->code == LDAP_SUCCESS)
		f->code = code;
	if (--f->pending == 0)
		count(f, diagnostic);
}

static bool ask_all(struct ldap_finding *f, unsigned n)
{
	char filter[CLAIM_FILTER_MAX];

	for (unsigned i = 0; i < n; i++) {
		/* The one looked for comes last; where the list has it already the list ends
		 * before. */
		const char *attributes[] = { "objectSid", "sAMAccountName", "userPrincipalName",
			"mail", "displayName", "userAccountControl", "accountExpires",
			"msDS-User-Account-Control-Computed", "badPwdCount", "badPasswordTime", "pwdLastSet",
			"msDS-ResultantPSO",
			NULL, NULL };
		struct ldap_query q = { .base = f->conn->pool->setup.config->base,
			.scope = LDAP_SCOPE_SUBTREE,
			.filter = filter,
			.attributes = attributes,
			.size_limit = 2,
			.entry = on_account,
			.done = account_done };
		size_t last = ARRAY_LEN(attributes) - 2, k;
		for (k = 0; k < last && strcmp(attributes[k], f->search[i].attribute) != 0; k++)
			;
		if (k == last)
			attributes[last] = f->search[i].attribute;
		if (claim_filter(&f->search[i], filter, sizeof(filter)) < 0 || !ask_one(f, i, &q))
			return false;
		f->pending++;
	}
	return true;
}

int ldap_finding_start(struct ldap_conn *c, uint32_t kind, const char *value, ldap_found_fn *done,
    void *arg, struct ldap_finding **out)
{
	struct directory_names names = { c->domain.dns, c->domain.netbios };
	struct ldap_finding *f = calloc(1, sizeof(*f));
	unsigned n;

	*out = NULL;
	if (f == NULL)
		return -1;
	ldap_prepare_policy(c);
	f->conn = c;
	f->done = done;
	f->arg = arg;
	n = claim_searches(kind, value, &names, f->search);
	if (n == 0 || !ask_all(f, n)) {
		finding_free(f);
		return n == 0 ? 1 : -1;
	}
	*out = f;
	return 0;
}
