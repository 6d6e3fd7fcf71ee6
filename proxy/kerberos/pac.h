/*
 * pac: who a ticket says its account is: SID and groups out of KERB_VALIDATION_INFO (MS-PAC 2.5,
 * NDR: C706 14). Pure. Refuses what does not fit exactly; never guesses.
 */
#ifndef EASGATE_KERBEROS_PAC_H
#define EASGATE_KERBEROS_PAC_H

#include "common/directory/account_facts.h"

#define PAC_SIDS_MAX 1200 /* AD puts at most 1015 SIDs into a ticket */

struct pac_identity {
	struct sid own;              /* the account */
	char name[ACCOUNT_NAME_MAX]; /* EffectiveName, UTF-8 */
	size_t n;
	struct sid group[PAC_SIDS_MAX]; /* primary group first */
};

/* `bytes` is the PAC's buffer of type 1 (logon information). 0, or -1: malformed, or more SIDs than
 * PAC_SIDS_MAX. */
MUST_CHECK int pac_identity_parse(struct strv bytes, struct pac_identity *out);

/* True when a group, or the account itself, is of those that nobody may be turned into. */
bool pac_identity_protected(const struct pac_identity *who, const struct refused_groups *refused);

#endif
