/*
 * csr_parts: what the two files of csr share. Pure.
 */
#ifndef EASGATE_ENROLL_CSR_PARTS_H
#define EASGATE_ENROLL_CSR_PARTS_H

#include "enroll/worker/csr.h"
#include "enroll/worker/csr_form.h"

/* csr_claims.c: fills subject, asked and claimed: for the audit trail, nothing else. Never fails: what cannot be read is told as such. */
void csr_take_claims(const CSR_FORM *form, struct csr *out);

#endif
