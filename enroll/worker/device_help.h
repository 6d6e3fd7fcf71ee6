/*
 * device_help: what a person does on a device of each kind, as data: steps by name (the portal's text file has the words) and the
 * values that stand in them. Pure. Runs in the worker of easenroll.
 */
#ifndef EASGATE_ENROLL_DEVICE_HELP_H
#define EASGATE_ENROLL_DEVICE_HELP_H

#include "common/buffer.h"

enum device_kind { DEVICE_IPHONE = 0, DEVICE_IPAD, DEVICE_MAC, DEVICE_ANDROID, DEVICE_WINDOWS, DEVICE_OTHER, DEVICE_KINDS };

/* "iphone", "ipad", "mac", "android", "windows", "other"; NULL for another number. */
const char *device_kind_name(enum device_kind kind);
/* 0, or -1 for a name that is none of those. */
MUST_CHECK int device_kind_parse(struct strv name, enum device_kind *out);
/* True for kinds that take a configuration profile. */
bool device_kind_is_apple(enum device_kind kind);

/* Borrowed for the call; clean UTF-8 of at most 512 bytes each; download "" : no link in the answer. */
struct device_values {
	const char *mail, *upn, *host;
	const char *public_url;		/* of the enrolment server, without a / at its end */
	const char *download;		/* path of the profile or PKCS#12 file */
};

/*
 * Appends {"kind":..,"delivery":"profile"|"pkcs12","steps":["open-safari",...],"values":{...}}; "est" with the URL is among the values where
 * the kind can enrol by itself. 0, or -1: a value that is no clean text, too long, or past the buffer's ceiling.
 */
MUST_CHECK int device_help(enum device_kind kind, const struct device_values *values, struct buffer *out);

#endif
