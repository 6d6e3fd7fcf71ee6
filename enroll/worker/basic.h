/*
 * basic: HTTP Basic credentials (RFC 7617) of a request, only over TLS. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_BASIC_H
#define EASGATE_ENROLL_BASIC_H

#include "common/directory/ask.h"
#include "enroll/worker/http_server.h"

struct basic {
	char text[ACCOUNT_TEXT_MAX + DIRECTORY_PASSWORD_MAX + 8];
	struct strv user, password;	/* inside text */
};
/* True if there is one, well made, on a TLS listener. The caller wipes `out` with OPENSSL_cleanse in either case. */
MUST_CHECK bool basic_read(const struct http_request *r, struct basic *out);
/* 401 with the challenge of that realm; `r` is gone afterwards. */
void basic_demand(struct http_request *r, const char *realm);

#endif
