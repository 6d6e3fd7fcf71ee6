/*
 * csr: what is taken of a certification request (RFC 2986): its public key, once the request has proved to hold the private one, and the challenge password
 * (RFC 2985 §5.4.1). Names and extensions that it asks for are never used; they are told for the audit trail. Pure. Worker process and fuzzers.
 */
#ifndef EASGATE_ENROLL_CSR_H
#define EASGATE_ENROLL_CSR_H

#include "common/base.h"

#define CSR_BYTES_MAX	16384	/* DER */
#define CSR_TEXT_MAX	32768	/* PEM or base64 */
#define CSR_SPKI_MAX	2048
#define CSR_CHALLENGE_MAX 128

enum csr_result {
	CSR_OK = 0,
	CSR_MALFORMED = -400,
	CSR_TOO_LONG,
	CSR_NO_PROOF,		/* its signature is not by its key, or by a hash that proves nothing (MD5, SHA-1 unless allowed) */
	CSR_WEAK_KEY,		/* RSA below 2048 or above 8192 bits, e < 65537 or even; a curve other than P-256 and P-384, or explicit parameters */
	CSR_KEY_KIND,		/* no RSA and no EC key */
	CSR_BAD_CHALLENGE,	/* two of them, another string type, control characters, too long */
};
const char *csr_result_text(enum csr_result result);

struct csr {
	uint8_t spki[CSR_SPKI_MAX];
	size_t spki_n;
	uint8_t spki_sha256[SHA256_SIZE];
	bool rsa;			/* else EC */
	unsigned bits;
	bool has_challenge;
	char challenge[CSR_CHALLENGE_MAX + 1];	/* wipe when used: csr_clear() */
	bool sealed_key;		/* a key that is made for it is to come encrypted (RFC 7030 §4.4.1) */
	char subject[320];		/* for the audit trail only, escaped; cut */
	char claimed[1024];		/* the people it names (CN, UID, mail, UPN, SID), each ended by a line end: csr_names_another() */
	char asked[320];		/* SANs and other extensions it asks for: for the audit trail only, escaped; cut */
};

/* sha1: a SHA-1 signature counts (SCEP clients of old). out is cleared on failure. */
MUST_CHECK enum csr_result csr_read_der(struct strv der, bool sha1, struct csr *out);
/* The DER of a request that is PEM, or bare base64 with any white space (EST, RFC 8951), or DER itself: *n bytes into out. It is not read yet. */
MUST_CHECK enum csr_result csr_decode(struct strv bytes, uint8_t out[CSR_BYTES_MAX], size_t *n);
/* csr_decode(), then csr_read_der(). */
MUST_CHECK enum csr_result csr_read(struct strv bytes, bool sha1, struct csr *out);
void csr_clear(struct csr *c);
/* Whether what the request asks for names anybody who is not this account: worth an audit entry. names: sam, UPN, mail, SID, display name. */
bool csr_names_another(const struct csr *c, const char *const *names, size_t n);

#endif
