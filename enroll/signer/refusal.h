/*
 * refusal: why the signer, or a command on its folder, did not do what it was asked: a status of ask.h and a text with the cure.
 */
#ifndef EASGATE_ENROLL_SIGNER_REFUSAL_H
#define EASGATE_ENROLL_SIGNER_REFUSAL_H

#include "enroll/signer/ask.h"

struct refusal {
	enum signer_status status;
	char text[248];
};

/* Fills *r, and empties OpenSSL's error queue. Always -1, so that a caller can return it. */
PRINTF(3, 4) int refuse(struct refusal *r, enum signer_status status, const char *fmt, ...);
/* The same with OpenSSL's first reason behind the text: SIGNER_BROKEN. */
PRINTF(2, 3) int refuse_openssl(struct refusal *r, const char *fmt, ...);

#endif
