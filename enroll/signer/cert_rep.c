/*
 * cert_rep: the CertRep (RFC 8894 section 3.3.2), put together from bytes (der.h): OpenSSL's CMS reads the RA's certificate again for each, encodes the
 * attributes twice and fetches what it signs with anew. Runs in the signer.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "common/text.h"
#include "enroll/der_write.h"
#include "enroll/signer/message_sign.h"

#define FAIL_INFO_MAX	4
#define ATTRIBUTES_ROOM 2048 /* texts and nonces of struct signer_scep_sign, and heads */
#define ATTRIBUTES_MAX	10
#define HEADS		512

static const uint8_t version_1[] = { DER_INTEGER, 1, 1 };

static int check(const struct signer_scep_sign *q, struct refusal *r)
{
	if (memchr(q->transaction_id, '\0', sizeof(q->transaction_id)) == NULL ||
	    q->transaction_id[0] == '\0' ||
	    memchr(q->fail_text, '\0', sizeof(q->fail_text)) == NULL ||
	    !text_is_clean(strv_from(q->fail_text)))
		return refuse(r, SIGNER_REFUSED, "a text of the CertRep is no text");
	if (q->pki_status != SIGNER_SCEP_SUCCESS && q->pki_status != SIGNER_SCEP_FAILURE &&
	    q->pki_status != SIGNER_SCEP_PENDING)
		return refuse(r, SIGNER_REFUSED, "pkiStatus %u", q->pki_status);
	if (q->fail_info > FAIL_INFO_MAX || q->recipient_nonce_n > sizeof(q->recipient_nonce))
		return refuse(r, SIGNER_REFUSED, "failInfo %u, nonce of %u bytes", q->fail_info,
		    q->recipient_nonce_n);
	if ((q->pki_status == SIGNER_SCEP_SUCCESS) != (q->content_n > 0))
		return refuse(
		    r, SIGNER_REFUSED, "a CertRep has content when it says SUCCESS, and only then");
	return 0;
}

static struct ca_entry *find_ra(struct ca_files *ca, const uint8_t sha256[SHA256_SIZE])
{
	static const uint8_t zeros[SHA256_SIZE];

	if (memcmp(sha256, zeros, SHA256_SIZE) == 0)
		return ca_files_find(ca, CA_RA, CA_CURRENT);
	for (size_t i = 0; i < ca->n; i++) {
		struct ca_entry *e = &ca->entries[i];
		if (e->kind == CA_RA && e->certificate != NULL &&
		    memcmp(e->sha256, sha256, SHA256_SIZE) == 0)
			return e;
	}
	return NULL;
}

/* Signed attributes, each encoded, in the order of DER. */
struct attributes {
	struct der_writer d;
	struct strv one[ATTRIBUTES_MAX];
	size_t n;
	uint8_t room[ATTRIBUTES_ROOM];
};

/* X.690 section 11.6: as octet strings, the shorter one filled up with zeros; of two attributes none is the beginning of the other. */
static int compare(const void *a, const void *b)
{
	const struct strv *x = a, *y = b;

	return memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
}

/* The identifier and the value, which stand at the front since the mark, become an attribute. */
static void end_attribute(struct attributes *a, size_t mark)
{
	der_enclose(&a->d, DER_SEQUENCE, mark);
	if (a->n < ATTRIBUTES_MAX)
		a->one[a->n++] = der_since(&a->d, mark);
	else
		a->d.full = true;
}

static void add_usual(struct attributes *a, int nid, uint8_t identifier, const void *p, size_t n)
{
	size_t mark = der_mark(&a->d);

	der_value(&a->d, identifier, p, n);
	der_enclose(&a->d, DER_SET, mark);
	der_oid(&a->d, nid);
	end_attribute(a, mark);
}

/* 2.16.840.1.113733.1.9.nn */
static void add_scep(struct attributes *a, uint8_t nn, uint8_t identifier, const void *p, size_t n)
{
	const uint8_t oid[] = { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, nn };
	size_t mark = der_mark(&a->d);

	der_value(&a->d, identifier, p, n);
	der_enclose(&a->d, DER_SET, mark);
	der_value(&a->d, DER_OID, oid, sizeof(oid));
	end_attribute(a, mark);
}

/* failInfoText, 1.3.6.1.5.5.7.24.1 */
static void add_fail_text(struct attributes *a, const char *text)
{
	static const uint8_t oid[] = { 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x18, 0x01 };
	size_t mark = der_mark(&a->d);

	der_value(&a->d, DER_UTF8_STRING, text, strlen(text));
	der_enclose(&a->d, DER_SET, mark);
	der_value(&a->d, DER_OID, oid, sizeof(oid));
	end_attribute(a, mark);
}

/* RFC 5652 section 11.3: UTCTime or GeneralizedTime, as the year wants. */
static void add_time(struct attributes *a)
{
	size_t mark = der_mark(&a->d);
	ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL));
	unsigned char *der = NULL;
	int n = now != NULL ? i2d_ASN1_TIME(now, &der) : -1;

	if (n > 0)
		der_put(&a->d, der, (size_t)n);
	else
		a->d.full = true;
	der_enclose(&a->d, DER_SET, mark);
	der_oid(&a->d, NID_pkcs9_signingTime);
	end_attribute(a, mark);
	OPENSSL_free(der);
	ASN1_STRING_free(now);
}

static bool add_attributes(struct attributes *a, const struct signer_scep_sign *q, const EVP_MD *md, struct strv content)
{
	const char status = (char)('0' + q->pki_status), fail = (char)('0' + q->fail_info);
	const ASN1_OBJECT *data = OBJ_nid2obj(NID_pkcs7_data);
	bool failed = q->pki_status == SIGNER_SCEP_FAILURE;
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (EVP_Digest(content.p, content.n, hash, &n, md, NULL) != 1)
		return false;
	der_start(&a->d, a->room, sizeof(a->room));
	a->n = 0;
	add_usual(a, NID_pkcs9_contentType, DER_OID, OBJ_get0_data(data), OBJ_length(data));
	add_usual(a, NID_pkcs9_messageDigest, DER_OCTETS, hash, n);
	add_time(a);
	add_scep(a, 2, DER_PRINTABLE, "3", 1);	/* messageType: CertRep */
	add_scep(a, 3, DER_PRINTABLE, &status, 1);
	if (failed)
		add_scep(a, 4, DER_PRINTABLE, &fail, 1);
	if (failed && q->fail_text[0] != '\0')
		add_fail_text(a, q->fail_text);
	add_scep(a, 5, DER_OCTETS, q->sender_nonce, sizeof(q->sender_nonce));
	if (q->recipient_nonce_n > 0)
		add_scep(a, 6, DER_OCTETS, q->recipient_nonce, q->recipient_nonce_n);
	add_scep(a, 7, DER_PRINTABLE, q->transaction_id, strlen(q->transaction_id));
	qsort(a->one, a->n, sizeof(a->one[0]), compare);
	return !a->d.full;
}

static void write_attributes(struct der_writer *d, const struct attributes *a, uint8_t identifier)
{
	size_t mark = der_mark(d);

	for (size_t i = a->n; i-- > 0;)
		der_put(d, a->one[i].p, a->one[i].n);
	der_enclose(d, identifier, mark);
}

/* *n: room for the signature, and its length. */
static bool sign(EVP_PKEY *key, const EVP_MD *md, const struct attributes *a, uint8_t *signature, size_t *n)
{
	uint8_t room[ATTRIBUTES_ROOM + 8];
	struct der_writer d;
	struct strv all;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good;

	der_start(&d, room, sizeof(room));
	write_attributes(&d, a, DER_SET);
	all = der_done(&d);
	good = ctx != NULL && all.n > 0 && EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1 &&
	    EVP_DigestSign(ctx, signature, n, (const unsigned char *)all.p, all.n) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}

/* What of the RA's certificate stands in the message. */
struct signer_parts {
	struct der_certificate parts;
	unsigned char *der;
	size_t n;
};

static void write_digest(struct der_writer *d, const EVP_MD *md)
{
	size_t mark = der_mark(d);

	der_oid(d, EVP_MD_get_type(md));
	der_enclose(d, DER_SEQUENCE, mark);
}

static void write_signer(struct der_writer *d, const struct signer_parts *ra, const EVP_MD *md, const struct attributes *a, struct strv signature)
{
	size_t end = der_mark(d), mark;

	der_value(d, DER_OCTETS, signature.p, signature.n);
	mark = der_mark(d);
	der_value(d, DER_NULL, NULL, 0);
	der_oid(d, NID_rsaEncryption);
	der_enclose(d, DER_SEQUENCE, mark);
	write_attributes(d, a, DER_CONSTRUCTED(0));
	write_digest(d, md);
	mark = der_mark(d);
	der_put(d, ra->parts.serial.p, ra->parts.serial.n);
	der_put(d, ra->parts.issuer.p, ra->parts.issuer.n);
	der_enclose(d, DER_SEQUENCE, mark);
	der_put(d, version_1, sizeof(version_1));
	der_enclose(d, DER_SEQUENCE, end);
	der_enclose(d, DER_SET, end);
}

/* The content stands there also when it is empty: some clients read no message without. */
static void write_message(struct der_writer *d, const struct signer_parts *ra, const EVP_MD *md, const struct attributes *a, struct strv signature,
    struct strv content)
{
	size_t end = der_mark(d), mark;

	write_signer(d, ra, md, a, signature);
	der_value(d, DER_CONSTRUCTED(0), ra->der, ra->n);
	mark = der_mark(d);
	der_value(d, DER_OCTETS, content.p, content.n);
	der_enclose(d, DER_CONSTRUCTED(0), mark);
	der_oid(d, NID_pkcs7_data);
	der_enclose(d, DER_SEQUENCE, mark);
	mark = der_mark(d);
	write_digest(d, md);
	der_enclose(d, DER_SET, mark);
	der_put(d, version_1, sizeof(version_1));
	der_enclose(d, DER_SEQUENCE, end);
	der_enclose(d, DER_CONSTRUCTED(0), end);
	der_oid(d, NID_pkcs7_signed);
	der_enclose(d, DER_SEQUENCE, end);
}

static unsigned char *build(const struct signer_parts *ra, EVP_PKEY *key, const EVP_MD *md, const struct attributes *a, struct strv content, size_t *n,
    struct refusal *r)
{
	size_t size = content.n + ra->n + ra->parts.issuer.n + ATTRIBUTES_ROOM + HEADS, signature_n = (size_t)EVP_PKEY_get_size(key);
	unsigned char *room = OPENSSL_malloc(size + signature_n), *signature = OPENSSL_malloc(signature_n), *out = NULL;
	struct der_writer d;
	struct strv all;

	if (room == NULL || signature == NULL || !sign(key, md, a, signature, &signature_n)) {
		refuse_openssl(r, "cannot sign the CertRep");
		goto out;
	}
	der_start(&d, room, size + signature_n);
	write_message(&d, ra, md, a, (struct strv){ (char *)signature, signature_n }, content);
	all = der_done(&d);
	if (all.n > 0 && all.n <= SIGNER_DATA_MAX)
		out = OPENSSL_memdup(all.p, all.n);
	if (out == NULL)
		refuse(r, SIGNER_REFUSED, "the signed message would be larger than %d bytes", SIGNER_DATA_MAX);
	*n = all.n;
out:
	OPENSSL_free(signature);
	OPENSSL_free(room);
	return out;
}

unsigned char *message_cert_rep(struct ca_files *ca, const struct signer_scep_sign *q,
    const void *content, size_t *n, struct refusal *r)
{
	const EVP_MD *md = q->digest == 512 ? EVP_sha512() :
	    q->digest == 384		    ? EVP_sha384() :
					      EVP_sha256();
	struct ca_entry *ra = find_ra(ca, q->ra);
	struct strv inside = { q->content_n > 0 ? content : "", q->content_n };
	struct signer_parts parts = { .der = NULL };
	struct attributes a;
	unsigned char *out = NULL;
	int size;

	if (check(q, r) < 0)
		return NULL;
	if (ra == NULL || ra->pkey == NULL) {
		refuse(r, SIGNER_NONE, "no such RA");
		return NULL;
	}
	size = i2d_X509(ra->certificate, &parts.der);
	parts.n = size > 0 ? (size_t)size : 0;
	if (EVP_PKEY_get_base_id(ra->pkey) != EVP_PKEY_RSA)
		refuse(r, SIGNER_BROKEN, "the RA's key is no RSA key");
	else if (der_certificate_read((struct strv){ (char *)parts.der, parts.n }, &parts.parts) < 0 || !add_attributes(&a, q, md, inside))
		refuse_openssl(r, "cannot sign the CertRep");
	else
		out = build(&parts, ra->pkey, md, &a, inside, n, r);
	OPENSSL_free(parts.der);
	ERR_clear_error();
	return out;
}
