/*
 * explain: which line of which policy decides for an account, and what it comes to for each method. For `easproxy explain`, by the
 * local socket alone: it tells who somebody is. Worker process.
 */
#ifndef EASGATE_EXPLAIN_H
#define EASGATE_EXPLAIN_H

#include "common/buffer.h"
#include "proxy/worker/worker.h"

struct explain_op;

/* json: an object, borrowed for the call; NULL: the directory is not to be had, or no memory. Once, from the loop. */
typedef void explain_done_fn(void *arg, const char *json);

/*
 * query: "kind=<enum claim_kind>&value=<text>&sid=<text>", percent-encoded: whom to look for, as a claim names him. 0; -1: malformed, or
 * too many questions.
 */
MUST_CHECK int explain_start(struct worker *w, struct strv query, explain_done_fn *done, void *arg, struct explain_op **op);
void explain_cancel(struct explain_op *op);	/* accepts NULL */

#endif
