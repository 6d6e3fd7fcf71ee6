/*
 * ldap: Active Directory as the directory: several domain controllers, few connections, many
 * searches at once.
 *
 * A connection to every configured server is kept; searches go to the first one in the
 * configuration's order that is well, and to the next as well when it does not answer within a
 * moment. Nothing here blocks: names, TCP, TLS, LDAP and Kerberos all run on the loop. Servers are
 * reached by TLS only, verified, by ldaps:// or StartTLS. A refused bind is not tried again, on no
 * server (five tries lock the account): `directory_refused` says so. Log events: directory_up,
 * directory_down, directory_refused, directory_group_missing, directory_search_failed.
 */
#ifndef EASGATE_DIRECTORY_LDAP_H
#define EASGATE_DIRECTORY_LDAP_H

#include "common/bundle.h"
#include "common/config.h"
#include "common/directory/account_facts.h"
#include "common/directory/ask.h"
#include "common/loop.h"

struct directory_ldap;
struct ldap_lookup;
struct ldap_sign_in;

struct directory_ldap_setup {
	const struct config_ldap *config; /* borrowed, as all below, until directory_ldap_free() */
	const char *const *groups;	  /* DNs, bit i each; at most 64 */
	unsigned groups_count;
	const struct refused_groups *refused;
	const char *const
	    *kdcs; /* host[:port], for bind gssapi; none: port 88 of the LDAP servers */
	unsigned kdcs_count;
	/* An account changed; sid "": any may have. From the loop. */
	void (*changed)(void *arg, enum directory_change change, const char *sid);
	/* The number of servers that are well has changed. May be NULL. */
	void (*servers_well)(void *arg, unsigned well);
	/* A search of one account ended after so long. May be NULL. */
	void (*searched)(void *arg, enum account_result result, uint64_t microseconds);
	void *arg;
};

/* Reads secrets from the bundle (password, keytab, CA) and copies them. Call before
 * child_confine(). NULL: logged why. */
struct directory_ldap *directory_ldap_new(
    struct loop *loop, const struct directory_ldap_setup *setup, struct bundle *bundle);
/* Lookups under way end without their callback. */
void directory_ldap_free(struct directory_ldap *d);

/* ACCOUNT_UNAVAILABLE: no server answered. `account` is all zero unless ACCOUNT_FOUND; valid for
 * the call. From the loop. */
typedef void directory_ldap_done_fn(
    void *arg, enum account_result result, const struct account *account);
/* `done` runs exactly once, within the configuration's timeout, unless cancelled. NULL: no server
 * is well, or no memory. */
struct ldap_lookup *directory_ldap_find(struct directory_ldap *d, uint32_t kind, const char *value,
    directory_ldap_done_fn *done, void *arg);
/* Accepts NULL. Not after `done` ran. */
void directory_ldap_cancel(struct ldap_lookup *l);

/*
 * A walk through the members of group `group` (of setup->groups), on one connection. `done` runs once for each page that was begun, from the
 * loop, with the page filled as struct directory_member_page says. NULL: no server that is well knows the group, or no memory.
 */
struct ldap_members;
typedef void ldap_members_done_fn(void *arg);
struct ldap_members *ldap_members_new(struct directory_ldap *d, unsigned group, ldap_members_done_fn *done, void *arg);
/* Fills `page` (zeroed; borrowed until `done`). -1: the walk is over, or its connection is; `done` does not run. */
MUST_CHECK int ldap_members_next(struct ldap_members *m, struct directory_member_page *page);
void ldap_members_free(struct ldap_members *m);	/* accepts NULL; before directory_ldap_free() */

/*
 * Is this the account's password? The account is found anew on one server with the service's own connection, then
 * bound as on the same server, by TLS, on a connection that serves nothing else: at most one attempt at a time for
 * one account, and none once its badPwdCount there is at facts_wrong_passwords() of `ask->margin`. Copies ask; overwrites
 * its copy when it ends. `done` runs exactly once, from the loop, unless cancelled. NULL: nobody can be asked now.
 */
typedef void directory_ldap_signed_in_fn(void *arg, const struct directory_signed_in *answer);
struct ldap_sign_in *directory_ldap_sign_in(struct directory_ldap *d, const struct directory_sign_in *ask,
    directory_ldap_signed_in_fn *done, void *arg);
/* Accepts NULL. Not after `done` ran. */
void directory_ldap_sign_in_cancel(struct ldap_sign_in *s);

#endif
