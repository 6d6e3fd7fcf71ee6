/*
 * crl_parts: the bytes of a CRL: DER heads, times, entries, what stands before and behind the entries. Pure. For crl_build alone.
 */
#ifndef EASGATE_ENROLL_SIGNER_CRL_PARTS_H
#define EASGATE_ENROLL_SIGNER_CRL_PARTS_H

#include "enroll/signer/crl_build.h"

#define CRL_ENTRY_MAX 64 /* bytes of an entry in DER, at most */
#define DER_HEAD_MAX  6

/* Tag and length; out has DER_HEAD_MAX bytes. Returns how many were written. */
size_t der_head(uint8_t *out, uint8_t tag, size_t n);
/* One entry; returns its length. out has CRL_ENTRY_MAX bytes. -1: reason or time is not one that a CRL may hold. */
MUST_CHECK int crl_entry_write(uint8_t *out, const struct signer_crl_entry *e, bool delta);
/*
 * head: from the tbsCertList's own head to the head of revokedCertificates; tail: the extensions. Both malloc()ed, for entries of entries_n bytes together.
 * 0, or -1 with *r.
 */
MUST_CHECK int crl_frame(const struct crl_order *order, size_t entries_n, uint8_t **head,
    size_t *head_n, uint8_t **tail, size_t *tail_n, struct refusal *r);

#endif
