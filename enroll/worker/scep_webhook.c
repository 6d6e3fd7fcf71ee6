/*
 * scep_webhook: scep.challenge: webhook. Another server says whose device a challenge stands for; what it says names an account of the directory, never
 * a word of the certificate. It is asked without holding anybody up; silence and nonsense are a no. Worker of easenroll.
 */
#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sha.h>

#include "common/bundle.h"
#include "common/certificate.h"
#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/scep_parts.h"
#include "enroll/worker/webhook.h"

int scep_webhook_new(struct scep *s)
{
	const struct enroll_scep *e = &s->w->settings->enroll.scep;
	struct webhook_config c = { .loop = s->w->loop, .url = e->webhook_url, .seconds = e->webhook_seconds };

	if (e->challenge_kind != CHALLENGE_WEBHOOK)
		return 0;
	if (e->webhook_token_file[0] != '\0' && !bundle_get_secret(s->w->files, e->webhook_token_file, &c.token))
		return -1;
	if (e->webhook_ca[0] != '\0' && !bundle_get(s->w->files, e->webhook_ca, &c.ca))
		return -1;
	s->webhook = webhook_new(&c);
	return s->webhook != NULL ? 0 : -1;
}

static json_t *text_or_null(struct strv text)
{
	json_t *s = text.n > 0 ? json_stringn(text.p, text.n) : NULL;

	return s != NULL ? s : json_null();
}

static json_t *base64_of(struct strv bytes)
{
	char *text = malloc(4 * ((bytes.n + 2) / 3) + 1);
	json_t *s = NULL;

	if (text != NULL) {
		(void)text_base64(text, bytes.p, bytes.n);
		s = json_string(text);
	}
	free(text);
	return s;
}

/* What every question and notice says of the request. NULL: no memory. */
static json_t *event_of(const struct scep_op *op, const char *event)
{
	return json_pack("{s:s, s:o, s:i, s:s, s:s}", "event", event,
	    "transaction", text_or_null((struct strv){ op->message.transaction, op->message.transaction_n }), "message_type", (int)op->message.type,
	    "profile", op->scep->w->settings->enroll.profiles[op->profile].name, "client", op->r->client);
}

static json_t *names_of(const struct csr *csr)
{
	struct strv rest = strv_from(csr->claimed), one;
	json_t *list = json_array();

	while (list != NULL && rest.p != NULL) {
		one = text_split(&rest, '\n');
		if (one.n > 0)
			json_array_append_new(list, text_or_null(one));
	}
	return list;
}

static json_t *request_of(const struct csr *csr, struct strv der)
{
	char key[32], spki[2 * SHA256_SIZE + 1];

	snprintf(key, sizeof(key), "%s %u", csr->rsa ? "RSA" : "EC", csr->bits);
	text_hex(spki, csr->spki_sha256, SHA256_SIZE);
	return json_pack("{s:o, s:o, s:s, s:s, s:o}", "subject", text_or_null(strv_from(csr->subject)), "names", names_of(csr), "key", key,
	    "spki_sha256", spki, "der", base64_of(der));
}

/* Nothing but what is known, each once and of its type. NULL: read; else why not. */
static const char *take(const json_t *object, const char *key, char *out, size_t size)
{
	const json_t *value = json_object_get(object, key);

	out[0] = '\0';
	if (value == NULL)
		return NULL;
	if (!json_is_string(value) || text_copy(out, size, (struct strv){ json_string_value(value), json_string_length(value) }) < 0 ||
	    !text_is_clean(strv_from(out)))
		return "a value of the webhook's answer is no clean text, or too long";
	return NULL;
}

const char *scep_webhook_read(const json_t *object, struct scep_grant *grant, char reason[SCEP_REASON_MAX])
{
	static const char *const known[] = { "allow", "user", "device", "device_name", "reason" };
	const json_t *allow = json_object_get(object, "allow");
	const char *why = NULL;
	size_t found = 0;

	memset(grant, 0, sizeof(*grant));
	reason[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		found += json_object_get(object, known[i]) != NULL;
	if (!json_is_boolean(allow) || found != json_object_size(object))
		return "the webhook's answer lacks \"allow\": true or false, or has keys that nobody knows";
	why = take(object, "reason", reason, SCEP_REASON_MAX);
	if (why != NULL || json_is_false(allow))
		return why != NULL ? why : "the webhook said no";
	why = take(object, "user", grant->claim, sizeof(grant->claim));
	if (why == NULL)
		why = take(object, "device", grant->device, sizeof(grant->device));
	if (why == NULL)
		why = take(object, "device_name", grant->device_name, sizeof(grant->device_name));
	if (why == NULL && grant->claim[0] == '\0')
		why = "the webhook's answer names no user";
	grant->kind = text_starts_nocase(strv_from(grant->claim), STRV("S-1-")) ? CLAIM_SID : CLAIM_USER;
	return why;
}

static void on_answer(void *arg, const json_t *object, const char *why)
{
	char text[2 * SCEP_REASON_MAX + 64], reason[SCEP_REASON_MAX] = "";
	struct scep_op *op = arg;
	struct scep_grant grant;

	op->call = NULL;
	if (object == NULL) {
		snprintf(text, sizeof(text), "the webhook cannot be asked: %.*s", SCEP_REASON_MAX, why);
		scep_challenge_refused(op, text);
		return;
	}
	why = scep_webhook_read(object, &grant, reason);
	if (why == NULL) {
		snprintf(text, sizeof(text), "by the webhook, for %.*s", SCEP_REASON_MAX, grant.claim);
		enrol_audit(op->scep->w, "scep", "challenge_allowed", op->r->client, text);
		scep_granted(op, (struct strv){ (char *)op->csr_der, op->csr_der_n }, &grant);
		return;
	}
	snprintf(text, sizeof(text), "%s%s%s", why, reason[0] != '\0' ? ": " : "", reason);
	scep_challenge_refused(op, text);
}

void scep_webhook_ask(struct scep_op *op, struct strv csr_der)
{
	json_t *question = event_of(op, "challenge");

	op->csr_der = malloc(csr_der.n);
	if (op->csr_der == NULL || question == NULL ||
	    json_object_set_new(question, "challenge", text_or_null(strv_from(op->csr.challenge))) < 0 ||
	    json_object_set_new(question, "request", request_of(&op->csr, csr_der)) < 0) {
		json_decref(question);
		scep_later(op, "no memory for the webhook's question");
		return;
	}
	memcpy(op->csr_der, csr_der.p, csr_der.n);
	op->csr_der_n = csr_der.n;
	op->call = webhook_ask(op->scep->webhook, question, on_answer, op);
	if (op->call == NULL)
		scep_later(op, "too many questions wait for the webhook");
}

static void on_told(void *arg, const json_t *object, const char *why)
{
	(void)arg;
	if (object == NULL)
		log_say(LOG_WARNING, "webhook_not_told", "scep.webhook_url: %s", why);
}

static json_t *issued_of(const struct scep_op *op, struct strv der)
{
	const unsigned char *p = (const unsigned char *)der.p;
	X509 *cert = d2i_X509(NULL, &p, (long)der.n);
	char digits[2 * SERIAL_MAX + 1] = "", print[2 * SHA256_SIZE + 1];
	unsigned char sha256[SHA256_SIZE];
	json_t *notice = event_of(op, "issued"), *more = NULL;
	struct serial serial;

	if (cert != NULL && cert_serial(X509_get0_serialNumber(cert), &serial) == CERT_OK)
		text_hex(digits, serial.byte, serial.n);
	X509_free(cert);
	ERR_clear_error();
	SHA256((const unsigned char *)der.p, der.n, sha256);
	text_hex(print, sha256, sizeof(sha256));
	more = json_pack("{s:s, s:s, s:o}", "serial", digits, "sha256", print, "certificate", base64_of(der));
	if (notice == NULL || more == NULL || json_object_update_missing(notice, more) < 0) {
		json_decref(notice);
		notice = NULL;
	}
	json_decref(more);
	return notice;
}

void scep_webhook_tell(const struct scep_op *op, const struct enrol_result *result)
{
	json_t *notice;

	if (op->scep->webhook == NULL || !op->scep->w->settings->enroll.scep.webhook_notify)
		return;
	if (result->status == ENROL_DONE) {
		notice = issued_of(op, result->der);
	} else {
		notice = event_of(op, "refused");
		if (notice != NULL)
			json_object_set_new(notice, "reason", text_or_null(strv_from(result->text)));
	}
	if (webhook_ask(op->scep->webhook, notice, on_told, NULL) == NULL)
		log_say(LOG_WARNING, "webhook_not_told", "scep.webhook_url: too many questions wait for it");
}
