/*
 * serve: one question of ask.h after the other, without wires: what process.c and the tests call.
 */
#ifndef EASGATE_ENROLL_SIGNER_SERVE_H
#define EASGATE_ENROLL_SIGNER_SERVE_H

#include <openssl/provider.h>

#include "enroll/signer/ca_files.h"
#include "enroll/signer/crl_build.h"
#include "enroll/signer/known_keys.h"
#include "enroll/signer/ocsp_build.h"
#include "enroll/signer/setup.h"

/* So many refusals are answered at once, and so many more each second; then SIGNER_TOO_MANY: nobody asks the keys a million times what they think of a padding. */
#define REFUSALS_BURST	    200
#define REFUSALS_PER_SECOND 20

struct refusal_bucket {
	int64_t at;
	uint32_t left;
};

struct signer {
	const struct signer_setup *setup;
	struct ca_files ca;
	struct known_keys *known; /* NULL: no file is named */
	struct ocsp_signer ocsp[CA_ENTRIES_MAX]; /* by the entry of its issuing CA */
	uint64_t last_full[CA_ENTRIES_MAX], last_delta[CA_ENTRIES_MAX];
	struct refusal_bucket opens, others;
	OSSL_PROVIDER *providers[2]; /* with single DES: OpenSSL's default and legacy ones */
};

/* Reads the folder and its keys (as root), loads the legacy provider if the setup wants it, makes the OCSP signers. 0 or -1 with *r; clear either way. */
MUST_CHECK int signer_init(
    struct signer *s, const struct signer_setup *setup, int64_t now, struct refusal *r);
void signer_clear(struct signer *s);
/* Once an hour, so that answers need not wait for it: renews OCSP signers. Logs what does not go. */
void signer_keep(struct signer *s, int64_t now);
/*
 * Answers every verb but SIGNER_CRL: struct signer_answer and its bytes, malloc()ed, *answer_n long, to be wiped (SCEP_OPEN) and freed by the caller.
 * NULL: out of memory.
 */
uint8_t *signer_serve(
    struct signer *s, uint16_t verb, const void *body, size_t n, int64_t now, size_t *answer_n);
/* SIGNER_CRL: the job (crl_build.h), or NULL with *r. `in` gets the path of its input (PATH_MAX), for removal when the job is done. */
struct crl_job *signer_crl(
    struct signer *s, const struct signer_crl *q, char *in, struct refusal *r);

#endif
