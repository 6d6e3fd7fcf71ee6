/*
 * token: what stands behind `Authorization: Negotiate`: a SPNEGO initial token (RFC 4178 §4.2.1)
 * with one mechanism, Kerberos, and in it an AP-REQ (RFC 4120 §5.5.1, RFC 4121 §4.1).
 *
 * Written here as DER around the ticket's own bytes; the authenticator, the only part that differs
 * between two tokens of a ticket, is encrypted by libk5crypto. gss_init_sec_context() gives the same
 * but opens files for each, and krb5_mk_req_extended() derives the ticket's keys and reads its
 * configuration anew: that is ten times the work of the token itself.
 */
#ifndef EASGATE_KERBEROS_TOKEN_H
#define EASGATE_KERBEROS_TOKEN_H

#include <krb5/krb5.h>

#include "common/base.h"

/* Fits a wire message with struct kerberos_token; AD's own ceiling is 48,000 to 65,535. */
#define TOKEN_MAX 60000

struct token {
	uint8_t *bytes;
	size_t n;
};

/*
 * A fresh one from a ticket: new time, sequence number and subkey each time, so that no replay cache
 * knows it. Asks no KDC and opens no file. `key` is the ticket's session key by krb5_k_create_key():
 * it keeps what was derived from it for the next token. 0 and *out (token_clear() when sent); or a
 * krb5 code and *out empty: KRB5KRB_ERR_FIELD_TOOLONG for more than TOKEN_MAX bytes.
 */
MUST_CHECK krb5_error_code token_make(
    krb5_context context, const krb5_creds *creds, krb5_key key, struct token *out);
/* Wipes and frees; harmless on zeroed storage. */
void token_clear(struct token *t);

#endif
