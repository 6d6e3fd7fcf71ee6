/*
 * sign_in: a name and a password to an account, by the *lockout* process, which guards the account. Every failure takes the same time, whatever
 * its reason, and the reason is for the log and the audit trail only. Worker process.
 */
#ifndef EASGATE_ENROLL_SIGN_IN_H
#define EASGATE_ENROLL_SIGN_IN_H

#include "common/asker.h"
#include "common/lockout/ask.h"

#define SIGN_IN_UNDER_WAY_MAX 256

struct sign_in;

enum sign_in_verdict {
	SIGN_IN_OK = 0,
	SIGN_IN_REFUSED, /* wrong, unknown, disabled, locked, near lock-out: the client learns no more */
	SIGN_IN_CHANGE, /* the password was right and must be changed elsewhere first */
	SIGN_IN_WAIT,	/* too many attempts: wait_seconds */
	SIGN_IN_LATER,	/* nobody could say: 503 */
};

struct sign_in_answer {
	enum sign_in_verdict verdict;
	const char *reason; /* a word for log and audit */
	uint32_t wait_seconds;
	const struct account
	    *account; /* whose; NULL: nobody's. For the client only with SIGN_IN_OK */
};
/* Exactly once, from the loop, never from sign_in_start(). Borrowed for the call. */
typedef void sign_in_done_fn(void *arg, const struct sign_in_answer *answer);

struct sign_in_config {
	struct loop *loop;
	struct asker *lockout;
	unsigned timeout_ms;
	unsigned floor_ms; /* no failure is told before so long */
};

/* NULL: out of memory. Borrows loop and lockout. */
struct sign_in *sign_in_new(const struct sign_in_config *config);
/* No callback runs any more. Accepts NULL. */
void sign_in_free(struct sign_in *s);
/* "192.0.2.1:4711" -> "192.0.2.1"; "[2001:db8::4]:4711" -> "2001:db8::4"; anything else as it is. */
void sign_in_address(const char *client, char out[LOCKOUT_ADDRESS_MAX]);
/* name and password are as typed and copied; the copy of the password is overwritten as soon as it was sent. client: "192.0.2.1:4711". 0, or -1:
 * too many under way, no memory. */
MUST_CHECK int sign_in_start(struct sign_in *s, struct strv name, struct strv password,
    const char *client, sign_in_done_fn *done, void *arg);

#endif
