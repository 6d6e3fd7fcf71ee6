/*
 * ticket_cache: what this process knows of accounts: their tickets, and for some seconds that the
 * KDC denied one.
 *
 * Bounded: the least recently used goes first. One entry for an account (sAMAccountName, exactly as
 * written: a KDC other than AD's may tell cases apart) and service. Knows no time but what it is
 * told.
 */
#ifndef EASGATE_KERBEROS_TICKET_CACHE_H
#define EASGATE_KERBEROS_TICKET_CACHE_H

#include "proxy/kerberos/s4u.h"

struct ticket_cache;

struct ticket_entry {
	struct s4u_ticket ticket; /* end == 0: none */
	struct krb_fault *denied; /* NULL: not denied lately */
	uint64_t denied_until_ms; /* monotonic */
};

/* `drop` frees a ticket that the cache gives up. NULL: out of memory. max >= 1. */
struct ticket_cache *ticket_cache_new(
    size_t max, void (*drop)(struct s4u_ticket *t, void *arg), void *arg);
/* Drops all. Accepts NULL. */
void ticket_cache_free(struct ticket_cache *c);

/* The entry, marked as used, or NULL. Valid until the next call but for ticket_cache_count(). */
struct ticket_entry *ticket_cache_find(struct ticket_cache *c, const char *sam, unsigned service);
/* Takes the ticket, also on failure (then dropped, NULL: out of memory); replaces an older one and
 * forgets a denial. */
struct ticket_entry *ticket_cache_put(
    struct ticket_cache *c, const char *sam, unsigned service, const struct s4u_ticket *ticket);
/* Drops the ticket and remembers the denial, copied, until then. Out of memory: only drops. */
void ticket_cache_deny(struct ticket_cache *c, const char *sam, unsigned service,
    const struct krb_fault *fault, uint64_t until_ms);
/* Everything about the account, to every service, whatever the case of its letters. Returns how
 * many entries went. */
size_t ticket_cache_forget(struct ticket_cache *c, const char *sam);
size_t ticket_cache_count(const struct ticket_cache *c);

#endif
