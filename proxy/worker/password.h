/*
 * password: is this password right, and may it be tried at all? Asks the *lockout* process; what it says becomes a fact. Keeps no password.
 */
#ifndef EASGATE_PASSWORD_H
#define EASGATE_PASSWORD_H

#include "common/lockout/ask.h"
#include "proxy/worker/account.h"
#include "proxy/worker/reply.h"

struct password_op;

struct password_answer {
	enum fact fact;			/* FACT_NONE: the password is right */
	const char *text;		/* static, for the log; NULL */
	unsigned wait_seconds;		/* when it is worth coming again; 0: not said */
	/* with FACT_NONE: whose password it is, and the voucher for the binding as its `certificate`: a reference for the callee. Else NULL */
	struct account_entry *account;
	unsigned good_seconds;		/* so long this connection need not ask again */
};

/* Once, from the loop. */
typedef void password_done_fn(void *arg, const struct password_answer *answer);

/* Copies *check; the caller overwrites its own. NULL: too many under way, or no memory. */
MUST_CHECK struct password_op *password_ask(struct asker *lockout, const struct lockout_check *check, password_done_fn *done, void *arg);
void password_cancel(struct password_op *op);	/* accepts NULL */

/* What a result comes to (enum lockout_result); unknown numbers are FACT_PASSWORD_UNCHECKED. */
enum fact password_fact(uint32_t result);

#endif
