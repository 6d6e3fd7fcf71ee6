/*
 * local_revocation: what enrolment says to the proxy of its own machine, without Redis (DESIGN §6): one struct over a wire (wire.h) on the local socket
 * run_dir/revocation.sock. Pure: both programs read and write it here.
 *
 * Nothing that is said there lets anybody in. LOCAL_REVOKED makes a certificate revoked at once, until a CRL whose number is above `number` says
 * otherwise; LOCAL_LISTED only says that such a list is in its place. A release is therefore believed from the CA's signature alone.
 */
#ifndef EASGATE_LOCAL_REVOCATION_H
#define EASGATE_LOCAL_REVOCATION_H

#include "common/certificate.h"

#define LOCAL_REVOCATION_SOCKET	 "revocation.sock"	/* in run_dir */
#define LOCAL_REVOCATION_VERSION 1u

enum local_verb {
	LOCAL_REVOKED = 1,	/* ask: struct local_message; answer: struct local_answer */
	LOCAL_LISTED,		/* the same, without a serial */
};

enum local_result {
	LOCAL_FAILED = 0,	/* the index could not take it: say it again */
	LOCAL_TAKEN,
	LOCAL_FOREIGN,		/* this proxy has no CRL of that issuer: nothing to be done here */
	LOCAL_FULL,		/* too many that no list holds yet: say it again */
};

struct local_message {
	uint32_t version;
	uint8_t serial_n;		/* bytes of serial; 0 with LOCAL_LISTED */
	uint8_t reserved[3];		/* zero */
	uint64_t number;		/* LOCAL_REVOKED: the highest number that a list of this issuer may have and not hold the serial. LOCAL_LISTED: the list's own */
	uint8_t issuer[SHA256_SIZE];	/* of the issuer's SubjectPublicKeyInfo */
	uint8_t serial[SERIAL_MAX];	/* no leading zero; zero behind serial_n */
	uint8_t padding[4];		/* zero */
};
_Static_assert(sizeof(struct local_message) == 72, "wire layout");

struct local_answer { uint32_t result; };	/* enum local_result */

/* serial NULL: LOCAL_LISTED. */
void local_message_write(struct local_message *out, const uint8_t issuer[SHA256_SIZE], const struct serial *serial, uint64_t number);
/* body: n bytes from outside. 0: *out is well formed for that verb. -1: why says what is not (static text). */
MUST_CHECK int local_message_read(enum local_verb verb, const void *body, size_t n, struct local_message *out, const char **why);
/* A number as CRLs have it; n is 0 for 0. */
void local_message_number(uint64_t number, struct serial *out);

#endif
