/*
 * http_head: strict, incremental, zero-copy reading of HTTP/1.x heads (RFC 9110, RFC 9112). Pure.
 *
 * Everything that two readers could understand differently is refused, never repaired: bare CR or LF,
 * obs-fold, white space before the colon or before the first line, empty or doubled names that frame or route
 * (Host, Content-Length, Transfer-Encoding), both lengths, a length that is not 1*DIGIT or does not fit,
 * any transfer coding but a single "chunked", Transfer-Encoding in HTTP/1.0, NUL and control bytes (HTAB inside
 * values is allowed), bytes above 0x7f in names or target, a target that is not origin-form
 * (or "*" with OPTIONS; absolute-form only where its authority equals Host), '#' in a target, over the limits.
 */
#ifndef EASGATE_HTTP_HEAD_H
#define EASGATE_HTTP_HEAD_H

#include "common/base.h"

#define HTTP_FIELDS_MAX 128	/* hard ceiling; limits may be lower */

enum http_result {
	HTTP_MORE = 0,			/* the head is not complete yet */
	HTTP_DONE = 1,
	/* refusals */
	HTTP_BAD_LINE = -100,		/* request or status line */
	HTTP_BAD_LINE_END,		/* bare CR or LF */
	HTTP_BAD_NAME,			/* field name, or space before the colon */
	HTTP_BAD_VALUE,			/* control byte in a value */
	HTTP_BAD_FOLD,			/* obs-fold */
	HTTP_BAD_TARGET,
	HTTP_BAD_HOST,			/* missing, doubled, malformed or differing from the target */
	HTTP_BAD_LENGTH,		/* Content-Length */
	HTTP_BAD_CODING,		/* Transfer-Encoding */
	HTTP_BAD_BOTH,			/* Content-Length and Transfer-Encoding */
	HTTP_BAD_VERSION,		/* neither HTTP/1.0 nor HTTP/1.1 */
	HTTP_BAD_CHUNK,			/* http_chunk */
	HTTP_BAD_EXPECT,		/* Expect other than 100-continue */
	HTTP_TOO_LARGE,			/* bytes: 431 */
	HTTP_TOO_MANY,			/* fields: 431 */
};
/* A short static text for logs: "bare CR or LF in the head". */
const char *http_result_text(enum http_result result);

/* Fields that the program looks at or drops; everything else is HTTP_OTHER and passes. */
enum http_name {
	HTTP_OTHER = 0,
	HTTP_HOST, HTTP_CONTENT_LENGTH, HTTP_TRANSFER_ENCODING, HTTP_CONNECTION, HTTP_KEEP_ALIVE, HTTP_PROXY_CONNECTION,
	HTTP_TE, HTTP_TRAILER, HTTP_UPGRADE, HTTP_EXPECT, HTTP_DATE, HTTP_SERVER, HTTP_LOCATION,
	HTTP_AUTHORIZATION, HTTP_PROXY_AUTHORIZATION, HTTP_PROXY_AUTHENTICATE, HTTP_WWW_AUTHENTICATE, HTTP_COOKIE, HTTP_SET_COOKIE,
	HTTP_USER_AGENT, HTTP_CONTENT_TYPE, HTTP_RETRY_AFTER,
	HTTP_MS_ASPROTOCOLVERSION, HTTP_X_MS_POLICYKEY, HTTP_X_MS_LOCATION,
	HTTP_FORWARDED, HTTP_VIA,
	HTTP_NAMES
};

struct http_field {
	struct strv name, value;	/* value without surrounding white space */
	enum http_name id;
};

enum http_body {
	HTTP_BODY_NONE = 0,
	HTTP_BODY_LENGTH,	/* `length` bytes, may be 0 */
	HTTP_BODY_CHUNKED,
	HTTP_BODY_UNTIL_CLOSE,	/* responses only */
};

/* All strv point into the caller's bytes and live as long as those stay in place. */
struct http_head {
	struct strv method, target;	/* request; target as sent */
	struct strv path, query;	/* query without '?'; query.p == NULL: no '?' */
	struct strv host;		/* request: the Host field without port, as sent */
	bool has_port;
	unsigned minor;			/* HTTP/1.minor, 0 or 1 */
	unsigned status;		/* response */
	struct strv reason;
	struct http_field field[HTTP_FIELDS_MAX];
	size_t fields;
	enum http_body body;
	uint64_t length;		/* for HTTP_BODY_LENGTH */
	bool keep_alive;		/* the sender will take another message on this connection */
	bool expect_continue;
	bool has_upgrade;		/* Upgrade field, or "upgrade" in Connection */
};

struct http_limits {
	size_t head_bytes;	/* whole head including the empty line */
	size_t fields;		/* <= HTTP_FIELDS_MAX */
};

/* Where a reader stands between calls; zero it for each new head. */
struct http_scan {
	size_t scanned;		/* bytes that hold no end of the head and no bare LF */
	size_t line;		/* behind the first line, once that is complete and was found good; 0 before */
};

/*
 * Reads a request head from the n bytes at p, which start with the request line (an empty line before it, RFC 9112
 * §2.2, is refused). Call again with the same beginning and more bytes after HTTP_MORE. On HTTP_DONE *used is the
 * length of the head and *head is filled. A refusal may come before the head is complete; *head is then undefined.
 */
enum http_result http_read_request(struct http_head *head, struct http_scan *scan, const char *p, size_t n,
    const struct http_limits *limits, size_t *used);
/* The same for a response. `to_head_request` is not needed: we send no HEAD. 1xx, 204 and 304 have no body. */
enum http_result http_read_response(struct http_head *head, struct http_scan *scan, const char *p, size_t n,
    const struct http_limits *limits, size_t *used);

/* The first field of that id, NULL if none. */
const struct http_field *http_find(const struct http_head *head, enum http_name id);
/* True if `field`'s name is listed in a Connection field of this head (RFC 9110 §7.6.1). */
bool http_is_connection_option(const struct http_head *head, struct strv name);
/* True for a token of RFC 9110 §5.6.2. */
bool http_is_token(struct strv text);

#endif
