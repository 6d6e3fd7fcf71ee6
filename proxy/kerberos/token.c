/*
 * token: an AP-REQ in GSSAPI's frame in SPNEGO's. Decides nothing about who gets one.
 * Runs in the *kerberos* process.
 */
#include "proxy/kerberos/token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <time.h>

#define GSS_CHECKSUM  0x8003 /* RFC 4121 §4.1.1: flags and channel binding in a checksum's place */
#define GSS_CONF      0x10
#define GSS_INTEG     0x20
#define FRAMES_MAX    160  /* all of a token that is neither ticket nor authenticator */
#define PLAIN_MAX     1024 /* an authenticator: 150 bytes and the account's name */
#define SUBKEY_MAX    64

/* Tags of DER: INTEGER, OCTET STRING, OID, SEQUENCE, KerberosString, KerberosTime; [n] of a field. */
enum { INT = 0x02, BITS = 0x03, OCTETS = 0x04, OID = 0x06, TEXT = 0x1b, TIME = 0x18, SEQUENCE = 0x30 };
#define FIELD(n)       (uint8_t)(0xa0 + (n))
#define APPLICATION(n) (uint8_t)(0x60 + (n))

static const uint8_t spnego_oid[] = { OID, 6, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02 };
static const uint8_t krb5_oid[] = { OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02 };

/* --- DER from its end to its beginning, so that each length is known when it is written --- */

struct back {
	uint8_t *begin, *at;
	bool full; /* it did not fit: what stands there is no good */
};

static void put(struct back *b, const void *bytes, size_t n)
{
	if (b->full || n > (size_t)(b->at - b->begin)) {
		b->full = true;
		return;
	}
	b->at -= n;
	if (n > 0)
		memcpy(b->at, bytes, n);
}

/* Tag and length before all that was put since `end`; at most 65,535 bytes. */
static void enclose(struct back *b, uint8_t tag, const uint8_t *end)
{
	size_t n = (size_t)(end - b->at);
	uint8_t head[4] = { tag, 0x82, (uint8_t)(n >> 8), (uint8_t)n };
	const uint8_t short_head[] = { tag, (uint8_t)n }, middle_head[] = { tag, 0x81, (uint8_t)n };

	if (n > 0xffff)
		b->full = true;
	else if (n > 0xff)
		put(b, head, sizeof(head));
	else if (n > 0x7f)
		put(b, middle_head, sizeof(middle_head));
	else
		put(b, short_head, sizeof(short_head));
}

static void put_number(struct back *b, uint8_t field, int32_t value)
{
	const uint8_t *end = b->at;
	int32_t left = value;
	uint8_t byte;

	do {
		byte = (uint8_t)left;
		put(b, &byte, 1);
		left >>= 8;
	} while (left != (byte & 0x80 ? -1 : 0));
	enclose(b, INT, end);
	enclose(b, field, end);
}

static void put_string(struct back *b, uint8_t field, uint8_t tag, const void *bytes, size_t n)
{
	const uint8_t *end = b->at;

	put(b, bytes, n);
	enclose(b, tag, end);
	enclose(b, field, end);
}

/* --- the authenticator (RFC 4120 §5.5.1) --- */

static void put_name(struct back *b, uint8_t field, krb5_const_principal p)
{
	const uint8_t *end = b->at;

	for (krb5_int32 i = p->length; i-- > 0;) {
		const uint8_t *part = b->at;
		put(b, p->data[i].data, p->data[i].length);
		enclose(b, TEXT, part);
	}
	enclose(b, SEQUENCE, end);
	enclose(b, FIELD(1), end);
	put_number(b, FIELD(0), p->type);
	enclose(b, SEQUENCE, end);
	enclose(b, field, end);
}

static void put_time(struct back *b, uint8_t field, krb5_timestamp at)
{
	time_t seconds = (time_t)(uint32_t)at; /* RFC 4120 times past 2038 are kept as unsigned */
	struct tm t;
	char text[16];

	if (gmtime_r(&seconds, &t) == NULL || strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &t) != 15) {
		b->full = true;
		return;
	}
	put_string(b, field, TIME, text, 15);
}

/* What makes this token a new one; its storage is wiped by the caller. */
struct fresh {
	krb5_timestamp seconds;
	krb5_int32 microseconds, sequence;
	uint8_t subkey[SUBKEY_MAX];
	size_t subkey_n;
};

/*
 * Random bytes, each of them used once and then wiped, drawn for many tokens at a time: OpenSSL asks the kernel at each
 * draw whether the process forked, and libk5crypto for the bytes themselves. This process does not fork.
 */
static int draw_random(uint8_t *out, size_t n)
{
	static uint8_t pool[2048];
	static size_t left;

	if (left < n) {
		left = 0;
		if (n > sizeof(pool) || RAND_priv_bytes(pool, sizeof(pool)) != 1)
			return -1;
		left = sizeof(pool);
	}
	left -= n;
	memcpy(out, pool + left, n);
	OPENSSL_cleanse(pool + left, n);
	return 0;
}

static krb5_error_code draw(krb5_context context, krb5_enctype enctype, struct fresh *f)
{
	uint8_t random[SUBKEY_MAX + 4];
	uint8_t *contents = f->subkey;
	size_t bytes, length;
	krb5_keyblock subkey;
	krb5_data in;
	krb5_error_code rc = krb5_c_keylengths(context, enctype, &bytes, &length);

	if (rc == 0 && (bytes > SUBKEY_MAX || length > SUBKEY_MAX))
		rc = KRB5_BAD_KEYSIZE;
	if (rc == 0)
		rc = krb5_us_timeofday(context, &f->seconds, &f->microseconds);
	if (rc != 0)
		return rc;
	if (draw_random(random, bytes + 4) < 0)
		return KRB5_CRYPTO_INTERNAL;
	in = (krb5_data){ .length = (unsigned)bytes, .data = (char *)random };
	subkey = (krb5_keyblock){ .enctype = enctype, .length = (unsigned)length, .contents = contents };
	rc = krb5_c_random_to_key(context, enctype, &in, &subkey);
	f->subkey_n = length;
	/* 30 bits, as GSSAPI's clients do: it is counted upwards, and some take it for signed */
	memcpy(&f->sequence, random + bytes, 4);
	f->sequence &= 0x3fffffff;
	OPENSSL_cleanse(random, sizeof(random));
	return rc;
}

static void put_authenticator(
    struct back *b, const krb5_creds *creds, krb5_enctype enctype, const struct fresh *f)
{
	/*
	 * The hash's length (16), the hash of a channel binding (none: zeros), the flags, little
	 * endian: the ones that GSSAPI's clients always set. TLS protects the connection, not they.
	 */
	static const uint8_t flags[24] = { 16, [20] = GSS_CONF | GSS_INTEG };
	const uint8_t *end = b->at, *from;

	put_number(b, FIELD(7), f->sequence);
	from = b->at;
	put_string(b, FIELD(1), OCTETS, f->subkey, f->subkey_n);
	put_number(b, FIELD(0), enctype);
	enclose(b, SEQUENCE, from);
	enclose(b, FIELD(6), from);
	put_time(b, FIELD(5), f->seconds);
	put_number(b, FIELD(4), f->microseconds);
	from = b->at;
	put_string(b, FIELD(1), OCTETS, flags, sizeof(flags));
	put_number(b, FIELD(0), GSS_CHECKSUM);
	enclose(b, SEQUENCE, from);
	enclose(b, FIELD(3), from);
	put_name(b, FIELD(2), creds->client);
	put_string(b, FIELD(1), TEXT, creds->client->realm.data, creds->client->realm.length);
	put_number(b, FIELD(0), 5);
	enclose(b, SEQUENCE, end);
	enclose(b, APPLICATION(2), end);
}

/* --- the frames --- */

/* Before the encrypted authenticator, which was put already and ends at `end`. */
static void put_ap_req(struct back *b, const krb5_data *ticket, krb5_enctype enctype, const uint8_t *end)
{
	static const uint8_t no_options[5] = { 0 }; /* of unused bits: none; then 32 options */
	const uint8_t *from;

	enclose(b, OCTETS, end);
	enclose(b, FIELD(2), end);
	put_number(b, FIELD(0), enctype);
	enclose(b, SEQUENCE, end);
	enclose(b, FIELD(4), end);
	from = b->at;
	put(b, ticket->data, ticket->length);
	enclose(b, FIELD(3), from);
	put_string(b, FIELD(2), BITS, no_options, sizeof(no_options));
	put_number(b, FIELD(1), 14); /* KRB_AP_REQ */
	put_number(b, FIELD(0), 5);
	enclose(b, SEQUENCE, end);
	enclose(b, APPLICATION(14), end);
}

static void put_frames(struct back *b, const uint8_t *end)
{
	static const uint8_t ap_req_id[] = { 0x01, 0x00 };
	const uint8_t *from;

	put(b, ap_req_id, sizeof(ap_req_id));
	put(b, krb5_oid, sizeof(krb5_oid));
	enclose(b, APPLICATION(0), end);
	enclose(b, OCTETS, end); /* mechToken */
	enclose(b, FIELD(2), end);
	from = b->at;
	put(b, krb5_oid, sizeof(krb5_oid));
	enclose(b, SEQUENCE, from);
	enclose(b, FIELD(0), from); /* mechTypes */
	enclose(b, SEQUENCE, end);  /* NegTokenInit */
	enclose(b, FIELD(0), end);
	put(b, spnego_oid, sizeof(spnego_oid));
	enclose(b, APPLICATION(0), end);
}

/* The authenticator, encrypted, around it all the rest. */
static krb5_error_code build(krb5_context context, const krb5_creds *creds, krb5_key key,
    krb5_enctype enctype, const krb5_data *plain, struct token *out)
{
	krb5_enc_data sealed = { .enctype = enctype };
	krb5_error_code rc;
	struct back b = { 0 };
	size_t size, n;

	rc = krb5_c_encrypt_length(context, enctype, plain->length, &n);
	if (rc != 0)
		return rc;
	size = FRAMES_MAX + creds->ticket.length + n;
	if (creds->ticket.length > TOKEN_MAX || size > TOKEN_MAX)
		return KRB5KRB_ERR_FIELD_TOOLONG;
	out->bytes = malloc(size);
	if (out->bytes == NULL)
		return ENOMEM;
	b.begin = out->bytes;
	b.at = out->bytes + size - n;
	sealed.ciphertext = (krb5_data){ .length = (unsigned)n, .data = (char *)b.at };
	rc = krb5_k_encrypt(context, key, KRB5_KEYUSAGE_AP_REQ_AUTH, NULL, plain, &sealed);
	if (rc != 0)
		return rc;
	put_ap_req(&b, &creds->ticket, enctype, out->bytes + size);
	put_frames(&b, out->bytes + size);
	if (b.full)
		return KRB5KRB_ERR_FIELD_TOOLONG;
	out->n = (size_t)(out->bytes + size - b.at);
	memmove(out->bytes, b.at, out->n);
	return 0;
}

krb5_error_code token_make(
    krb5_context context, const krb5_creds *creds, krb5_key key, struct token *out)
{
	uint8_t plain[PLAIN_MAX];
	struct back b = { .begin = plain, .at = plain + sizeof(plain) };
	krb5_enctype enctype = krb5_k_key_enctype(context, key);
	struct fresh fresh;
	krb5_error_code rc;

	*out = (struct token){ NULL, 0 };
	if (creds->ticket.length == 0 || creds->client == NULL)
		return KRB5_NO_TKT_SUPPLIED;
	rc = draw(context, enctype, &fresh);
	if (rc == 0 && (uint32_t)fresh.seconds >= (uint32_t)creds->times.endtime)
		rc = KRB5KRB_AP_ERR_TKT_EXPIRED;
	if (rc == 0) {
		krb5_data in;

		put_authenticator(&b, creds, enctype, &fresh);
		in = (krb5_data){ .length = (unsigned)(plain + sizeof(plain) - b.at), .data = (char *)b.at };
		rc = b.full ? KRB5KRB_ERR_FIELD_TOOLONG : build(context, creds, key, enctype, &in, out);
	}
	OPENSSL_cleanse(&fresh, sizeof(fresh));
	OPENSSL_cleanse(b.at, (size_t)(plain + sizeof(plain) - b.at));
	if (rc != 0) {
		free(out->bytes);
		*out = (struct token){ NULL, 0 };
	}
	return rc;
}

void token_clear(struct token *t)
{
	if (t->bytes != NULL)
		OPENSSL_cleanse(t->bytes, t->n);
	free(t->bytes);
	*t = (struct token){ NULL, 0 };
}
