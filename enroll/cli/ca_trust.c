/*
 * ca_trust: a path from what an issuing CA has just signed to a root, built and verified by OpenSSL. Runs in the `ca` commands.
 */
#include "enroll/cli/ca_trust.h"

#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "common/certificate.h"

#define LEVEL_112_BITS 2 /* SHA-1, MD5 and RSA below 2048 bits are less (SSL_CTX_set_security_level(3)) */

/* Roots are those of the folder that signed themselves; the other CAs stand between. */
static bool sort_authorities(const struct ca_files *f, X509_STORE *roots, STACK_OF(X509) *between)
{
	bool good = true;

	for (size_t i = 0; good && i < f->n; i++) {
		X509 *x = f->entries[i].certificate;

		if (x == NULL || f->entries[i].kind > CA_ISSUING)
			continue;
		good = X509_self_signed(x, 0) == 1 ? X509_STORE_add_cert(roots, x) == 1 : sk_X509_push(between, x) > 0;
	}
	return good;
}

static int tell(X509_STORE_CTX *ctx, const char *path, struct refusal *r)
{
	const X509 *x = X509_STORE_CTX_get_current_cert(ctx);
	int error = X509_STORE_CTX_get_error(ctx);
	bool cut = error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
	char subject[256] = "";

	if (x != NULL)
		cert_name_for_log(X509_get_subject_name(x), subject, sizeof(subject));
	return refuse(r, SIGNER_REFUSED, "%s: nobody would believe what this CA signs: %s, at \"%s\"%s", path, X509_verify_cert_error_string(error),
	    subject, cut ? ": bring the CAs above it, up to the root, with --chain FILE" : "");
}

int ca_trust_check(struct ca_files *f, const struct ca_entry *issuing, const char *path, struct refusal *r)
{
	const struct ca_entry *ra = ca_files_generation(f, CA_RA, issuing->generation);
	X509_STORE *roots = X509_STORE_new();
	STACK_OF(X509) *between = sk_X509_new_null();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int rc;

	if (ra == NULL || roots == NULL || between == NULL || ctx == NULL || !sort_authorities(f, roots, between) ||
	    !X509_STORE_CTX_init(ctx, roots, ra->certificate, between) || !X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT)) {
		rc = refuse_openssl(r, "%s: cannot verify what it signs", path);
	} else {
		X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(ctx), LEVEL_112_BITS);
		rc = X509_verify_cert(ctx) == 1 ? 0 : tell(ctx, path, r);
	}
	X509_STORE_CTX_free(ctx);
	sk_X509_free(between);
	X509_STORE_free(roots);
	return rc;
}
