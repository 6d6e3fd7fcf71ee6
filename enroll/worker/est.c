/*
 * est: paths and operations of EST, and the answers that need nobody's name. Runs in the worker process of easenroll.
 */
#include "enroll/worker/est.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "common/text.h"
#include "enroll/worker/est_parts.h"
#include "enroll/worker/pkcs12.h"
#include "enroll/worker/scep.h"
#include "enroll/worker/scep_message.h"

#define PREFIX "/.well-known/est/"

struct est *est_new(struct enroll_worker *w, char *why, size_t why_size)
{
	struct est *s = calloc(1, sizeof(*s));

	snprintf(why, why_size, "out of memory");
	if (s == NULL)
		return NULL;
	s->w = w;
	s->enrol = enrol_new(w);
	if (s->enrol == NULL) {
		est_free(s);
		return NULL;
	}
	return s;
}

void est_free(struct est *s)
{
	if (s == NULL)
		return;
	enrol_free(s->enrol);
	while (s->ops != NULL)
		est_op_free(s->ops);
	free(s);
}

void est_op_free(struct est_op *op)
{
	*op->link = op->next;
	if (op->next != NULL)
		op->next->link = op->link;
	op->est->count--;
	EVP_PKEY_free(op->made);
	csr_clear(&op->csr);
	free(op);
}

static struct est_op *op_new(struct est *s, struct http_request *r, unsigned profile)
{
	struct est_op *op = s->count < EST_OPS_MAX ? calloc(1, sizeof(*op)) : NULL;

	if (op == NULL)
		return NULL;
	op->est = s;
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

/* The key that the device gets: its profile's kind; P-256 where any will do. Only its public half becomes a request. */
int est_make_key(struct est_op *op)
{
	const struct enroll_profile *p = &op->est->w->settings->enroll.profiles[op->profile];
	struct buffer spki;
	int rc = -1;

	op->made = pkcs12_key_new(p->key_kind == ENROLL_KEY_RSA ? PKCS12_KEY_RSA : PKCS12_KEY_EC);
	if (op->made == NULL)
		return -1;
	csr_clear(&op->csr);
	buffer_init(&spki, sizeof(op->csr.spki));
	if (pkcs12_public_key(op->made, &spki) == 0) {
		op->csr.spki_n = buffer_len(&spki);
		memcpy(op->csr.spki, buffer_data(&spki), op->csr.spki_n);
		SHA256(op->csr.spki, op->csr.spki_n, op->csr.spki_sha256);
		op->csr.rsa = p->key_kind == ENROLL_KEY_RSA;
		op->csr.bits = op->csr.rsa ? 2048 : 256;
		rc = 0;
	}
	buffer_clear(&spki);
	return rc;
}

/*
 * RFC 7030 §3.5: a challenge password in a request names the TLS connection that its maker sees. Somebody else's request, passed on by whoever has
 * credentials here, names another. NULL: good; else why not.
 */
static const char *check_link(const struct est_op *op)
{
	if (op->csr.has_challenge)
		return http_request_is_bound(op->r, strv_from(op->csr.challenge)) ? NULL : "its challenge password does not name this TLS connection";
	if (op->est->w->settings->enroll.est.require_pop_link && !op->make)
		return "it does not name this TLS connection (est.require_pop_link)";
	return NULL;
}

static void enrol(struct enroll_worker *w, struct http_request *r, unsigned profile, bool again, bool make)
{
	struct est_op *op = op_new(w->est, r, profile);
	const char *unlinked;
	enum csr_result rc;

	if (op == NULL) {
		http_reply_field(r, "Retry-After", "%u", EST_RETRY_SECONDS);
		http_reply_text(r, 503, "too many requests are under way\n");
		return;
	}
	op->again = again;
	op->make = make;
	rc = csr_read(r->body, false, &op->csr);
	/* serverkeygen: the request's own key and signature mean nothing (RFC 7030 §4.4.1), but it must be a request */
	unlinked = rc == CSR_OK ? check_link(op) : NULL;
	if (rc != CSR_OK)
		est_refuse(op, 400, csr_result_text(rc));
	else if (unlinked != NULL)
		est_refuse(op, 400, unlinked);
	else if (make && op->csr.sealed_key)
		est_refuse(op, 400, "it wants its new key encrypted beyond TLS, which is not done here");	/* and never in the clear instead (RFC 7030 §4.4.1) */
	else
		est_allow(op);
}

static void get_ca_certs(struct enroll_worker *w, struct http_request *r)
{
	static const enum signer_chain_kind kinds[] = { SIGNER_CHAIN_ISSUING, SIGNER_CHAIN_ROOT, SIGNER_CHAIN_OLD_ISSUING, SIGNER_CHAIN_NEXT_ISSUING };
	STACK_OF(X509) *certs = scep_chain(w->chain, kinds, ARRAY_LEN(kinds));
	unsigned char *der = NULL;
	size_t n = 0;

	if (certs != NULL && sk_X509_num(certs) > 0)
		der = scep_degenerate(certs, (struct strv){ NULL, 0 }, (struct strv){ NULL, 0 }, &n);
	est_reply(r, "application/pkcs7-mime", (struct strv){ (char *)der, n });
	OPENSSL_free(der);
	sk_X509_pop_free(certs, X509_free);
}

/* SEQUENCE OF what a request may be signed with (RFC 7030 §4.5.2): ecdsa-with-SHA256, sha256WithRSAEncryption, as the profile has it. */
static void get_csr_attributes(struct enroll_worker *w, struct http_request *r, unsigned profile)
{
	static const char ec[] = "\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", rsa[] = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
	enum enroll_key key = w->settings->enroll.profiles[profile].key_kind;
	char der[32] = { 0x30 };
	size_t n = 2;

	if (key != ENROLL_KEY_RSA) {
		memcpy(der + n, ec, sizeof(ec) - 1);
		n += sizeof(ec) - 1;
	}
	if (key != ENROLL_KEY_EC) {
		memcpy(der + n, rsa, sizeof(rsa) - 1);
		n += sizeof(rsa) - 1;
	}
	der[1] = (char)(n - 2);
	est_reply(r, "application/csrattrs", (struct strv){ der, n });
}

static void serve_get(struct enroll_worker *w, struct http_request *r, struct strv op, unsigned profile)
{
	if (strv_eq(op, STRV("cacerts")))
		get_ca_certs(w, r);
	else if (strv_eq(op, STRV("csrattrs")))
		get_csr_attributes(w, r, profile);
	else
		http_reply_text(r, 404, "no such operation of EST by GET\n");
}

static void serve_post(struct enroll_worker *w, struct http_request *r, struct strv op, unsigned profile)
{
	if (strv_eq(op, STRV("simpleenroll")))
		enrol(w, r, profile, false, false);
	else if (strv_eq(op, STRV("simplereenroll")))
		enrol(w, r, profile, true, false);
	else if (strv_eq(op, STRV("serverkeygen")))
		enrol(w, r, profile, false, true);
	else if (strv_eq(op, STRV("fullcmc")))
		http_reply_text(r, 501, "Full CMC is not served; use simpleenroll\n");
	else
		http_reply_text(r, 404, "no such operation of EST by POST\n");
}

static void serve(struct enroll_worker *w, struct http_request *r)
{
	const struct enroll_est *c = &w->settings->enroll.est;
	struct strv rest = route_rest(r, PREFIX), label = { NULL, 0 }, op = text_split(&rest, '/');
	unsigned profile;

	if (rest.p != NULL) {
		label = op;
		op = rest;
	}
	if (!c->enabled || w->est == NULL || enrol_profile(w, label, c->profile_index, &profile) < 0)
		http_reply_text(r, 404, "no such path\n");
	else if (strv_eq(r->method, STRV("POST")))
		serve_post(w, r, op, profile);
	else
		serve_get(w, r, op, profile);
}

const struct route est_routes[] = {
	{ "GET POST", PREFIX, HTTP_WAY_TLS, ROUTE_PREFIX, ROUTE_OPEN, serve },
	{ .methods = NULL },
};
