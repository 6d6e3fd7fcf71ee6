/*
 * scep_challenge: who may have a new certificate by SCEP, as the configuration says: a one-time secret bound to user, device and profile, one
 * from the NDES page, one static text, or what a webhook says of it. Issues nothing. Worker of easenroll.
 */
#include <stdio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "common/bundle.h"
#include "common/certificate.h"
#include "common/text.h"
#include "enroll/worker/csr_form.h"
#include "enroll/worker/scep_parts.h"

static const char *by_secret(struct scep *s, unsigned profile, const struct csr *csr, const char *purpose, struct scep_grant *grant)
{
	struct enroll_worker *w = s->w;
	const char *name = w->settings->enroll.profiles[profile].name;
	struct registry_secret secret;
	struct registry_account account;
	enum registry_result rc;

	rc = secret_find(w->registry, &w->secret_key, strv_from(csr->challenge), purpose, loop_wall(w->loop), &secret);
	if (rc != REGISTRY_OK)
		return rc == REGISTRY_NONE ? "challenge unknown" : registry_result_text(rc);
	if (strcmp(secret.profile, name) != 0)
		return "challenge is bound to another profile";
	if (registry_account_by_id(w->registry, secret.account, &account) != REGISTRY_OK)
		return "challenge's account is not in the registry";
	grant->kind = CLAIM_SID;
	snprintf(grant->claim, sizeof(grant->claim), "%s", account.sid);
	snprintf(grant->device, sizeof(grant->device), "%s", secret.device);
	memcpy(grant->mac, secret.mac, sizeof(grant->mac));
	grant->has_secret = true;
	grant->purpose = purpose;
	return NULL;
}

/* The UPN that the request asks for in its SAN: with a static challenge only the request says who its owner is. 0 or -1. */
static int upn_of_request(struct strv der, char out[CERT_TEXT_MAX])
{
	CSR_FORM *form = csr_form_read(der);
	STACK_OF(X509_EXTENSION) *extensions = form != NULL ? csr_form_extensions(form) : NULL;
	X509 *carrier = X509_new();
	int at = extensions ? X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1) : -1;
	int rc = -1;

	/* one SAN, put where the reader of certificates finds it */
	if (carrier != NULL && at >= 0 && X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, at) < 0 &&
	    X509_add_ext(carrier, X509v3_get_ext(extensions, at), -1) == 1 && cert_upn(carrier, out) == CERT_OK)
		rc = 0;
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	X509_free(carrier);
	csr_form_free(form);
	ERR_clear_error();
	return rc;
}

/* Equal time whatever differs, the length included. */
static bool same_text(struct strv a, const char *b)
{
	uint8_t x[SHA256_SIZE], y[SHA256_SIZE];

	SHA256((const unsigned char *)a.p, a.n, x);
	SHA256((const unsigned char *)b, strlen(b), y);
	return CRYPTO_memcmp(x, y, sizeof(x)) == 0;
}

static const char *by_static(struct scep *s, const struct csr *csr, struct strv csr_der, const char *client, struct scep_grant *grant)
{
	char upn[CERT_TEXT_MAX];
	struct strv wanted;

	if (!bundle_get_secret(s->w->files, s->w->settings->enroll.scep.static_file, &wanted) || wanted.n == 0)
		return "scep.static_file is empty";
	if (!same_text(wanted, csr->challenge)) {
		strangers_add(s->strangers, client);
		return "challenge is wrong";
	}
	if (upn_of_request(csr_der, upn) < 0)
		return "the request names no user (SAN otherName UPN), and a static challenge is nobody's";
	grant->kind = CLAIM_UPN;
	snprintf(grant->claim, sizeof(grant->claim), "%s", upn);
	return NULL;
}

/* NULL: granted; else why not. */
static const char *by_configuration(struct scep_op *op, struct strv csr_der, struct scep_grant *grant, const char *why)
{
	struct scep *s = op->scep;

	switch (s->w->settings->enroll.scep.challenge_kind) {
	case CHALLENGE_ONE_TIME:
	case CHALLENGE_WEBHOOK:
		return why;
	case CHALLENGE_NDES:
		return by_secret(s, op->profile, &op->csr, "ndes", grant);
	case CHALLENGE_STATIC:
		return by_static(s, &op->csr, csr_der, op->r->client, grant);
	}
	return "no kind of challenge";
}

enum scep_challenge scep_challenge_check(struct scep_op *op, struct strv csr_der, struct scep_grant *grant, const char **why)
{
	const struct csr *csr = &op->csr;

	memset(grant, 0, sizeof(*grant));
	*why = "no challenge";
	if (!csr->has_challenge || csr->challenge[0] == '\0')
		return SCEP_CHALLENGE_BAD;
	/* whatever strangers have to bring: the portal's own profiles bring a secret that it made for them */
	*why = by_secret(op->scep, op->profile, csr, "scep", grant);
	if (*why == NULL)
		return SCEP_CHALLENGE_GOOD;
	memset(grant, 0, sizeof(*grant));
	if (op->scep->webhook != NULL)
		return SCEP_CHALLENGE_ASK;
	*why = by_configuration(op, csr_der, grant, *why);
	return *why == NULL ? SCEP_CHALLENGE_GOOD : SCEP_CHALLENGE_BAD;
}
