/*
 * account_facts: what the numbers and SIDs of an AD user object mean for us. Pure.
 * What was not returned is never taken for good: see the flags of struct account.
 */
#ifndef EASGATE_DIRECTORY_ACCOUNT_FACTS_H
#define EASGATE_DIRECTORY_ACCOUNT_FACTS_H

#include "common/base.h"
#include "common/directory/ask.h"
#include "common/directory/sid.h"

#define FACTS_REFUSED_MAX 256

/* Attributes as read; `has_` is false when the directory did not return it (no such right, no such
 * attribute). */
struct account_numbers {
	bool has_control, has_computed, has_expires;
	uint32_t control;  /* userAccountControl (MS-ADTS 2.2.16) */
	uint32_t computed; /* msDS-User-Account-Control-Computed: locked, password expired; 0 is a
			      value */
	int64_t expires;   /* accountExpires: 100 ns since 1601; 0 and 2^63 - 1: never */
};

/* Groups that the program refuses beyond the built-in ones. */
struct refused_groups {
	unsigned count;
	struct {
		struct sid sid; /* n == 0: by rid, in the account's own domain */
		uint32_t rid;
	} group[FACTS_REFUSED_MAX];
};

/* "S-1-..." or a decimal RID. 0, or -1: neither, or too many. */
MUST_CHECK int refused_groups_add(struct refused_groups *groups, const char *text);

/* Seconds since the epoch; 0 for never. A moment before 1970 is 1: long past. */
int64_t facts_unix_time(int64_t filetime);

/* Fills a->flags and a->expires from the numbers. EXPIRED is as of `now`; ask facts_flags_now()
 * again later. */
void facts_from_numbers(struct account *a, const struct account_numbers *numbers, time_t now);
/* a->flags with EXPIRED as of `now`. */
uint32_t facts_flags_now(const struct account *a, time_t now);

/*
 * Adds to a->groups and a->flags what tokenGroups says: `token` holds its SIDs (count 0: not
 * readable, and the account counts as protected and a member of nothing), `wanted` the SIDs of the
 * configured groups in bit order (n == 0: there is none, which a->groups_missing says).
 */
void facts_from_token(struct account *a, const struct sid *own, const struct sid *token,
    size_t count, const struct sid *wanted, size_t wanted_count,
    const struct refused_groups *refused);

/*
 * How many wrong passwords an account may have so that AD's count never reaches its threshold less `margin`. Where that would leave none, the
 * margin counts as `threshold` - 2: one, which does not lock it. 0: its first wrong one locks it. FACTS_UNLIMITED: AD never locks it.
 * Not known: one.
 */
#define FACTS_UNLIMITED UINT32_MAX
uint32_t facts_wrong_passwords(bool known, uint32_t threshold, uint32_t margin);

/* May somebody get a Kerberos ticket in this account's name? */
bool facts_may_delegate(const struct account *a, time_t now);

#endif
