/*
 * wire: framed questions and answers between two of our processes over a SOCK_SEQPACKET socket pair.
 *
 * A message is a fixed head (number, verb, kind, length) and at most WIRE_BODY_MAX bytes; the kernel keeps
 * the frames. The number is chosen by the asker and echoed back: never a pointer. Questions are answered
 * first in first out as far as the answerer likes; the queue is bounded and a full queue is a refusal.
 * Bodies are flat structs in host order: both ends are the same binary on the same machine, and still the
 * receiver checks length and every text's terminator, since a captured peer may send anything.
 */
#ifndef EASGATE_WIRE_H
#define EASGATE_WIRE_H

#include "common/base.h"
#include "common/loop.h"

#define WIRE_BODY_MAX 65536
#define WIRE_PENDING_MAX 1024	/* questions under way per wire */
#define WIRE_SECRET 0x8000u	/* a bit of a verb: our copies of its bodies are overwritten as soon as they were sent or served */

enum wire_status {
	WIRE_FAILED = 0,	/* the other side refused, or sent what is no answer */
	WIRE_OK,
	WIRE_TIMEOUT,
	WIRE_CLOSED,		/* the other process has gone; ask the next one */
};

struct wire;

/* Exactly once per wire_ask() that returned a number, from the loop, never before wire_ask() returned. */
typedef void wire_done_fn(void *arg, enum wire_status status, const void *body, size_t n);

/* One verb that this end serves. `number` is 0 for a tell (no answer awaited). */
struct wire_verb {
	uint16_t verb;
	const char *name;	/* for logs */
	size_t min, max;	/* of the body; others are refused before `serve` runs */
	void (*serve)(struct wire *w, uint64_t number, const void *body, size_t n, void *arg);
};

struct wire_config {
	const struct wire_verb *verbs;	/* ends with .name == NULL; NULL: this end only asks */
	void *arg;			/* for serve and closed */
	/* The other side has gone or broke the framing (logged). Pending questions were answered WIRE_CLOSED before. May free w. */
	void (*closed)(struct wire *w, void *arg);
	const char *name;		/* "worker 0", for logs */
	/*
	 * What is sent in one turn of the loop leaves together at its end, in one system call: for many small messages that are
	 * made quickly. What is sent by `serve` leaves when all that came with its question was served: one that is about to
	 * block calls wire_flush() first. Else each message leaves at once.
	 */
	bool gather;
};

/* Takes fd (SOCK_SEQPACKET, not blocking), also on failure. Borrows config->verbs and name. NULL: out of memory. */
struct wire *wire_new(struct loop *loop, int fd, const struct wire_config *config);
/* Pending questions are dropped, their `done` never runs. Accepts NULL. Must not be called from serve or done of the same wire. */
void wire_free(struct wire *w);

/*
 * Asks. Returns the question's number, or 0: queue full or wire closed (done will not run).
 * `body` is copied. After timeout_ms done runs with WIRE_TIMEOUT; a later answer is dropped.
 */
MUST_CHECK uint64_t wire_ask(struct wire *w, uint16_t verb, const void *body, size_t n, unsigned timeout_ms,
    wire_done_fn *done, void *arg);
/* done will not run any more. Harmless for an unknown number and for w == NULL. */
void wire_cancel(struct wire *w, uint64_t number);
/* Answers question `number`; n == 0 with body NULL is a refusal (the asker sees WIRE_FAILED). -1: could not be sent (wire is then closing). */
int wire_answer(struct wire *w, uint64_t number, const void *body, size_t n);
/* The same with a body in two parts, of which our copies are overwritten when it was sent, and the asker's when it was served. */
int wire_answer_secret(struct wire *w, uint64_t number, struct strv first, struct strv second);
/* A message that awaits no answer. -1: queue full, closed, or no memory (the wire is then closing). */
int wire_tell(struct wire *w, uint16_t verb, const void *body, size_t n);
/* Sends what was gathered, as far as the kernel takes it. Accepts NULL. */
void wire_flush(struct wire *w);
bool wire_is_open(const struct wire *w);

/* A fresh pair, both ends non-blocking and close-on-exec. 0 or -errno. */
MUST_CHECK int wire_pair(int fds[2]);

#endif
