/*
 * ocsp: the OCSP responder (RFC 6960, RFC 5019): reads requests, looks in the registry, answers from what was signed before as
 * long as it holds, has the signer sign the rest. Worker of easenroll.
 *
 * Never given out: unknown. Not one of our issuers: unauthorized (RFC 5019 section 2.2.3). Issued and not yet live, or revoking: revoked.
 */
#ifndef EASGATE_ENROLL_OCSP_H
#define EASGATE_ENROLL_OCSP_H

#include "enroll/worker/worker.h"


extern const struct route ocsp_routes[];

/* Borrows w. NULL: out of memory. */
struct ocsp *ocsp_new(struct enroll_worker *w);
/* Requests under way are the HTTP server's to free. Accepts NULL. */
void ocsp_free(struct ocsp *o);
/* The chain changed: nothing that was signed counts. */
void ocsp_forget(struct ocsp *o);

#endif
