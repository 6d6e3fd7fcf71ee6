/*
 * credential: account → what goes to the mail server in its name. Asks a *kerberos* process where that is configured.
 */
#ifndef EASGATE_CREDENTIAL_H
#define EASGATE_CREDENTIAL_H

#include "proxy/kerberos/ask.h"
#include "proxy/worker/account.h"
#include "proxy/worker/reply.h"

#define CREDENTIAL_TEXT_MAX 256

struct credential {
	char *authorization;	/* "Negotiate <base64>", heap, wiped and freed by credential_clear(); NULL: none */
	size_t n;		/* its length */
};
void credential_clear(struct credential *c);

struct credentials;
struct credential_op;

/* fact == FACT_NONE: *c is the callee's (cleared by it); else why not, with a text for the log. Once, from the loop. */
typedef void credential_done_fn(void *arg, enum fact fact, const char *text, struct credential *c);

/* askers: one per kerberos process, n of them; borrowed. */
struct credentials *credentials_new(struct loop *loop, struct asker **askers, unsigned n, unsigned timeout_ms);
void credentials_free(struct credentials *c);
/* For questions from now on: a reload may have changed it. */
void credentials_set_timeout(struct credentials *c, unsigned timeout_ms);
/* A Kerberos token for this account and the service of that name. NULL: too many under way, or no kerberos process configured. */
MUST_CHECK struct credential_op *credential_ask(struct credentials *c, const struct account_entry *account, const char *spn,
    credential_done_fn *done, void *arg);
void credential_cancel(struct credential_op *op);	/* accepts NULL */
/* The account changed: its tickets are dropped. */
void credentials_forget(struct credentials *c, const char *sam, const char *realm);

#endif
