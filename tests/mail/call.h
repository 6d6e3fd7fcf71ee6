/*
 * call: one ActiveSync request on its way through the server: what was asked, by whom, the
 * answer being written, and the waiting of those that are answered later.
 * Runs handlers; knows no command and no protocol status.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_CALL_H
#define MAIL_CALL_H

#include <event2/event.h>
#include <event2/http.h>

#include "account.h"
#include "eas_query.h"
#include "xml.h"

/* What a handler returns: an HTTP status, or CALL_HELD, which only call_hold() gives. */
#define CALL_HELD 0

struct call;
typedef int call_fn(struct call *c);

/* The server, as far as calls need it. Outlives every call. */
struct call_env {
	struct event_base *base;
	struct accounts *accounts;
	bool log;
};

struct call {
	TAILQ_ENTRY(call) entry;        /* in account->waiting while held */
	const struct call_env *env;
	struct evhttp_request *http;
	call_fn *run;
	const char *command;            /* static */
	struct eas_query query;         /* version is never 0 here */
	struct account *account;
	struct device *device;
	xmlDoc *doc;                    /* the decoded body; NULL: none, or not WBXML */
	struct xml_out out;             /* the answer; nothing written means an empty body */
	int64_t began;                  /* milliseconds, monotonic */
	int64_t deadline;               /* of a held call, the same clock; 0: not held */
	struct event *timer;
	bool expired;                   /* the deadline has passed */
	bool superseded;                /* a newer call of the same device waits instead */
};

/* Monotonic milliseconds. */
int64_t call_clock(void);

/*
 * Runs the handler and answers, or leaves the call waiting. Takes `c`, which is heap memory,
 * and its doc.
 */
void call_run(struct call *c);

/*
 * For handlers: wait, and run the handler again when something has changed in the account, when
 * `seconds` since the first call_hold() are over (then c->expired), or when the device asked
 * anew (then c->superseded). Nothing may have been written to c->out.
 * Returns CALL_HELD, or 503.
 */
int call_hold(struct call *c, uint32_t seconds);

/* Makes every call that waits on the account run again, from the event loop. */
void calls_wake(struct account *account);

/* Answers every waiting call with 503: the server ends. */
void calls_stop(struct accounts *accounts);

/* One line a request on standard error. `command`, `user`, `device` may be NULL. */
void call_log(const char *user, const char *command, const char *device, int status,
    int64_t began);

#endif
