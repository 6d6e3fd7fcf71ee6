/*
 * explain: the same decisions as for a request, for every host and everything that a request can bring. Worker process.
 */
#include "proxy/worker/explain.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "proxy/worker/method.h"
#include "proxy/worker/policy.h"
#include "proxy/worker/switches.h"

struct explain_op {
	struct worker *worker;
	struct account_op *account;
	explain_done_fn *done;
	void *arg;
};

static const struct {
	const char *name;
	struct method_brings brings;
} ways[] = {
	{ "certificate", { true, false, false } },
	{ "password", { false, true, false } },
	{ "bearer", { false, false, true } },
	{ "certificate+password", { true, true, false } },
	{ "certificate+bearer", { true, false, true } },
	{ "nothing", { false, false, false } },
};

static json_t *verdict(enum fact fact, const char *detail)
{
	return json_pack("{s:s, s:i, s:s*}", "answer", fact == FACT_NONE ? "in" : fact_name(fact), "status",
	    fact == FACT_NONE ? 200 : (int)fact_status(fact), "detail", detail);
}

/* Who says whether what it brings is right; NULL: nobody, it is not looked at. */
static const char *checked_by(const struct settings *s, const struct method_verdict *v)
{
	if (v->checks == 0)
		return NULL;
	return v->checks == 1u << METHOD_BEARER && s->proxy.bearer != NULL && s->proxy.bearer->passes ? "the mail server" : "easproxy";
}

static json_t *methods_of(const struct settings *s, const struct policy_settings *policy, const struct account_view *account, uint64_t mask)
{
	json_t *list = json_array();

	for (size_t i = 0; list != NULL && i < ARRAY_LEN(ways); i++) {
		struct method_verdict v = method_decide(policy, account, mask, ways[i].brings);
		json_t *one = verdict(v.fact, v.detail);
		const char *by = checked_by(s, &v);
		if (one == NULL || json_object_set_new(one, "brings", json_string(ways[i].name)) < 0 ||
		    json_object_set_new(one, "checked", json_boolean(by != NULL)) < 0 ||
		    (by != NULL && json_object_set_new(one, "checked_by", json_string(by)) < 0) || json_array_append_new(list, one) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* What the deciding rule is called, and where it stands. */
static json_t *rule_of(const struct settings *s, unsigned policy_index, const struct account_view *account, uint64_t mask)
{
	const struct policy_settings *policy = &s->proxy.policies[policy_index];
	int rule = method_rule_of(policy, account);
	char path[96], whom[1200];
	const struct method_rule *r;
	json_t *use;

	if (rule < 0) {
		snprintf(path, sizeof(path), "proxy.policies[%u]%s", policy_index, policy->methods_count > 0 ? ".methods" : "");
		snprintf(whom, sizeof(whom), "%s", policy->methods_count > 0 ? "no rule is for this account: it comes in by nothing"
									 : "it has no methods: a certificate is required");
		return json_pack("{s:s, s:i, s:s}", "path", path, "line", (int)config_line_of((struct strv){ s->text, s->text_n }, path), "for", whom);
	}
	r = &policy->methods[rule];
	snprintf(path, sizeof(path), "proxy.policies[%u].methods[%d]", policy_index, rule);
	snprintf(whom, sizeof(whom), "%s%s", r->user[0] != '\0' ? "user " : r->group[0] != '\0' ? "group " : "everybody",
	    r->user[0] != '\0' ? r->user : r->group);
	use = json_pack("{s:s, s:i, s:s, s:b}", "path", path, "line", (int)config_line_of((struct strv){ s->text, s->text_n }, path), "for", whom,
	    "switched", r->group[0] != '\0' && (mask >> r->group_bit & 1) != 0);
	for (unsigned m = 0; use != NULL && m < METHODS; m++)
		json_object_set_new(use, method_names[m], json_string(method_use_names[method_use_of(policy, rule, mask, (enum method)m)]));
	if (use != NULL && method_use_of(policy, rule, mask, METHOD_BEARER) != METHOD_OFF && s->proxy.bearer != NULL)
		json_object_set_new(use, "bearer_mode", json_string(s->proxy.bearer->mode));
	return use;
}

static json_t *host_of(const struct worker *w, const struct host_settings *h, const struct account_view *account)
{
	const struct settings *s = w->now->settings;
	const struct policy_settings *policy = &s->proxy.policies[h->policy_index];
	bool kerberos = s->proxy.upstreams[h->upstream_index].credential_kind == CREDENTIAL_KERBEROS;
	uint64_t mask = switches_mask(w->switches);
	struct eas_request none;
	const char *detail;
	enum fact fact;

	memset(&none, 0, sizeof(none));
	none.route = ROUTE_PATH;
	fact = policy_decide(policy, account, &none, kerberos, loop_wall(w->loop), &detail);
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "name", h->names[0], "policy", policy->name, "tls",
	    h->required ? "demands a certificate" : h->asks ? "asks for a certificate" : "asks for no certificate", "device", policy->device,
	    "rule", rule_of(s, h->policy_index, account, mask), "methods", methods_of(s, policy, account, mask), "account", verdict(fact, detail));
}

static json_t *describe(const struct worker *w, const struct account_entry *e)
{
	const struct proxy_settings *p = &w->now->settings->proxy;
	const struct account_view *v = &e->view;
	json_t *hosts = json_array();

	for (unsigned i = 0; hosts != NULL && e->result == ACCOUNT_FOUND && i < p->hosts_count; i++) {
		if (json_array_append_new(hosts, host_of(w, &p->hosts[i], v)) < 0) {
			json_decref(hosts);
			hosts = NULL;
		}
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:o}", "found", account_result_text(e->result), "user", v->sam, "sid", v->sid,
	    "upn", v->upn, "mail", v->mail, "enabled", (v->flags & ACCOUNT_ENABLED) != 0, "switches_known", switches_are_known(w->switches), "hosts", hosts);
}

static void finish(struct worker *w, struct account_entry *e, explain_done_fn *done, void *arg)
{
	json_t *root = e != NULL ? describe(w, e) : NULL;
	char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;

	account_unref(w->accounts, e);
	json_decref(root);
	done(arg, text);
	free(text);
}

static void on_account(void *arg, struct account_entry *e)
{
	struct explain_op op = *(struct explain_op *)arg;

	free(arg);
	finish(op.worker, e, op.done, op.arg);
}

/* The decoded value of `name` in the query. */
static bool parameter(struct strv query, const char *name, char *out, size_t size)
{
	while (query.p != NULL && query.n > 0) {
		struct strv value = text_split(&query, '&'), key = text_split(&value, '=');
		if (strv_eq(key, strv_from(name))) {
			long n = text_percent_decode(out, size - 1, value);
			if (n < 0)
				return false;
			out[n] = '\0';
			return memchr(out, '\0', (size_t)n) == NULL;
		}
	}
	return false;
}

int explain_start(struct worker *w, struct strv query, explain_done_fn *done, void *arg, struct explain_op **out)
{
	char kind[8], value[CLAIM_VALUE_MAX], sid[ACCOUNT_SID_MAX];
	struct account_who who = { .value = value, .sid = sid };
	struct account_entry *e = NULL;
	uint8_t key[SHA256_SIZE];
	struct explain_op *op;
	uint64_t number;

	if (!parameter(query, "kind", kind, sizeof(kind)) || !parameter(query, "value", value, sizeof(value)) ||
	    !parameter(query, "sid", sid, sizeof(sid)) || text_u64(strv_from(kind), CLAIM_KINDS - 1, &number) < 0 || number == CLAIM_NONE ||
	    EVP_Digest(query.p, query.n, key, NULL, EVP_sha256(), NULL) != 1 || (op = calloc(1, sizeof(*op))) == NULL)
		return -1;
	who.kind = (uint32_t)number;
	who.certificate = key;
	*op = (struct explain_op){ w, NULL, done, arg };
	/* as it is now: whoever asks has just changed something */
	if (account_get(w->accounts, &who, true, on_account, op, &e, &op->account) != 0) {
		account_unref(w->accounts, e);
		free(op);
		return -1;
	}
	*out = op;
	return 0;
}

void explain_cancel(struct explain_op *op)
{
	if (op == NULL)
		return;
	account_cancel(op->account);
	free(op);
}
