/*
 * secret: one-time secrets: made, written for people, turned into what the registry keeps (HMAC-SHA256 with state_dir/registry.key). Worker process.
 */
#ifndef EASGATE_ENROLL_SECRET_H
#define EASGATE_ENROLL_SECRET_H

#include "enroll/worker/registry.h"

#define SECRET_TEXT_MAX 48	/* what is shown, with NUL */
#define SECRET_GIVEN_MAX 128	/* longest text that is looked at */

enum secret_form {
	SECRET_GROUPS = 0,	/* 160 random bits: 32 base32 characters in groups of four */
	SECRET_NDES,		/* 64 random bits: 16 upper-case hex digits, as NDES pages show them; short-lived */
};

struct secret_key { uint8_t byte[SHA256_SIZE]; };

/* Reads state_dir/registry.key, or makes it (0600, written whole, then renamed). -1: why. Wipe with OPENSSL_cleanse. */
MUST_CHECK int secret_key_load(const char *state_dir, struct secret_key *out, char *why, size_t why_size);

/* What `given` is kept as: white space, hyphens and case do not matter. -1: empty, too long or no possible secret. */
MUST_CHECK int secret_mac(const struct secret_key *key, struct strv given, uint8_t out[SHA256_SIZE]);

struct secret_for {
	int64_t account;	/* of the registry */
	const char *device;	/* its id; "" any of the account's devices */
	const char *profile, *purpose;	/* purpose: "scep", "est", "download", "ndes", ... */
	uint32_t seconds;
	enum secret_form form;
	unsigned limit;		/* unused ones per account */
};
/* Makes one and writes its row. text: show once, then OPENSSL_cleanse. */
MUST_CHECK enum registry_result secret_make(struct registry *r, const struct secret_key *key, const struct registry_by *by,
    const struct secret_for *wanted, char text[SECRET_TEXT_MAX]);
/* Finds the row of what a client gave, without using it up (issue.h does that, in the transaction that takes the serial). *out also with TAKEN and EXPIRED. */
MUST_CHECK enum registry_result secret_find(struct registry *r, const struct secret_key *key, struct strv given, const char *purpose, int64_t now,
    struct registry_secret *out);

#endif
