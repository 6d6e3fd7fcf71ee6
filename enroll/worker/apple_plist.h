/*
 * apple_plist: property lists with values from the directory: every value is checked before it enters, every secret wiped when
 * the list is given back. Decides nothing about profiles (apple_profile.c). Runs in the worker of easenroll.
 *
 * The first refusal is kept in the builder and everything after it does nothing, so that a caller asks once, at the end.
 */
#ifndef EASGATE_ENROLL_APPLE_PLIST_H
#define EASGATE_ENROLL_APPLE_PLIST_H

#include <plist/plist.h>

#include "common/buffer.h"

#define APPLE_WHY_MAX	192
#define APPLE_TEXT_MAX	512	/* bytes of one text; a URL may have as many */
#define APPLE_BYTES_MAX 65536	/* of one <data> */

struct apple_build {
	bool failed;
	char why[APPLE_WHY_MAX];	/* what was refused, which key, what is expected; never a value */
};

PRINTF(2, 3) void apple_refuse(struct apple_build *b, const char *fmt, ...);

/* 1..APPLE_TEXT_MAX bytes of well-formed UTF-8 without control characters. NULL or "" leaves the key out where `optional`. */
void apple_text(struct apple_build *b, plist_t dict, const char *key, const char *value);
void apple_optional(struct apple_build *b, plist_t dict, const char *key, const char *value);
/* http:// or https:// and a host; visible ASCII without quotes, angle brackets, backslash or a user part. */
void apple_url(struct apple_build *b, plist_t dict, const char *key, const char *value);
/* 1..APPLE_BYTES_MAX bytes. */
void apple_bytes(struct apple_build *b, plist_t dict, const char *key, struct strv value);
void apple_bool(struct apple_build *b, plist_t dict, const char *key, bool value);
void apple_number(struct apple_build *b, plist_t dict, const char *key, uint32_t value);
/* `child` belongs to the dict from here on, also after a refusal. */
void apple_child(struct apple_build *b, plist_t dict, const char *key, plist_t child);
/* Appends [[key, value]], one relative name of a subject as Apple writes it. */
void apple_subject(struct apple_build *b, plist_t array, const char *key, const char *value);

/* The list as XML appended to `out`. 0, or -1 with b->why; `root` stays the caller's. */
MUST_CHECK int apple_xml(struct apple_build *b, plist_t root, struct buffer *out);
/* Wipes every text and every run of bytes in the list, then frees it. NULL is fine. */
void apple_forget(plist_t root);

#endif
