/*
 * scep_decide: what an opened message asks for, and whether its sender may: a challenge for a new certificate, a live certificate of ours for a
 * renewal, its own key for a poll. Issues nothing itself (enrol.h). Worker of easenroll.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "common/certificate.h"
#include "common/text.h"
#include "enroll/worker/scep_parts.h"

static void on_enrolled(void *arg, const struct enrol_result *result)
{
	struct scep_op *op = arg;

	if (result->status == ENROL_DONE || result->status == ENROL_SECRET || result->status == ENROL_REFUSED)
		scep_webhook_tell(op, result);
	switch (result->status) {
	case ENROL_DONE:
		scep_success(op, result->der, false);
		return;
	case ENROL_PENDING:
		scep_pending(op);
		return;
	case ENROL_LATER:
		scep_later(op, result->text);
		return;
	case ENROL_SECRET:
	case ENROL_REFUSED:
		break;
	}
	enrol_refused(op->scep->w, "scep", "request_refused", op->r->client, result->text);
	scep_fail(op, SCEP_BAD_REQUEST, result->text);
}

/* Refused, and in the audit trail. */
static void refuse(struct scep_op *op, const char *why)
{
	enrol_refused(op->scep->w, "scep", "request_refused", op->r->client, why);
	scep_fail(op, SCEP_BAD_REQUEST, why);
}

static struct strv message_id(const struct scep_op *op)
{
	return (struct strv){ op->message.transaction, op->message.transaction_n };
}

/* The certificate of a granted transaction again, if it is still good for anything. */
static void send_again(struct scep_op *op, const uint8_t serial[REGISTRY_SERIAL])
{
	struct registry *r = op->scep->w->registry;
	struct registry_certificate cert;
	uint8_t der[REGISTRY_DER_MAX];
	size_t n;

	if (registry_certificate_get(r, serial, &cert) != REGISTRY_OK)
		scep_later(op, registry_problem(r));
	else if (cert.state != REGISTRY_LIVE && cert.state != REGISTRY_ISSUING)
		refuse(op, "the certificate of this transaction and key has ended or was revoked: enrol again with a new key");
	else if (cert.state == REGISTRY_ISSUING)
		scep_later(op, "the transaction's certificate is being signed");
	else if (registry_certificate_der(r, serial, der, sizeof(der), &n) != REGISTRY_OK)
		scep_later(op, registry_problem(r));
	else
		scep_success(op, (struct strv){ (char *)der, n }, false);
}

static void start(struct scep_op *op, const struct enrol_request *wanted)
{
	if (enrol_start(op->scep->enrol, wanted, on_enrolled, op) < 0)
		scep_later(op, "too much is under way");
}

/*
 * A renewal's own transaction: clients repeat one id for one key, and a renewal with the same key must not get the old certificate again; the
 * same renewal sent twice must.
 */
static void renewal_id(struct scep_op *op, const struct registry_certificate *old)
{
	unsigned char digest[SHA256_SIZE], text[SCEP_TRANSACTION_MAX + SHA256_SIZE];

	memcpy(text, old->sha256, SHA256_SIZE);
	memcpy(text + SHA256_SIZE, op->message.transaction, op->message.transaction_n);
	SHA256(text, SHA256_SIZE + op->message.transaction_n, digest);
	text_hex(op->transaction, digest, sizeof(digest));
}

static void renew(struct scep_op *op, const struct registry_certificate *old, const struct registry_account *account)
{
	struct enroll_worker *w = op->scep->w;
	const struct registry_by by = { .actor = "scep", .detail = "renewal", .at = loop_wall(w->loop) };
	struct registry_transaction there;
	struct enrol_request wanted = { .kind = CLAIM_SID, .claim = account->sid, .device = old->device, .device_name = "", .device_kind = "",
		.csr = &op->csr, .actor = "scep" };

	renewal_id(op, old);
	wanted.transaction = strv_from(op->transaction);
	if (enrol_profile(w, strv_from(old->profile), 0, &wanted.profile) < 0) {
		refuse(op, "the profile of the old certificate is configured no more");
		return;
	}
	if (registry_certificate_used(w->registry, &by, old->serial) != REGISTRY_OK) {
		scep_later(op, registry_problem(w->registry));
		return;
	}
	if (registry_transaction_get(w->registry, wanted.transaction, op->csr.spki_sha256, &there) == REGISTRY_OK && there.state == REGISTRY_GRANTED)
		send_again(op, there.serial);
	else
		start(op, &wanted);
}

/* Approved meanwhile? Then the request that was kept is issued now. */
static void poll_approved(struct scep_op *op, const struct registry_transaction *there)
{
	struct enroll_worker *w = op->scep->w;
	struct enrol_request wanted = { .kind = CLAIM_SID, .device = there->device, .device_name = "", .device_kind = "", .csr = &op->csr,
		.transaction = message_id(op), .actor = "scep" };
	uint8_t der[CSR_BYTES_MAX];
	size_t n = sizeof(der);
	struct registry_account account;
	struct registry_device device;

	if (registry_device_get(w->registry, there->device, &device) != REGISTRY_OK ||
	    registry_account_by_id(w->registry, device.account, &account) != REGISTRY_OK)
		scep_later(op, registry_problem(w->registry));
	else if (device.state == REGISTRY_DEVICE_WAITING)
		scep_pending(op);
	else if (device.state != REGISTRY_DEVICE_ACTIVE || enrol_profile(w, strv_from(there->profile), 0, &wanted.profile) < 0)
		refuse(op, "the device was revoked, or its profile is configured no more");
	else if (registry_transaction_request(w->registry, message_id(op), there->spki_sha256, der, &n) != REGISTRY_OK ||
	    csr_read_der((struct strv){ (char *)der, n }, w->settings->enroll.scep.legacy_des, &op->csr) != CSR_OK)
		refuse(op, "the request that was kept cannot be read");
	else {
		wanted.claim = account.sid;
		start(op, &wanted);
	}
}

/* A transaction that is there already, asked for by its own key: by a poll, or by the same request sent again. */
static void go_on(struct scep_op *op, const struct registry_transaction *there)
{
	if (there->state == REGISTRY_GRANTED)
		send_again(op, there->serial);
	else if (there->state == REGISTRY_DENIED)
		refuse(op, "an admin denied it");
	else
		poll_approved(op, there);
}

void scep_challenge_refused(struct scep_op *op, const char *why)
{
	enrol_refused(op->scep->w, "scep", "challenge_refused", op->r->client, why);
	scep_fail(op, SCEP_BAD_REQUEST, why);
}

void scep_granted(struct scep_op *op, struct strv csr_der, const struct scep_grant *grant)
{
	const struct enroll_section *s = &op->scep->w->settings->enroll;
	struct enrol_request wanted = { .profile = op->profile, .kind = grant->kind, .claim = grant->claim, .device = grant->device,
		.device_kind = "scep", .device_name = grant->device_name[0] != '\0' ? grant->device_name : "SCEP device", .csr = &op->csr, .csr_der = csr_der,
		.transaction = message_id(op), .secret_mac = grant->has_secret ? grant->mac : NULL, .purpose = grant->purpose, .actor = "scep",
		.approve = s->scep.approve || s->profiles[op->profile].approve };

	OPENSSL_cleanse(op->csr.challenge, sizeof(op->csr.challenge));
	start(op, &wanted);
}

static void enrol_new_one(struct scep_op *op, struct strv csr_der)
{
	struct registry_transaction there;
	struct scep_grant grant;
	const char *why;

	/* the key that signed the message must be the one that asks to be certified */
	if (!scep_is_signed_by(&op->message, (struct strv){ (const char *)op->csr.spki, op->csr.spki_n })) {
		refuse(op, "the message is not signed by the key that it asks to certify");
		return;
	}
	if (registry_transaction_get(op->scep->w->registry, message_id(op), op->csr.spki_sha256, &there) == REGISTRY_OK) {
		go_on(op, &there);
		return;
	}
	switch (scep_challenge_check(op, csr_der, &grant, &why)) {
	case SCEP_CHALLENGE_GOOD:
		scep_granted(op, csr_der, &grant);
		return;
	case SCEP_CHALLENGE_ASK:
		scep_webhook_ask(op, csr_der);
		return;
	case SCEP_CHALLENGE_BAD:
		break;
	}
	scep_challenge_refused(op, why);
}

static void decide_request(struct scep_op *op, struct strv inside)
{
	enum csr_result rc = csr_read_der(inside, op->scep->w->settings->enroll.scep.legacy_des, &op->csr);
	struct registry_certificate old;
	struct registry_account account;
	struct registry_device device;
	enum enrol_status holder;
	const char *text;

	if (rc != CSR_OK) {
		refuse(op, csr_result_text(rc));
		return;
	}
	holder = enrol_holder(op->scep->w, scep_certificate(&op->message), &old, &device, &account, &text);
	if (holder == ENROL_DONE)
		renew(op, &old, &account);
	else if (holder == ENROL_REFUSED)
		refuse(op, text);
	else if (holder == ENROL_LATER)
		scep_later(op, text);
	else if (op->message.type == SCEP_RENEWAL_REQ)
		refuse(op, "a renewal that no certificate of ours signed");
	else
		enrol_new_one(op, inside);
}

static void decide_poll(struct scep_op *op, struct strv inside)
{
	struct enroll_worker *w = op->scep->w;
	X509_NAME *issuer, *subject;
	struct registry_transaction there;
	uint8_t spki[SHA256_SIZE];
	enum registry_result rc;

	if (scep_read_issuer_subject(inside.p, inside.n, &issuer, &subject) < 0) {
		refuse(op, "a poll without issuer and subject");
		return;
	}
	X509_NAME_free(issuer);		/* the transaction and the key say which one */
	X509_NAME_free(subject);
	if (scep_spki_sha256(&op->message, spki) < 0) {
		refuse(op, "the signer's key cannot be read");
		return;
	}
	rc = registry_transaction_get(w->registry, message_id(op), spki, &there);
	if (rc == REGISTRY_FAILED)
		scep_later(op, registry_problem(w->registry));
	else if (rc != REGISTRY_OK)
		scep_fail(op, SCEP_BAD_CERT_ID, "no such transaction of this key");
	else
		go_on(op, &there);
}

/* What a fetch names (RFC 8894 sections 3.3.4 and 3.3.5). */
struct named { X509_NAME *issuer; uint8_t serial[REGISTRY_SERIAL]; };

static bool is_issuer(const struct chain_entry *e, const struct named *named)
{
	return e != NULL && (e->kind == SIGNER_CHAIN_ISSUING || e->kind == SIGNER_CHAIN_OLD_ISSUING) &&
	    X509_NAME_cmp(X509_get_subject_name(e->certificate), named->issuer) == 0;
}

/* Who issued what is named: CAs before and after a rollover may have one name, and then the serial says which. NULL: none of ours. */
static const struct chain_entry *issuer_of(const struct scep_op *op, const struct named *named)
{
	const struct chain *chain = op->scep->w->chain;
	struct registry_certificate cert;
	const struct chain_entry *e = NULL;

	if (registry_certificate_get(op->scep->w->registry, named->serial, &cert) == REGISTRY_OK)
		e = chain_issuer(chain, strv_from(cert.issuer));
	if (is_issuer(e, named))
		return e;
	for (size_t i = 0; (e = chain_at(chain, i)) != NULL; i++)
		if (is_issuer(e, named))
			return e;
	return NULL;
}

/* GetCert: another certificate of the same device, asked for with a live one. */
static void send_certificate(struct scep_op *op, const struct registry_certificate *own, const struct named *named, const struct chain_entry *issuer)
{
	struct registry *r = op->scep->w->registry;
	const uint8_t *serial = named->serial;
	struct registry_certificate cert;
	uint8_t der[REGISTRY_DER_MAX];
	size_t n;

	if (registry_certificate_get(r, serial, &cert) != REGISTRY_OK || strcmp(cert.device, own->device) != 0 || strcmp(cert.issuer, issuer->name) != 0 ||
	    registry_certificate_der(r, serial, der, sizeof(der), &n) != REGISTRY_OK)
		scep_fail(op, SCEP_BAD_CERT_ID, "no such certificate of this device");
	else
		scep_success(op, (struct strv){ (char *)der, n }, false);
}

/* The issuer's base CRL, if it fits into a SCEP answer; else clients read it from its address. */
static void send_crl(struct scep_op *op, const struct chain_entry *issuer)
{
	char path[512];
	uint8_t der[SCEP_ENVELOPE_MAX - 4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/crl/%s.crl", op->scep->w->settings->common.state_dir, issuer->name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd >= 0 ? read(fd, der, sizeof(der)) : -1;
	if (fd >= 0)
		close(fd);
	if (n <= 0 || n == (ssize_t)sizeof(der))
		scep_fail(op, SCEP_BAD_CERT_ID, "the CRL is not there, or too long for SCEP: clients read it from its distribution point");
	else
		scep_success(op, (struct strv){ (char *)der, (size_t)n }, true);
}

static void decide_fetch(struct scep_op *op, struct strv inside)
{
	struct registry_certificate own;
	struct registry_account account;
	struct registry_device device;
	struct named named = { .issuer = NULL };
	const struct chain_entry *issuer;
	ASN1_INTEGER *number;
	struct serial read = { 0 };
	enum enrol_status holder;
	const char *text;

	if (scep_read_issuer_serial(inside.p, inside.n, &named.issuer, &number) < 0) {
		refuse(op, "a fetch without issuer and serial");
		return;
	}
	if (cert_serial(number, &read) == CERT_OK && read.n <= sizeof(named.serial))
		memcpy(named.serial + sizeof(named.serial) - read.n, read.byte, read.n);
	issuer = issuer_of(op, &named);
	X509_NAME_free(named.issuer);
	ASN1_INTEGER_free(number);
	holder = enrol_holder(op->scep->w, scep_certificate(&op->message), &own, &device, &account, &text);
	if (holder == ENROL_LATER)
		scep_later(op, text);
	else if (holder != ENROL_DONE)
		refuse(op, "only a live certificate of ours may fetch");
	else if (issuer == NULL)
		scep_fail(op, SCEP_BAD_CERT_ID, "the issuer that it names is none of ours");
	else if (op->message.type == SCEP_GET_CRL)
		send_crl(op, issuer);
	else
		send_certificate(op, &own, &named, issuer);
}

void scep_decide(struct scep_op *op, struct strv inside)
{
	switch (op->message.type) {
	case SCEP_PKCS_REQ:
	case SCEP_RENEWAL_REQ:
		decide_request(op, inside);
		return;
	case SCEP_CERT_POLL:
		decide_poll(op, inside);
		return;
	case SCEP_GET_CERT:
	case SCEP_GET_CRL:
		decide_fetch(op, inside);
		return;
	case SCEP_CERT_REP:
		break;
	}
	refuse(op, "no request");
}
