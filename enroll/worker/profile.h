/*
 * profile: from an account's record and a profile of the configuration to what the signer is asked for (struct signer_issue). The server decides everything but
 * the public key. Pure. Worker process.
 */
#ifndef EASGATE_ENROLL_PROFILE_H
#define EASGATE_ENROLL_PROFILE_H

#include "common/directory/ask.h"
#include "enroll/signer/ask.h"

enum profile_key { PROFILE_KEY_ANY = 0, PROFILE_KEY_RSA, PROFILE_KEY_EC };

/* One profile of the settings, as this module needs it. */
struct profile_rule {
	const char *name;
	unsigned days;
	bool upn, mail, sid;		/* these SANs and the SID extension: a profile that wants one refuses an account without it */
	enum profile_key key;
	int group;			/* bit of struct account.groups that must be set; -1: none is required */
};

enum profile_result {
	PROFILE_OK = 0,
	PROFILE_DISABLED = -500, PROFILE_EXPIRED, PROFILE_NOT_IN_GROUP, PROFILE_NO_UPN, PROFILE_NO_MAIL, PROFILE_NO_SID, PROFILE_NO_NAME,
	PROFILE_WRONG_KEY,		/* the profile wants the other kind */
	PROFILE_TOO_LONG,
};
const char *profile_result_text(enum profile_result result);

#define PROFILE_BACKDATE 300		/* seconds: clocks of devices */

/* May this account have a certificate of this profile at all? (also for the portal, before a device is added) */
MUST_CHECK enum profile_result profile_allows(const struct profile_rule *rule, const struct account *account, int64_t now);

struct profile_wanted {
	const struct profile_rule *rule;
	const struct account *account;
	const char *device;		/* id */
	const uint8_t *serial;		/* 16 bytes */
	struct strv spki;
	bool rsa;			/* the key's kind, from csr.h */
	int64_t now;
};
/* out: room for sizeof(struct signer_issue) + CSR_SPKI_MAX bytes, aligned for the struct; *n: how many are to be sent. Ends with the account's own expiry. */
MUST_CHECK enum profile_result profile_fill(const struct profile_wanted *wanted, struct signer_issue *out, size_t room, size_t *n);

#endif
