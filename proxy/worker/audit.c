/*
 * audit: the access line of a request and the audit line of a refusal. Never a token, a body or a password. Worker process.
 */
#include <stdio.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/metric_table.h"
#include "proxy/worker/session_state.h"

uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* By what it may come in: nothing while that is not known. */
static const char *method_of(const struct session *s)
{
	bool certificate = s->peer != NULL && s->peer->has_certificate;
	unsigned checks = s->x != NULL ? s->x->checks : 0;

	if ((checks & (1u << METHOD_PASSWORD)) != 0)
		return certificate ? "certificate+password" : "password";
	if ((checks & (1u << METHOD_BEARER)) != 0 && s->x->unverified)
		return certificate ? "certificate+bearer-unverified" : "bearer-unverified";
	if ((checks & (1u << METHOD_BEARER)) != 0)
		return certificate ? "certificate+bearer" : "bearer";
	return certificate ? "certificate" : NULL;
}

/* The certificate by the first 16 digits of its fingerprint, the account by its names. */
static void put_who(struct log_line *l, const struct session *s)
{
	char fingerprint[2 * SHA256_SIZE + 1];

	log_cstr(l, "client", s->client);
	if (s->peer == NULL)
		return;
	log_cstr(l, "method", method_of(s));
	if (s->peer->has_certificate) {
		text_hex(fingerprint, s->peer->fingerprint, SHA256_SIZE);
		log_cstr(l, "certificate", fingerprint);
		if (s->peer->claim_result == CERT_OK)
			log_cstr(l, "claim", s->peer->claim);
	}
	if (s->account != NULL && s->account->result == ACCOUNT_FOUND) {
		log_cstr(l, "user", s->account->view.sam);
		log_cstr(l, "sid", s->account->view.sid);
	}
}

static void put_request(struct log_line *l, const struct session *s)
{
	const struct exchange *x = s->x;

	if (x == NULL)
		return;
	log_int(l, "exchange", (int64_t)x->number);
	log_cstr(l, "command", x->request.is_options ? "OPTIONS" : x->request.route == ROUTE_AUTODISCOVER ? "Autodiscover"
					: eas_command_name(x->request.query.command));
	if (x->request.query.device_id[0] != '\0') {
		log_cstr(l, "device", x->request.query.device_id);
		log_cstr(l, "device_type", x->request.query.device_type);
	}
	if (x->request.query.user[0] != '\0')
		log_cstr(l, "asked_user", x->request.query.user);
}

void audit_access(const struct session *s)
{
	const struct exchange *x = s->x;
	uint64_t us = now_us() - x->started_us;
	struct log_line l;

	metrics_add(M_REQUESTS, metric_request_sub(x->request.is_options ? EAS_OPTIONS : x->request.query.command, x->status), 1);
	if (!x->request.holds)
		metrics_observe_us(M_REQUEST_SECONDS, 0, us);
	if (!s->worker->now->settings->common.log.access)
		return;
	log_begin(&l, LOG_INFO, "access");
	log_int(&l, "session", (int64_t)s->id);
	put_request(&l, s);
	log_int(&l, "status", x->status);
	if (x->fact != FACT_NONE)
		log_cstr(&l, "reason", fact_name(x->fact));
	if (x->detail != NULL)
		log_cstr(&l, "detail", x->detail);
	log_int(&l, "ms", (int64_t)(us / 1000));
	log_int(&l, "in", (int64_t)x->body_n);
	log_int(&l, "out", (int64_t)x->answer_n);
	put_who(&l, s);
	if (s->peer != NULL) {
		log_cstr(&l, "host", s->host_name);
		log_cstr(&l, "tls", s->peer->version);
		log_bool(&l, "resumed", s->peer->resumed);
	}
	if (x->server[0] != '\0')
		log_cstr(&l, "server", x->server);
	log_end(&l);
}

void audit_refusal(const struct session *s, enum fact fact, const char *detail)
{
	struct log_line l;

	if (fact_is_fault(fact)) {
		log_begin(&l, LOG_ERROR, "fault");
	} else {
		log_begin_audit(&l, "refused");
	}
	log_cstr(&l, "reason", fact_name(fact));
	log_int(&l, "status", fact_status(fact));
	log_cstr(&l, "detail", detail);
	log_int(&l, "session", (int64_t)s->id);
	put_request(&l, s);
	put_who(&l, s);
	log_cstr(&l, "cure", fact_cure(fact));
	log_end(&l);
}

void audit_would_refuse(const struct session *s, enum fact fact)
{
	struct log_line l;

	log_begin_audit(&l, "would_refuse");
	log_cstr(&l, "reason", fact_name(fact));
	log_cstr(&l, "detail", "pin: log lets it in");
	log_int(&l, "session", (int64_t)s->id);
	put_request(&l, s);
	put_who(&l, s);
	log_end(&l);
}

void audit_ended(const struct session *s, enum fact fact, const char *detail)
{
	struct log_line l;

	log_begin_audit(&l, "ended");
	log_cstr(&l, "reason", fact_name(fact));
	log_cstr(&l, "detail", detail);
	log_int(&l, "session", (int64_t)s->id);
	put_request(&l, s);
	put_who(&l, s);
	log_end(&l);
}

void audit_handshake(const struct session *s, const struct handshake_report *report)
{
	struct log_line l;
	bool about_who = report->failure == HANDSHAKE_NO_CERTIFICATE || report->failure == HANDSHAKE_CERTIFICATE;

	if (about_who)
		log_begin_audit(&l, "handshake_refused");
	else
		log_begin(&l, LOG_INFO, "handshake_failed");
	log_cstr(&l, "reason", handshake_failure_names[report->failure]);
	log_cstr(&l, "detail", report->why);
	log_int(&l, "session", (int64_t)s->id);
	log_cstr(&l, "client", s->client);
	log_end(&l);
}
