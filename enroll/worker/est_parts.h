/*
 * est_parts: what the files of the EST server share. A request that issues is one struct est_op until http_reply().
 */
#ifndef EASGATE_ENROLL_EST_PARTS_H
#define EASGATE_ENROLL_EST_PARTS_H

#include <openssl/evp.h>

#include "common/buffer.h"
#include "enroll/worker/csr.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/est.h"
#include "enroll/worker/secret.h"
#include "enroll/worker/worker.h"

#define EST_OPS_MAX 256
#define EST_RETRY_SECONDS 10u

struct est {
	struct enroll_worker *w;
	struct enrol *enrol;
	struct est_op *ops;
	unsigned count;
};

struct est_op {
	struct est *est;
	struct est_op *next, **link;
	struct http_request *r;
	unsigned profile;
	bool again;		/* simplereenroll */
	bool make;		/* serverkeygen */
	EVP_PKEY *made;		/* serverkeygen: the device's key, freed with the answer; NULL: the device has its own */
	struct csr csr;
	unsigned retry_seconds;	/* said with a 503; 0: EST_RETRY_SECONDS */
	char transaction[8 + 2 * SHA256_SIZE];	/* of a request that may have to wait for approval: "est " and its key; "" : none */
};

void est_op_free(struct est_op *op);
/* After whoever asks was let in: making keys costs time. 0 or -1. */
MUST_CHECK int est_make_key(struct est_op *op);
/* --- est_answer.c --- */
/* Whole base64, in lines of 64 where this client needs them. 0 or -1. */
MUST_CHECK int est_base64(const struct http_request *r, struct strv der, struct buffer *out);
/* base64 of these bytes as this type; ends the request. */
void est_reply(struct http_request *r, const char *type, struct strv der);
/* The certificate, with its key where that was made here. Ends op. */
void est_reply_certificate(struct est_op *op, struct strv der);
/* Ends op; why is for log and audit trail. */
void est_refuse(struct est_op *op, unsigned status, const char *why);
void est_result(void *arg, const struct enrol_result *result);	/* enrol_done_fn; arg is the op */

/* --- est_allow.c --- */
/* Finds out who asks and starts the enrolment, or answers. */
void est_allow(struct est_op *op);

#endif
