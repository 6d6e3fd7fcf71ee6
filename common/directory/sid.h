/*
 * sid: security identifiers (MS-DTYP 2.4.2), as the bytes of objectSid and as "S-1-5-21-...". Pure.
 */
#ifndef EASGATE_DIRECTORY_SID_H
#define EASGATE_DIRECTORY_SID_H

#include "common/base.h"

#define SID_PARTS_MAX 15 /* sub-authorities */
#define SID_BYTES_MAX (8 + 4 * SID_PARTS_MAX)

struct sid {
	uint8_t n; /* bytes in use; 0: none */
	uint8_t byte[SID_BYTES_MAX];
};

/* Exactly one SID, revision 1, 1 to 15 parts, no byte more. 0 or -1. */
MUST_CHECK int sid_from_bytes(struct strv bytes, struct sid *out);
/* "S-1-" authority and parts, decimal, no leading zeros, upper-case S: the one form that Windows
 * writes. 0 or -1. */
MUST_CHECK int sid_from_text(struct strv text, struct sid *out);
/* 0, or -1 when it does not fit (then out is ""). An authority above 32 bits is written in
 * hexadecimal. */
int sid_to_text(const struct sid *sid, char *out, size_t size);

bool sid_eq(const struct sid *a, const struct sid *b);
/* The last part; 0 for none. */
uint32_t sid_rid(const struct sid *sid);
/* True for S-1-5-21-a-b-c-RID: a principal of some domain. */
bool sid_is_of_domain(const struct sid *sid);
/* True when both differ in nothing but the last part. */
bool sid_same_domain(const struct sid *a, const struct sid *b);

#endif
