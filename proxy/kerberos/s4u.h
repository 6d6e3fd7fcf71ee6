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

#include <gssapi/gssapi.h>

#include "proxy/kerberos/pac.h"
#include "proxy/kerberos/service.h"

/* Fits a wire message with struct kerberos_token; AD's own ceiling is 48,000 to 65,535. */
#define S4U_TOKEN_MAX 60000

/* An account's ticket to one service: a GSSAPI credential over a MEMORY cache of its own. */
struct s4u_ticket {
	gss_cred_id_t credential;
	krb5_ccache cache;
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

/* The service as tokens name it; made once and kept (gss_release_name()), since each making costs a
 * library context. 0 or -1. */
MUST_CHECK int s4u_target(
    struct service *service, const char *spn, gss_name_t *out, struct krb_fault *fault);
/* A fresh token, made here without the KDC. 0 and *out (gss_release_buffer() when sent), or -1 with
 * *fault. */
MUST_CHECK int s4u_token(
    const struct s4u_ticket *t, gss_name_t target, gss_buffer_t out, struct krb_fault *fault);

#endif
