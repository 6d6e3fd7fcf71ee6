/*
 * ldap_ticket: Kerberos tickets for the bind to LDAP servers, from a keytab, by libkrb5's stepwise
 * interface: the library makes and reads messages, kdc.c carries them, nothing waits. Tickets live
 * in a MEMORY cache that GSSAPI then uses.
 */
#ifndef EASGATE_DIRECTORY_LDAP_TICKET_H
#define EASGATE_DIRECTORY_LDAP_TICKET_H

#include "common/directory/kdc.h"

struct ldap_tickets;

enum ticket_result {
	TICKET_OK = 0,
	TICKET_FAILED,	/* no KDC, clock, unknown service: may be better later */
	TICKET_REFUSED, /* wrong key, unknown or locked principal: trying again locks the account */
};
/* `why` valid for the call. */
typedef void ticket_done_fn(void *arg, enum ticket_result result, const char *why);

struct ldap_tickets_setup {
	const char *principal; /* name@REALM */
	struct strv keytab;    /* a keytab file's bytes; copied */
	struct kdc_list kdcs;  /* its strings are borrowed */
};

/*
 * Makes libkrb5 independent of /etc/krb5.conf in this whole process (KRB5_CONFIG names a memfd).
 * NULL with why: no entry for the principal, malformed keytab.
 */
struct ldap_tickets *ldap_tickets_new(struct loop *loop, struct evdns_base *dns,
    const struct ldap_tickets_setup *setup, char *why, size_t why_size);
void ldap_tickets_free(struct ldap_tickets *t);
/* A ticket for ldap/host@REALM into the cache, and the ticket-granting one before if need be. One
 * at a time. 0 or -1: busy. */
MUST_CHECK int ldap_tickets_get(
    struct ldap_tickets *t, const char *host, ticket_done_fn *done, void *arg);
void ldap_tickets_cancel(struct ldap_tickets *t);
/* Forgets all tickets: a server refused one. */
void ldap_tickets_forget(struct ldap_tickets *t);

const char *ldap_tickets_cache(const struct ldap_tickets *t); /* "MEMORY:..." */
const char *ldap_tickets_principal(const struct ldap_tickets *t);
const char *ldap_tickets_realm(const struct ldap_tickets *t);

#endif
