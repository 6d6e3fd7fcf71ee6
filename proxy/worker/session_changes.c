/*
 * session_changes: what changes from outside does to live connections: revocation, accounts, devices, trust, time, the end.
 * Looks at each session and ends it or lets it be. Worker process.
 */
#include "common/device.h"
#include "common/text.h"
#include "proxy/metric_table.h"
#include "proxy/worker/policy.h"
#include "proxy/worker/session_state.h"

#define CHANGED_UNKNOWN_MS 30000

/* Ends a live connection for `fact`; a request that has no answer yet still gets its refusal. */
static void end_for(struct session *s, enum fact fact, const char *detail, unsigned why)
{
	metrics_add(M_SESSIONS_ENDED, why, 1);
	if (s->x != NULL && !s->x->answer_started && s->state != SESSION_ANSWER && s->state != SESSION_LINGER) {
		s->closing = true;
		session_refuse(s, fact, detail);
		return;
	}
	if (s->state != SESSION_ANSWER && s->state != SESSION_LINGER) {
		audit_ended(s, fact, detail);
		session_close(s, fact_name(fact));
	}
}

/* Callbacks may close the session they are given and no other: the next one is taken before. */
static void each_session(struct worker *w, void (*look)(struct session *s, const void *arg), const void *arg)
{
	struct session *s, *next;

	for (s = w->newest; s != NULL; s = next) {
		next = s->next;
		if (s->peer != NULL)
			look(s, arg);
	}
}

static void look_at_revocation(struct session *s, const void *arg)
{
	(void)arg;
	switch (revocation_check(s->worker->revocation, s->peer, loop_wall(s->worker->loop), &s->revocation)) {
	case REVOCATION_REVOKED:
		end_for(s, FACT_REVOKED, NULL, ENDED_REVOKED);
		return;
	default:
		return;		/* unknown: asked again at the next request, refused there */
	}
}

void sessions_check_revocation(struct worker *w)
{
	each_session(w, look_at_revocation, NULL);
}

/* --- something about the account has changed while a connection lives --- */

/*
 * The directory is away. What waits goes on, and the next request is answered by what is cached there, or 503. But where the account is
 * known to have changed nobody keeps what it was: after a while the waiting one ends too, since it may be one who may not in any more.
 */
static void recheck_failed(struct session *s)
{
	/* account_changed_ms may be a millisecond ahead: 0 means that nothing changed */
	if (s->account_changed_ms != 0 && loop_now_ms(s->worker->loop) >= s->account_changed_ms + CHANGED_UNKNOWN_MS)
		end_for(s, FACT_DIRECTORY_DOWN, "the account has changed and nobody can say how", ENDED_ACCOUNT);
}

static void on_recheck(void *arg, struct account_entry *e)
{
	struct session *s = arg;
	const struct policy_settings *policy;
	struct eas_request none;
	const char *detail;
	enum fact fact;

	s->account_op = NULL;
	if (e == NULL) {
		recheck_failed(s);
		return;
	}
	session_use_account(s, e);
	fact = session_account_fact(e);
	if (fact == FACT_NONE && s->peer->host < s->worker->now->settings->proxy.hosts_count) {
		policy = &s->worker->now->settings->proxy.policies[session_host(s)->policy_index];
		memset(&none, 0, sizeof(none));
		fact = policy_decide(policy, &e->view, &none, false, loop_wall(s->worker->loop), &detail);
		/* a request under way came by what the account's rule may not take any more */
		if (fact == FACT_NONE && s->x != NULL)
			fact = session_method_fact(s, &e->view, &detail);
	}
	if (fact == FACT_NONE)
		return;
	end_for(s, fact, NULL, ENDED_ACCOUNT);
}

static void recheck_account(struct session *s)
{
	struct account_who who = { s->peer->kind, s->peer->claim, s->peer->sid, s->peer->fingerprint, false };
	struct account_entry *e = NULL;
	uint8_t key[SHA256_SIZE];

	/* answers under way, and one that is being asked for anyway, need no second look */
	if (s->account_op != NULL || s->state == SESSION_ANSWER || s->state == SESSION_LINGER)
		return;
	if (!s->peer->has_certificate && s->bearer != NULL && s->worker->now->settings->proxy.bearer != NULL) {
		session_bearer_who(s, &who);
	} else if (!s->peer->has_certificate) {
		if (s->password == NULL || session_hash(s, "user", strv_from(s->password->user), key) < 0)
			return;
		who = (struct account_who){ CLAIM_USER, s->password->user, "", key, true };
	}
	if (account_get(s->worker->accounts, &who, false, on_recheck, s, &e, &s->account_op) == 1)
		on_recheck(s, e);
}

static void look_at_account(struct session *s, const void *arg)
{
	const struct directory_changed *change = arg;

	if (s->account == NULL || (change->sid[0] != '\0' && strcmp(s->account->view.sid, change->sid) != 0))
		return;
	/* whatever it was: whether its password is still right is asked again */
	if (s->password != NULL)
		s->password->until_ms = 0;
	if (change->change != CHANGE_MISSED && s->account_changed_ms == 0)
		s->account_changed_ms = loop_now_ms(s->worker->loop) + 1;
	recheck_account(s);
}

void sessions_check_account(struct worker *w, const struct directory_changed *change)
{
	each_session(w, look_at_account, change);
}

static void look_at_method(struct session *s, const void *arg)
{
	const char *detail;
	enum fact fact;

	(void)arg;
	if (s->x == NULL || s->account == NULL || s->account->result != ACCOUNT_FOUND || s->peer->host == UINT16_MAX || s->account_op != NULL)
		return;
	fact = session_method_fact(s, &s->account->view, &detail);
	if (fact != FACT_NONE)
		end_for(s, fact, detail, ENDED_ACCOUNT);
}

void sessions_check_methods(struct worker *w)
{
	each_session(w, look_at_method, NULL);
}

static void look_at_keys(struct session *s, const void *arg)
{
	(void)arg;
	if (s->state == SESSION_RELAY && s->x->held && !s->x->answer_started && (s->x->checks & (1u << METHOD_BEARER)) != 0)
		end_for(s, FACT_SHUTTING_DOWN, "the keys of the token's issuer have changed", ENDED_TRUST);
}

void sessions_check_keys(struct worker *w)
{
	each_session(w, look_at_keys, NULL);
}

static void look_at_password(struct session *s, const void *arg)
{
	const char *sid = arg;

	if (s->password != NULL && (sid[0] == '\0' || strcmp(s->password->account->view.sid, sid) == 0))
		s->password->until_ms = 0;
}

void sessions_forget_passwords(struct worker *w, const char *sid)
{
	each_session(w, look_at_password, sid);
}

static void look_at_device(struct session *s, const void *arg)
{
	const char *hex = arg;
	uint8_t key[SHA256_SIZE];

	if (hex[0] != '\0' && (text_unhex(key, SHA256_SIZE, strv_from(hex)) < 0 || !session_is_device(s, key)))
		return;
	if (s->device != NULL)
		s->device->until_ms = 0;
	/* the state itself is asked at the next request; a waiting one is ended so that the next comes soon */
	if (s->state == SESSION_RELAY && s->x->held && !s->x->answer_started)
		end_for(s, FACT_SHUTTING_DOWN, "the device's state has changed", ENDED_DEVICE);
}

void sessions_check_device(struct worker *w, const char *certificate_hex)
{
	each_session(w, look_at_device, certificate_hex);
}

/* Hosts may stand in another order now: the connection stays with the name it came by. */
bool session_find_host(struct session *s)
{
	const struct proxy_settings *p = &s->worker->now->settings->proxy;

	for (unsigned i = 0; s->host_name != NULL && i < p->hosts_count; i++) {
		for (unsigned k = 0; k < p->hosts[i].names_count; k++) {
			if (text_eq_nocase(strv_from(p->hosts[i].names[k]), strv_from(s->host_name))) {
				s->peer->host = (uint16_t)i;
				return true;
			}
		}
	}
	return false;
}

static void look_at_trust(struct session *s, const void *arg)
{
	(void)arg;
	if (!session_find_host(s))
		s->peer->host = UINT16_MAX;
	if (s->peer->host == UINT16_MAX || !tls_hosts_trust(s->worker->now->hosts, s->host_name, s->peer))
		end_for(s, FACT_CERT_UNTRUSTED, "by the new configuration", ENDED_TRUST);
}

void sessions_check_trust(struct worker *w)
{
	each_session(w, look_at_trust, NULL);
}

static void look_again(struct session *s, const void *arg)
{
	time_t now = loop_wall(s->worker->loop);

	(void)arg;
	if (s->peer->has_certificate && now >= s->peer->not_after) {
		end_for(s, FACT_CERT_EXPIRED, NULL, ENDED_CERTIFICATE);
		return;
	}
	/* no event tells of what an administrator did in the table of a single machine */
	if (s->device != NULL && s->x != NULL && s->x->held && device_is_out(s->worker->devices, s->device->key)) {
		end_for(s, FACT_DEVICE_BLOCKED, NULL, ENDED_DEVICE);
		return;
	}
	if (s->bearer != NULL && s->x != NULL && (s->x->checks & (1u << METHOD_BEARER)) != 0 && now >= s->bearer->until) {
		end_for(s, FACT_TOKEN_REFUSED, "it expired while the request waited", ENDED_CERTIFICATE);
		return;
	}
	/* a waiting Ping is covered by its account's answer only as long as that holds */
	if (s->account != NULL && s->x != NULL && s->x->held && !account_is_fresh(s->worker->accounts, s->account))
		recheck_account(s);
}

void sessions_sweep(struct worker *w)
{
	sessions_check_revocation(w);
	each_session(w, look_again, NULL);
}

void sessions_drain(struct worker *w)
{
	struct session *s, *next;

	for (s = w->newest; s != NULL; s = next) {
		next = s->next;
		/* nobody waits for an answer there */
		if (s->state == SESSION_PROXY || s->state == SESSION_HANDSHAKE || s->state == SESSION_LINGER ||
		    (s->state == SESSION_REQUEST && buffer_len(&s->in) == 0))
			session_close(s, "shutting down");
		else if (s->state == SESSION_RELAY && s->x->held && !s->x->answer_started)
			session_refuse(s, FACT_SHUTTING_DOWN, NULL);
	}
}

void sessions_end_all(struct worker *w)
{
	while (w->newest != NULL)
		session_close(w->newest, "shutting down");
}
