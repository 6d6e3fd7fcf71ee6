/*
 * token: an AP-REQ in GSSAPI's frame in SPNEGO's. Decides nothing about who gets one.
 * Runs in the *kerberos* process.
 */
#include "proxy/kerberos/token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#define GSS_CHECKSUM 0x8003 /* RFC 4121 §4.1.1: flags and channel binding in a checksum's place */
#define GSS_CONF     0x10
#define GSS_INTEG    0x20
#define FRAMES_MAX   80 /* all that stands before the AP-REQ */

static const uint8_t spnego_oid[] = { 0x06, 6, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02 };
static const uint8_t krb5_oid[] = { 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02,
	0x02 };

static krb5_error_code make_ap_req(krb5_context context, krb5_creds *creds, krb5_data *out)
{
	/*
	 * The hash's length (16), the hash of a channel binding (none: zeros), the flags, little
	 * endian: the ones that GSSAPI's clients always set. TLS protects the connection, not they.
	 */
	char checksum[24] = { 16, [20] = GSS_CONF | GSS_INTEG };
	krb5_data in = { .length = sizeof(checksum), .data = checksum };
	krb5_auth_context auth = NULL;
	krb5_error_code rc = krb5_auth_con_init(context, &auth);

	if (rc == 0)
		rc = krb5_auth_con_setflags(context, auth, KRB5_AUTH_CONTEXT_DO_SEQUENCE);
	if (rc == 0)
		rc = krb5_auth_con_set_req_cksumtype(context, auth, GSS_CHECKSUM);
	if (rc == 0)
		rc = krb5_mk_req_extended(context, &auth, AP_OPTS_USE_SUBKEY, &in, creds, out);
	krb5_auth_con_free(context, auth);
	return rc;
}

/* DER from its end to its beginning, so that each length is known when it is written. */
struct back {
	uint8_t *at, *end;
};

static void put(struct back *b, const void *bytes, size_t n)
{
	b->at -= n;
	memcpy(b->at, bytes, n);
}

/* Tag and length before all that was put; at most 65,535 bytes. */
static void enclose(struct back *b, uint8_t tag)
{
	size_t n = (size_t)(b->end - b->at);

	*--b->at = (uint8_t)n;
	if (n > 255) {
		*--b->at = (uint8_t)(n >> 8);
		*--b->at = 0x82;
	} else if (n > 127) {
		*--b->at = 0x81;
	}
	*--b->at = tag;
}

static void put_frames(struct back *b)
{
	static const uint8_t ap_req_id[] = { 0x01, 0x00 }, sequence = 0x30, mech_types = 0xa0;
	static const uint8_t list_n = sizeof(krb5_oid), types_n = sizeof(krb5_oid) + 2;

	put(b, ap_req_id, sizeof(ap_req_id));
	put(b, krb5_oid, sizeof(krb5_oid));
	enclose(b, 0x60);
	enclose(b, 0x04); /* mechToken [2] OCTET STRING */
	enclose(b, 0xa2);
	put(b, krb5_oid, sizeof(krb5_oid)); /* mechTypes [0] SEQUENCE OF OID */
	put(b, &list_n, 1);
	put(b, &sequence, 1);
	put(b, &types_n, 1);
	put(b, &mech_types, 1);
	enclose(b, 0x30); /* NegTokenInit */
	enclose(b, 0xa0);
	put(b, spnego_oid, sizeof(spnego_oid));
	enclose(b, 0x60);
}

krb5_error_code token_make(krb5_context context, krb5_creds *creds, struct token *out)
{
	krb5_data ap_req = { 0 };
	krb5_error_code rc;
	struct back b;
	uint8_t *bytes;

	*out = (struct token){ NULL, 0 };
	if (creds->ticket.length == 0)
		return KRB5_NO_TKT_SUPPLIED;
	rc = make_ap_req(context, creds, &ap_req);
	if (rc != 0)
		return rc;
	bytes = malloc(FRAMES_MAX + (size_t)ap_req.length);
	if (bytes == NULL || ap_req.length > TOKEN_MAX - FRAMES_MAX) {
		rc = bytes == NULL ? ENOMEM : KRB5KRB_ERR_FIELD_TOOLONG;
		free(bytes);
	} else {
		b.at = b.end = bytes + FRAMES_MAX + ap_req.length;
		put(&b, ap_req.data, ap_req.length);
		put_frames(&b);
		out->n = (size_t)(b.end - b.at);
		memmove(bytes, b.at, out->n);
		out->bytes = bytes;
	}
	OPENSSL_cleanse(ap_req.data, ap_req.length);
	krb5_free_data_contents(context, &ap_req);
	return rc;
}

void token_clear(struct token *t)
{
	if (t->bytes != NULL)
		OPENSSL_cleanse(t->bytes, t->n);
	free(t->bytes);
	*t = (struct token){ NULL, 0 };
}
