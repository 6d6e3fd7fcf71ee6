/*
 * claim_search: what is looked for in a directory for a claim. Pure.
 *
 * A claim becomes one to four searches, each with exactly one equality on one attribute. All of
 * them are made, and the accounts that they find are counted together: no account is
 * ACCOUNT_UNKNOWN, two different ones are ACCOUNT_AMBIGUOUS. So a name that two attributes of two
 * people hold lets neither in.
 *
 *  SID                      objectSid (bytes)
 *  UPN                      userPrincipalName; and sAMAccountName where the suffix is the domain's
 * DNS name (the implicit UPN, MS-ADTS 5.1.1.1.1), so that an account renamed onto another's
 * implicit name is refused ALT_..., WEAK_...        altSecurityIdentities; forms with a DN in both
 * orders of its parts EMAIL, SUBJECT_EMAIL     mail; and proxyAddresses "smtp:..." (aliases)
 *  SUBJECT_CN               cn; and sAMAccountName
 *  SUBJECT_UID              uid; and sAMAccountName
 *  USER                     "user": sAMAccountName. "user@domain": as UPN. "DOMAIN\user":
 * sAMAccountName, if DOMAIN is ours
 *
 * Active Directory compares loosely (case, accents, width): what it finds counts only if
 * claim_matches() too.
 */
#ifndef EASGATE_DIRECTORY_CLAIM_SEARCH_H
#define EASGATE_DIRECTORY_CLAIM_SEARCH_H

#include "common/base.h"
#include "common/directory/ask.h"
#include "common/directory/claim_kind.h"

#define CLAIM_SEARCHES_MAX 4
#define CLAIM_FILTER_MAX   (3 * (DIRECTORY_CLAIM_MAX + 8) + 128)

struct directory_names {
	const char *dns;     /* the domain's DNS name, "" when not known */
	const char *netbios; /* its short name, "" when not known */
};

struct claim_search {
	const char *attribute; /* static */
	size_t n;
	char value[DIRECTORY_CLAIM_MAX + 8]; /* n bytes, and a NUL behind them */
	bool binary;
};

/* Returns how many were made, 0: this claim can name nobody (bad text, bad SID, another domain). */
unsigned claim_searches(uint32_t kind, const char *value, const struct directory_names *names,
    struct claim_search out[CLAIM_SEARCHES_MAX]);
/* The filter of one search (RFC 4515, every byte outside letters, digits and " -./:=@_," escaped).
 * 0 or -1: does not fit. */
MUST_CHECK int claim_filter(const struct claim_search *search, char *out, size_t size);
/* The same text but for ASCII case; for objectSid the same bytes. */
bool claim_matches(const struct claim_search *search, struct strv found);
/* An altSecurityIdentities value with each DN's parts in the other order. 0, or -1: it holds no DN
 * or does not fit. */
MUST_CHECK int claim_alt_reversed(const char *value, char *out, size_t size);
/* Appends `text` escaped as a filter's value at *n. 0 or -1. */
MUST_CHECK int claim_escape(struct strv text, bool all, char *out, size_t size, size_t *n);

#endif
