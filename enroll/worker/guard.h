/*
 * guard: how many passwords may be tried, per account and per address, in a window. Counts attempts under way too, so that many at once
 * are no way around it. Pure: the clock is an argument; memory is fixed. Worker process.
 *
 * An address from which an account was signed in to before has a budget of its own there: strangers who use up the account's do not keep
 * its owner out. How near the account is to lock-out is the directory's to see (DIRECTORY_SIGN_IN's margin), whatever is counted here.
 */
#ifndef EASGATE_ENROLL_GUARD_H
#define EASGATE_ENROLL_GUARD_H

#include "common/base.h"

#define GUARD_ADDRESS_MAX   64
#define GUARD_KNOWN_SECONDS (30 * 86400) /* how long an address counts as the owner's */

struct guard_limits {
	uint32_t attempts; /* wrong ones per account and window; 0: none at all is allowed */
	uint32_t address_attempts; /* per address */
	uint32_t window_seconds;
};

enum guard_verdict { GUARD_GO = 0, GUARD_ACCOUNT, GUARD_ADDRESS };

struct guard;

/* NULL: out of memory, or no random bytes. */
struct guard *guard_new(const struct guard_limits *limits);
void guard_free(struct guard *g);

/*
 * May this be tried? GUARD_GO has counted it for both; else nothing was counted and *wait says in how many seconds to come again. account: a
 * SID, or with `known` false the name as typed (any case), which is counted apart, so that invented names push no real account out.
 */
MUST_CHECK enum guard_verdict guard_take(struct guard *g, struct strv account, bool known,
    const char *address, int64_t now, uint32_t *wait);
/* It was right, or not tried at all (`right` false): it does not count. */
void guard_give_back(
    struct guard *g, struct strv account, bool known, const char *address, bool right, int64_t now);

/* "192.0.2.1:4711" -> "192.0.2.1"; "[2001:db8:1:2:3::4]:4711" -> "2001:db8:1:2::" (a network of 64 bits is one); anything else as it is. */
void guard_address(const char *client, char out[GUARD_ADDRESS_MAX]);

#endif
