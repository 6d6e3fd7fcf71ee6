/*
 * route: from a path to the function that serves it. The one place that says who may ask what over which listener. Worker of easenroll.
 */
#include "enroll/worker/route.h"

#include <stdio.h>
#include <unistd.h>

#include "common/text.h"
#include "enroll/worker/worker.h"

/* --- paths --- */

static bool is_bad_segment(struct strv segment)
{
	return segment.n == 0 || strv_eq(segment, STRV(".")) || strv_eq(segment, STRV(".."));
}

/* No empty segment but the last one, none that means another, no escape that hides '/', '\\', '.' or a control byte. */
static bool is_sane(struct strv path)
{
	struct strv rest = { path.p + 1, path.n - 1 };

	if (path.n == 0 || path.p[0] != '/')
		return false;
	for (size_t i = 0; i < path.n; i++) {
		uint64_t byte;
		if (path.p[i] == '\\')
			return false;
		if (path.p[i] != '%')
			continue;
		if (path.n - i < 3 || text_hex_u64((struct strv){ path.p + i + 1, 2 }, 255, &byte) < 0 || byte < 0x20 || byte == 0x7f || byte == '/' ||
		    byte == '\\' || byte == '.')
			return false;
	}
	while (rest.p != NULL) {
		struct strv segment = text_split(&rest, '/');
		if (is_bad_segment(segment) && !(segment.n == 0 && rest.p == NULL))
			return false;
	}
	return true;
}

static bool path_matches(const struct route *t, struct strv path)
{
	struct strv want = strv_from(t->path);

	if ((t->flags & ROUTE_PREFIX) != 0) {
		if (path.n < want.n)
			return false;
		path.n = want.n;
	}
	return (t->flags & ROUTE_NOCASE) != 0 ? text_eq_nocase(path, want) : strv_eq(path, want);
}

static bool method_matches(const struct route *t, struct strv method)
{
	struct strv rest = strv_from(t->methods);

	if (strv_eq(method, STRV("HEAD")))
		method = STRV("GET");
	while (rest.p != NULL) {
		if (strv_eq(text_split(&rest, ' '), method))
			return true;
	}
	return false;
}

struct strv route_rest(const struct http_request *r, const char *prefix)
{
	size_t n = strlen(prefix);

	return r->path.n < n ? (struct strv){ NULL, 0 } : (struct strv){ r->path.p + n, r->path.n - n };
}

/* The route, or NULL: *allow lists the methods that the path has ("" : no such path). */
static const struct route *find(const struct route *const *tables, const struct http_request *r, bool sane, char *allow, size_t size)
{
	size_t n = 0;

	allow[0] = '\0';
	for (; *tables != NULL; tables++) {
		for (const struct route *t = *tables; t->methods != NULL; t++) {
			if ((t->ways & r->way) == 0 || (!sane && (t->flags & ROUTE_RAW) == 0) || !path_matches(t, r->path))
				continue;
			if (method_matches(t, r->method))
				return t;
			for (struct strv rest = strv_from(t->methods), m; rest.p != NULL && n < size;) {
				m = text_split(&rest, ' ');
				n += (size_t)snprintf(allow + n, size - n, "%s%.*s%s", n > 0 ? ", " : "", STRV_FMT(m), strv_eq(m, STRV("GET")) ? ", HEAD" : "");
			}
		}
	}
	return NULL;
}

/* --- fields that every answer has --- */

static void add_fields(struct http_request *r, unsigned flags)
{
	http_reply_field(r, "X-Content-Type-Options", "nosniff");
	if ((flags & ROUTE_CACHED) == 0)
		http_reply_field(r, "Cache-Control", "no-store");
	if (r->way != HTTP_WAY_TLS)
		return;
	http_reply_field(r, "Strict-Transport-Security", "max-age=31536000");
	http_reply_field(r, "Referrer-Policy", "no-referrer");
	if ((flags & ROUTE_PAGE) == 0)
		http_reply_field(r, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
	http_reply_field(r, "Cross-Origin-Resource-Policy", "same-origin");
	if ((flags & ROUTE_PAGE) != 0) {
		http_reply_field(r, "Cross-Origin-Opener-Policy", "same-origin");
		http_reply_field(r, "X-Frame-Options", "DENY");
	}
}

/* True: go on. */
static bool admit(struct enroll_worker *w, struct http_request *r, const struct route *t)
{
	if (r->way == HTTP_WAY_LOCAL) {
		if (r->uid == 0 || r->uid == geteuid())
			return true;
		http_reply_text(r, 403, "ask as root or as the service user\n");
		return false;
	}
	if (t->need == ROUTE_OPEN)
		return true;
	if (w->admit == NULL) {
		http_reply_text(r, 503, "nobody can sign in here\n");
		return false;
	}
	return w->admit(w, r, t->need);
}

void route_serve(struct http_request *r, void *arg)
{
	struct enroll_worker *w = arg;
	bool sane = is_sane(r->path);
	char allow[128];
	const struct route *t = find(w->routes, r, sane, allow, sizeof(allow));

	r->cached = t != NULL && (t->flags & ROUTE_CACHED) != 0;
	add_fields(r, t != NULL ? t->flags : 0);
	if (t == NULL && !sane) {
		http_reply_text(r, 400, "the path is malformed\n");
	} else if (t == NULL && allow[0] != '\0') {
		http_reply_field(r, "Allow", "%s", allow);
		http_reply_text(r, 405, "this is asked by %s\n", allow);
	} else if (t == NULL) {
		http_reply_text(r, 404, "there is nothing here\n");
	} else if (admit(w, r, t)) {
		t->serve(w, r);
	}
}
