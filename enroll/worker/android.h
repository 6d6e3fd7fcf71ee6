/*
 * android: what a device management system puts into mail apps' managed configuration, as JSON. Pure. Runs in the worker of easenroll.
 *
 * Android installs no mail account from a file: with a management system these values go there (it also installs the key under the
 * alias), without one the person types them (device_help.h). Key names are those of the apps' own documentation.
 */
#ifndef EASGATE_ENROLL_ANDROID_H
#define EASGATE_ENROLL_ANDROID_H

#include "common/buffer.h"

enum android_app {
	ANDROID_GMAIL = 0,	/* com.google.android.gm: managed configuration, certificate by alias */
	ANDROID_SAMSUNG,	/* com.samsung.android.email.provider: fields of Knox's ExchangeAccount */
	ANDROID_OUTLOOK,	/* com.microsoft.office.outlook: has no key for a certificate, so modern sign-in only */
	ANDROID_APPS,
};

/* Borrowed for the call; clean UTF-8 of at most 512 bytes each. */
struct android_account {
	const char *host;		/* "host" or "host:port" */
	const char *mail, *upn;
	const char *display_name;	/* of the account */
	const char *alias;		/* of the key in the device's store */
	const char *eas_device_id;	/* "": not known beforehand */
};

/* "gmail", "samsung", "outlook"; NULL for another number. */
const char *android_app_name(enum android_app app);
/*
 * Appends {"app":..,"package":..,"configuration":{...}}. For Outlook `online` must be true: 1 (nothing appended) when that app
 * cannot do what the site has. 0 done; -1: a value that is no clean text, too long, or past the buffer's ceiling.
 */
MUST_CHECK int android_configuration(enum android_app app, const struct android_account *account, bool online, struct buffer *out);

#endif
