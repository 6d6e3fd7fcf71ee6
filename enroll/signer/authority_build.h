/*
 * authority_build: the certificates that the CA makes for itself: root, issuing CA, SCEP RA, profile signer, OCSP signer. Pure but for random serials.
 */
#ifndef EASGATE_ENROLL_SIGNER_AUTHORITY_BUILD_H
#define EASGATE_ENROLL_SIGNER_AUTHORITY_BUILD_H

#include <openssl/x509.h>

#include "enroll/signer/refusal.h"

enum authority_kind {
	AUTHORITY_ROOT,
	AUTHORITY_ISSUING,
	AUTHORITY_RA,
	AUTHORITY_PROFILE,
	AUTHORITY_OCSP
};

struct authority {
	enum authority_kind kind;
	const char *common_name; /* at most 64 characters, UTF-8 */
	EVP_PKEY *key;
	X509 *issuer; /* NULL: self-signed (root) */
	EVP_PKEY *issuer_key;
	int64_t not_before, not_after; /* clipped to the issuer's */
};

/* NULL with *r. */
X509 *authority_build(const struct authority *a, struct refusal *r);
/* A PKCS#10 of a subordinate CA (basicConstraints, keyUsage asked for), for an existing root to sign. NULL with *r. */
X509_REQ *authority_request(const char *common_name, EVP_PKEY *key, struct refusal *r);
/* 128 random bits, not zero. 0 or -1 with *r. */
MUST_CHECK int authority_serial(ASN1_INTEGER *out, struct refusal *r);
/* Adds an extension by its configuration text (X509V3 syntax, never from outside). False: OpenSSL refused. */
bool authority_extension(X509 *certificate, X509 *issuer, int nid, const char *value);
/* The later and the earlier end, as seconds since 1970. 0 or -1. */
MUST_CHECK int authority_time(const ASN1_TIME *t, int64_t *out);

#endif
