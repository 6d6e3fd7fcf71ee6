/*
 * issue: the only path to a certificate. The registry has the serial (ISSUING) before anybody signs, and commits it no later than the certificate; that is
 * LIVE and its bytes are committed and on the disk before anybody gets it (durable.h). What a crash takes back was never seen outside our processes. Repeating a transaction with the same key gives the same certificate. Worker process.
 */
#ifndef EASGATE_ENROLL_ISSUE_H
#define EASGATE_ENROLL_ISSUE_H

#include "common/loop.h"
#include "enroll/worker/issuer.h"
#include "enroll/worker/profile.h"
#include "enroll/worker/registry.h"

enum issue_status {
	ISSUE_DONE = 0,		/* der is the certificate */
	ISSUE_REFUSED,		/* by profile, registry, secret or signer: text says why (for the log and the audit trail, not for the client) */
	ISSUE_SECRET,		/* the one-time secret is unknown, used, expired or another's */
	ISSUE_BUSY,		/* the same transaction is under way, or too much is: come again */
	ISSUE_UNAVAILABLE,	/* registry or signer: come again; the secret was not used up */
};

struct issue;
struct revoke;

struct issue_config {
	struct loop *loop;
	struct registry *registry;
	struct issuer *issuer;
	struct revoke *revoke;		/* for what must be published; may be NULL in tests */
	bool fleet;			/* new certificates are made known to somebody (publish_registers()) */
	void (*step)(const char *name);	/* NULL but in crash tests: issue-row, issue-signed, issue-live */
};

struct issue_request {
	const struct profile_rule *rule;
	const struct account *account;	/* fresh from the directory */
	const char *device;		/* id; it must be the account's and ACTIVE */
	struct strv spki;		/* from csr.h */
	bool rsa;
	struct strv transaction;	/* n == 0: none (every call issues anew) */
	const uint8_t *secret_mac;	/* NULL: the caller has authenticated otherwise */
	const char *purpose;		/* of the secret */
	const char *actor, *detail;	/* audit */
};

struct issue_result {
	enum issue_status status;
	const char *text;
	uint8_t serial[REGISTRY_SERIAL];
	struct strv der;
};
/* From the loop, once, never from issue_start(). Everything is borrowed for the call. */
typedef void issue_done_fn(void *arg, const struct issue_result *result);

/* Borrows all of config; finishes nothing by itself: issue_recover() first. NULL: out of memory. */
struct issue *issue_new(const struct issue_config *config);
/* What is under way goes on at the next start; no callback runs. Accepts NULL. */
void issue_free(struct issue *i);
/* At start, before anything is issued: what was cut off by a crash becomes revoked. 0, or -1: registry_problem(). */
MUST_CHECK int issue_recover(struct issue *i);
/* All is copied. A number, or 0: no memory or too many under way (ISSUE_BUSY at once is told by done otherwise). */
MUST_CHECK uint64_t issue_start(struct issue *i, const struct issue_request *request, issue_done_fn *done, void *arg);
/* done does not run; what is under way is finished nevertheless (a transaction can be asked for again). */
void issue_cancel(struct issue *i, uint64_t number);

#endif
