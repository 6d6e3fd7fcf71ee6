/*
 * portal: sign-in, sessions and the JSON API of the portal, the admin pages and the CLI: what their files share. openapi.yaml says what it
 * looks like from outside. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_PORTAL_H
#define EASGATE_ENROLL_PORTAL_H

#include "enroll/worker/registry.h"
#include "enroll/worker/route.h"
#include "enroll/worker/session_store.h"
#include "enroll/worker/worker.h"

struct portal;

/* Needs w->loop, settings and directory; the rest by the first request. NULL: why is logged. */
struct portal *portal_new(struct enroll_worker *w);
void portal_free(struct portal *p); /* accepts NULL */

struct sign_in;
/* The one sign-in of this worker, whose guard counts all attempts: EST and the NDES page ask it too. NULL: there is no portal. */
struct sign_in *portal_sign_in(const struct enroll_worker *w);

/* For w->admit. */
bool portal_admit(struct enroll_worker *w, struct http_request *r, enum route_need need);
/* DIRECTORY_CHANGED came: sessions of this account ("": of all) are looked at again at once. */
void portal_directory_changed(struct portal *p, const char *sid);

extern const struct route portal_session_routes[], portal_user_routes[], portal_admin_routes[],
    portal_page_routes[];

#endif
