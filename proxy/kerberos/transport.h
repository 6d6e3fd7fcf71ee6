/*
 * transport: questions to the KDCs over TCP (RFC 4120 7.2.2), in place of the library's own, which
 * may block for 20 s and more.
 *
 * One exchange has one deadline, however many KDCs there are. The KDC that answered last is asked
 * first; one that stays silent is joined by the next after a share of the time, and the first whole
 * answer counts. A refused connection goes on at once. Blocks; for a process that may. After an
 * exchange without any answer the KDCs are left alone for TRANSPORT_REST_MS (every question fails
 * at once, so that a dead KDC does not hold up thousands of questions), and then tried with a
 * quarter of the time, every fourth time with all of it, until one answers.
 */
#ifndef EASGATE_KERBEROS_TRANSPORT_H
#define EASGATE_KERBEROS_TRANSPORT_H

#include <krb5/krb5.h>

#include "common/base.h"

#define TRANSPORT_KDCS_MAX 32 /* addresses, of all names together */
#define TRANSPORT_ANSWER_MAX (128u << 10)
#define TRANSPORT_REST_MS 1000

struct transport;

/*
 * Resolves the names now (blocks: call where /etc/hosts and DNS can be read); port 88 where none is
 * said. Names that do not resolve are logged and left out. NULL: none did, out of memory, or a name
 * is malformed; `why` says which and the cure.
 */
struct transport *transport_new(
    const char *const *kdcs, unsigned n, unsigned timeout_ms, char *why, size_t why_size);
void transport_free(struct transport *t);
/* Puts itself under the library. The context must go before the transport. */
void transport_attach(struct transport *t, krb5_context context);
/* All exchanges until the next call together take at most so long; 0: each its own timeout. */
void transport_budget(struct transport *t, unsigned ms);

/*
 * One exchange. 0 and *answer (malloc()ed, the caller's) or KRB5_KDC_UNREACH, ENOMEM. What a KDC
 * answered is not looked into, but for "not available" (KDC_ERR_SVC_UNAVAILABLE), after which the
 * next one is asked.
 */
MUST_CHECK krb5_error_code transport_exchange(
    struct transport *t, struct strv question, char **answer, size_t *answer_n);

/* True while questions fail at once. */
bool transport_resting(const struct transport *t);
/* "dc1.corp.example:88, dc2.corp.example:88": as configured. */
const char *transport_names(const struct transport *t);
unsigned transport_addresses(const struct transport *t);
/* Exchanges that were tried on the network so far (not those that failed at once). */
uint64_t transport_exchanges(const struct transport *t);

#endif
