/*
 * fetch: one file over http or https on the loop (libcurl multi), bounded in size and time, into a descriptor.
 * No redirects: a server that sends elsewhere is a failure that names the place, for the operator to configure.
 */
#ifndef EASGATE_REVOCATION_FETCH_H
#define EASGATE_REVOCATION_FETCH_H

#include "common/curl_loop.h"

#define FETCH_TAG_MAX 256

enum fetch_result { FETCH_FAILED = 0, FETCH_NEW, FETCH_SAME };

/* What the server said of the version that we hold; sent back so that it need not send the same again. "" : nothing. */
struct fetch_version {
	char etag[FETCH_TAG_MAX], modified[FETCH_TAG_MAX];
};

struct fetch_rules {
	const char *schemes;	/* "http,https" or "https" */
	struct strv ca;		/* PEM: the CAs that its server must be of; n == 0: the system's. Borrowed until done */
	uint64_t max_bytes;
	unsigned timeout_s;
};

struct fetch;

/* From the loop, exactly once, never from fetch_start(). `why` is set for FETCH_FAILED only. `version`: for FETCH_NEW. */
typedef void fetch_done_fn(void *arg, enum fetch_result result, const struct fetch_version *version, const char *why);

/* Writes the body to fd (borrowed until done). version may be NULL. NULL: out of memory or no such URL. */
struct fetch *fetch_start(struct curl_loop *owner, const char *url, int fd, const struct fetch_rules *rules,
    const struct fetch_version *version, fetch_done_fn *done, void *arg);
/* done will not run. Accepts NULL. */
void fetch_cancel(struct fetch *f);

#endif
