/*
 * challenge: whether a static challenge of SCEP is one that can be guessed. Pure.
 */
#ifndef EASGATE_ENROLL_CHALLENGE_H
#define EASGATE_ENROLL_CHALLENGE_H

#include "common/base.h"

#define CHALLENGE_SHORT 16	/* bytes; fewer are guessed, sooner or later */
#define CHALLENGE_LONG	128	/* bytes; no request brings more (PKCS#9: 255 characters; csr.h takes this many) */
#define CHALLENGE_CURE	"put a random text into it: openssl rand -base64 24"

/* NULL: good. Else what is wrong with it, for people. */
const char *challenge_weakness(struct strv challenge);

#endif
