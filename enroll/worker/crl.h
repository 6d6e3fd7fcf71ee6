/*
 * crl: serves the lists that the signer wrote (state_dir/crl) and the issuing CAs' certificates, with what caches need to know
 * (RFC 9110 section 8.8, RFC 9111). Makes no list: revoke.h does. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_CRL_H
#define EASGATE_ENROLL_CRL_H

#include "enroll/worker/worker.h"

#define CRL_FILE_MAX (128u << 20)

extern const struct route crl_routes[];

/* NULL: out of memory. */
struct crl_keeper *crl_keeper_new(struct enroll_worker *w);
void crl_keeper_free(struct crl_keeper *k);	/* accepts NULL */

#endif
