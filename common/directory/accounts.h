/*
 * accounts: the directory of one machine, from a YAML text. No I/O.
 *
 *  accounts:
 *    - sam: alice                     # needed
 *      sid: S-1-5-21-1-2-3-1104       # needed: the name that never changes
 *      upn: alice@corp.example
 *      mail: alice.adams@example.com
 *      realm: CORP.EXAMPLE            # Kerberos realm, for credential kerberos
 *      netbios: CORP                  # for sign-in as CORP\alice
 *      display_name: Alice Adams
 *      enabled: true                  # left out: no
 *      expires: 2027-01-31            # UTC; or 2027-01-31T12:00:00Z; left out: never
 *      not_delegated: false           # true: "sensitive and cannot be delegated"
 *      protected: false               # true: no Kerberos ticket in its name
 *      groups: ["CN=EAS-Users,OU=Groups,DC=corp,DC=example"]
 *      password: "$y$..."             # a crypt(3) hash, for sign-in at easenroll (mkpasswd)
 *      alt_security_identities: ["X509:<SKI>..."]
 *
 * Claims find accounts as claim_search.h says, with cn = uid = sam and an implicit UPN of
 * sam@realm.
 */
#ifndef EASGATE_DIRECTORY_ACCOUNTS_H
#define EASGATE_DIRECTORY_ACCOUNTS_H

#include "common/base.h"
#include "common/config.h"
#include "common/directory/ask.h"

struct accounts;

/*
 * Loads and checks `text`. groups: the DNs of the bits, borrowed for the call. *duplicates (may be
 * NULL): how many names stand at more than one account, each logged (`accounts_duplicate`); such a
 * name finds ACCOUNT_AMBIGUOUS. NULL: error->text has file, line, what was found and what was
 * expected.
 */
struct accounts *accounts_load(const char *name, struct strv text, const char *const *groups,
    unsigned groups_count, unsigned *duplicates, struct config_error *error);
void accounts_free(struct accounts *a);
size_t accounts_count(const struct accounts *a);
/* ACCOUNT_FOUND with *out, ACCOUNT_UNKNOWN or ACCOUNT_AMBIGUOUS. `out` is zeroed otherwise. */
enum account_result accounts_find(
    const struct accounts *a, uint32_t kind, const char *value, struct account *out);
/* Enabled accounts of the group with that bit, from number *at on, until the page is full. */
void accounts_members(const struct accounts *a, unsigned group, time_t now, size_t *at, struct directory_member_page *page);
/* The account's password hash and, when it has none, "like": any account's hash, so that nobody takes as long as somebody.
 * NULL where there is none. Borrowed from a. */
const char *accounts_password(const struct accounts *a, const char *sid, const char **like);
/* Calls `changed` with the SID of every account that is not the same in both. Either may be NULL.
 */
void accounts_compare(const struct accounts *before, const struct accounts *after,
    void (*changed)(void *arg, const char *sid), void *arg);

#endif
