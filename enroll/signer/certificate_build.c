/*
 * certificate_build: puts a device's certificate together and has it signed. Runs in the signer.
 *
 * From its end to its front, as bytes: an X509 object of OpenSSL 3.0 copies each part, encodes the whole three times and takes longer for it than for
 * the signature. What is the same in all certificates of an issuer is encoded once, by OpenSSL.
 */
#include "enroll/signer/certificate_build.h"

#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#include "common/public_key.h"
#include "common/text.h"
#include "enroll/signer/authority_build.h"

#define DER_ROOM       12288
#define FIXED_ROOM     6144
#define SIGNATURE_ROOM 2064 /* of an RSA key of 16,384 bits */
#define URL_ROOM       1024

/* The bytes of identifiers: 2.5.29.17 (SAN), 2.5.29.14, and the SID extension's, 1.3.6.1.4.1.311.25.2. */
#define OID_SAN		   STRV("\x55\x1d\x11")
#define OID_KEY_IDENTIFIER STRV("\x55\x1d\x0e")
#define OID_SID		   STRV("\x2b\x06\x01\x04\x01\x82\x37\x19\x02")

/* One extension of which the value was put since the mark: what certificates of devices have is never critical there. */
static void enclose_extension(struct der_writer *d, struct strv oid, size_t mark)
{
	der_enclose(d, DER_OCTETS, mark);
	der_value(d, DER_OID, oid.p, oid.n);
	der_enclose(d, DER_SEQUENCE, mark);
}

/* RFC 5280 section 4.2.1.6: the UPN as an otherName, then the address. */
static void put_san(struct der_writer *d, const struct signer_profile *p, const struct signer_issue *q)
{
	size_t mark = der_mark(d), name;

	if (!p->upn && !p->mail)
		return;
	if (p->mail)
		der_value(d, DER_CONTEXT(1), q->mail, strlen(q->mail));
	if (p->upn) {
		name = der_mark(d);
		der_value(d, DER_UTF8_STRING, q->upn, strlen(q->upn));
		der_enclose(d, DER_CONSTRUCTED(0), name);
		der_oid(d, NID_ms_upn);
		der_enclose(d, DER_CONSTRUCTED(0), name);
	}
	der_enclose(d, DER_SEQUENCE, mark);
	enclose_extension(d, OID_SAN, mark);
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

static void put_sid(struct der_writer *d, const char *sid)
{
	uint8_t bytes[160];
	size_t mark = der_mark(d), n = certificate_sid_value(sid, bytes, sizeof(bytes));

	d->full = d->full || n == 0;
	der_put(d, bytes, n);
	enclose_extension(d, OID_SID, mark);
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

/* Encoded, behind each other. */
struct extensions {
	size_t n; /* 0: not yet, or they could not be encoded */
	uint8_t p[FIXED_ROOM];
};

static void encode_fixed(struct extensions *e, const struct signer_setup *setup, const struct ca_entry *issuer, bool rsa)
{
	/* RSA keys also open what is encrypted to the device (the final Apple profile) */
	const char *usage = rsa ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature";
	X509 *x = X509_new();
	bool good = x != NULL && authority_extension(x, issuer->certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	    authority_extension(x, issuer->certificate, NID_key_usage, usage) &&
	    authority_extension(x, issuer->certificate, NID_ext_key_usage, "clientAuth") &&
	    authority_extension(x, issuer->certificate, NID_authority_key_identifier, "keyid:always") && add_places(x, setup, issuer);

	e->n = 0;
	for (int i = 0; good && i < X509_get_ext_count(x); i++) {
		unsigned char *der = NULL;
		int n = i2d_X509_EXTENSION(X509_get_ext(x, i), &der);

		good = n > 0 && (size_t)n <= sizeof(e->p) - e->n;
		if (good)
			memcpy(e->p + e->n, der, (size_t)n);
		e->n += good ? (size_t)n : 0;
		OPENSSL_free(der);
	}
	if (!good)
		e->n = 0;
	X509_free(x);
}

/* The extensions that all certificates of this issuer for keys of this kind have: kept until another issuer or place is asked for. NULL: none. */
static const struct extensions *fixed_extensions(const struct signer_setup *setup, const struct ca_entry *issuer, bool rsa)
{
	static struct {
		uint8_t issuer[SHA256_SIZE];
		char url[URL_ROOM];
		struct extensions kind[2];
	} kept;
	struct extensions *e = &kept.kind[rsa];

	if (memcmp(kept.issuer, issuer->sha256, SHA256_SIZE) != 0 || strcmp(kept.url, setup->plain_url) != 0) {
		if (strlen(setup->plain_url) >= sizeof(kept.url))
			return NULL;
		memcpy(kept.issuer, issuer->sha256, SHA256_SIZE);
		memcpy(kept.url, setup->plain_url, strlen(setup->plain_url) + 1);
		kept.kind[0].n = kept.kind[1].n = 0;
	}
	if (e->n == 0)
		encode_fixed(e, setup, issuer, rsa);
	return e->n > 0 ? e : NULL;
}

/* RFC 5280 section 4.2.1.2, method 1: of the bits of the key, without its head. */
static void put_key_identifier(struct der_writer *d, struct strv spki)
{
	struct strv inside, algorithm, bits;
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned hash_n = 0;
	size_t mark = der_mark(d);

	/* the key's BIT STRING begins with its count of unused bits, none */
	if (der_take(&spki, DER_SEQUENCE, &inside, NULL) < 0 || der_take(&inside, DER_SEQUENCE, &algorithm, NULL) < 0 ||
	    der_take(&inside, DER_BIT_STRING, &bits, NULL) < 0 || bits.n < 2 || EVP_Digest(bits.p + 1, bits.n - 1, hash, &hash_n, EVP_sha1(), NULL) != 1) {
		d->full = true;
		return;
	}
	der_value(d, DER_OCTETS, hash, hash_n);
	enclose_extension(d, OID_KEY_IDENTIFIER, mark);
}

static void put_extensions(struct der_writer *d, const struct extensions *fixed, const struct signer_issue *q, const struct issue_order *order, struct strv spki)
{
	size_t mark = der_mark(d);

	if (order->profile->sid)
		put_sid(d, q->sid);
	put_san(d, order->profile, q);
	put_key_identifier(d, spki);
	der_put(d, fixed->p, fixed->n);
	der_enclose(d, DER_SEQUENCE, mark);
	der_enclose(d, DER_CONSTRUCTED(3), mark);
}

/* RFC 5280 section 4.1.2.5: two digits of the year until 2049, four from then on. */
static void put_time(struct der_writer *d, int64_t at)
{
	time_t when = (time_t)at;
	struct tm tm;
	char text[32];
	bool late;
	int n;

	if (gmtime_r(&when, &tm) == NULL || tm.tm_year < 50 || tm.tm_year > 8099) {
		d->full = true;
		return;
	}
	late = tm.tm_year >= 150;
	n = snprintf(text, sizeof(text), late ? "%04d%02d%02d%02d%02d%02dZ" : "%02d%02d%02d%02d%02d%02dZ", late ? tm.tm_year + 1900 : tm.tm_year % 100,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	der_value(d, late ? DER_TIME : DER_UTC_TIME, text, (size_t)n);
}

static int put_times(struct der_writer *d, const struct ca_entry *issuer, const struct signer_issue *q, struct refusal *r)
{
	int64_t limits[2];
	size_t mark = der_mark(d);

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
	put_time(d, limits[1]);
	put_time(d, limits[0]);
	der_enclose(d, DER_SEQUENCE, mark);
	return 0;
}

/* 17 bytes where the first bit is set, of the 20 that RFC 5280 section 4.1.2.2 allows. */
static void put_serial(struct der_writer *d, const struct signer_issue *q)
{
	uint8_t inside[SIGNER_SERIAL + 1];

	der_value(d, DER_INTEGER, inside, der_integer_inside(inside, q->serial, SIGNER_SERIAL));
}

static void put_name(struct der_writer *d, const X509_NAME *name)
{
	unsigned char *der = NULL;
	int n = i2d_X509_NAME(name, &der);

	if (n > 0)
		der_put(d, der, (size_t)n);
	else
		d->full = true;
	OPENSSL_free(der);
}

/* RFC 5758 section 3.2 and RFC 4055 section 5: RSA has NULL for parameters, ECDSA has none. */
static void put_algorithm(struct der_writer *d, const EVP_PKEY *key)
{
	size_t mark = der_mark(d);
	int nid;

	if (!OBJ_find_sigid_by_algs(&nid, EVP_MD_get_type(key_digest(key)), EVP_PKEY_get_base_id(key))) {
		d->full = true;
		return;
	}
	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
		der_value(d, DER_NULL, NULL, 0);
	der_oid(d, nid);
	der_enclose(d, DER_SEQUENCE, mark);
}

/* TBSCertificate (RFC 5280 section 4.1), written from its end. */
static int put_tbs(struct der_writer *d, const struct signer_setup *setup, const struct ca_entry *issuer, const struct signer_issue *q,
    const struct issue_order *order, struct strv spki, struct refusal *r)
{
	static const uint8_t version_3[] = { 0xa0, 3, DER_INTEGER, 1, X509_VERSION_3 };
	const struct extensions *fixed = fixed_extensions(setup, issuer, EVP_PKEY_get_base_id(order->key) == EVP_PKEY_RSA);
	size_t mark = der_mark(d);

	if (fixed == NULL)
		return refuse_openssl(r, "cannot write the extensions");
	put_extensions(d, fixed, q, order, spki);
	der_put(d, spki.p, spki.n);
	if (certificate_subject(d, order->profile->subject, q, r) < 0 || put_times(d, issuer, q, r) < 0)
		return -1;
	put_name(d, X509_get_subject_name(issuer->certificate));
	put_algorithm(d, issuer->pkey);
	put_serial(d, q);
	der_put(d, version_3, sizeof(version_3));
	der_enclose(d, DER_SEQUENCE, mark);
	return d->full ? refuse_openssl(r, "cannot put the certificate together") : 0;
}

/* 0 or -1. */
static int put_signature(struct der_writer *d, struct strv tbs, EVP_PKEY *key)
{
	uint8_t bits[SIGNATURE_ROOM];
	size_t n = sizeof(bits) - 1;

	if (key_sign(key, tbs, bits + 1, &n) < 0)
		return -1;
	bits[0] = 0; /* no unused bits */
	der_value(d, DER_BIT_STRING, bits, n + 1);
	return 0;
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
	uint8_t tbs_room[DER_ROOM], room[DER_ROOM + SIGNATURE_ROOM + 64];
	struct der_writer tbs, d;
	struct strv whole;
	unsigned char *made, *out = NULL;
	struct strv spki = key_bytes(order, &made);

	der_start(&tbs, tbs_room, sizeof(tbs_room));
	der_start(&d, room, sizeof(room));
	if (put_tbs(&tbs, setup, issuer, q, order, spki, r) < 0)
		goto out;
	if (put_signature(&d, der_done(&tbs), issuer->pkey) < 0) {
		refuse_openssl(r, "the issuing CA's key does not sign");
		goto out;
	}
	put_algorithm(&d, issuer->pkey);
	der_put(&d, der_done(&tbs).p, der_done(&tbs).n);
	der_enclose(&d, DER_SEQUENCE, sizeof(room));
	whole = der_done(&d);
	out = whole.n > 0 ? OPENSSL_memdup(whole.p, whole.n) : NULL;
	*n = whole.n;
	if (out == NULL)
		refuse_openssl(r, "cannot put the certificate together");
out:
	OPENSSL_free(made);
	return out;
}
