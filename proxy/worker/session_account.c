/*
 * session_account: who it is: the account that the certificate names, or the user of Basic; and whether that account may come in by
 * what the request brings. Worker process.
 */
#include "proxy/metric_table.h"
#include "proxy/worker/method.h"
#include "proxy/worker/session_state.h"

enum fact session_account_fact(const struct account_entry *e)
{
	if (e == NULL)
		return FACT_DIRECTORY_DOWN;
	switch (e->result) {
	case ACCOUNT_FOUND:
		return FACT_NONE;
	case ACCOUNT_UNKNOWN:
		return FACT_ACCOUNT_UNKNOWN;
	case ACCOUNT_AMBIGUOUS:
		return FACT_ACCOUNT_AMBIGUOUS;
	default:
		return FACT_ACCOUNT_MISMATCH;
	}
}

void session_use_account(struct session *s, struct account_entry *e)
{
	account_unref(s->worker->accounts, s->account);
	s->account = e;
	s->account_changed_ms = 0;
}

/* --- by what --- */

static struct method_brings brings_of(struct session *s)
{
	struct method_brings b = { .certificate = s->peer->has_certificate };
	char user[ACCOUNT_NAME_LIMIT];

	/* without a table nothing but the certificate counts, and nothing else is looked at */
	if (session_policy(s)->methods_count == 0)
		return b;
	switch (session_authorization(s, user)) {
	case AUTHORIZATION_BASIC:
		b.password = true;
		break;
	case AUTHORIZATION_BEARER:
		b.bearer = true;
		break;
	default:
		break;
	}
	return b;
}

static void step_method(struct session *s)
{
	struct method_verdict v = method_decide(session_policy(s), &s->account->view, 0, brings_of(s));

	s->x->checks = v.checks;
	s->x->challenges = v.challenges;
	if (v.fact != FACT_NONE)
		session_refuse(s, v.fact, v.detail);
	else
		session_admitted(s);
}

/* --- who --- */

static void on_account(void *arg, struct account_entry *e)
{
	struct session *s = arg;
	enum fact fact = session_account_fact(e);

	s->account_op = NULL;
	if (e != NULL)
		session_use_account(s, e);
	if (fact != FACT_NONE)
		session_refuse(s, fact, NULL);
	else
		step_method(s);
}

static void look_up(struct session *s, const struct account_who *who)
{
	struct account_entry *e = NULL;

	/* a look at the account that a change had asked for: this request asks anyway */
	account_cancel(s->account_op);
	s->account_op = NULL;
	switch (account_get(s->worker->accounts, who, false, on_account, s, &e, &s->account_op)) {
	case 1:
		on_account(s, e);
		return;
	case 0:
		session_go(s, SESSION_ACCOUNT);
		return;
	default:
		session_refuse(s, FACT_OVERLOADED, "too many questions to the directory");
	}
}

/* Without a certificate: nobody is looked up for an Authorization that no rule of the host would let in. */
static void identify_by_authorization(struct session *s)
{
	unsigned challenges = method_challenges(session_policy(s), false);
	char user[ACCOUNT_NAME_LIMIT];
	uint8_t key[SHA256_SIZE];
	struct account_who who;
	enum authorization kind = challenges != 0 ? session_authorization(s, user) : AUTHORIZATION_NONE;

	s->x->challenges = challenges;
	if (kind == AUTHORIZATION_MALFORMED) {
		session_refuse(s, FACT_MALFORMED, "Authorization is no Basic credential");
	} else if (kind == AUTHORIZATION_BASIC && (challenges & REPLY_BASIC) != 0) {
		session_hash("user:", strv_from(user), key);
		who = (struct account_who){ CLAIM_USER, user, "", key };
		look_up(s, &who);
	} else {
		session_refuse(s, challenges != 0 ? FACT_PASSWORD_WANTED : FACT_NO_CERTIFICATE, NULL);
	}
}

void session_identify(struct session *s)
{
	struct worker *w = s->worker;
	struct account_who who;

	if (!s->peer->has_certificate) {
		identify_by_authorization(s);
		return;
	}
	if (s->account != NULL && account_is_fresh(w->accounts, s->account)) {
		enum fact fact = session_account_fact(s->account);
		metrics_add(M_ACCOUNT_CACHE, CACHE_HIT, 1);
		if (fact != FACT_NONE)
			session_refuse(s, fact, NULL);
		else
			step_method(s);
		return;
	}
	who = (struct account_who){ s->peer->kind, s->peer->claim, s->peer->sid, s->peer->fingerprint };
	look_up(s, &who);
}
