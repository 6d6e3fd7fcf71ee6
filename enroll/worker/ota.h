/*
 * ota: what a device posts to the over-the-air profile service: CMS SignedData around a property list with its attributes.
 * Verifies and reads; neither answers nor looks into the registry. Runs in the worker of easenroll. Every byte is hostile.
 *
 * Who signed tells the phase. Phase 1: the certificate that was built into the device, under a device CA given in the configuration
 * (Apple's has been out of date since 2014, its keys are short, its hashes SHA-1: for it alone time is not checked and the
 * security level is 0). Phase 3: the certificate of ours from phase 2, checked with time and at level 2; the caller looks up its
 * revocation in the registry and that CHALLENGE or device belong together.
 */
#ifndef EASGATE_ENROLL_OTA_H
#define EASGATE_ENROLL_OTA_H

#include <openssl/x509.h>

#include "common/base.h"

#define OTA_POST_MAX	65536	/* bytes of a body */
#define OTA_PLIST_MAX	16384	/* of the list inside */
#define OTA_FIELD_MAX	128	/* of a value, with its final NUL */
#define OTA_CA_MAX	16	/* certificates of each kind */

enum ota_phase {
	OTA_NONE = 0,
	OTA_BUILT_IN,	/* phase 1: signed with the device's built-in certificate */
	OTA_ENROLLED,	/* phase 3: signed with a certificate of ours */
};

enum ota_result {
	OTA_OK = 0,
	OTA_TOO_LARGE = -400,
	OTA_NOT_CMS,		/* not SignedData with its content inside, or bytes behind it */
	OTA_SIGNERS,		/* not exactly one signer with its certificate in the message */
	OTA_DIGEST,		/* weaker than SHA-256 (in phase 3), than SHA-1 (in phase 1) */
	OTA_SIGNATURE,		/* what was signed is not what came */
	OTA_UNTRUSTED,		/* the signer is under none of the accepted CAs */
	OTA_LIST,		/* not a property list that a device sends */
	OTA_FIELD,		/* a field twice, too long, of the wrong kind, or none that names the device */
	OTA_NO_MEMORY,
};
const char *ota_result_text(enum ota_result result);

/* Absent fields are "". Texts are clean UTF-8; UDID, SERIAL, IMEI, MEID hold only letters, digits and '-'. */
struct ota_post {
	enum ota_phase phase;
	char udid[OTA_FIELD_MAX], product[OTA_FIELD_MAX], version[OTA_FIELD_MAX], serial[OTA_FIELD_MAX];
	char imei[OTA_FIELD_MAX], meid[OTA_FIELD_MAX], challenge[OTA_FIELD_MAX];
	X509 *signer;		/* for apple_profile_whole() in phase 3; ours until ota_post_clear() */
};

struct ota;
/*
 * PEM with the accepted device CAs and with our issuing CAs (at most OTA_CA_MAX each; both may be rolled over by a new object).
 * device_cas with n 0: phase 1 is refused altogether. NULL: not certificates, none of ours, too many, or out of memory.
 */
struct ota *ota_new(struct strv device_cas, struct strv our_cas);
void ota_free(struct ota *o);

/* Fills *out on OTA_OK, to be given back with ota_post_clear(); else *out is all zero. `now`: seconds since the epoch. */
MUST_CHECK enum ota_result ota_open(const struct ota *o, struct strv body, int64_t now, struct ota_post *out);
/* Wipes (the challenge is a secret) and frees. */
void ota_post_clear(struct ota_post *post);

#endif
