/*
 * crl_build: CRLs for tests, written byte by byte so that any mistake can be made on purpose; CA certificates and keys
 * made at run time.
 */
#ifndef TEST_CRL_BUILD_H
#define TEST_CRL_BUILD_H

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct der {		/* grows for ever; tests free it */
	unsigned char *p;
	size_t n, size;
};

static inline void der_bytes(struct der *d, const void *bytes, size_t n)
{
	if (d->n + n > d->size) {
		d->size = (d->n + n) * 2;
		d->p = realloc(d->p, d->size);
		if (d->p == NULL)
			abort();
	}
	memcpy(d->p + d->n, bytes, n);
	d->n += n;
}

static inline void der_head(struct der *d, int tag, size_t n)
{
	unsigned char h[6] = { (unsigned char)tag };
	size_t k = 0, i;

	if (n < 0x80) {
		h[1] = (unsigned char)n;
		der_bytes(d, h, 2);
		return;
	}
	while (k < 4 && n >> (8 * k) != 0)
		k++;
	h[1] = (unsigned char)(0x80 | k);
	for (i = 0; i < k; i++)
		h[2 + i] = (unsigned char)(n >> (8 * (k - 1 - i)));
	der_bytes(d, h, 2 + k);
}

static inline void der_value(struct der *d, int tag, const void *bytes, size_t n)
{
	der_head(d, tag, n);
	der_bytes(d, bytes, n);
}

/* Wraps and frees inner. */
static inline void der_wrap(struct der *d, int tag, struct der *inner)
{
	der_value(d, tag, inner->p, inner->n);
	free(inner->p);
	*inner = (struct der){ 0 };
}

static inline void der_integer(struct der *d, unsigned long long v)
{
	unsigned char b[9];
	int i = 9;

	do {
		b[--i] = (unsigned char)v;
		v >>= 8;
	} while (v != 0);
	if (b[i] & 0x80)
		b[--i] = 0;
	der_value(d, 0x02, b + i, (size_t)(9 - i));
}

static inline void der_when(struct der *d, time_t t)
{
	char text[32];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &tm);
	if (tm.tm_year < 150)
		der_value(d, 0x17, text + 2, 13);
	else
		der_value(d, 0x18, text, 15);
}

/* value: the extension's DER. */
static inline void der_extension(struct der *d, const char *oid, size_t oid_n, int critical, const void *value, size_t n)
{
	struct der e = { 0 };

	der_value(&e, 0x06, oid, oid_n);
	if (critical)
		der_value(&e, 0x01, "\xff", 1);
	der_value(&e, 0x04, value, n);
	der_wrap(d, 0x30, &e);
}

static inline void der_number_extension(struct der *d, const char *oid, int critical, unsigned long long number)
{
	struct der v = { 0 };

	der_integer(&v, number);
	der_extension(d, oid, 3, critical, v.p, v.n);
	free(v.p);
}

#define OID_NUMBER "\x55\x1d\x14"
#define OID_DELTA  "\x55\x1d\x1b"
#define OID_SCOPE  "\x55\x1d\x1c"
#define OID_AKID   "\x55\x1d\x23"
#define OID_REASON "\x55\x1d\x15"

struct test_ca {
	EVP_PKEY *key;
	X509 *cert;
};

/* usage: "keyCertSign,cRLSign" or NULL for none; pathlen < 0: none. */
static inline struct test_ca test_ca_new(const char *name, const char *usage, int pathlen, EVP_PKEY *key)
{
	struct test_ca ca = { key != NULL ? key : EVP_EC_gen("P-256"), X509_new() };
	char constraints[64];
	X509_EXTENSION *e;
	X509V3_CTX ctx;

	X509_set_version(ca.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(ca.cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(ca.cert), -86400);
	X509_gmtime_adj(X509_getm_notAfter(ca.cert), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(ca.cert), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(ca.cert, X509_get_subject_name(ca.cert));
	X509_set_pubkey(ca.cert, ca.key);
	X509V3_set_ctx(&ctx, ca.cert, ca.cert, NULL, NULL, 0);
	if (pathlen >= 0)
		snprintf(constraints, sizeof(constraints), "critical,CA:TRUE,pathlen:%d", pathlen);
	else
		strcpy(constraints, "critical,CA:TRUE");
	e = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, constraints);
	X509_add_ext(ca.cert, e, -1);
	X509_EXTENSION_free(e);
	e = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_key_identifier, "hash");
	X509_add_ext(ca.cert, e, -1);
	X509_EXTENSION_free(e);
	if (usage != NULL) {
		e = X509V3_EXT_conf_nid(NULL, &ctx, NID_key_usage, usage);
		X509_add_ext(ca.cert, e, -1);
		X509_EXTENSION_free(e);
	}
	if (!X509_sign(ca.cert, ca.key, EVP_PKEY_is_a(ca.key, "ED25519") ? NULL : EVP_sha256()))
		abort();
	return ca;
}

/* The same name and key as `ca`, but certified by `by` under this serial. */
static inline void test_ca_certify(struct test_ca *ca, const struct test_ca *by, long serial)
{
	X509_set_issuer_name(ca->cert, X509_get_subject_name(by->cert));
	ASN1_INTEGER_set(X509_get_serialNumber(ca->cert), serial);
	if (!X509_sign(ca->cert, by->key, EVP_sha256()))
		abort();
}

static inline void test_ca_free(struct test_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
}

/* AlgorithmIdentifiers. */
#define ALG_ECDSA_SHA256 "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", 12
#define ALG_ECDSA_SHA1	 "\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x04\x01", 11
#define ALG_ED25519	 "\x30\x05\x06\x03\x2b\x65\x70", 7
#define ALG_RSA_SHA256	 "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00", 15

struct test_crl {
	const struct test_ca *ca;
	time_t this_update, next_update;	/* next 0: left out */
	struct der entries;			/* contents of revokedCertificates */
	struct der extensions;			/* contents of the list of extensions */
	const char *algorithm;			/* NULL: ecdsa-with-SHA256 */
	size_t algorithm_n;
	const char *outer_algorithm;		/* NULL: the same */
	size_t outer_n;
	const EVP_MD *md;			/* NULL: SHA-256 */
	int no_digest;				/* Ed25519 */
	int version1;
};

static inline void crl_entry(struct test_crl *c, unsigned long long serial, int reason)
{
	struct der e = { 0 }, list = { 0 };
	unsigned char value[3] = { 0x0a, 1, (unsigned char)reason };

	der_integer(&e, serial);
	der_when(&e, c->this_update);
	if (reason >= 0) {
		der_extension(&list, OID_REASON, 3, 0, value, sizeof(value));
		der_wrap(&e, 0x30, &list);
	}
	der_wrap(&c->entries, 0x30, &e);
}

/* Frees what c holds; the result is the caller's. */
static inline struct der crl_sign(struct test_crl *c)
{
	const char *algorithm = c->algorithm != NULL ? c->algorithm : "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
	size_t algorithm_n = c->algorithm != NULL ? c->algorithm_n : 12, n;
	struct der in = { 0 }, tbs = { 0 }, all = { 0 }, out = { 0 }, list = { 0 };
	unsigned char *name = NULL, *signature;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int name_n = i2d_X509_NAME(X509_get_subject_name(c->ca->cert), &name);

	if (!c->version1)
		der_integer(&in, 1);
	der_bytes(&in, algorithm, algorithm_n);
	der_bytes(&in, name, (size_t)name_n);
	OPENSSL_free(name);
	der_when(&in, c->this_update);
	if (c->next_update != 0)
		der_when(&in, c->next_update);
	if (c->entries.n > 0)
		der_wrap(&in, 0x30, &c->entries);
	if (c->extensions.n > 0) {
		der_wrap(&list, 0x30, &c->extensions);
		der_wrap(&in, 0xa0, &list);
	}
	der_wrap(&tbs, 0x30, &in);
	if (EVP_DigestSignInit(ctx, NULL, c->no_digest ? NULL : c->md != NULL ? c->md : EVP_sha256(), NULL, c->ca->key) != 1 ||
	    EVP_DigestSign(ctx, NULL, &n, tbs.p, tbs.n) != 1)
		abort();
	signature = calloc(1, n + 1);
	if (signature == NULL || EVP_DigestSign(ctx, signature + 1, &n, tbs.p, tbs.n) != 1)
		abort();
	der_bytes(&all, tbs.p, tbs.n);
	free(tbs.p);
	if (c->outer_algorithm != NULL)
		der_bytes(&all, c->outer_algorithm, c->outer_n);
	else
		der_bytes(&all, algorithm, algorithm_n);
	der_value(&all, 0x03, signature, n + 1);
	free(signature);
	EVP_MD_CTX_free(ctx);
	der_wrap(&out, 0x30, &all);
	return out;
}

/* A sound list: number, entries first..last (last < first: none). */
static inline struct der crl_simple(const struct test_ca *ca, time_t now, unsigned long long number, unsigned first, unsigned last)
{
	struct test_crl c = { .ca = ca, .this_update = now - 60, .next_update = now + 3600 };

	der_number_extension(&c.extensions, OID_NUMBER, 0, number);
	for (; first <= last; first++)
		crl_entry(&c, first, -1);
	return crl_sign(&c);
}

static inline struct der crl_delta(const struct test_ca *ca, time_t now, unsigned long long number, unsigned long long base,
    unsigned revoked, unsigned removed)
{
	struct test_crl c = { .ca = ca, .this_update = now - 30, .next_update = now + 1800 };

	der_number_extension(&c.extensions, OID_NUMBER, 0, number);
	der_number_extension(&c.extensions, OID_DELTA, 1, base);
	if (revoked != 0)
		crl_entry(&c, revoked, 1);
	if (removed != 0)
		crl_entry(&c, removed, 8);
	return crl_sign(&c);
}

#endif
