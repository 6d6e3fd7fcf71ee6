/*
 * est: Enrollment over Secure Transport (RFC 7030, RFC 8951): cacerts, csrattrs, simpleenroll, simplereenroll, serverkeygen. TLS only.
 * Who may: a live certificate of ours, a one-time secret of purpose "est", or the account's own password. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_EST_H
#define EASGATE_ENROLL_EST_H

#include "enroll/worker/route.h"

struct est;

/* Borrows w. NULL: why says what and the cure. */
struct est *est_new(struct enroll_worker *w, char *why, size_t why_size);
/* Requests under way are dropped: the HTTP server frees them. Accepts NULL. */
void est_free(struct est *s);

/* /.well-known/est/[label/]...; the label is a profile's name. Ends with .methods == NULL. */
extern const struct route est_routes[];

#endif
