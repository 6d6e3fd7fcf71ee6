/*
 * service: the proxy's own Kerberos identity: context, keytab, ticket-granting ticket. Logs on, and
 * renews before the end.
 *
 * A keytab that the KDC refuses is never tried again (guard.h): `broken` then answers everything.
 * What may heal by itself (clock, disabled account) is tried again after SERVICE_PAUSE_MS.
 */
#ifndef EASGATE_KERBEROS_SERVICE_H
#define EASGATE_KERBEROS_SERVICE_H

#include <krb5/krb5.h>

#include "common/base.h"
#include "proxy/kerberos/errors.h"
#include "proxy/kerberos/names.h"
#include "proxy/kerberos/transport.h"

#define SERVICE_PAUSE_MS 30000

struct service {
	krb5_context context;
	krb5_principal principal;
	krb5_keytab keytab;          /* MEMORY */
	krb5_ccache cache;           /* MEMORY; holds the TGT and nothing else */
	struct transport *transport; /* borrowed */
	struct krb_name name;
	char principal_text[260];
	uint8_t keytab_hash[SHA256_SIZE];
	unsigned timeout_ms;
	int64_t end, renew;	  /* of the TGT, seconds by the KDC's clock; 0: none */
	struct krb_fault broken;  /* remedy REMEDY_NONE: not broken */
	uint64_t broken_until_ms; /* monotonic; for REMEDY_WAIT */
	uint64_t busy_until_ms;	  /* another process logs on: not waited for again before */
};

/*
 * After environment_enter(). Takes nothing; borrows the transport until service_clear(). -1:
 * nothing was left, *fault says why; the fault then stays as it is until another keytab comes.
 */
MUST_CHECK int service_init(struct service *s, struct transport *transport, const char *principal,
    struct strv keytab, unsigned timeout_ms, struct krb_fault *fault);
/* Wipes and frees all; harmless on zeroed storage. */
void service_clear(struct service *s);

/* Makes sure of a TGT that holds for a while longer; logs on where needed. 0, or -1 with *fault.
 * Blocks. */
MUST_CHECK int service_ready(struct service *s, struct krb_fault *fault);
/* The KDC no longer takes the TGT: the next service_ready() logs on anew. */
void service_drop_ticket(struct service *s);

/* Seconds since the epoch by the KDC's clock, as far as known. */
int64_t service_time(struct service *s);

#endif
