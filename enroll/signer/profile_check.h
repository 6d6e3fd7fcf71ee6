/*
 * profile_check: everything that the signer refuses to issue: unknown profiles, lifetimes, texts that no directory holds, keys that are weak or its own.
 */
#ifndef EASGATE_ENROLL_SIGNER_PROFILE_CHECK_H
#define EASGATE_ENROLL_SIGNER_PROFILE_CHECK_H

#include "enroll/signer/ca_files.h"
#include "enroll/signer/setup.h"

#define ISSUE_BACKDATE_MAX \
	86400 /* a notBefore may lie this many seconds back: clocks of devices go wrong */

/* What was checked, for certificate_build. */
struct issue_order {
	const uint8_t *spki; /* the key as it was asked for, DER; borrowed from the question */
	size_t spki_n;
	const struct signer_profile *profile;
	EVP_PKEY *key; /* owned; free with EVP_PKEY_free() */
};

/*
 * Checks a question of `n` bytes (struct signer_issue and its key) against setup and the CA's own keys, at time `now`. 0 with *out filled, or -1 with *r
 * (SIGNER_REFUSED, SIGNER_BAD_KEY).
 */
MUST_CHECK int profile_check(const struct signer_setup *setup, const struct ca_files *ca,
    const void *body, size_t n, int64_t now, struct issue_order *out, struct refusal *r);
/* "S-1-" and 2 to 16 numbers in decimal, the way Windows writes them. */
bool profile_check_sid(const char *sid);
/* One @ with something on both sides, clean text, no space; ascii: no byte above 127 (rfc822Name is an IA5String). */
bool profile_check_address(const char *address, bool ascii);

#endif
