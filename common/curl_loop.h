/*
 * curl_loop: libcurl's multi interface on a process's loop: requests to other servers that never hold the loop up. Decides nothing
 * about what is asked. libcurl resolves names in a thread of its own; nothing of ours runs there.
 */
#ifndef EASGATE_CURL_LOOP_H
#define EASGATE_CURL_LOOP_H

#include <curl/curl.h>

#include "common/loop.h"

struct curl_loop;

/* Kept by the caller until it has removed the handle. `done` runs once, from the loop, never from curl_loop_add(); it removes the handle. */
struct curl_transfer {
	void (*done)(void *arg, CURLcode code);
	void *arg;
};

struct curl_loop *curl_loop_new(struct loop *loop);	/* NULL: out of memory */
/* After the last handle was removed. Accepts NULL. */
void curl_loop_free(struct curl_loop *c);
/*
 * What every request of ours keeps to: these schemes ("https", "http,https") and no other, no redirects, no signals, the whole of it within
 * timeout_s seconds; curl's words go to why (CURL_ERROR_SIZE bytes, kept as long as the handle). 0 or -1.
 */
MUST_CHECK int curl_loop_rules(CURL *easy, const char *url, const char *schemes, unsigned timeout_s, char *why);
/* Starts it. 0, or -1: out of memory, or no such URL; the handle stays the caller's. */
MUST_CHECK int curl_loop_add(struct curl_loop *c, CURL *easy, struct curl_transfer *transfer);
/* Ended or not: takes it off and frees the handle. Accepts NULL. */
void curl_loop_remove(struct curl_loop *c, CURL *easy);

#endif
