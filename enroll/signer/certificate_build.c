/*
 * certificate_build: puts a device's certificate together and has it signed. Runs in the signer.
 *
 * Its parts are encoded by OpenSSL, each once, and put behind each other here: an X509 object of OpenSSL 3.0 copies each part, encodes the whole three
 * times and takes longer for it than for the signature. What is the same in all certificates of an issuer is encoded once.
 */
#include "enroll/signer/certificate_build.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/public_key.h"
#include "common/text.h"
#include "enroll/signer/authority_build.h"

#define OID_SID_EXTENSION "1.3.6.1.4.1.311.25.2"
#define DER_ROOM	  12288
#define URL_ROOM	  1024

/* DER values behind each other. */
struct der {
	size_t n;
	bool full; /* something did not fit, or could not be encoded */
	uint8_t p[DER_ROOM];
};

/* Not by an initializer, which would fill the whole of it. */
static void der_begin(struct der *d)
{
	d->n = 0;
	d->full = false;
}

static void der_add(struct der *d, const void *p, size_t n)
{
	if (d->full || n > sizeof(d->p) - d->n) {
		d->full = true;
		return;
	}
	memcpy(d->p + d->n, p, n);
	d->n += n;
}

/* What i2d_...() allocated. */
static void der_add_made(struct der *d, unsigned char *p, int n)
{
	if (n > 0)
		der_add(d, p, (size_t)n);
	else
		d->full = true;
	OPENSSL_free(p);
}

static void der_wrap(struct der *d, int tag, int class, const struct der *inside)
{
	unsigned char head[16], *at = head;

	ASN1_put_object(&at, class != V_ASN1_UNIVERSAL || tag == V_ASN1_SEQUENCE, (int)inside->n, tag, class);
	der_add(d, head, (size_t)(at - head));
	der_add(d, inside->p, inside->n);
	d->full = d->full || inside->full;
}

static void der_extension(struct der *d, X509_EXTENSION *extension)
{
	unsigned char *der = NULL;
	int n = extension != NULL ? i2d_X509_EXTENSION(extension, &der) : -1;

	der_add_made(d, der, n);
	X509_EXTENSION_free(extension);
}

static int add_san(
    struct der *d, const struct signer_profile *p, const struct signer_issue *q, struct refusal *r)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	bool good = names != NULL;

	if (good && p->upn) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_TYPE *value = ASN1_TYPE_new();
		ASN1_UTF8STRING *text = ASN1_UTF8STRING_new();
		good = name != NULL && value != NULL && text != NULL &&
		    ASN1_STRING_set(text, q->upn, -1);
		if (good) {
			ASN1_TYPE_set(value, V_ASN1_UTF8STRING, text);
			text = NULL;
			good = GENERAL_NAME_set0_othername(name, OBJ_nid2obj(NID_ms_upn), value);
			value = good ? NULL : value;
			good = good && sk_GENERAL_NAME_push(names, name) > 0;
			name = good ? NULL : name;
		}
		ASN1_UTF8STRING_free(text);
		ASN1_TYPE_free(value);
		GENERAL_NAME_free(name);
	}
	if (good && p->mail) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();
		good = name != NULL && text != NULL && ASN1_STRING_set(text, q->mail, -1);
		if (good) {
			GENERAL_NAME_set0_value(name, GEN_EMAIL, text);
			text = NULL;
			good = sk_GENERAL_NAME_push(names, name) > 0;
			name = good ? NULL : name;
		}
		ASN1_IA5STRING_free(text);
		GENERAL_NAME_free(name);
	}
	if (good && sk_GENERAL_NAME_num(names) > 0)
		der_extension(d, X509V3_EXT_i2d(NID_subject_alt_name, 0, names));
	sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
	return good ? 0 : refuse_openssl(r, "cannot write the subject's alternative names");
}

size_t certificate_sid_value(const char *sid, uint8_t *out, size_t size)
{
	/* SEQUENCE { [0] { OID 1.3.6.1.4.1.311.25.2.1, [0] { OCTET STRING "S-1-..." } } }: all lengths below 128 */
	static const uint8_t oid[] = { 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x19,
		0x02, 0x01 };
	size_t n = strlen(sid), at = 0;

	if (n == 0 || n > 127 - sizeof(oid) - 6 || size < n + sizeof(oid) + 8)
		return 0;
	out[at++] = 0x30;
	out[at++] = (uint8_t)(n + sizeof(oid) + 6);
	out[at++] = 0xa0;
	out[at++] = (uint8_t)(n + sizeof(oid) + 4);
	memcpy(out + at, oid, sizeof(oid));
	at += sizeof(oid);
	out[at++] = 0xa0;
	out[at++] = (uint8_t)(n + 2);
	out[at++] = 0x04;
	out[at++] = (uint8_t)n;
	memcpy(out + at, sid, n);
	return at + n;
}

static void add_sid(struct der *d, const char *sid)
{
	uint8_t bytes[160];
	size_t n = certificate_sid_value(sid, bytes, sizeof(bytes));
	ASN1_OBJECT *oid = OBJ_txt2obj(OID_SID_EXTENSION, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	bool good = n > 0 && oid != NULL && value != NULL &&
	    ASN1_OCTET_STRING_set(value, bytes, (int)n);

	der_extension(d, good ? X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value) : NULL);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
}

static bool add_places(X509 *x, const struct signer_setup *setup, const struct ca_entry *issuer)
{
	char hash[2 * SHA256_SIZE + 1], crl[1024], info[2048];

	text_hex(hash, issuer->spki_sha256, SHA256_SIZE);
	if ((size_t)snprintf(crl, sizeof(crl), "URI:%s" ENROLL_CRL_PATH, setup->plain_url, hash) >=
		sizeof(crl) ||
	    (size_t)snprintf(info, sizeof(info),
		"OCSP;URI:%s" ENROLL_OCSP_PATH ",caIssuers;URI:%s" ENROLL_ISSUER_PATH,
		setup->plain_url, setup->plain_url, hash) >= sizeof(info))
		return false;
	return authority_extension(x, issuer->certificate, NID_crl_distribution_points, crl) &&
	    authority_extension(x, issuer->certificate, NID_info_access, info);
}

static void encode_fixed(struct der *d, const struct signer_setup *setup, const struct ca_entry *issuer, bool rsa)
{
	/* RSA keys also open what is encrypted to the device (the final Apple profile) */
	const char *usage = rsa ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature";
	X509 *x = X509_new();

	d->n = 0;
	d->full = x == NULL ||
	    !authority_extension(
		x, issuer->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
	    !authority_extension(x, issuer->certificate, NID_key_usage, usage) ||
	    !authority_extension(x, issuer->certificate, NID_ext_key_usage, "clientAuth") ||
	    !authority_extension(
		x, issuer->certificate, NID_authority_key_identifier, "keyid:always") ||
	    !add_places(x, setup, issuer);
	for (int i = 0; !d->full && i < X509_get_ext_count(x); i++) {
		unsigned char *der = NULL;
		int n = i2d_X509_EXTENSION(X509_get_ext(x, i), &der);

		der_add_made(d, der, n);
	}
	X509_free(x);
}

/* The extensions that all certificates of this issuer for keys of this kind have: kept until another issuer or place is asked for. NULL: none. */
static const struct der *fixed_extensions(const struct signer_setup *setup, const struct ca_entry *issuer, bool rsa)
{
	static struct {
		uint8_t issuer[SHA256_SIZE];
		char url[URL_ROOM];
		struct der kind[2];
	} kept;
	struct der *d = &kept.kind[rsa];

	if (memcmp(kept.issuer, issuer->sha256, SHA256_SIZE) != 0 || strcmp(kept.url, setup->plain_url) != 0) {
		if (strlen(setup->plain_url) >= sizeof(kept.url))
			return NULL;
		memcpy(kept.issuer, issuer->sha256, SHA256_SIZE);
		memcpy(kept.url, setup->plain_url, strlen(setup->plain_url) + 1);
		kept.kind[0].n = kept.kind[1].n = 0;
	}
	if (d->n == 0 || d->full)
		encode_fixed(d, setup, issuer, rsa);
	return d->full ? NULL : d;
}

/* RFC 5280 section 4.2.1.2, method 1: of the bits of the key, without its head. */
static void add_key_identifier(struct der *d, struct strv spki)
{
	const unsigned char *p = (const unsigned char *)spki.p, *end = p + spki.n;
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned hash_n = 0;
	int tag, class;
	long n;
	bool good = (ASN1_get_object(&p, &n, &tag, &class, end - p) & 0x80) == 0 && (ASN1_get_object(&p, &n, &tag, &class, end - p) & 0x80) == 0;

	if (good) {
		p += n; /* the algorithm; the key's BIT STRING begins with its count of unused bits, none */
		good = (ASN1_get_object(&p, &n, &tag, &class, end - p) & 0x80) == 0 && tag == V_ASN1_BIT_STRING && n > 1;
	}
	good = good && value != NULL && EVP_Digest(p + 1, (size_t)n - 1, hash, &hash_n, EVP_sha1(), NULL) == 1 &&
	    ASN1_OCTET_STRING_set(value, hash, (int)hash_n);
	der_extension(d, good ? X509V3_EXT_i2d(NID_subject_key_identifier, 0, value) : NULL);
	ASN1_OCTET_STRING_free(value);
}

static int add_extensions(struct der *out, const struct signer_setup *setup, const struct ca_entry *issuer,
    const struct signer_issue *q, const struct issue_order *order, struct strv spki, struct refusal *r)
{
	struct der list, sequence;
	const struct der *fixed = fixed_extensions(setup, issuer, EVP_PKEY_get_base_id(order->key) == EVP_PKEY_RSA);

	if (fixed == NULL)
		return refuse_openssl(r, "cannot write the extensions");
	der_begin(&list);
	der_begin(&sequence);
	der_add(&list, fixed->p, fixed->n);
	add_key_identifier(&list, spki);
	if (add_san(&list, order->profile, q, r) < 0)
		return -1;
	if (order->profile->sid)
		add_sid(&list, q->sid);
	der_wrap(&sequence, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, &list);
	der_wrap(out, 3, V_ASN1_CONTEXT_SPECIFIC, &sequence);
	return out->full ? refuse_openssl(r, "cannot write the extensions") : 0;
}

static int add_times(
    struct der *out, const struct ca_entry *issuer, const struct signer_issue *q, struct refusal *r)
{
	struct der both;
	int64_t limits[2];

	if (authority_time(X509_get0_notBefore(issuer->certificate), &limits[0]) < 0 ||
	    authority_time(X509_get0_notAfter(issuer->certificate), &limits[1]) < 0)
		return refuse_openssl(r, "the issuing CA's lifetime cannot be read");
	if (limits[0] < q->not_before)
		limits[0] = q->not_before;
	if (limits[1] > q->not_after)
		limits[1] = q->not_after;
	if (limits[0] >= limits[1])
		return refuse(r, SIGNER_BROKEN,
		    "the issuing CA is not valid at that time: make a new one with easenroll ca rollover");
	der_begin(&both);
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		ASN1_TIME *time = ASN1_TIME_set(NULL, (time_t)limits[i]);
		unsigned char *der = NULL;
		int n = time != NULL ? i2d_ASN1_TIME(time, &der) : -1;

		der_add_made(&both, der, n);
		ASN1_STRING_free(time);
	}
	der_wrap(out, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, &both);
	return out->full ? refuse_openssl(r, "cannot write the lifetime") : 0;
}

static void add_serial(struct der *out, const struct signer_issue *q)
{
	BIGNUM *bn = BN_bin2bn(q->serial, SIGNER_SERIAL, NULL);
	ASN1_INTEGER *serial = bn != NULL ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;
	unsigned char *der = NULL;
	int n = serial != NULL ? i2d_ASN1_INTEGER(serial, &der) : -1;

	der_add_made(out, der, n);
	ASN1_INTEGER_free(serial);
	BN_free(bn);
}

static void add_name(struct der *out, const X509_NAME *name)
{
	unsigned char *der = NULL;
	int n = i2d_X509_NAME(name, &der);

	der_add_made(out, der, n);
}

static void add_algorithm(struct der *out, const EVP_PKEY *key)
{
	size_t n = 0;
	uint8_t *der = key_algorithm(key, &n);

	if (der != NULL)
		der_add(out, der, n);
	else
		out->full = true;
	free(der);
}

static bool add_signature(struct der *out, const struct der *tbs, EVP_PKEY *key)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct der bits;
	size_t n = sizeof(bits.p) - 1;
	bool good = ctx != NULL && EVP_DigestSignInit(ctx, NULL, key_digest(key), NULL, key) == 1 &&
	    EVP_DigestSign(ctx, bits.p + 1, &n, tbs->p, tbs->n) == 1;

	EVP_MD_CTX_free(ctx);
	der_begin(&bits);
	bits.p[0] = 0; /* no unused bits */
	bits.n = n + 1;
	if (good)
		der_wrap(out, V_ASN1_BIT_STRING, V_ASN1_UNIVERSAL, &bits);
	return good;
}

/* TBSCertificate (RFC 5280 section 4.1). */
static int add_tbs(struct der *out, const struct signer_setup *setup, const struct ca_entry *issuer,
    const struct signer_issue *q, const struct issue_order *order, struct strv spki, struct refusal *r)
{
	static const uint8_t version_3[] = { 0xa0, 3, V_ASN1_INTEGER, 1, X509_VERSION_3 };
	X509_NAME *subject = certificate_subject(order->profile->subject, q, r);
	struct der inside;

	if (subject == NULL)
		return -1;
	der_begin(&inside);
	der_add(&inside, version_3, sizeof(version_3));
	add_serial(&inside, q);
	add_algorithm(&inside, issuer->pkey);
	add_name(&inside, X509_get_subject_name(issuer->certificate));
	if (add_times(&inside, issuer, q, r) < 0) {
		X509_NAME_free(subject);
		return -1;
	}
	add_name(&inside, subject);
	X509_NAME_free(subject);
	der_add(&inside, spki.p, spki.n);
	if (add_extensions(&inside, setup, issuer, q, order, spki, r) < 0)
		return -1;
	der_wrap(out, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, &inside);
	return out->full ? refuse_openssl(r, "cannot put the certificate together") : 0;
}

/* The key's own bytes where there is no other way to write it, else what OpenSSL makes of it. The caller frees *made. */
static struct strv key_bytes(const struct issue_order *order, unsigned char **made)
{
	struct strv spki = { (const char *)order->spki, order->spki_n };
	int n;

	*made = NULL;
	if (public_key_is_plain(spki))
		return spki;
	n = i2d_PUBKEY(order->key, made);
	return (struct strv){ (const char *)*made, n > 0 ? (size_t)n : 0 };
}

unsigned char *certificate_build(const struct signer_setup *setup, const struct ca_entry *issuer,
    const struct signer_issue *q, const struct issue_order *order, size_t *n, struct refusal *r)
{
	struct der tbs, whole;
	unsigned char *made, *out = NULL;
	struct strv spki = key_bytes(order, &made);

	der_begin(&tbs);
	der_begin(&whole);
	if (add_tbs(&tbs, setup, issuer, q, order, spki, r) < 0)
		goto out;
	der_add(&whole, tbs.p, tbs.n);
	add_algorithm(&whole, issuer->pkey);
	if (!add_signature(&whole, &tbs, issuer->pkey)) {
		refuse_openssl(r, "the issuing CA's key does not sign");
		goto out;
	}
	der_begin(&tbs);
	der_wrap(&tbs, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, &whole);
	out = tbs.full ? NULL : OPENSSL_memdup(tbs.p, tbs.n);
	*n = tbs.n;
	if (out == NULL)
		refuse_openssl(r, "cannot put the certificate together");
out:
	OPENSSL_free(made);
	return out;
}
