/*
 * password: one question to *lockout*, and the one table from its results to facts. Worker process.
 *
 * A phone that hears 401 asks its owner for a password, and one that hears 403 gives up for a while and looks for another server
 * (MS-ASHTTP 2.2.2.1.1). So 401 only where another password would help: it is wrong, or nobody has that name. Where nothing was tried,
 * or the account is locked for a while, the owner's right password would be answered the same: 503, come again.
 */
#include "proxy/worker/password.h"

#include <stdlib.h>

static const enum fact facts[LOCKOUT_RESULTS] = {
	[LOCKOUT_UNAVAILABLE] = FACT_PASSWORD_UNCHECKED,
	[LOCKOUT_RIGHT] = FACT_NONE,
	[LOCKOUT_WRONG] = FACT_PASSWORD_WRONG,
	[LOCKOUT_KNOWN_WRONG] = FACT_PASSWORD_WRONG,
	[LOCKOUT_UNKNOWN] = FACT_PASSWORD_WRONG,
	[LOCKOUT_DISABLED] = FACT_ACCOUNT_DISABLED,
	[LOCKOUT_EXPIRED] = FACT_ACCOUNT_EXPIRED,
	[LOCKOUT_LOCKED] = FACT_ACCOUNT_LOCKED,
	[LOCKOUT_MUST_CHANGE] = FACT_PASSWORD_OVER,
	[LOCKOUT_NOT_NOW] = FACT_NOT_NOW,
	[LOCKOUT_GUARDED] = FACT_PASSWORD_GUARDED,
	[LOCKOUT_ACCOUNT_BUDGET] = FACT_PASSWORD_GUARDED,
	[LOCKOUT_ADDRESS_BUDGET] = FACT_PASSWORD_GUARDED,
	[LOCKOUT_OVERLOADED] = FACT_OVERLOADED,
};

enum fact password_fact(uint32_t result)
{
	return result < LOCKOUT_RESULTS ? facts[result] : FACT_PASSWORD_UNCHECKED;
}

struct password_op {
	struct asker *lockout;
	uint64_t number;
	uint8_t binding[SHA256_SIZE];
	password_done_fn *done;
	void *arg;
};

static void on_checked(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct password_op *op = arg;
	password_done_fn *done = op->done;
	void *done_arg = op->arg;
	struct password_answer a = { .fact = FACT_PASSWORD_UNCHECKED };
	struct lockout_checked c;

	if (status == WIRE_OK && n == sizeof(c)) {
		memcpy(&c, body, sizeof(c));
		a.fact = password_fact(c.result);
		a.text = lockout_result_text(c.result);
		a.wait_seconds = c.wait_seconds;
		if (a.fact == FACT_NONE && (a.account = account_checked(&c.account, op->binding, c.voucher)) == NULL)
			a = (struct password_answer){ .fact = FACT_PASSWORD_UNCHECKED, .text = "the lockout process named no account" };
		a.good_seconds = a.fact == FACT_NONE ? c.good_seconds : 0;
	} else {
		a.text = status == WIRE_TIMEOUT ? "the lockout process did not answer in time" : "no lockout process answers";
	}
	free(op);
	done(done_arg, &a);
}

struct password_op *password_ask(struct asker *lockout, const struct lockout_check *check, password_done_fn *done, void *arg)
{
	struct password_op *op = calloc(1, sizeof(*op));

	if (op == NULL)
		return NULL;
	op->lockout = lockout;
	memcpy(op->binding, check->binding, SHA256_SIZE);
	op->done = done;
	op->arg = arg;
	op->number = asker_ask(lockout, LOCKOUT_CHECK, check, sizeof(*check), LOCKOUT_TIMEOUT_MS, on_checked, op);
	if (op->number == 0) {
		free(op);
		return NULL;
	}
	return op;
}

void password_cancel(struct password_op *op)
{
	if (op == NULL)
		return;
	asker_cancel(op->lockout, op->number);
	free(op);
}
