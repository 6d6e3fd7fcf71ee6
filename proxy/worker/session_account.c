/*
 * session_account: who it is: the account that the certificate names, or the user of Basic; and whether that account may come in by
 * what the request brings. Worker process.
 */
#include "proxy/metric_table.h"
#include "proxy/worker/method.h"
#include "proxy/worker/session_state.h"
#include "proxy/worker/switches.h"

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

enum fact session_method_fact(struct session *s, const struct account_view *account, const char **detail)
{
	struct method_brings b = { .certificate = s->peer->has_certificate };
	struct method_verdict v;

	b.bearer = s->x != NULL && (s->x->checks & (1u << METHOD_BEARER)) != 0;
	b.password = s->password != NULL || (s->x != NULL && (s->x->checks & (1u << METHOD_PASSWORD)) != 0);
	v = method_decide(session_policy(s), account, switches_mask(s->worker->switches), b);
	*detail = v.detail;
	return v.fact;
}

/* A certificate and a token, both required: it must be the same account's. */
static void token_beside(struct session *s)
{
	const char *detail;
	enum fact fact = session_check_bearer(s, &detail);

	if (fact == FACT_NONE && !session_bearer_names(s, &s->account->view)) {
		fact = FACT_OTHER_USER;
		detail = "the token's account is not the certificate's";
	}
	if (fact != FACT_NONE)
		session_refuse(s, fact, detail);
	else
		session_admitted(s);
}

static void step_method(struct session *s)
{
	struct method_verdict v = method_decide(session_policy(s), &s->account->view, switches_mask(s->worker->switches), brings_of(s));

	s->x->checks = v.checks;
	s->x->challenges = v.challenges;
	if (v.fact != FACT_NONE)
		session_refuse(s, v.fact, v.detail);
	else if (v.checks != 0 && !switches_are_known(s->worker->switches))
		session_refuse(s, FACT_PASSWORD_UNCHECKED, "Redis has not said yet which groups are switched to certificates");
	else if (v.checks == 1u << METHOD_BEARER && s->peer->has_certificate)
		token_beside(s);
	else if (s->x->unverified && !session_bearer_keeps(s))
		session_refuse(s, FACT_OTHER_USER, "the connection has brought tokens of another account");
	else
		session_admitted(s);
}

/* --- who --- */

/* Nobody hears by the answer which names there are; *lockout* counts who tries many of them. */
static void unknown_user(struct session *s)
{
	s->x->checks = 1u << METHOD_PASSWORD;
	if (session_password_counts(s))
		session_check_password(s);
	else
		session_refuse(s, FACT_PASSWORD_WRONG, "nobody has that name");
}

static void on_account(void *arg, struct account_entry *e)
{
	struct session *s = arg;
	enum fact fact = session_account_fact(e);

	s->account_op = NULL;
	if (e != NULL)
		session_use_account(s, e);
	if (fact == FACT_NONE)
		step_method(s);
	else if (s->x->names_user && (fact == FACT_ACCOUNT_UNKNOWN || fact == FACT_ACCOUNT_AMBIGUOUS))
		unknown_user(s);
	else
		session_refuse(s, fact, NULL);
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
	const char *detail;
	enum fact fact;
	enum authorization kind = challenges != 0 ? session_authorization(s, user) : AUTHORIZATION_NONE;

	s->x->challenges = challenges;
	if (kind == AUTHORIZATION_MALFORMED) {
		session_refuse(s, FACT_MALFORMED, "Authorization is no Basic credential");
	} else if (kind == AUTHORIZATION_BASIC && (challenges & REPLY_BASIC) != 0) {
		if (session_hash(s, "user", strv_from(user), key) < 0) {
			session_refuse(s, FACT_OVERLOADED, "out of memory");
			return;
		}
		who = (struct account_who){ CLAIM_USER, user, "", key, true };
		s->x->names_user = true;
		look_up(s, &who);
	} else if (kind == AUTHORIZATION_BEARER && (challenges & REPLY_BEARER) != 0) {
		fact = session_check_bearer(s, &detail);
		if (fact != FACT_NONE) {
			session_refuse(s, fact, detail);
			return;
		}
		session_bearer_who(s, &who);
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
	who = (struct account_who){ s->peer->kind, s->peer->claim, s->peer->sid, s->peer->fingerprint, false };
	look_up(s, &who);
}
