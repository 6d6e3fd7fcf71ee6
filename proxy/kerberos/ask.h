/*
 * ask: the question that workers put to a *kerberos* process over a wire.
 */
#ifndef EASGATE_KERBEROS_ASK_H
#define EASGATE_KERBEROS_ASK_H

#include "common/directory/ask.h"

#define KERBEROS_SPN_MAX 256 /* with its NUL */

enum kerberos_verb {
	/*
	 * worker -> kerberos: struct kerberos_ask; answer: struct kerberos_token, then `token_n` bytes.
	 * Takes at most three times kerberos.timeout_ms, and what stands before it in the queue.
	 */
	KERBEROS_TOKEN = 1,
	/* worker -> kerberos, tell: struct kerberos_forget; the account changed: drop its tickets */
	KERBEROS_FORGET,
};

enum kerberos_result {
	KERBEROS_REFUSED = 0, /* no valid voucher, or the account is in a refused group */
	KERBEROS_OK,
	KERBEROS_NO_KDC, /* no KDC answered in time */
	/* The KDC refuses delegation, or the service is not in this process's configuration: `text` says which and the
	 * cure */
	KERBEROS_DENIED,
	KERBEROS_BROKEN, /* our own keytab or principal is refused; not tried again until reload */
};

struct kerberos_ask {
	char sam[ACCOUNT_NAME_MAX];
	char realm[ACCOUNT_NAME_MAX];
	uint8_t certificate[SHA256_SIZE];
	uint8_t voucher[VOUCHER_SIZE];
	/*
	 * The service, as spn of an upstream in the asker's configuration: by name, so that a question which was put before
	 * a reload and is answered after it still means the same. It only chooses among the services of the answerer's own
	 * configuration: one that is not there is refused and audited, and no byte of it reaches Kerberos.
	 */
	char spn[KERBEROS_SPN_MAX];
};

struct kerberos_token {
	uint32_t result;  /* enum kerberos_result */
	uint32_t token_n; /* raw SPNEGO token behind this struct */
	uint32_t cached;  /* 1: made from a cached ticket, no KDC asked */
	uint32_t reserved;
	char text[256]; /* for the log: what failed and the cure; "" on KERBEROS_OK */
};

struct kerberos_forget {
	char sam[ACCOUNT_NAME_MAX];
	char realm[ACCOUNT_NAME_MAX];
};

struct child;
/* The role's life, called by the master's fork. Returns the exit status. */
int kerberos_process(struct child *child);

#endif
