/*
 * s4u: tickets in the name of an account (MS-SFU: S4U2Self, then S4U2Proxy) and SPNEGO tokens from
 * them (RFC 4178, RFC 4559).
 *
 * The caller has checked voucher and name. Here the account's groups are read from the S4U2Self
 * ticket, which only our own key opens, and whoever belongs to a refused group gets nothing: that
 * fence stands even where the directory process was fooled.
 *
 * Tokens carry no delegation, no mutual authentication (nobody here would check the answer: the
 * mail server proves itself by TLS) and no channel binding: an IIS with Extended Protection set to
 * "Require" refuses them, "Allow" (Exchange's advice for ActiveSync) takes them. Each request needs
 * a fresh token; one ticket makes any number.
 */
#ifndef EASGATE_KERBEROS_S4U_H
#define EASGATE_KERBEROS_S4U_H

#include "proxy/kerberos/pac.h"
#include "proxy/kerberos/service.h"
#include "proxy/kerberos/token.h"

/* An account's ticket to one service. */
struct s4u_ticket {
	krb5_creds *creds;
	krb5_key key; /* the session key in it, with what tokens derive from it */
	/* Seconds since the epoch by the KDC's clock; renew is spread: not all renew at once. */
	int64_t end, renew;
};

/* Borrows refused; `scratch` is the caller's, for the length of the call. */
struct s4u {
	struct service *service;
	const struct refused_groups *refused;
	struct pac_identity *scratch;
};

/* One KDC round for account sam (of the own realm) to the service `spn`. 0 and *out, or -1 with
 * *fault. Blocks. */
MUST_CHECK int s4u_ticket_get(struct s4u *s, const char *sam, const char *spn,
    struct s4u_ticket *out, struct krb_fault *fault);
/* Forgets and wipes; harmless on zeroed storage. */
void s4u_ticket_clear(struct service *service, struct s4u_ticket *t);

/* A fresh token, made here without the KDC. 0 and *out (token_clear() when sent), or -1 with *fault
 * and *out empty. */
MUST_CHECK int s4u_token(struct service *service, const struct s4u_ticket *t, struct token *out,
    struct krb_fault *fault);

#endif
