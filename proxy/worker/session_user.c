/*
 * session_user: asks the directory whose a name is that a request gives, where the account's own facts do not tell. What the answer means
 * is user_name.c's. Worker process.
 */
#include <stdlib.h>

#include "proxy/worker/session_state.h"

static void ask(struct session *s, enum user_name what);

static void finish(struct session *s, enum fact fact, const char *detail)
{
	struct exchange *x = s->x;
	session_step_fn *done = x->step_done;

	free(x->user_name);
	x->user_name = NULL;
	x->step_done = NULL;
	done(s, fact, detail);
}

static void on_found(void *arg, struct account_entry *e)
{
	struct session *s = arg;
	enum user_name verdict;

	s->account_op = NULL;
	if (e == NULL) {
		finish(s, FACT_DIRECTORY_DOWN, "nobody can say whose name the request gives");
		return;
	}
	verdict = user_name_found(&s->account->view, s->x->user_asked, (enum account_result)e->result, e->view.sid);
	account_unref(s->worker->accounts, e);
	if (verdict == USER_ASK_ADDRESS)
		ask(s, verdict);
	/* nobody looked at the account itself while this was asked */
	else if (verdict == USER_OWN && s->account_changed_ms != 0)
		finish(s, FACT_SHUTTING_DOWN, "the account has changed while the request was looked at");
	else
		finish(s, verdict == USER_OWN ? FACT_NONE : FACT_OTHER_USER, NULL);
}

static void ask(struct session *s, enum user_name what)
{
	struct exchange *x = s->x;
	struct account_entry *e = NULL;
	struct account_who who = { what == USER_ASK_LOGIN ? CLAIM_USER : CLAIM_EMAIL, x->user_name, "", NULL, true };
	uint8_t key[SHA256_SIZE];

	x->user_asked = what;
	if (session_hash(s, what == USER_ASK_LOGIN ? "login" : "address", strv_from(x->user_name), key) < 0) {
		finish(s, FACT_OVERLOADED, "out of memory");
		return;
	}
	who.certificate = key;
	/* a look at the account that a change had asked for meanwhile: what it would have said, on_found() and the next request will hear */
	account_cancel(s->account_op);
	s->account_op = NULL;
	switch (account_get(s->worker->accounts, &who, false, on_found, s, &e, &s->account_op)) {
	case 1:
		on_found(s, e);
		return;
	case 0:
		session_go(s, SESSION_ACCOUNT);
		return;
	default:
		finish(s, FACT_OVERLOADED, "too many questions to the directory");
	}
}

void session_check_user(struct session *s, const char *user, session_step_fn *done)
{
	enum user_name verdict = user_name_judge(&s->account->view, strv_from(user));

	s->x->step_done = done;
	if (verdict != USER_ASK_LOGIN) {
		finish(s, verdict == USER_OWN ? FACT_NONE : FACT_OTHER_USER, NULL);
		return;
	}
	/* "\user@suffix" is asked for as what it means */
	s->x->user_name = strdup(user[0] == '\\' ? user + 1 : user);
	if (s->x->user_name == NULL)
		finish(s, FACT_OVERLOADED, "out of memory");
	else
		ask(s, verdict);
}
