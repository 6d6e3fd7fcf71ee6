/*
 * parts: the ways in that the worker serves beside lists and OCSP: portal and API, SCEP, EST, NDES, over-the-air profiles. Made and freed
 * together; each is its own. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_PARTS_H
#define EASGATE_ENROLL_PARTS_H

#include "enroll/worker/worker.h"

/* Before child_confine(): parts read their keys. 0 or -1 (logged). */
MUST_CHECK int parts_new(struct enroll_worker *w);
void parts_free(struct enroll_worker *w);
/* The directory said that an account changed; "" : any. */
void parts_directory_changed(struct enroll_worker *w, const char *sid);
/* Now and then: what is over is let go of. */
void parts_tidy(struct enroll_worker *w);
/* Tables of routes of what parts_new() made, NULL-terminated; fills at most `max` - 1. */
void parts_routes(const struct enroll_worker *w, const struct route **tables, size_t max);

#endif
