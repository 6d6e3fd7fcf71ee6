/*
 * relay_head: what is dropped from and added to a head, both ways. Pure.
 */
#ifndef EASGATE_RELAY_HEAD_H
#define EASGATE_RELAY_HEAD_H

#include "common/buffer.h"
#include "common/http_head.h"

/* What the proxy says of itself and of the user towards the mail server. */
struct relay_identity {
	const char *host;		/* Host for the mail server */
	struct strv trusted_name;	/* the configured user header, n == 0: none */
	struct strv trusted_value;	/* n == 0: the device's is dropped and none is added */
	struct strv authorization;	/* "Negotiate ..." of ours; n == 0: none */
	bool pass_authorization;	/* the device's own goes on (credential passthrough, or no certificate) */
	const char *client;		/* the device's address for X-Forwarded-For */
	const char *public_host;	/* the name the device used, for X-Forwarded-Host */
};

/*
 * True for a field that a device must not send on: identity-bearing or hop-by-hop, with '_' and '.' counted as '-':
 * Authorization, the trusted user header, X-Forward*, X-Original*, Forwarded, X-Remote*, X-Real-IP, X-WebObjects*, X-SSL*,
 * X-Client*, Client-Cert*, SSL-*, Front-End-Https, X-User*, X-Auth*, X-EAS-*, X-Proxy*, Proxy-*, Remote-*, X-Rewrite-URL,
 * X-HTTP-Method*, X-Host*, ...: the tables in relay_head.c are the list.
 */
bool relay_drops_request_field(const struct http_field *field, struct strv trusted_name);

/*
 * Appends the request head for the mail server. The target goes on byte for byte. Framing: `chunked` or `length`
 * as the body will be sent. Without Expect: the proxy answers that itself. 0 or -1 (ceiling, memory).
 */
MUST_CHECK int relay_request_head(struct buffer *out, const struct http_head *head, const struct relay_identity *id);

struct relay_answer {
	bool chunked;			/* send the body chunked; else as `length`, or none, or until close */
	bool close;			/* Connection: close */
	bool no_challenge;		/* the device has a certificate: nothing may ask its owner for a password */
	const struct strv *upstream_names;	/* X-MS-Location and Location of these hosts are rewritten... */
	size_t upstream_names_n;
	const char *public_host;	/* ... to this one */
};
/* Appends the response head for the device. 0 or -1. */
MUST_CHECK int relay_response_head(struct buffer *out, const struct http_head *head, const struct relay_answer *answer);

#endif
