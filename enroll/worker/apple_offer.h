/*
 * apple_offer: the site's configuration, a device of the registry and our chain, put together into an unsigned profile (apple_profile.h).
 * Makes the one-time secret that stands in it. Signs and sends nothing. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_APPLE_OFFER_H
#define EASGATE_ENROLL_APPLE_OFFER_H

#include "enroll/worker/apple_profile.h"
#include "enroll/worker/registry.h"

struct enroll_worker;

#define OTA_PATH "/ota"	/* behind public_url: where devices post (ota_service.h) */

#define APPLE_OFFER_SCEP "scep"		/* purposes of the secrets */
#define APPLE_OFFER_OTA	 "ota"

enum apple_offer_kind {
	APPLE_OFFER_WHOLE = 0,	/* certificate by SCEP, mail account, trust */
	APPLE_OFFER_SERVICE,	/* phase 1 of the over-the-air service */
	APPLE_OFFER_ENROL,	/* phase 2 */
	APPLE_OFFER_NO_MAIL,	/* as the whole one without the account: a Mac does not know that payload */
};

/*
 * Appends the profile for that device of that account (registry_by: who asked, for the audit trail). recipient: APPLE_OFFER_WHOLE only, or NULL.
 * 0, or -1 with why (APPLE_WHY_MAX bytes; never a secret) and nothing appended. What was appended holds a secret: buffer_clear() it.
 */
MUST_CHECK int apple_offer(struct enroll_worker *w, enum apple_offer_kind kind, const struct registry_by *by,
    const struct registry_account *owner, const char *device, X509 *recipient, struct buffer *out, char *why);

#endif
