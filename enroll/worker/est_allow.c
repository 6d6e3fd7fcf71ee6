/*
 * est_allow: who asks for a certificate by EST: the holder of a live one of ours, of a one-time secret, or of a password. Issues nothing itself.
 * Worker of easenroll.
 */
#include <stdio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "common/text.h"
#include "enroll/worker/basic.h"
#include "enroll/worker/est_parts.h"
#include "enroll/worker/portal.h"
#include "enroll/worker/sign_in.h"

/* What the request's body is, as OpenSSL's object: csr.h tells its key only. */
static X509_REQ *request_of(const struct http_request *r)
{
	unsigned char der[CSR_BYTES_MAX];
	const unsigned char *p = der;
	size_t n;

	return csr_decode(r->body, der, &n) == CSR_OK ? d2i_X509_REQ(NULL, &p, (long)n) : NULL;
}

static void start(struct est_op *op, const char *sid, const char *device, const struct registry_secret *secret)
{
	const struct enroll_section *s = &op->est->w->settings->enroll;
	struct enrol_request wanted = { .profile = op->profile, .kind = CLAIM_SID, .claim = sid, .device = device, .device_name = "EST device",
		.device_kind = "est", .csr = &op->csr, .actor = "est", .approve = s->profiles[op->profile].approve };
	unsigned char *der = NULL;
	X509_REQ *req = NULL;
	int n = 0;

	if (secret != NULL) {
		wanted.secret_mac = secret->mac;
		wanted.purpose = "est";
	}
	if (op->make && est_make_key(op) < 0) {
		est_refuse(op, 503, "no key could be made");
		return;
	}
	if (op->transaction[0] != '\0') {
		req = request_of(op->r);
		n = req ? i2d_X509_REQ(req, &der) : 0;
		wanted.transaction = strv_from(op->transaction);
		wanted.csr_der = (struct strv){ (char *)der, n > 0 ? (size_t)n : 0 };
	}
	if (enrol_start(op->est->enrol, &wanted, est_result, op) < 0)
		est_refuse(op, 503, "too much is under way");
	X509_REQ_free(req);
	OPENSSL_free(der);
}

/* Is there a request of this key? Only those of profiles that want approval are remembered. op->transaction is its name from then on. */
static bool is_remembered(struct est_op *op, struct registry_transaction *there)
{
	if (!op->est->w->settings->enroll.profiles[op->profile].approve || op->make)
		return false;
	snprintf(op->transaction, sizeof(op->transaction), "est ");
	text_hex(op->transaction + 4, op->csr.spki_sha256, SHA256_SIZE);
	return registry_transaction_get(op->est->w->registry, strv_from(op->transaction), op->csr.spki_sha256, there) == REGISTRY_OK;
}

/*
 * The same request again, whose key has proved itself and whose sender is the account with this SID: still waiting, approved, or answered before. True:
 * answered or started.
 */
static bool waits_already(struct est_op *op, const char *sid)
{
	struct registry *r = op->est->w->registry;
	struct registry_certificate cert;
	struct registry_transaction there;
	struct registry_account account;
	struct registry_device device;
	uint8_t der[REGISTRY_DER_MAX];
	size_t n;

	if (!is_remembered(op, &there))
		return false;
	if (registry_device_get(r, there.device, &device) != REGISTRY_OK || registry_account_by_id(r, device.account, &account) != REGISTRY_OK)
		est_refuse(op, 503, registry_problem(r));
	else if (strcmp(account.sid, sid) != 0)
		est_refuse(op, 403, "the request of this key is another account's");
	else if (there.state == REGISTRY_DENIED)
		est_refuse(op, 403, "an admin denied it");
	else if (there.state == REGISTRY_GRANTED && registry_certificate_get(r, there.serial, &cert) == REGISTRY_OK && cert.state != REGISTRY_LIVE &&
	    cert.state != REGISTRY_ISSUING)
		est_refuse(op, 403, "the certificate that this request got has ended or was revoked: enrol again with a new key");
	else if (there.state == REGISTRY_GRANTED && registry_certificate_der(r, there.serial, der, sizeof(der), &n) == REGISTRY_OK)
		est_reply_certificate(op, (struct strv){ (char *)der, n });
	else
		start(op, account.sid, device.id, NULL);	/* 202 again while the device waits */
	return true;
}

/* DER of the SAN, from either's extensions; n == 0: none. The caller frees with OPENSSL_free. */
static struct strv san_of(const STACK_OF(X509_EXTENSION) *extensions)
{
	int at = X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1);
	const ASN1_OCTET_STRING *data = at >= 0 ? X509_EXTENSION_get_data(X509v3_get_ext(extensions, at)) : NULL;

	if (data == NULL)
		return (struct strv){ NULL, 0 };
	return (struct strv){ (const char *)ASN1_STRING_get0_data(data), (size_t)ASN1_STRING_length(data) };
}

/* RFC 7030 §4.2.2: a renewal asks for the same subject and SAN. One that names no SAN asks for no other. */
static bool asks_the_same(const X509_REQ *req, const X509 *cert)
{
	STACK_OF(X509_EXTENSION) *asked = X509_REQ_get_extensions((X509_REQ *)(uintptr_t)req);
	struct strv theirs = san_of(asked), own = san_of(X509_get0_extensions(cert));
	bool same = X509_NAME_cmp(X509_REQ_get_subject_name(req), X509_get_subject_name(cert)) == 0 && (theirs.n == 0 || strv_eq(theirs, own));

	sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
	return same;
}

/* With a certificate of ours in the handshake. */
static void by_certificate(struct est_op *op)
{
	const unsigned char *p = (const unsigned char *)op->r->certificate.p;
	struct enroll_worker *w = op->est->w;
	struct registry_by by = { .actor = "est", .detail = "renewal", .at = loop_wall(w->loop) };
	struct registry_certificate old;
	struct registry_account account;
	struct registry_device device;
	const char *text;
	enum enrol_status holder = enrol_holder(w, op->r->certificate, &old, &device, &account, &text);
	X509_REQ *req;
	X509 *cert;
	bool same;

	if (holder != ENROL_DONE) {
		est_refuse(op, holder == ENROL_LATER ? 503 : 403, holder == ENROL_PENDING ? "the certificate is none of this registry" : text);
		return;
	}
	cert = d2i_X509(NULL, &p, (long)op->r->certificate.n);
	req = op->again ? request_of(op->r) : NULL;
	same = !op->again || (cert != NULL && req != NULL && asks_the_same(req, cert));
	X509_REQ_free(req);
	X509_free(cert);
	ERR_clear_error();
	if (!same)
		est_refuse(op, 403, "a renewal that asks for another subject or SAN");
	else if (enrol_profile(w, strv_from(old.profile), 0, &op->profile) < 0)
		est_refuse(op, 403, "the profile of the old certificate is configured no more");
	else if (registry_certificate_used(w->registry, &by, old.serial) != REGISTRY_OK)
		est_refuse(op, 503, registry_problem(w->registry));
	else
		start(op, account.sid, old.device, NULL);
}

static void on_signed_in(void *arg, const struct sign_in_answer *answer)
{
	struct est_op *op = arg;

	switch (answer->verdict) {
	case SIGN_IN_OK:
		if (!waits_already(op, answer->account->sid))
			start(op, answer->account->sid, "", NULL);
		return;
	case SIGN_IN_WAIT:
		http_reply_field(op->r, "Retry-After", "%u", answer->wait_seconds);
		est_refuse(op, 429, answer->reason);
		return;
	case SIGN_IN_LATER:
		op->retry_seconds = answer->wait_seconds;
		est_refuse(op, 503, answer->reason);
		return;
	case SIGN_IN_REFUSED:
	case SIGN_IN_CHANGE:
		break;
	}
	est_refuse(op, 401, answer->reason);
}

/* The user name that goes with a secret: its account's, in one of its forms. */
static bool names_account(struct strv user, const struct registry_account *a)
{
	return user.n > 0 && (text_eq_nocase(user, strv_from(a->sam)) || text_eq_nocase(user, strv_from(a->upn)) || text_eq_nocase(user, strv_from(a->mail)));
}

/* Used: it was used up by a request that waits, and lets its sender ask for that one again, for nothing else. */
static void by_secret(struct est_op *op, const struct registry_secret *secret, bool used, struct strv user)
{
	struct enroll_worker *w = op->est->w;
	struct registry_account account;

	if (registry_account_by_id(w->registry, secret->account, &account) != REGISTRY_OK)
		est_refuse(op, 503, registry_problem(w->registry));
	else if (!names_account(user, &account))
		est_refuse(op, 401, "a one-time secret with another user's name");
	else if (strcmp(secret->profile, w->settings->enroll.profiles[op->profile].name) != 0)
		est_refuse(op, 401, "a one-time secret of another profile");
	else if (waits_already(op, account.sid))
		return;
	else if (used)
		est_refuse(op, 401, registry_result_text(REGISTRY_TAKEN));
	else
		start(op, account.sid, secret->device, secret);
}

void est_allow(struct est_op *op)
{
	struct enroll_worker *w = op->est->w;
	struct sign_in *sign_in = portal_sign_in(w);
	struct registry_secret secret;
	struct basic basic;
	enum registry_result rc = REGISTRY_NONE;

	if (op->again || op->r->certificate.n > 0) {
		if (op->r->certificate.n > 0)
			by_certificate(op);
		else
			est_refuse(op, 403, "a renewal without a client certificate of ours");
		return;
	}
	if (!basic_read(op->r, &basic)) {
		OPENSSL_cleanse(&basic, sizeof(basic));
		basic_demand(op->r, "EST");
		est_op_free(op);
		return;
	}
	rc = secret_find(w->registry, &w->secret_key, basic.password, "est", loop_wall(w->loop), &secret);
	if (rc == REGISTRY_OK || rc == REGISTRY_TAKEN)
		by_secret(op, &secret, rc == REGISTRY_TAKEN, basic.user);
	else if (rc != REGISTRY_NONE && rc != REGISTRY_BAD)
		est_refuse(op, rc == REGISTRY_FAILED ? 503 : 401, registry_result_text(rc));
	else if (sign_in == NULL || sign_in_start(sign_in, basic.user, basic.password, op->r->client, on_signed_in, op) < 0)
		est_refuse(op, 503, "nobody can sign in now");
	OPENSSL_cleanse(&basic, sizeof(basic));
}
