/*
 * pki: keys and certificates that tests make for themselves, good ones and every kind of bad one.
 * Everything asserts: a certificate that cannot be made is a broken test. Memory is freed by
 * pki_free().
 */
#ifndef EASGATE_TESTS_PKI_H
#define EASGATE_TESTS_PKI_H

#include <stdio.h>
#include <stdlib.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/base.h"

/* Bytes being built; big enough for any test's extension. */
struct der {
	uint8_t p[2048];
	size_t n;
};

static inline struct der der_raw(const void *p, size_t n)
{
	struct der d = { .n = n };

	if (n > sizeof(d.p))
		abort();
	memcpy(d.p, p, n);
	return d;
}

#define DER_TEXT(literal) der_raw(literal, sizeof(literal) - 1)

static inline struct der der_cat(struct der a, struct der b)
{
	if (a.n + b.n > sizeof(a.p))
		abort();
	memcpy(a.p + a.n, b.p, b.n);
	a.n += b.n;
	return a;
}

/* One element around `inside`, with the shortest length. */
static inline struct der der_tlv(uint8_t tag, struct der inside)
{
	uint8_t head[4] = { tag, (uint8_t)inside.n };
	size_t n = 2;

	if (inside.n > 255) {
		head[1] = 0x82;
		head[2] = (uint8_t)(inside.n >> 8);
		head[3] = (uint8_t)inside.n;
		n = 4;
	} else if (inside.n > 127) {
		head[1] = 0x81;
		head[2] = (uint8_t)inside.n;
		n = 3;
	}
	return der_cat(der_raw(head, n), inside);
}

#define DER_OID_UPN DER_TEXT("\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03")
#define DER_OID_SID DER_TEXT("\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x19\x02\x01")

/* One GeneralName: otherName UPN holding a string of this tag (0x0c: UTF8String). */
static inline struct der der_upn(uint8_t tag, struct der text)
{
	return der_tlv(0xa0, der_cat(DER_OID_UPN, der_tlv(0xa0, der_tlv(tag, text))));
}

/* The contents of the SID extension, as AD CS writes it. */
static inline struct der der_sid(struct der text)
{
	return der_tlv(
	    0x30, der_tlv(0xa0, der_cat(DER_OID_SID, der_tlv(0xa0, der_tlv(0x04, text)))));
}

struct pki_ext {
	const char *oid;
	bool critical;
	struct der value;
};

struct pki_name {
	int nid, type; /* V_ASN1_... */
	struct strv text;
	int set; /* 0: an RDN of its own; -1: joins the one before */
};

/* What a certificate is made of; zero is the ordinary. */
struct pki {
	const char *cn; /* UTF8String; NULL: `names` only */
	struct pki_name names[8];
	const struct pki_pair *issuer; /* NULL: self-signed */
	bool ca;
	int pathlen;	       /* -1..; with ca; 0 means none given */
	const char *key_usage; /* OpenSSL's words; NULL: the usual; "" none */
	const char *eku;       /* NULL: clientAuth for devices; "" none */
	const char *san;       /* OpenSSL's words */
	/* "P-256" (default), "P-224", "RSA-2048", "RSA-1024", "ED25519" */
	const char *key;
	const EVP_MD *md;
	long from, to;	   /* seconds from now; 0, 0: an hour back, a day on */
	struct der serial; /* contents octets of the INTEGER; empty: a random one */
	bool no_key_ids;
	struct pki_ext ext[4];
};

struct pki_pair {
	X509 *cert;
	EVP_PKEY *key;
};

static inline void must(bool ok, const char *what, int line)
{
	if (ok)
		return;
	fprintf(stderr, "pki.h:%d: %s failed\n", line, what);
	ERR_print_errors_fp(stderr);
	abort();
}
#define MUST(e) must(!!(e), #e, __LINE__)

static inline EVP_PKEY *pki_key(const char *kind)
{
	EVP_PKEY *key;

	if (kind == NULL)
		kind = "P-256";
	if (strncmp(kind, "RSA-", 4) == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)atoi(kind + 4));
	else if (strcmp(kind, "ED25519") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind);
	MUST(key != NULL);
	return key;
}

static inline void pki_ext_words(X509 *cert, X509 *issuer, int nid, const char *words)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, words);
	MUST(ext != NULL);
	MUST(X509_add_ext(cert, ext, -1) == 1);
	X509_EXTENSION_free(ext);
}

static inline void pki_ext_raw(X509 *cert, const struct pki_ext *e)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(e->oid, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *ext;

	MUST(oid != NULL && value != NULL);
	MUST(ASN1_OCTET_STRING_set(value, e->value.p, (int)e->value.n) == 1);
	ext = X509_EXTENSION_create_by_OBJ(NULL, oid, e->critical, value);
	MUST(ext != NULL && X509_add_ext(cert, ext, -1) == 1);
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
}

static inline void pki_serial(X509 *cert, const struct der *serial)
{
	uint8_t random[12] = { 1 };
	struct der whole;
	const unsigned char *p;
	ASN1_INTEGER *integer;

	for (size_t i = 1; i < sizeof(random); i++)
		random[i] = (uint8_t)rand();
	whole = der_tlv(0x02, serial->n > 0 ? *serial : der_raw(random, sizeof(random)));
	p = whole.p;
	integer = d2i_ASN1_INTEGER(NULL, &p, (long)whole.n);
	MUST(integer != NULL && X509_set_serialNumber(cert, integer) == 1);
	ASN1_INTEGER_free(integer);
}

static inline void pki_subject(X509 *cert, const struct pki *spec)
{
	X509_NAME *name = X509_NAME_new();

	MUST(name != NULL);
	for (size_t i = 0; i < ARRAY_LEN(spec->names) && spec->names[i].nid != 0; i++) {
		const struct pki_name *n = &spec->names[i];
		X509_NAME_ENTRY *e = X509_NAME_ENTRY_new();
		ASN1_STRING *s = X509_NAME_ENTRY_get_data(e);

		/* Past OpenSSL's own checks of types and lengths, which are not what is tested. */
		MUST(X509_NAME_ENTRY_set_object(e, OBJ_nid2obj(n->nid)) == 1);
		MUST(ASN1_STRING_set(s, n->text.p, (int)n->text.n) == 1);
		s->type = n->type;
		MUST(X509_NAME_add_entry(name, e, -1, n->set) == 1);
		X509_NAME_ENTRY_free(e);
	}
	if (spec->cn != NULL)
		MUST(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
			 (const unsigned char *)(uintptr_t)spec->cn, -1, -1, 0) == 1);
	MUST(X509_set_subject_name(cert, name) == 1);
	X509_NAME_free(name);
}

static inline void pki_usual_extensions(X509 *cert, X509 *issuer, const struct pki *spec)
{
	char basic[64];
	const char *usage = spec->ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature";

	snprintf(basic, sizeof(basic), "critical,CA:%s", spec->ca ? "TRUE" : "FALSE");
	if (spec->ca && spec->pathlen != 0)
		snprintf(basic, sizeof(basic), "critical,CA:TRUE,pathlen:%d",
		    spec->pathlen < 0 ? 0 : spec->pathlen);
	pki_ext_words(cert, issuer, NID_basic_constraints, basic);
	if (spec->key_usage == NULL || spec->key_usage[0] != '\0')
		pki_ext_words(
		    cert, issuer, NID_key_usage, spec->key_usage != NULL ? spec->key_usage : usage);
	if (!spec->no_key_ids) {
		pki_ext_words(cert, issuer, NID_subject_key_identifier, "hash");
		pki_ext_words(cert, issuer, NID_authority_key_identifier, "keyid:always");
	}
	if (spec->eku != NULL && spec->eku[0] != '\0')
		pki_ext_words(cert, issuer, NID_ext_key_usage, spec->eku);
	else if (spec->eku == NULL && !spec->ca)
		pki_ext_words(cert, issuer, NID_ext_key_usage, "clientAuth");
	if (spec->san != NULL)
		pki_ext_words(cert, issuer, NID_subject_alt_name, spec->san);
}

static inline struct pki_pair pki_make(const struct pki *spec)
{
	struct pki_pair pair = { X509_new(), pki_key(spec->key) };
	X509 *issuer = spec->issuer != NULL ? spec->issuer->cert : pair.cert;
	EVP_PKEY *signer = spec->issuer != NULL ? spec->issuer->key : pair.key;
	bool ed = EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519;
	bool usual = spec->from == 0 && spec->to == 0;
	const EVP_MD *md = spec->md != NULL ? spec->md : EVP_sha256();

	MUST(pair.cert != NULL && X509_set_version(pair.cert, X509_VERSION_3) == 1);
	MUST(X509_gmtime_adj(X509_getm_notBefore(pair.cert), usual ? -3600 : spec->from) != NULL);
	MUST(X509_gmtime_adj(X509_getm_notAfter(pair.cert), usual ? 86400 : spec->to) != NULL);
	pki_serial(pair.cert, &spec->serial);
	MUST(X509_set_pubkey(pair.cert, pair.key) == 1);
	pki_subject(pair.cert, spec);
	MUST(X509_set_issuer_name(pair.cert, X509_get_subject_name(issuer)) == 1);
	pki_usual_extensions(pair.cert, issuer, spec);
	for (size_t i = 0; i < ARRAY_LEN(spec->ext) && spec->ext[i].oid != NULL; i++)
		pki_ext_raw(pair.cert, &spec->ext[i]);
	MUST(X509_sign(pair.cert, signer, ed ? NULL : md) > 0);
	return pair;
}

static inline void pki_free(struct pki_pair *pair)
{
	X509_free(pair->cert);
	EVP_PKEY_free(pair->key);
	pair->cert = NULL;
	pair->key = NULL;
}

/* Writes certificates and, where not NULL, a key as PEM. */
static inline void pki_write(const char *path, X509 *const *certs, size_t n, EVP_PKEY *key)
{
	BIO *bio = BIO_new_file(path, "w");

	MUST(bio != NULL);
	for (size_t i = 0; i < n; i++)
		MUST(PEM_write_bio_X509(bio, certs[i]) == 1);
	if (key != NULL)
		MUST(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
	BIO_free(bio);
}

#endif
