/*
 * scep_parts: what the files of the SCEP server share. A request is one struct scep_op from its arrival to http_reply().
 */
#ifndef EASGATE_ENROLL_SCEP_PARTS_H
#define EASGATE_ENROLL_SCEP_PARTS_H

#include "enroll/worker/chain.h"
#include "enroll/worker/csr.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/scep.h"
#include "enroll/worker/scep_message.h"
#include "enroll/worker/secret.h"
#include "enroll/worker/stranger.h"
#include "enroll/worker/webhook.h"
#include "enroll/worker/worker.h"

#define SCEP_OPS_MAX 512
#define SCEP_REASON_MAX 200

struct scep {
	struct enroll_worker *w;
	struct enrol *enrol;
	struct webhook *webhook;		/* scep.challenge: webhook; else NULL */
	struct strangers *strangers;		/* static challenges that were wrong, messages that cannot be opened */
	struct scep_op *ops;
	unsigned count;
};

struct scep_op {
	struct scep *scep;
	struct scep_op *next, **link;
	struct http_request *r;
	unsigned profile;
	struct scep_request message;
	struct csr csr;
	char transaction[SHA256_SIZE * 2 + 1];	/* a renewal's own, see scep_renewal_id() */
	uint64_t asked;				/* of the signer */
	struct webhook_call *call;		/* of the webhook */
	unsigned char *csr_der;			/* the request while the webhook is asked */
	size_t csr_der_n;
};

/* What a challenge says: who may. */
struct scep_grant {
	enum claim_kind kind;
	char claim[DIRECTORY_CLAIM_MAX];
	char device[REGISTRY_DEVICE];		/* id; "": a new one is made */
	char device_name[REGISTRY_NAME_MAX];	/* of the new one; "": SCEP device */
	bool has_secret;
	uint8_t mac[SHA256_SIZE];
	const char *purpose;
};

/* --- scep_operation.c --- */
/* Reads the message and goes on until http_reply(). */
void scep_operation(struct scep *s, struct http_request *r, unsigned profile, struct strv message);
/* Signs and sends a failure: `why` for the audit trail and log, never for the client. Ends op. */
void scep_fail(struct scep_op *op, enum scep_fail fail, const char *why);
void scep_pending(struct scep_op *op);
/* Nobody can say now: HTTP 503 with Retry-After; clients come again. Ends op. */
void scep_later(struct scep_op *op, const char *why);
/* Signs and sends this certificate (DER), or a CRL where is_crl. Ends op. */
void scep_success(struct scep_op *op, struct strv der, bool is_crl);
void scep_op_free(struct scep_op *op);

/* --- scep_decide.c: what the opened message asks for --- */
void scep_decide(struct scep_op *op, struct strv inside);
/* The challenge of a new certificate's request is good for this, or for nothing: `why` for the audit trail and log. */
void scep_granted(struct scep_op *op, struct strv csr_der, const struct scep_grant *grant);
void scep_challenge_refused(struct scep_op *op, const char *why);

/* --- scep_challenge.c --- */
enum scep_challenge {
	SCEP_CHALLENGE_GOOD,	/* *grant is filled */
	SCEP_CHALLENGE_BAD,	/* *why says why */
	SCEP_CHALLENGE_ASK,	/* the webhook has to say */
};
/* csr_der: the whole request, for challenges that leave the name to it. */
MUST_CHECK enum scep_challenge scep_challenge_check(struct scep_op *op, struct strv csr_der, struct scep_grant *grant, const char **why);

/* --- scep_webhook.c --- */
/* s->webhook where the configuration wants one. 0 or -1. */
MUST_CHECK int scep_webhook_new(struct scep *s);
/* Goes on with scep_granted(), scep_challenge_refused() or scep_later(). */
void scep_webhook_ask(struct scep_op *op, struct strv csr_der);
/* Tells what became of the request, where scep.webhook_notify wants it; nobody waits for that. */
void scep_webhook_tell(const struct scep_op *op, const struct enrol_result *result);
/* What an answer says. NULL: yes, *grant is filled. Else why not; reason: the webhook's own words, "" none. Pure. */
const char *scep_webhook_read(const json_t *object, struct scep_grant *grant, char reason[SCEP_REASON_MAX]);

#endif
