/*
 * scep_operation: a PKIOperation from its bytes to its answer: read, opened by the signer, decided elsewhere, put into an envelope, signed by the
 * signer. What a client learns of a refusal after decryption is one and the same, whatever it was. Worker of easenroll.
 */
#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "common/log.h"
#include "common/der.h"
#include "common/text.h"
#include "enroll/cms_form.h"
#include "enroll/signer/ask.h"
#include "enroll/worker/scep_parts.h"

#define TYPE_MESSAGE "application/x-pki-message"
#define REFUSED_TEXT "The request was refused. The administrator finds the reason in the audit trail."

void scep_op_free(struct scep_op *op)
{
	asker_cancel(op->scep->w->signer, op->asked);
	webhook_cancel(op->call);
	*op->link = op->next;
	if (op->next != NULL)
		op->next->link = op->link;
	op->scep->count--;
	scep_request_clear(&op->message);
	csr_clear(&op->csr);
	if (op->csr_der != NULL)
		OPENSSL_cleanse(op->csr_der, op->csr_der_n);	/* its challenge */
	free(op->csr_der);
	free(op);
}

static struct scep_op *op_new(struct scep *s, struct http_request *r, unsigned profile)
{
	struct scep_op *op = s->count < SCEP_OPS_MAX ? calloc(1, sizeof(*op)) : NULL;

	if (op == NULL)
		return NULL;
	op->scep = s;
	op->r = r;
	op->profile = profile;
	op->next = s->ops;
	op->link = &s->ops;
	if (s->ops != NULL)
		s->ops->link = &op->next;
	s->ops = op;
	s->count++;
	return op;
}

static void log_op(const struct scep_op *op, const char *event, const char *why)
{
	struct log_line l;

	log_begin_audit(&l, event);
	log_cstr(&l, "client", op->r->client);
	log_int(&l, "type", op->message.type);
	log_text(&l, "transaction", (struct strv){ op->message.transaction, op->message.transaction_n });
	log_cstr(&l, "reason", why);
	log_end(&l);
}

void scep_later(struct scep_op *op, const char *why)
{
	log_op(op, "scep_later", why);
	http_reply_field(op->r, "Retry-After", "10");
	http_reply_text(op->r, 503, "not now\n");
	scep_op_free(op);
}

static void on_signed(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct signer_answer answer = { .status = SIGNER_BROKEN };
	struct scep_op *op = arg;

	op->asked = 0;
	if (status == WIRE_OK && n >= sizeof(answer))
		memcpy(&answer, body, sizeof(answer));
	if (answer.status != SIGNER_OK || answer.n != n - sizeof(answer)) {
		answer.text[sizeof(answer.text) - 1] = '\0';
		scep_later(op, answer.text[0] != '\0' ? answer.text : "the signer does not answer");
		return;
	}
	http_reply(op->r, 200, TYPE_MESSAGE, (struct strv){ (const char *)body + sizeof(answer), answer.n });
	scep_op_free(op);
}

/* What a recipient is called (RFC 5652 section 10.2.4) is the name of this certificate. */
static bool is_to(const CMS_RECIPIENT_FORM *to, struct strv der)
{
	struct der_certificate parts;
	struct strv who, name;

	if (ASN1_TYPE_get(to->who) != V_ASN1_SEQUENCE || der_certificate_read(der, &parts) < 0)
		return false;
	who = asn1_string_view(to->who->value.sequence);
	return der_take(&who, DER_SEQUENCE, &name, NULL) == 0 && name.n == parts.issuer.n + parts.serial.n &&
	    memcmp(name.p, parts.issuer.p, parts.issuer.n) == 0 && memcmp(name.p + parts.issuer.n, parts.serial.p, parts.serial.n) == 0;
}

/*
 * The RA that the message was encrypted to answers it: who asked for the CA's certificates before a rollover, or waits for an approval since, knows no other.
 * Left as it is, which means the one of now, where that cannot be told.
 */
static void choose_ra(const struct scep_op *op, uint8_t sha256[SHA256_SIZE])
{
	struct strv envelope = { (const char *)op->message.envelope, op->message.envelope_n };
	CMS_ENVELOPED_FORM *form = envelope.n > 0 ? cms_enveloped_read(envelope) : NULL;
	const struct chain_entry *e;

	for (int k = 0; form != NULL && k < sk_CMS_RECIPIENT_FORM_num(form->recipients); k++)
		for (size_t i = 0; (e = chain_at(op->scep->w->chain, i)) != NULL; i++)
			if ((e->kind == SIGNER_CHAIN_RA || e->kind == SIGNER_CHAIN_OLD_RA) && is_to(sk_CMS_RECIPIENT_FORM_value(form->recipients, k), e->der))
				memcpy(sha256, e->sha256, SHA256_SIZE);
	cms_enveloped_free(form);
}

/* Has the CertRep signed; content n == 0: none. */
static void sign(struct scep_op *op, enum signer_scep_status status, enum scep_fail fail, const char *text, struct strv content)
{
	struct signer_scep_sign *ask = calloc(1, sizeof(*ask) + content.n);
	const struct scep_request *m = &op->message;

	if (ask == NULL || content.n > SIGNER_DATA_MAX || m->transaction_n >= sizeof(ask->transaction_id) ||
	    RAND_bytes(ask->sender_nonce, sizeof(ask->sender_nonce)) != 1) {
		free(ask);
		scep_later(op, "the answer could not be made");
		return;
	}
	choose_ra(op, ask->ra);
	memcpy(ask->transaction_id, m->transaction, m->transaction_n);
	ask->pki_status = status;
	ask->fail_info = status == SIGNER_SCEP_FAILURE ? (uint32_t)fail : 0;
	memcpy(ask->recipient_nonce, m->nonce, m->nonce_n);
	ask->recipient_nonce_n = (uint32_t)m->nonce_n;
	snprintf(ask->fail_text, sizeof(ask->fail_text), "%s", text);
	ask->digest = m->digest == NID_sha384 ? 384 : m->digest == NID_sha512 ? 512 : 256;
	ask->content_n = (uint32_t)content.n;
	if (content.n > 0)
		memcpy(ask + 1, content.p, content.n);
	op->asked = asker_ask(op->scep->w->signer, SIGNER_SCEP_SIGN, ask, sizeof(*ask) + content.n, SIGNER_TIMEOUT_MS, on_signed, op);
	free(ask);
	if (op->asked == 0)
		scep_later(op, "too much waits for the signer");
}

void scep_fail(struct scep_op *op, enum scep_fail fail, const char *why)
{
	log_op(op, "scep_refused", why);
	sign(op, SIGNER_SCEP_FAILURE, fail, REFUSED_TEXT, (struct strv){ NULL, 0 });
}

void scep_pending(struct scep_op *op)
{
	log_op(op, "scep_pending", "waits for approval");
	sign(op, SIGNER_SCEP_PENDING, SCEP_BAD_REQUEST, "", (struct strv){ NULL, 0 });
}

void scep_success(struct scep_op *op, struct strv der, bool is_crl)
{
	const struct strv none = { NULL, 0 };
	unsigned char *inside, *envelope = NULL;
	size_t inside_n = 0, n = 0;

	inside = scep_degenerate(NULL, is_crl ? none : der, is_crl ? der : none, &inside_n);
	if (inside != NULL)
		envelope = scep_envelope(&op->message, inside, inside_n, &n);
	if (envelope != NULL) {
		log_op(op, is_crl ? "scep_crl" : "scep_certificate", NULL);
		sign(op, SIGNER_SCEP_SUCCESS, SCEP_BAD_ALG, "", (struct strv){ (char *)envelope, n });
	} else {
		scep_later(op, "the answer's envelope could not be made");
	}
	OPENSSL_free(envelope);
	OPENSSL_free(inside);
}

/* So many of them from everywhere, and the signer opens none for a while (serve.h): one address must not use that up for all. */
static void cannot_open(struct scep_op *op)
{
	strangers_add(op->scep->strangers, op->r->client);
	scep_fail(op, SCEP_BAD_REQUEST, "the envelope could not be opened");
}

static void on_opened(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct signer_answer answer = { .status = SIGNER_BROKEN };
	struct scep_op *op = arg;

	op->asked = 0;
	if (status == WIRE_OK && n >= sizeof(answer))
		memcpy(&answer, body, sizeof(answer));
	answer.text[sizeof(answer.text) - 1] = '\0';
	if (answer.status == SIGNER_OK && answer.n == n - sizeof(answer))
		scep_decide(op, (struct strv){ (const char *)body + sizeof(answer), answer.n });
	else if (answer.status == SIGNER_BAD_MESSAGE || answer.status == SIGNER_REFUSED)
		cannot_open(op);
	else if (answer.status == SIGNER_BAD_CIPHER)
		scep_fail(op, SCEP_BAD_ALG, "the envelope's algorithm is not accepted");
	else
		scep_later(op, answer.text[0] != '\0' ? answer.text : "the signer does not answer");
}

/* A device that renews is no stranger, whoever else is at its address: its message is signed with a live certificate of ours. */
static bool is_known(const struct scep_op *op)
{
	struct registry_certificate own;
	struct registry_account account;
	struct registry_device device;
	const char *text;

	return enrol_holder(op->scep->w, scep_certificate(&op->message), &own, &device, &account, &text) == ENROL_DONE;
}

/* Has the signer open it, unless whoever is there has to wait. */
static void open_message(struct scep_op *op)
{
	unsigned wait = strangers_wait(op->scep->strangers, op->r->client);

	if (wait > 0 && !is_known(op)) {
		log_op(op, "scep_refused", "too many wrong challenges or unreadable messages from this address (lockout.address_attempts)");
		http_reply_field(op->r, "Retry-After", "%u", wait);
		http_reply_text(op->r, 429, "too many wrong requests from there\n");
		scep_op_free(op);
		return;
	}
	op->asked = asker_ask(op->scep->w->signer, SIGNER_SCEP_OPEN, op->message.envelope, op->message.envelope_n, SIGNER_TIMEOUT_MS, on_opened, op);
	if (op->asked == 0)
		scep_later(op, "too much waits for the signer");
}

void scep_operation(struct scep *s, struct http_request *r, unsigned profile, struct strv message)
{
	const struct enroll_scep *c = &s->w->settings->enroll.scep;
	const struct scep_rules rules = { .sha1 = c->legacy_des, .des3 = c->des3, .des = c->legacy_des };
	struct scep_op *op = op_new(s, r, profile);
	enum scep_result rc;

	if (op == NULL) {
		http_reply_field(r, "Retry-After", "10");
		http_reply_text(r, 503, "too many requests are under way\n");
		return;
	}
	rc = scep_request_read(&op->message, message.p, message.n, &rules);
	switch (rc) {
	case SCEP_OK:
		open_message(op);
		return;
	case SCEP_WEAK_DIGEST:
	case SCEP_BAD_KEY:
	case SCEP_BAD_CIPHER:
		scep_fail(op, SCEP_BAD_ALG, scep_result_text(rc));
		return;
	case SCEP_BAD_SIGNATURE:
	case SCEP_BAD_CONTENT:
		scep_fail(op, SCEP_BAD_MESSAGE_CHECK, scep_result_text(rc));
		return;
	case SCEP_NOT_CMS:
	case SCEP_NO_ATTRIBUTES:
	case SCEP_UNKNOWN_TYPE:
		break;
	}
	log_op(op, "scep_unreadable", scep_result_text(rc));
	http_reply_text(r, 400, "%s\n", scep_result_text(rc));
	scep_op_free(op);
}
