/*
 * ota_plist: a strict reader of the flat property list (XML) that a device sends about itself. Pure; allocates nothing.
 *
 * A reader of our own: the bytes are hostile, and of XML nothing is wanted: no entities but the five and numbers, no internal
 * DTD, no comments inside, no CDATA, no nesting, no binary form. What it does not know it refuses.
 */
#ifndef EASGATE_ENROLL_OTA_PLIST_H
#define EASGATE_ENROLL_OTA_PLIST_H

#include "common/base.h"

#define OTA_PLIST_KEYS 32	/* more are refused */

/*
 * Once for every <key>, in order. `type` is string, data, integer, date, true or false; `value` what stands inside as text with
 * entities still in it (for true and false: empty). Not 0 ends the walk.
 */
typedef int ota_plist_fn(void *arg, struct strv key, struct strv type, struct strv value);

/* 0, -1 when the list is none, or what `fn` ended with. */
MUST_CHECK int ota_plist_read(struct strv xml, ota_plist_fn *fn, void *arg);
/* The text without entities: clean UTF-8 of at most size - 1 bytes. 0 or -1 (out is ""). */
MUST_CHECK int ota_plist_text(char *out, size_t size, struct strv value);

#endif
