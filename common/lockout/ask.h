/*
 * ask: the question that workers of both programs put to the *lockout* process: is this password right, and may it be tried at all?
 *
 * The *lockout* process alone remembers passwords (as keyed, memory-hard tags), counts tries for the fleet and decides whether the domain
 * may see one more. It asks *directory* for facts and for the bind. Bodies are flat structs in host order (common/wire.h).
 */
#ifndef EASGATE_LOCKOUT_ASK_H
#define EASGATE_LOCKOUT_ASK_H

#include "common/directory/ask.h"

#define LOCKOUT_ADDRESS_MAX 64
#define LOCKOUT_DEVICE_MAX  80
#define LOCKOUT_TIMEOUT_MS  20000	/* for the asker: every question is answered within this */
#define LOCKOUT_GOOD_MAX    3500	/* seconds that one answer holds; its voucher lives a little longer */

/* worker -> lockout: struct lockout_check; answer: struct lockout_checked. The high bit is WIRE_SECRET. */
#define LOCKOUT_CHECK 0x8021u
/* lockout -> worker, tell: struct lockout_forget, for an account whose remembered passwords count no more. */
#define LOCKOUT_FORGET 0x22u

struct lockout_check {
	char name[DIRECTORY_CLAIM_MAX];		/* "user", "user@domain" or "DOMAIN\\user", as the client gave it */
	char address[LOCKOUT_ADDRESS_MAX];	/* the client's, without its port */
	char device[LOCKOUT_DEVICE_MAX];	/* ActiveSync DeviceId, "" where there is none */
	uint8_t binding[SHA256_SIZE];		/* the voucher is made out for this, as for a certificate's fingerprint; all zero: none wanted */
	uint32_t interactive;			/* 1: a person typed it (sign-in on a page); 0: a device sent it by itself */
	uint32_t password_n;			/* 1 to DIRECTORY_PASSWORD_MAX bytes */
	char password[DIRECTORY_PASSWORD_MAX];
};

enum lockout_result {
	LOCKOUT_UNAVAILABLE = 0,	/* nobody could say (directory, store or memory): 503, nothing was tried */
	LOCKOUT_RIGHT,			/* the password is the account's */
	LOCKOUT_WRONG,			/* AD refused it just now: 401 */
	LOCKOUT_KNOWN_WRONG,		/* refused before, not sent again: 401 */
	LOCKOUT_UNKNOWN,		/* no such account, or more than one: 401 */
	LOCKOUT_DISABLED,
	LOCKOUT_EXPIRED,		/* the account */
	LOCKOUT_LOCKED,			/* in AD; nothing was sent */
	LOCKOUT_MUST_CHANGE,		/* right, but over: it must be changed elsewhere first */
	LOCKOUT_NOT_NOW,		/* outside the account's hours or workstations */
	LOCKOUT_GUARDED,		/* not tried: AD's own count is too near to the threshold; wait_seconds */
	LOCKOUT_ACCOUNT_BUDGET,		/* not tried: too many different wrong passwords for this account in the window; wait_seconds */
	LOCKOUT_ADDRESS_BUDGET,		/* the same for this address */
	LOCKOUT_OVERLOADED,		/* the queue is full: 503 */
	LOCKOUT_RESULTS
};
const char *lockout_result_text(uint32_t result);

struct lockout_checked {
	uint32_t result;		/* enum lockout_result */
	uint32_t remembered;		/* 1: answered from memory, AD was not asked */
	uint32_t wait_seconds;		/* with *_BUDGET and GUARDED */
	uint32_t good_seconds;		/* with LOCKOUT_RIGHT: how long this connection may go on without asking again */
	struct account account;		/* whose; all zero when unknown. For the asker's client only with LOCKOUT_RIGHT */
	uint8_t voucher[VOUCHER_SIZE];	/* with LOCKOUT_RIGHT and a binding: all zero unless the account may have a ticket */
};

/* sid "": every account. */
struct lockout_forget {
	char sid[ACCOUNT_SID_MAX];
};

#endif
