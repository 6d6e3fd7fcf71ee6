/*
 * reply: our own answers. A fact (what was found) becomes a status, headers and a body here and nowhere else (DESIGN §4.2). Pure.
 */
#ifndef EASGATE_REPLY_H
#define EASGATE_REPLY_H

#include "common/buffer.h"

enum fact {
	FACT_NONE = 0,			/* no refusal */
	/* 403, connection closed, audit line */
	FACT_NO_CERTIFICATE,
	FACT_METHOD_OFF,		/* by what it came with this account is not let in */
	FACT_CERT_UNUSABLE,		/* no claim can be read from it */
	FACT_CERT_EXPIRED,		/* since the handshake, or before it where none is demanded */
	FACT_CERT_UNTRUSTED,		/* by nobody that is trusted; or its CA left the configuration since the handshake */
	FACT_REVOKED,
	FACT_ACCOUNT_UNKNOWN,
	FACT_ACCOUNT_AMBIGUOUS,
	FACT_ACCOUNT_MISMATCH,		/* the SID of the certificate is not the account's */
	FACT_ACCOUNT_DISABLED,
	FACT_ACCOUNT_EXPIRED,
	FACT_PASSWORD_OVER,		/* right, but it must be changed first, elsewhere */
	FACT_PASSWORD_REFUSED,		/* wrong, beside a certificate that is enough: its owner is not asked */
	FACT_NOT_NOW,			/* outside the account's hours or workstations */
	FACT_NOT_IN_GROUP,
	FACT_OTHER_USER,		/* User= names somebody else */
	FACT_OTHER_DEVICE,		/* certificate is bound to another device */
	FACT_DEVICE_UNREGISTERED,
	FACT_DEVICE_BLOCKED,
	FACT_DEVICE_QUARANTINED,	/* a new one: an administrator has to let it in */
	FACT_DEVICE_LIMIT,		/* a new one, and the account has as many as it may */
	FACT_DEVICE_TYPE,
	FACT_USER_AGENT,
	FACT_PROTOCOL_VERSION,
	FACT_UNVERIFIED,		/* a token that nobody has verified, where something would be said or done in its account's name */
	FACT_DELEGATION_FORBIDDEN,	/* protected account: no ticket in its name */
	/* 421 */
	FACT_WRONG_HOST,		/* Host is not of the name that TLS was made for */
	/* 503 with Retry-After, error line */
	FACT_REVOCATION_UNKNOWN,
	FACT_DIRECTORY_DOWN,
	FACT_KDC_DOWN,
	FACT_DELEGATION_REFUSED,
	FACT_NO_UPSTREAM,
	FACT_UPSTREAM_AUTH,		/* the mail server refuses our credential */
	FACT_ACCOUNT_LOCKED,		/* in AD, for a while: not tried */
	FACT_PASSWORD_GUARDED,		/* not tried: another wrong one would bring the account too near to its lockout */
	FACT_PASSWORD_UNCHECKED,	/* nobody could say whether a password is right */
	FACT_TOKEN_UNCHECKED,		/* the keys of its issuer are not known */
	FACT_DEVICE_STATE_DOWN,		/* Redis is away and the device's state is not known */
	FACT_OVERLOADED,
	/* 502 */
	FACT_UPSTREAM_BROKEN,		/* closed, or answered what is no HTTP */
	/* 504 */
	FACT_UPSTREAM_TIMEOUT,
	/* the device's fault, connection closed */
	FACT_MALFORMED,			/* 400 */
	FACT_BAD_QUERY,			/* 400 */
	FACT_HEAD_TOO_LARGE,		/* 431 */
	FACT_BODY_TOO_LARGE,		/* 413 */
	FACT_TOO_SLOW,			/* 408 */
	FACT_NOT_OURS,			/* 404 */
	FACT_METHOD,			/* 405 */
	FACT_PASSWORD_WANTED,		/* 401: a password or token is needed, and none came */
	FACT_PASSWORD_WRONG,		/* 401 */
	FACT_TOKEN_REFUSED,		/* 401: the device gets itself another one */
	FACT_SHUTTING_DOWN,		/* 503 */
	FACT_COUNT
};
/* "revoked", "account-disabled", ...: for logs and metrics. */
const char *fact_name(enum fact fact);
extern const char *const fact_names[];	/* NULL-terminated, indexed by enum fact */
unsigned fact_status(enum fact fact);
/* True: the decision is about who may in, and leaves an audit line. */
bool fact_is_audited(enum fact fact);
/* True: something of ours is broken; the log line is an error that names the cure. */
bool fact_is_fault(enum fact fact);
/* What an operator does about it, NULL where there is nothing to do. */
const char *fact_cure(enum fact fact);

/* What a 401 offers (RFC 7617, RFC 6750), and when a 503 asks to come again. */
#define REPLY_BASIC  1u
#define REPLY_BEARER 2u
struct reply_more {
	unsigned retry_after_seconds;
	unsigned challenges;
	const char *bearer;	/* what the offer of tokens says behind "Bearer "; NULL: they are not offered */
};

/*
 * Appends the whole answer. `close`: the connection ends behind it (see reply_closes(): those keep the connection that say "later" or "sign in").
 * 0 or -1 (buffer's ceiling or memory).
 */
MUST_CHECK int reply_write(struct buffer *out, enum fact fact, const struct reply_more *more, bool close);
/* Whether the connection ends behind this answer, whatever the request said. */
bool reply_closes(enum fact fact);

#endif
