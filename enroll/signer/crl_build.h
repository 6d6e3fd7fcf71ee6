/*
 * crl_build: base and delta CRLs (RFC 5280 section 5) of any size in a few MiB of memory, in slices, so that the signer answers others meanwhile.
 *
 * The worker's file is read three times: measured and checked, hashed (then the key signs the hash), written. A file that changes in between is refused.
 */
#ifndef EASGATE_ENROLL_SIGNER_CRL_BUILD_H
#define EASGATE_ENROLL_SIGNER_CRL_BUILD_H

#include "enroll/signer/ca_files.h"

#define CRL_ENTRIES_MAX 20000000u

struct crl_order {
	const struct ca_entry *issuer; /* with its key; borrowed until the job is freed */
	struct signer_crl question;
	const char *in, *out;  /* paths; copied */
	const char *delta_url; /* a full CRL names its delta; copied; NULL: no */
};

struct crl_job;

/* NULL with *r: the file is missing, of another length than the question says, a time or number is not sane. */
struct crl_job *crl_job_new(const struct crl_order *order, struct refusal *r);
/* A slice of some milliseconds. 1: more to do, 0: the CRL is in place, -1 with *r: nothing was changed. */
MUST_CHECK int crl_job_step(struct crl_job *job, struct refusal *r);
/* After crl_job_step() returned 0. */
struct signer_crl_done crl_job_result(const struct crl_job *job);
/* Removes its temporary file if it did not get that far. The input stays. Accepts NULL. */
void crl_job_free(struct crl_job *job);

#endif
