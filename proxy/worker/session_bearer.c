/*
 * session_bearer: the Bearer Authorization of a request (RFC 6750): whose token it is. Checked once for a connection and an Authorization;
 * what is kept of it is a hash with a key of this process. With proxy.bearer.mode pass nobody here checks it: the exchange is marked
 * unverified, and what may be done for it is said in session_device.c, session_steps.c and relay.c. Worker process.
 */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "common/text.h"
#include "proxy/revocation/process.h"
#include "proxy/worker/jwt.h"
#include "proxy/worker/session_state.h"

#define KEYS_ASK_MS 1000	/* from one worker; not the rate of fetching */

void session_forget_bearer(struct session *s)
{
	free(s->bearer);
	s->bearer = NULL;
}

static enum fact remember(struct session *s, const uint8_t binding[SHA256_SIZE], const struct jwt_facts *facts, bool unverified)
{
	size_t n = strlen(facts->name) + 1;
	struct bearer_memo *m = malloc(sizeof(*m) + n);

	if (m == NULL)
		return FACT_OVERLOADED;
	memcpy(m->binding, binding, SHA256_SIZE);
	m->until = facts->until;
	m->configuration = s->worker->configuration;
	m->keys = s->worker->keys_number;
	m->unverified = unverified;
	memcpy(m->name, facts->name, n);
	s->bearer = m;
	return FACT_NONE;
}

/* Good still: the same token, before its end, by the keys and rules of now. */
static bool is_remembered(const struct session *s, const uint8_t binding[SHA256_SIZE])
{
	const struct bearer_memo *m = s->bearer;

	return m != NULL && m->configuration == s->worker->configuration && m->keys == s->worker->keys_number && loop_wall(s->worker->loop) < m->until &&
	    CRYPTO_memcmp(m->binding, binding, SHA256_SIZE) == 0;
}

/* FACT_NONE: there are keys that count, or none are needed. */
static enum fact keys_fact(const struct worker *w, const char **detail)
{
	if (w->now->settings->proxy.bearer->passes)
		return FACT_NONE;
	if (w->now->keys != NULL && loop_wall(w->loop) < w->now->keys_until)
		return FACT_NONE;
	*detail = w->now->keys == NULL ? "the issuer's keys could not be fetched yet" : "the issuer's keys are older than keys_max_age_seconds";
	return FACT_TOKEN_UNCHECKED;
}

/* The issuer may have a new key; the revocation process asks it, and not more often than it likes. */
static void want_keys(struct worker *w)
{
	uint64_t now = loop_now_ms(w->loop);

	if (w->now->settings->proxy.bearer->keys_url[0] == '\0' || (w->keys_asked_ms != 0 && now < w->keys_asked_ms + KEYS_ASK_MS))
		return;
	w->keys_asked_ms = now;
	asker_tell(w->revocation_asker, REVOCATION_KEYS_WANTED, NULL, 0);
}

enum fact session_check_bearer(struct session *s, const char **detail)
{
	const struct bearer_settings *rules = s->worker->now->settings->proxy.bearer;
	const struct http_head *head = session_head(s);
	const struct http_field *f = head != NULL ? http_find(head, HTTP_AUTHORIZATION) : NULL;
	uint8_t binding[SHA256_SIZE];
	struct jwt_facts facts;
	struct strv token;
	enum jwt_result rc;
	enum fact fact;

	*detail = NULL;
	if (f == NULL || rules == NULL)
		return FACT_PASSWORD_WANTED;
	fact = keys_fact(s->worker, detail);
	if (fact != FACT_NONE)
		return fact;
	/* what was looked up for a claim is never taken for what was looked up for a token that was checked */
	if (session_hash(s, rules->passes ? "claim" : "token", f->value, binding) < 0)
		return FACT_OVERLOADED;
	s->x->unverified = rules->passes;
	if (is_remembered(s, binding))
		return FACT_NONE;
	session_forget_bearer(s);
	token = text_trim((struct strv){ f->value.p + 7, f->value.n - 7 });
	rc = rules->passes ? jwt_read(rules, token, loop_wall(s->worker->loop), &facts)
			   : jwt_check(s->worker->now->keys, rules, token, loop_wall(s->worker->loop), &facts);
	if (rc == JWT_UNKNOWN_KEY)
		want_keys(s->worker);
	if (rc != JWT_OK) {
		*detail = jwt_result_text(rc);
		return FACT_TOKEN_REFUSED;
	}
	return remember(s, binding, &facts, rules->passes);
}

void session_bearer_who(const struct session *s, struct account_who *who)
{
	*who = (struct account_who){ s->worker->now->settings->proxy.bearer->account_kind, s->bearer->name, "", s->bearer->binding,
		s->bearer->unverified };
}

bool session_bearer_keeps(struct session *s)
{
	if (s->claimed_sid == NULL)
		s->claimed_sid = strdup(s->account->view.sid);
	return s->claimed_sid != NULL && strcmp(s->claimed_sid, s->account->view.sid) == 0;
}

bool session_bearer_names(const struct session *s, const struct account_view *account)
{
	const char *own;

	switch (s->worker->now->settings->proxy.bearer->account_kind) {
	case CLAIM_SID:
		own = account->sid;
		break;
	case CLAIM_EMAIL:
		own = account->mail;
		break;
	default:
		own = account->upn;
	}
	return own[0] != '\0' && text_eq_nocase(strv_from(own), strv_from(s->bearer->name));
}
