/*
 * request: an HTTP head becomes what the later steps need to know of it, or the fact that refuses it. Pure.
 */
#ifndef EASGATE_REQUEST_H
#define EASGATE_REQUEST_H

#include "common/http_head.h"
#include "proxy/settings.h"
#include "proxy/worker/eas_query.h"
#include "proxy/worker/reply.h"

enum route {
	ROUTE_NONE = 0,		/* not ours: 404 */
	ROUTE_EAS,		/* /Microsoft-Server-ActiveSync */
	ROUTE_AUTODISCOVER,	/* /Autodiscover/Autodiscover.xml, in any case */
	ROUTE_PATH,		/* one of proxy.paths */
};

#define PROTOCOL_VERSION_MAX 16
#define USER_AGENT_MAX	     128

/* Flat; lives as long as the exchange. Texts end with NUL. */
struct eas_request {
	enum route route;
	bool is_options;		/* else POST */
	bool keep_alive;
	bool is_11;			/* HTTP/1.1 */
	bool expect_continue;
	enum http_body body;
	uint64_t length;
	bool holds;			/* Ping, or Sync: may wait as long as the protocol lets it */
	char version[PROTOCOL_VERSION_MAX];	/* "14.1", from the header, else from the base64 query; "" if none */
	char user_agent[USER_AGENT_MAX];	/* "" : none; of a longer one, or one with odd bytes, nothing but user_agent_odd */
	bool user_agent_odd;		/* what a list of user agents cannot judge */
	struct eas_query query;
};

/* "14.1" from 141; "2.5" never comes by the base64 form. */
void request_version_of_query(unsigned version, char out[PROTOCOL_VERSION_MAX]);

/*
 * Fills *out from a head. FACT_NONE, or why not (*detail: a static text for the log).
 * The path is compared byte for byte without case (RFC 3986 escapes, "//", "..", ";" never match): what is
 * authorised here is exactly what goes upstream.
 */
enum fact request_read(const struct proxy_settings *settings, const struct http_head *head, struct eas_request *out,
    const char **detail);

#endif
