/*
 * route: which function serves which method and path, over which listeners, and who must have signed in for it. One table of
 * tables, looked through in order; nothing else looks at paths. Adds the security fields that every answer has. Worker of easenroll.
 *
 * No route: 404. A path that is there with another method: 405 with Allow. A path on another kind of listener: 404.
 * A path with a bad escape, "//", "/./", "/../" or an escaped '/', NUL or control byte: 400, before any route is looked at.
 */
#ifndef EASGATE_ENROLL_ROUTE_H
#define EASGATE_ENROLL_ROUTE_H

#include "enroll/worker/http_server.h"

struct enroll_worker;

enum route_need {
	ROUTE_OPEN = 0,		/* nobody needs to have signed in */
	ROUTE_USER,
	ROUTE_ADMIN,
};

enum route_flag {
	ROUTE_PREFIX = 1,	/* path is a beginning (ends with '/'); the rest is the handler's to check */
	ROUTE_NOCASE = 2,	/* the path in any case (SCEP, NDES) */
	ROUTE_PAGE = 4,		/* the portal's page: sets its own Content-Security-Policy, which names its script; else nothing at all may run */
	ROUTE_RAW = 16,		/* with ROUTE_PREFIX: the rest is not looked at here (OCSP's base64 holds '/' and escapes) */
	ROUTE_CACHED = 8,	/* sets its own Cache-Control (CRL, OCSP, assets); else every answer is no-store */
};

struct route {
	const char *methods;	/* "GET" (HEAD is then served too), "POST", "GET POST"; NULL ends a table */
	const char *path;
	unsigned ways;		/* bits of enum http_way */
	unsigned flags;		/* bits of enum route_flag */
	enum route_need need;
	void (*serve)(struct enroll_worker *w, struct http_request *r);
};

/*
 * Asked for every route that needs somebody (portal's sign-in; also checks CSRF on what changes something). True: go on, r->who is
 * set. False: it has answered (401, 403). A route of the local socket never comes here: root and our own user are admins, others
 * get 403.
 */
typedef bool route_admit_fn(struct enroll_worker *w, struct http_request *r, enum route_need need);

/* The function for http_server_config.serve; arg is the struct enroll_worker. */
void route_serve(struct http_request *r, void *arg);

/* Behind a ROUTE_PREFIX: what follows the route's path, as sent. */
struct strv route_rest(const struct http_request *r, const char *prefix);

#endif
