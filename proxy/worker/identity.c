/*
 * identity: who the client certificate says is calling: one claim by the configured order.
 * Reads fields; decides nothing (policy.c) and asks nobody (account.c). Pure; runs in the workers.
 */
#include "proxy/worker/identity.h"

#include <openssl/objects.h>

/* What one entry of the order says of this certificate; value holds CLAIM_VALUE_MAX bytes. */
static enum cert_result claim_of_kind(const X509 *cert, enum claim_kind kind, char *value)
{
	switch (kind) {
	case CLAIM_SID:
		return cert_sid(cert, value);
	case CLAIM_UPN:
		return cert_upn(cert, value);
	case CLAIM_ALT_ISSUER_SERIAL:
		return cert_alt_issuer_serial(cert, value, CLAIM_VALUE_MAX);
	case CLAIM_ALT_SKI:
		return cert_alt_ski(cert, value, CLAIM_VALUE_MAX);
	case CLAIM_ALT_SHA1_PUBLIC_KEY:
		return cert_alt_sha1_public_key(cert, value, CLAIM_VALUE_MAX);
	case CLAIM_WEAK_ISSUER_SUBJECT:
		return cert_alt_issuer_subject(cert, value, CLAIM_VALUE_MAX);
	case CLAIM_WEAK_SUBJECT:
		return cert_alt_subject(cert, value, CLAIM_VALUE_MAX);
	case CLAIM_WEAK_RFC822:
		return cert_alt_rfc822(cert, value, CLAIM_VALUE_MAX);
	case CLAIM_EMAIL:
		return cert_email(cert, value);
	case CLAIM_SUBJECT_CN:
		return cert_subject_attribute(cert, NID_commonName, value);
	case CLAIM_SUBJECT_UID:
		return cert_subject_attribute(cert, NID_userId, value);
	case CLAIM_SUBJECT_EMAIL:
		return cert_subject_attribute(cert, NID_pkcs9_emailAddress, value);
	case CLAIM_NONE:
	case CLAIM_USER:
	case CLAIM_KINDS:
		break;
	}
	return CERT_ABSENT; /* no kind that a certificate can have */
}

_Static_assert(
    CLAIM_VALUE_MAX >= CERT_TEXT_MAX && CLAIM_VALUE_MAX >= CERT_SID_MAX, "claim_of_kind's buffer");

enum cert_result identity_from_certificate(const X509 *cert, const enum claim_kind *order,
    unsigned count, struct claim *out, enum claim_kind *bad_kind)
{
	struct claim claim;
	enum cert_result rc;

	memset(out, 0, sizeof(*out));
	memset(&claim, 0, sizeof(claim));
	*bad_kind = CLAIM_NONE;
	/*
	 * First and always: what names the account by its SID must hold whichever name leads there,
	 * and one that cannot be read may not be passed over.
	 */
	rc = cert_sid(cert, claim.sid);
	if (rc != CERT_OK && rc != CERT_ABSENT) {
		*bad_kind = CLAIM_SID;
		return rc;
	}
	for (unsigned i = 0; i < count; i++) {
		rc = claim_of_kind(cert, order[i], claim.value);
		if (rc == CERT_ABSENT)
			continue;
		if (rc != CERT_OK) {
			*bad_kind = order[i];
			return rc;
		}
		claim.kind = order[i];
		*out = claim;
		return CERT_OK;
	}
	return CERT_ABSENT;
}
