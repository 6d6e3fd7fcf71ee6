/*
 * errors: what a krb5 code means at the step where it came up: the answer to the asker, and a
 * sentence with cause and cure. Pure. The codes at each step are what AD and Samba's KDC really
 * answer (MS-SFU 3.2.5, MS-KILE 3.3.5; RFC 4120 7.5.9).
 */
#ifndef EASGATE_KERBEROS_ERRORS_H
#define EASGATE_KERBEROS_ERRORS_H

#include "proxy/kerberos/ask.h"

#define FAULT_TEXT_MAX 256 /* fits struct kerberos_token.text */

enum krb_step {
	STEP_KEYTAB = 0, /* reading the keytab, setting the library up */
	STEP_LOGIN,      /* AS exchange with the keytab */
	STEP_SELF,       /* S4U2Self: a ticket in the account's name to ourselves */
	STEP_PROXY,      /* S4U2Proxy: from there to the mail server */
	STEP_TOKEN,      /* SPNEGO token from the ticket: local */
};

/* What to do about the own credentials. */
enum krb_remedy {
	REMEDY_NONE = 0,    /* this account, or this moment */
	REMEDY_LOGIN_AGAIN, /* the own ticket is no good any more: a new one may help, once */
	REMEDY_WAIT,        /* the own account: may heal by itself; tried again after a pause */
	REMEDY_NEW_KEYTAB,  /* the keytab is wrong: never tried again with the same bytes */
};

struct krb_fault {
	enum kerberos_result result;
	enum krb_remedy remedy;
	char text[FAULT_TEXT_MAX]; /* cause and cure, clean, terminated */
};

/* Who took part, for the sentence. Borrowed for the call; NULL counts as "". */
struct krb_parties {
	const char *principal; /* the own one, NAME@REALM */
	const char *account;   /* NAME@REALM */
	const char *service;   /* the mail server's SPN */
	const char *kdcs;      /* as configured, for people */
};

/*
 * `code` is a krb5_error_code, not 0. `forwardable`: whether the S4U2Self ticket was (STEP_PROXY
 * only): it tells a forbidden account from a forbidden service. Unknown codes give KERBEROS_DENIED
 * (BROKEN before and at login) with the number.
 */
void krb_fault_from_code(enum krb_step step, long code, bool forwardable,
    const struct krb_parties *who, struct krb_fault *out);
/* A fault of our own finding. */
PRINTF(4, 5)
void krb_fault_say(struct krb_fault *out, enum kerberos_result result, enum krb_remedy remedy,
    const char *fmt, ...);

#endif
