/*
 * ocsp_read: an OCSP request's bytes to what is asked. Pure; all bytes are hostile. Worker of easenroll and fuzzers.
 */
#ifndef EASGATE_ENROLL_OCSP_READ_H
#define EASGATE_ENROLL_OCSP_READ_H

#include "common/base.h"
#include "enroll/signer/ask.h"

#define OCSP_REQUESTS_MAX 32	/* certificates in one request */
#define OCSP_BYTES_MAX	  16384
#define OCSP_HASH_MAX	  32

enum ocsp_result { OCSP_READ_OK = 0, OCSP_READ_MALFORMED = -1 };

struct ocsp_asked {
	uint8_t id[128];			/* the CertID's DER as it came */
	size_t id_n;
	size_t hash_n;				/* 20: SHA-1, 32: SHA-256, 0: another one, so none of our issuers */
	uint8_t name_hash[OCSP_HASH_MAX], key_hash[OCSP_HASH_MAX];
	bool possible;				/* the serial could be one of ours */
	uint8_t serial[SIGNER_SERIAL];		/* left-padded with zeros */
};

struct ocsp_query {
	struct ocsp_asked asked[OCSP_REQUESTS_MAX];
	unsigned n;				/* 1..OCSP_REQUESTS_MAX */
	uint8_t nonce[SIGNER_NONCE_MAX];
	size_t nonce_n;				/* 0: none */
};

/* Nothing behind it, no unknown critical extension; a signature on it is not looked at. Leaves no errors in OpenSSL's queue. */
MUST_CHECK enum ocsp_result ocsp_read(struct strv der, struct ocsp_query *out);

#endif
