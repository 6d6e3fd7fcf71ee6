/*
 * webhook: one question to another server, JSON by HTTPS POST, on the loop: the server's certificate verified, a bearer token, no redirects, a bounded
 * answer within a bounded time. What comes back is a JSON object or a reason; what it means is the caller's business. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_WEBHOOK_H
#define EASGATE_ENROLL_WEBHOOK_H

#include <jansson.h>

#include "common/loop.h"

#define WEBHOOK_ANSWER_MAX 8192
#define WEBHOOK_CALLS_MAX  128	/* under way at once */

struct webhook;
struct webhook_call;

struct webhook_config {
	struct loop *loop;
	const char *url;	/* https:// */
	struct strv token;	/* n == 0: none */
	struct strv ca;		/* PEM: only these vouch for the server; n == 0: the system's do */
	unsigned seconds;	/* for the whole of a call */
};

/* Once, from the loop, never from webhook_ask(). object: the answer, borrowed for the call; NULL: why says what was wrong (clean text). */
typedef void webhook_done_fn(void *arg, const json_t *object, const char *why);

/* config's texts are borrowed. NULL: out of memory. */
struct webhook *webhook_new(const struct webhook_config *config);
/* No `done` runs any more. Accepts NULL. */
void webhook_free(struct webhook *w);
/* Takes the question's reference, also on failure. NULL: out of memory, or too many are under way. */
struct webhook_call *webhook_ask(struct webhook *w, json_t *question, webhook_done_fn *done, void *arg);
/* `done` does not run. Accepts NULL. */
void webhook_cancel(struct webhook_call *c);

#endif
