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
#include "enroll/worker/worker.h"

#define SCEP_OPS_MAX 512

struct scep {
	struct enroll_worker *w;
	struct enrol *enrol;
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
};

/* What a challenge says: who may. */
struct scep_grant {
	enum claim_kind kind;
	char claim[DIRECTORY_CLAIM_MAX];
	char device[REGISTRY_DEVICE];
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

/* --- scep_challenge.c --- */
/* NULL: granted, *grant filled. Else why not. csr_der: the whole request, for challenges that leave the name to it. */
const char *scep_challenge_check(struct scep *s, unsigned profile, const struct csr *csr, struct strv csr_der, struct scep_grant *grant);

#endif
