/*
 * account_facts: userAccountControl, times and group SIDs to flags. Reads no LDAP, keeps nothing.
 * Every doubt ends as the refusing flag. Pure; runs in the *directory* process.
 */
#include "common/directory/account_facts.h"

#include "common/text.h"

#define UAC_DISABLED		  0x00000002u
#define UAC_NORMAL_ACCOUNT	  0x00000200u
#define UAC_NOT_DELEGATED	  0x00100000u
#define COMPUTED_LOCKED		  0x00000010u
#define COMPUTED_PASSWORD_EXPIRED 0x00800000u

#define NEVER			  INT64_MAX
#define EPOCH_DIFF		  11644473600LL /* seconds from 1601 to 1970 */

#define RID_ADMINISTRATOR	  500
#define RID_KRBTGT		  502
#define RID_PROTECTED_USERS	  525

int64_t facts_unix_time(int64_t filetime)
{
	int64_t seconds;

	if (filetime == 0 || filetime == NEVER)
		return 0;
	seconds = filetime / 10000000 - EPOCH_DIFF;
	return filetime < 0 || seconds < 1 ? 1 : seconds;
}

void facts_from_numbers(struct account *a, const struct account_numbers *numbers, time_t now)
{
	uint32_t flags = 0;

	if (numbers->has_control && !(numbers->control & UAC_DISABLED) &&
	    (numbers->control & UAC_NORMAL_ACCOUNT))
		flags |= ACCOUNT_ENABLED;
	if (!numbers->has_control || (numbers->control & UAC_NOT_DELEGATED))
		flags |= ACCOUNT_NOT_DELEGATED;
	if (!numbers->has_computed || (numbers->computed & COMPUTED_LOCKED))
		flags |= ACCOUNT_LOCKED;
	if (!numbers->has_computed || (numbers->computed & COMPUTED_PASSWORD_EXPIRED))
		flags |= ACCOUNT_PASSWORD_EXPIRED;
	a->expires = numbers->has_expires ? facts_unix_time(numbers->expires) : 1;
	a->flags = flags;
	a->flags = facts_flags_now(a, now);
}

uint32_t facts_flags_now(const struct account *a, time_t now)
{
	uint32_t flags = a->flags & ~ACCOUNT_EXPIRED;

	return a->expires != 0 && a->expires <= now ? flags | ACCOUNT_EXPIRED : flags;
}

int refused_groups_add(struct refused_groups *groups, const char *text)
{
	struct strv t = strv_from(text);
	uint64_t rid;

	if (groups->count == FACTS_REFUSED_MAX)
		return -1;
	groups->group[groups->count].rid = 0;
	if (sid_from_text(t, &groups->group[groups->count].sid) < 0) {
		if (text_u64(t, UINT32_MAX, &rid) < 0 || rid == 0)
			return -1;
		groups->group[groups->count].rid = (uint32_t)rid;
	}
	groups->count++;
	return 0;
}

/* Groups of any domain whose members administrate it, or hold its keys or certificates
 * (MS-DTYP 2.4.2.4). */
static bool is_admin_group(const struct sid *sid)
{
	static const uint32_t rids[] = {
		498, /* Enterprise Read-only Domain Controllers */
		512, /* Domain Admins */
		516, /* Domain Controllers */
		517, /* Cert Publishers */
		518, /* Schema Admins */
		519, /* Enterprise Admins */
		520, /* Group Policy Creator Owners */
		521, /* Read-only Domain Controllers */
		526, /* Key Admins */
		527, /* Enterprise Key Admins */
	};
	static const char *const builtin[] = {
		"S-1-5-32-544", /* Administrators */
		"S-1-5-32-548", /* Account Operators */
		"S-1-5-32-549", /* Server Operators */
		"S-1-5-32-550", /* Print Operators */
		"S-1-5-32-551", /* Backup Operators */
		"S-1-5-32-552", /* Replicators */
		"S-1-5-9",	/* Enterprise Domain Controllers */
	};
	char text[ACCOUNT_SID_MAX];

	if (sid_is_of_domain(sid)) {
		for (size_t i = 0; i < ARRAY_LEN(rids); i++) {
			if (sid_rid(sid) == rids[i])
				return true;
		}
		return false;
	}
	if (sid_to_text(sid, text, sizeof(text)) < 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++) {
		if (strcmp(text, builtin[i]) == 0)
			return true;
	}
	return false;
}

static bool is_refused(
    const struct sid *sid, const struct sid *own, const struct refused_groups *refused)
{
	if (is_admin_group(sid))
		return true;
	for (unsigned i = 0; i < refused->count; i++) {
		if (refused->group[i].sid.n != 0
			? sid_eq(sid, &refused->group[i].sid)
			: sid_same_domain(sid, own) && sid_rid(sid) == refused->group[i].rid)
			return true;
	}
	return false;
}

void facts_from_token(struct account *a, const struct sid *own, const struct sid *token,
    size_t count, const struct sid *wanted, size_t wanted_count,
    const struct refused_groups *refused)
{
	size_t n = strlen(a->sam);

	a->groups = a->groups_missing = 0;
	for (size_t g = 0; g < wanted_count && g < 64; g++)
		a->groups_missing |= wanted[g].n == 0 ? 1ull << g : 0;
	if (count == 0 || own->n == 0 || n == 0 || a->sam[n - 1] == '$' ||
	    is_refused(own, own, refused) || sid_rid(own) == RID_ADMINISTRATOR ||
	    sid_rid(own) == RID_KRBTGT)
		a->flags |= ACCOUNT_PROTECTED;
	for (size_t i = 0; i < count; i++) {
		if (is_refused(&token[i], own, refused))
			a->flags |= ACCOUNT_PROTECTED;
		if (sid_is_of_domain(&token[i]) && sid_rid(&token[i]) == RID_PROTECTED_USERS)
			a->flags |= ACCOUNT_NOT_DELEGATED;
		for (size_t g = 0; g < wanted_count && g < 64; g++) {
			if (sid_eq(&token[i], &wanted[g]))
				a->groups |= 1ull << g;
		}
	}
}

uint32_t facts_wrong_passwords(bool known, uint32_t threshold, uint32_t margin)
{
	if (!known)
		return 1;
	if (threshold == 0)
		return FACTS_UNLIMITED;
	if (threshold == 1)
		return 0;
	return threshold - 1 > margin ? threshold - 1 - margin : 1;
}

bool facts_may_delegate(const struct account *a, time_t now)
{
	uint32_t flags = facts_flags_now(a, now);

	return (flags & ACCOUNT_ENABLED) &&
	       !(flags & (ACCOUNT_EXPIRED | ACCOUNT_PROTECTED | ACCOUNT_NOT_DELEGATED));
}
