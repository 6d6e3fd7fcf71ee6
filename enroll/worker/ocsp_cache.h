/*
 * ocsp_cache: signed OCSP responses by what was asked (the CertID's DER). Bounded; a newer one takes an older one's place. Pure. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_OCSP_CACHE_H
#define EASGATE_ENROLL_OCSP_CACHE_H

#include "common/base.h"

struct ocsp_cached {
	uint8_t *id;
	size_t id_n;
	char *response;
	size_t response_n;
	uint32_t status, reason;		/* what it says: another truth makes it worthless */
	int64_t revoked_at, this_update, next_update;
	char tag[2 * SHA256_SIZE + 1];
};

struct ocsp_cache;

/* `slots` is a power of two. NULL: out of memory. */
struct ocsp_cache *ocsp_cache_new(size_t slots);
void ocsp_cache_free(struct ocsp_cache *c);	/* accepts NULL */
void ocsp_cache_clear(struct ocsp_cache *c);
/* NULL: none. Borrowed until the next put or clear. */
const struct ocsp_cached *ocsp_cache_get(const struct ocsp_cache *c, const uint8_t *id, size_t id_n);
/* Copies id and response (tag is made here). NULL: out of memory, nothing kept. */
const struct ocsp_cached *ocsp_cache_put(struct ocsp_cache *c, const struct ocsp_cached *entry);

#endif
