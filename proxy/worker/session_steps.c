/*
 * session_steps: from a request head to a mail server's connection, stage by stage: request, revocation, account, policy, device,
 * credential, upstream. Each stage's result goes to the next here and nowhere else. Worker process.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/metric_table.h"
#include "proxy/worker/autodiscover.h"
#include "proxy/worker/policy.h"
#include "proxy/worker/session_state.h"

static void step_device(struct session *s);
static void step_credential(struct session *s);
static void step_upstream(struct session *s);

const struct host_settings *session_host(const struct session *s)
{
	return &s->worker->now->settings->proxy.hosts[s->peer->host];
}

const struct policy_settings *session_policy(const struct session *s)
{
	return &s->worker->now->settings->proxy.policies[session_host(s)->policy_index];
}

const struct upstream_settings *session_upstream(const struct session *s)
{
	return &s->worker->now->settings->proxy.upstreams[session_host(s)->upstream_index];
}

/* --- the head --- */

const struct http_head *session_head(struct session *s)
{
	struct worker *w = s->worker;
	const struct limit_settings *limits = &w->now->settings->proxy.limits;
	struct http_limits l = { limits->head_bytes, limits->headers };
	struct http_scan scan = { 0 };
	size_t used;

	if (w->head_owner == s)
		return &w->head;
	w->head_owner = NULL;
	if (http_read_request(&w->head, &scan, buffer_data(&s->in), buffer_len(&s->in), &l, &used) != HTTP_DONE)
		return NULL;
	w->head_owner = s;
	return &w->head;
}

static enum fact fact_of_head(enum http_result rc)
{
	return rc == HTTP_TOO_LARGE || rc == HTTP_TOO_MANY ? FACT_HEAD_TOO_LARGE : FACT_MALFORMED;
}

/* The configuration may have fewer hosts than when the connection began: then it is nobody's. */
static enum fact check_connection(struct session *s, const struct http_head *head, const char **detail)
{
	struct worker *w = s->worker;

	*detail = NULL;
	if (s->peer->host >= w->now->settings->proxy.hosts_count || !tls_hosts_serves(w->now->hosts, s->peer->host, head->host)) {
		*detail = "Host names another virtual host than the TLS connection";
		return FACT_WRONG_HOST;
	}
	if (!s->peer->has_certificate)
		return FACT_NONE;
	if (s->peer->refused != 0) {
		*detail = s->peer->why;
		return s->peer->refused == X509_V_ERR_CERT_HAS_EXPIRED ? FACT_CERT_EXPIRED : FACT_CERT_UNTRUSTED;
	}
	if (s->peer->claim_result != CERT_OK) {
		*detail = cert_result_text((enum cert_result)s->peer->claim_result);
		return FACT_CERT_UNUSABLE;
	}
	return loop_wall(w->loop) >= s->peer->not_after ? FACT_CERT_EXPIRED : FACT_NONE;
}

static enum fact check_revocation(struct session *s)
{
	switch (revocation_check(s->worker->revocation, s->peer, loop_wall(s->worker->loop), &s->revocation)) {
	case REVOCATION_GOOD:
		return FACT_NONE;
	case REVOCATION_REVOKED:
		return FACT_REVOKED;
	default:
		return s->worker->now->settings->proxy.revocation.unknown_allows ? FACT_NONE : FACT_REVOCATION_UNKNOWN;
	}
}

static void begin_exchange(struct session *s, size_t used)
{
	struct worker *w = s->worker;
	struct exchange *x = calloc(1, sizeof(*x));
	enum fact fact;
	const char *detail;

	if (x == NULL) {
		session_close(s, "out of memory");
		return;
	}
	s->x = x;
	x->number = ++s->exchanges;
	x->started_us = now_us();
	x->head_n = used;
	buffer_init(&x->collected, AUTODISCOVER_BODY_MAX);
	deadline_disarm(&s->deadline);
	fact = request_read(&w->now->settings->proxy, &w->head, &x->request, &detail);
	x->decode.max_body = w->now->settings->proxy.limits.body_bytes;
	x->body_left = x->request.length;
	x->body_done = x->request.body == HTTP_BODY_NONE || (x->request.body == HTTP_BODY_LENGTH && x->request.length == 0);
	x->close_after = !x->request.keep_alive;
	if (fact == FACT_NONE)
		fact = check_connection(s, &w->head, &detail);
	if (fact == FACT_NONE)
		fact = check_revocation(s);
	if (fact != FACT_NONE) {
		session_refuse(s, fact, detail);
		return;
	}
	session_identify(s);
}

void session_read_request(struct session *s)
{
	struct worker *w = s->worker;
	const struct limit_settings *limits = &w->now->settings->proxy.limits;
	struct http_limits l = { limits->head_bytes, limits->headers };
	enum http_result rc = HTTP_MORE;
	bool first = buffer_len(&s->in) == 0;
	size_t used = 0;
	enum io io = IO_OK;

	for (;;) {
		if (buffer_len(&s->in) > 0) {
			w->head_owner = NULL;
			rc = http_read_request(&w->head, &s->scan, buffer_data(&s->in), buffer_len(&s->in), &l, &used);
		}
		if (rc != HTTP_MORE || io != IO_OK)
			break;
		io = session_read(s);
		if (io == IO_ENDED) {
			session_close(s, "the device went away");
			return;
		}
		if (io == IO_AGAIN)
			break;
	}
	if (rc == HTTP_MORE) {
		/* the time for a head begins with its first byte */
		if (first && buffer_len(&s->in) > 0)
			s->deadline.at_ms = loop_now_ms(w->loop) + (uint64_t)limits->head_seconds * 1000;
		return;
	}
	if (rc != HTTP_DONE) {
		s->closing = true;
		session_refuse(s, fact_of_head(rc), http_result_text(rc));
		return;
	}
	w->head_owner = s;
	begin_exchange(s, used);
}

/* --- policy --- */

enum fact session_standing(struct session *s, const char **detail)
{
	*detail = NULL;
	if (s->account == NULL)
		return FACT_DIRECTORY_DOWN;
	if (s->account->result != ACCOUNT_FOUND)
		return session_account_fact(s->account);
	return policy_decide(session_policy(s), &s->account->view, &s->x->request,
	    session_upstream(s)->credential_kind == CREDENTIAL_KERBEROS, loop_wall(s->worker->loop), detail);
}

/* Nothing is asked of *lockout* for a request that is refused whatever its password is. */
static void on_user(struct session *s, enum fact fact, const char *detail)
{
	if (fact != FACT_NONE)
		session_refuse(s, fact, detail);
	else if (session_password_counts(s))
		session_check_password(s);
	else
		session_checked(s);
}

/* Whose mailbox the request names. */
static void step_user(struct session *s, enum fact fact, const char *detail)
{
	struct exchange *x = s->x;

	if (fact != FACT_NONE) {
		session_refuse(s, fact, fact == FACT_OTHER_USER ? "the password's user is not the certificate's" : detail);
		return;
	}
	if (x->request.route == ROUTE_EAS && session_policy(s)->user_must_match)
		session_check_user(s, x->request.query.user, on_user);
	else
		on_user(s, FACT_NONE, NULL);
}

/* A password beside a certificate counts where a rule requires both, and goes on where that is configured: only for the same account. */
static void step_own_password(struct session *s)
{
	bool passes = session_upstream(s)->credential_kind == CREDENTIAL_PASSTHROUGH;
	char user[ACCOUNT_NAME_LIMIT];
	enum authorization kind = AUTHORIZATION_NONE;

	if (s->peer->has_certificate && (passes || s->x->checks != 0) && s->x->checks != 1u << METHOD_BEARER)
		kind = session_authorization(s, user);
	if (kind == AUTHORIZATION_BASIC)
		session_check_user(s, user, step_user);
	else
		step_user(s, kind == AUTHORIZATION_NONE ? FACT_NONE : FACT_OTHER_USER, NULL);
}

void session_admitted(struct session *s)
{
	const char *detail;
	enum fact fact = session_standing(s, &detail);

	if (fact != FACT_NONE)
		session_refuse(s, fact, detail);
	else
		step_own_password(s);
}

void session_checked(struct session *s)
{
	/* where the mail server alone checks a password, it alone may tell of its user */
	if (s->x->request.route == ROUTE_AUTODISCOVER && s->worker->now->settings->proxy.autodiscover_answers && !s->x->request.is_options &&
	    session_is_proven(s)) {
		session_go(s, SESSION_COLLECT);
		if (s->x->request.expect_continue && buffer_addv(&s->out, STRV("HTTP/1.1 100 Continue\r\n\r\n")) == 0 &&
		    session_flush(s) == IO_ENDED) {
			session_close(s, "the device went away");
			return;
		}
		buffer_eat(&s->in, s->x->head_n);
		s->x->head_n = 0;
		s->worker->head_owner = NULL;
		session_collect(s);
		return;
	}
	step_device(s);
}

/* --- the device --- */

static void on_device(struct session *s, enum fact fact, const char *detail)
{
	if (fact != FACT_NONE)
		session_refuse(s, fact, detail);
	else
		step_credential(s);
}

static void step_device(struct session *s)
{
	session_check_device(s, on_device);
}

/* --- the credential --- */

static void on_credential(void *arg, enum fact fact, const char *text, struct credential *c)
{
	struct session *s = arg;

	s->credential_op = NULL;
	/* a reload came in between: the mail server, and with it the service, may be another now */
	if (s->x->asked_under != s->worker->configuration) {
		credential_clear(c);
		step_credential(s);
		return;
	}
	if (fact != FACT_NONE) {
		snprintf(s->x->text, sizeof(s->x->text), "%s", text);
		session_refuse(s, fact, s->x->text);
		return;
	}
	credential_clear(&s->credential);
	s->credential = *c;
	step_upstream(s);
}

/* The voucher is the certificate's, or the password's that was found to be right. */
static const struct account_entry *vouched(const struct session *s)
{
	return s->peer->has_certificate || s->password == NULL ? s->account : s->password->account;
}

/* Checked with the configuration too; here for a request that began under another one. */
static bool may_reach(const struct session *s)
{
	return !s->x->unverified || session_upstream(s)->credential_kind == CREDENTIAL_PASSTHROUGH;
}

static void step_credential(struct session *s)
{
	if (!may_reach(s)) {
		session_refuse(s, FACT_UNVERIFIED, session_upstream(s)->name);
		return;
	}
	if (session_upstream(s)->credential_kind != CREDENTIAL_KERBEROS) {
		step_upstream(s);
		return;
	}
	s->x->ticket = true;
	s->x->asked_under = s->worker->configuration;
	session_go(s, SESSION_CREDENTIAL);
	s->credential_op = credential_ask(s->worker->credentials, vouched(s), session_upstream(s)->spn, on_credential, s);
	if (s->credential_op == NULL)
		session_refuse(s, FACT_OVERLOADED, "too many questions to the kerberos processes");
}

/* --- the mail server --- */

static void on_upstream(void *arg, struct upstream_conn *c)
{
	struct session *s = arg;

	s->upstream_op = NULL;
	/* a reload came in between: it is for another mail server now, perhaps, or by another credential */
	if (s->x->asked_under != s->worker->configuration) {
		upstream_release(c, false);
		credential_clear(&s->credential);
		step_credential(s);
		return;
	}
	if (c == NULL) {
		session_refuse(s, FACT_NO_UPSTREAM, session_upstream(s)->name);
		return;
	}
	s->upstream = c;
	relay_start(s);
}

/*
 * Whose connection: the account's. A password that is passed on names a key of its own with that very password in it, so that it never
 * rides on a connection that somebody else's made.
 */
static int connection_key(struct session *s, uint8_t key[SHA256_SIZE])
{
	const struct http_head *head;
	const struct http_field *f;

	if (session_upstream(s)->credential_kind != CREDENTIAL_PASSTHROUGH) {
		memcpy(key, s->account->key, SHA256_SIZE);
		return 0;
	}
	head = session_head(s);
	f = head != NULL ? http_find(head, HTTP_AUTHORIZATION) : NULL;
	return session_hash(s, s->account->view.sid, f != NULL ? f->value : STRV("none"), key);
}

static void step_upstream(struct session *s)
{
	struct upstream_conn *c = NULL;
	uint8_t key[SHA256_SIZE];

	if (connection_key(s, key) < 0) {
		session_refuse(s, FACT_OVERLOADED, "out of memory");
		return;
	}
	s->x->asked_under = s->worker->configuration;
	switch (upstream_get(s->worker->now->upstreams, session_host(s)->upstream_index, key, on_upstream, s, &c, &s->upstream_op)) {
	case 1:
		on_upstream(s, c);
		return;
	case 0:
		session_go(s, SESSION_UPSTREAM);
		return;
	default:
		session_refuse(s, FACT_NO_UPSTREAM, session_upstream(s)->name);
	}
}
