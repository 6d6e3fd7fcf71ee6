/*
 * scep: the SCEP server (RFC 8894): capabilities, CA certificates, PKIOperation. Messages are read by scep_message.h, opened and signed by the
 * signer, decided by challenge or live certificate, issued by enrol.h. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_SCEP_H
#define EASGATE_ENROLL_SCEP_H

#include "enroll/worker/chain.h"
#include "enroll/worker/route.h"

struct scep;

/* Borrows w. NULL: why says what and the cure. */
struct scep *scep_new(struct enroll_worker *w, char *why, size_t why_size);
/* Requests under way are dropped: the HTTP server frees them. Accepts NULL. */
void scep_free(struct scep *s);

/* Our certificates of these kinds, in this order of kinds, as references; may be empty. NULL: out of memory. Also for EST. */
STACK_OF(X509) *scep_chain(const struct chain *chain, const enum signer_chain_kind *kinds, size_t n);

/* /scep, /scep/<profile>, each with and without the file names that clients append, in any case; TLS and plain. Ends with .methods == NULL. */
extern const struct route scep_routes[];

#endif
