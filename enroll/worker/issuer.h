/*
 * issuer: who turns an approved request into a certificate: today the embedded CA behind the signer process (issuer_embedded.c). Worker process.
 * It keeps no state about requests: issue.h does.
 */
#ifndef EASGATE_ENROLL_ISSUER_H
#define EASGATE_ENROLL_ISSUER_H

#include "common/base.h"
#include "enroll/signer/ask.h"

enum issuer_status {
	ISSUER_OK = 0,
	ISSUER_REFUSED,		/* it will never do this: text says why */
	ISSUER_UNAVAILABLE,	/* no answer: nobody knows whether it signed */
};

/* Once per request, from the loop. answer and text are borrowed for the call. */
typedef void issuer_done_fn(void *arg, enum issuer_status status, struct strv answer, const char *text);

struct issuer {
	/* 0 or -1 (too many under way; done will not run). request is copied. */
	int (*issue)(struct issuer *i, const struct signer_issue *request, size_t n, issuer_done_fn *done, void *arg);
	int (*crl)(struct issuer *i, const struct signer_crl *request, issuer_done_fn *done, void *arg);
	/* Hex SHA-256 of the key that would sign now, "" while nobody knows. */
	const char *(*name)(struct issuer *i);
	/* Before the asker's end; no callback runs any more. Who asked is freed before, without a turn of the loop between. */
	void (*free)(struct issuer *i);
};

struct asker;
/* Borrows signer. Tell it the issuing CA's name whenever the signer's chain was learned (64 hex digits and NUL; copied). NULL: out of memory. */
struct issuer *issuer_embedded_new(struct asker *signer);
void issuer_embedded_set_name(struct issuer *i, const char *hex);

#endif
