/*
 * http_server: HTTP/1.1 and 1.0 for the portal, SCEP, EST, OCSP, CRLs and the APIs: strict reading (common/http_head.h), whole
 * bodies under a limit, whole answers. Knows no path: every complete request goes to one function (route.h). Worker of easenroll.
 *
 * A request lives from `serve` until http_reply(), which may come at once or from any later callback, exactly once; it stays
 * valid even if its connection goes away meanwhile (the answer is then dropped), so that what was begun is finished.
 */
#ifndef EASGATE_ENROLL_HTTP_SERVER_H
#define EASGATE_ENROLL_HTTP_SERVER_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "common/buffer.h"
#include "common/http_head.h"
#include "common/loop.h"

/* On what kind of listener a connection came in; bits, for tables. */
enum http_way {
	HTTP_WAY_TLS = 1,
	HTTP_WAY_PLAIN = 2,	/* clear text from anywhere: SCEP, CRL, OCSP, issuer certificates only */
	HTTP_WAY_LOCAL = 4,	/* run_dir/easenroll.sock */
	HTTP_WAY_ADMIN = 8,	/* enroll.admin.address: health and metrics only */
};

struct http_server;
struct http_connection;

/* All strv live as long as the request. */
struct http_request {
	struct strv method, path, query;	/* as sent, percent-encoded; query without '?', {NULL, 0}: none */
	struct strv host;			/* the Host field without port, as sent */
	const struct http_head *head;		/* all fields: http_request_field() */
	struct strv body;			/* decoded from chunks; {NULL, 0}: none. Wiped when the request ends */
	const char *client;			/* "192.0.2.1:4711", "local" */
	enum http_way way;
	uid_t uid;				/* HTTP_WAY_LOCAL: who asks (SO_PEERCRED) */
	struct strv certificate;		/* DER of the client certificate that the handshake proved and that chains to our CA; else {NULL, 0} */
	/* --- for whoever serves it; the server does not look at these --- */
	void *who;				/* who signed in (sign-in's own), NULL: nobody. Good until anything is waited for: it may end meanwhile */
	char whom[192];				/* the same one's SID, for as long as the request; "": nobody */
	void *state;				/* the handler's own */
	bool cached;				/* its answer says nothing that could be taken back */
};

struct http_server_config {
	size_t head_bytes, headers, body_bytes;
	unsigned connections, connections_per_address;	/* an IPv6 address is its /64 */
	size_t bodies_bytes;				/* of the bodies of all requests that are not answered; more, and who sends one longest is cut */
	unsigned handshake_seconds, head_seconds, body_seconds, idle_seconds;
	void (*serve)(struct http_request *r, void *arg);
	void (*answered)(const struct http_request *r, unsigned status, size_t bytes, void *arg);	/* for the log; may be NULL */
	/* Whether this answer has to wait, and for what: it goes out with http_server_release() of that number or a higher one. 0: no. May be NULL */
	uint64_t (*hold)(const struct http_request *r, void *arg);
	void *arg;
};

/* Copies config. NULL: out of memory. */
struct http_server *http_server_new(struct loop *loop, const struct http_server_config *config);
/* Closes everything; requests not yet answered are freed: nobody may answer them any more. NULL is fine. */
void http_server_free(struct http_server *s);
/* Starts accepting on a listening socket (stays the caller's). tls: for HTTP_WAY_TLS, else NULL; borrowed: gets its own reference. 0 or -1. */
MUST_CHECK int http_server_listen(struct http_server *s, int fd, enum http_way way, SSL_CTX *tls);
/* TLS connections of listener number `index` (order of http_server_listen) use this from now on. */
void http_server_set_tls(struct http_server *s, unsigned index, SSL_CTX *tls);
/* No new connections; those that wait between requests are closed, others after their answer. `done` runs when none is left (may be at once). */
void http_server_drain(struct http_server *s, void (*done)(void *arg), void *arg);
/* Answers held for up to this number go out, in the order they were given. */
void http_server_release(struct http_server *s, uint64_t upto);
unsigned http_server_connections(const struct http_server *s);

/* --- reading a request --- */

/* The only field of that name (any case), without surrounding white space. {NULL, 0}: none, or more than one. */
struct strv http_request_field(const struct http_request *r, const char *name);
/* The first parameter `name` of the query, undecoded; false: none. */
MUST_CHECK bool http_request_query(const struct http_request *r, const char *name, struct strv *raw);
/* The same percent-decoded ('+' stays) into a C string. Length, or -1: none, bad escape, control byte, too long ("" then). */
MUST_CHECK long http_request_query_text(const struct http_request *r, const char *name, char *out, size_t size);
/* The cookie of that name (RFC 6265 section 5.4), undecoded; false: none, or several, of which nobody can tell which is meant. */
MUST_CHECK bool http_request_cookie(const struct http_request *r, const char *name, struct strv *value);
/* Whether the content type is `type` ("application/json"), whatever its parameters. */
bool http_request_is(const struct http_request *r, const char *type);
/* Whether this base64 text names the request's own TLS connection (tls_server.h); false when that is gone, or was none. */
bool http_request_is_bound(const struct http_request *r, struct strv base64);
/* Whether If-None-Match names this entity tag (without its quotes; RFC 9110 §13.1.2). False as well where the field is missing. */
bool http_request_has_tag(const struct http_request *r, const char *tag);
/* Whether anybody still waits for the answer. */
bool http_request_is_awaited(const struct http_request *r);

/* --- answering --- */

/* Adds a field to the answer to come. A name or value that could break the head is a bug and ends the answer as 500. */
PRINTF(3, 4) void http_reply_field(struct http_request *r, const char *name, const char *fmt, ...);
/*
 * Answers and ends the request: `r` is gone afterwards. body is copied; type NULL: no Content-Type. With HEAD, and with 204 and 304,
 * nothing of the body is sent. Head and body go out in one TLS record where they fit.
 */
void http_reply(struct http_request *r, unsigned status, const char *type, struct strv body);
/* Bytes that answers share, however many clients take their time: `free` runs when the last reference is gone. */
struct http_shared {
	struct strv bytes;
	unsigned refs;
	void (*free)(struct http_shared *shared);
};
void http_shared_drop(struct http_shared *shared);	/* gives a reference back; accepts NULL */
/* http_reply() with a body that is not copied: takes a reference of its own. */
void http_reply_shared(struct http_request *r, unsigned status, const char *type, struct http_shared *body);
/* The same with a line of plain text; for what no program reads. */
PRINTF(3, 4) void http_reply_text(struct http_request *r, unsigned status, const char *fmt, ...);
/* The connection is closed after this answer. */
void http_reply_close(struct http_request *r);
const char *http_status_text(unsigned status);

#endif
