/*
 * delivery: what a device fetches once with a link that was shown on the portal: a signed Apple profile with a one-time SCEP secret, or a PKCS#12
 * file whose key is made while it is fetched. Links live in this process's memory, hashed and bounded; nothing that is fetched is kept. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_DELIVERY_H
#define EASGATE_ENROLL_DELIVERY_H

#include "enroll/worker/pkcs12.h"
#include "enroll/worker/registry.h"
#include "enroll/worker/route.h"

#define DELIVERY_TOKEN_SIZE 65	/* 64 hex digits and NUL */
#define DELIVERY_LINKS_MAX  512 /* more: the oldest is no longer good */
#define DELIVERY_PATH	    "/d/"

struct delivery;

struct delivery_link {
	char token[DELIVERY_TOKEN_SIZE]; /* the link is public_url DELIVERY_PATH token */
	char password
	    [PKCS12_PASSWORD_SIZE]; /* of the PKCS#12 file, "" for a profile; shown once, then wiped by the caller */
	int64_t ends;
};

/* Borrows w. NULL: out of memory. */
struct delivery *delivery_new(struct enroll_worker *w);
/* What is being fetched gets no answer. Accepts NULL. */
void delivery_free(struct delivery *d);
/* A link for that device of that account; a former one of the device is no longer good. 0, or -1: no memory, no random bytes, no known kind of device. */
MUST_CHECK int delivery_make(struct delivery *d, const struct account *account,
    const struct registry_device *device, struct delivery_link *out);
/* The device was revoked: its link is no longer good. */
void delivery_forget(struct delivery *d, const char *device);

extern const struct route delivery_routes[];

#endif
