/*
 * scep_client: SCEP requests as clients make them, and their answers opened: keys, certificates and messages made here.
 * Everything asserts: a message that cannot be made is a broken test.
 */
#ifndef EASGATE_TESTS_SCEP_CLIENT_H
#define EASGATE_TESTS_SCEP_CLIENT_H

#include <stdlib.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/base.h"

#define CLIENT_CHECK(what)                                                                 \
	do {                                                                               \
		if (!(what)) {                                                             \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);         \
			abort();                                                           \
		}                                                                          \
	} while (0)

struct client_bytes {
	unsigned char *p;	/* OPENSSL_free */
	size_t n;
};

/* How a message is made; zero is what most clients do. */
struct client_how {
	const char *type;		/* NULL: "19" */
	const char *transaction;	/* NULL: "0123ABCD" */
	int transaction_type;		/* 0: V_ASN1_PRINTABLESTRING */
	const EVP_MD *digest;		/* NULL: SHA-256 */
	const EVP_CIPHER *cipher;	/* NULL: AES-256-CBC */
	size_t nonce_n;			/* 0: 16 */
	bool oaep, indefinite, no_nonce, two_types, no_certificate, two_signers, raw_content, key_id;
};

static inline EVP_PKEY *client_key(unsigned bits)
{
	EVP_PKEY *key = EVP_RSA_gen(bits);

	CLIENT_CHECK(key != NULL);
	return key;
}

/* Self-signed, or by `issuer` when given. version: 0 is v1. */
static inline X509 *client_certificate(EVP_PKEY *key, const char *cn, long version, X509 *issuer, EVP_PKEY *issuer_key)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_NAME_new();

	CLIENT_CHECK(cert != NULL && name != NULL);
	CLIENT_CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) == 1);
	CLIENT_CHECK(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Example", -1, -1, 0) == 1);
	CLIENT_CHECK(X509_set_version(cert, version) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(cert), 4711) == 1);
	CLIENT_CHECK(X509_set_subject_name(cert, name) == 1);
	CLIENT_CHECK(X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : name) == 1);
	CLIENT_CHECK(X509_gmtime_adj(X509_getm_notBefore(cert), -60) != NULL);
	CLIENT_CHECK(X509_gmtime_adj(X509_getm_notAfter(cert), 86400) != NULL);
	CLIENT_CHECK(X509_set_pubkey(cert, key) == 1);
	CLIENT_CHECK(X509_sign(cert, issuer_key ? issuer_key : key, EVP_sha256()) > 0);
	X509_NAME_free(name);
	return cert;
}

/* A PKCS#10 with a challenge (NULL: none). The subject's order is the other way round than client_certificate()'s. */
static inline struct client_bytes client_csr(EVP_PKEY *key, const char *cn, const char *challenge)
{
	X509_REQ *req = X509_REQ_new();
	X509_NAME *name = X509_NAME_new();
	struct client_bytes der = { NULL, 0 };
	int n;

	CLIENT_CHECK(req != NULL && name != NULL);
	CLIENT_CHECK(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Example", -1, -1, 0) == 1);
	CLIENT_CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) == 1);
	CLIENT_CHECK(X509_REQ_set_subject_name(req, name) == 1 && X509_REQ_set_pubkey(req, key) == 1);
	if (challenge != NULL)
		CLIENT_CHECK(X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, MBSTRING_UTF8,
		    (const unsigned char *)challenge, -1) == 1);
	CLIENT_CHECK(X509_REQ_sign(req, key, EVP_sha256()) > 0);
	n = i2d_X509_REQ(req, &der.p);
	CLIENT_CHECK(n > 0);
	der.n = (size_t)n;
	X509_NAME_free(name);
	X509_REQ_free(req);
	return der;
}

static inline struct client_bytes client_encode(CMS_ContentInfo *cms, BIO *content, bool indefinite)
{
	BIO *out = BIO_new(BIO_s_mem());
	struct client_bytes b;
	char *p;
	long n;

	CLIENT_CHECK(out != NULL);
	if (indefinite)
		CLIENT_CHECK(i2d_CMS_bio_stream(out, cms, content, CMS_BINARY | CMS_STREAM) == 1);
	else
		CLIENT_CHECK(i2d_CMS_bio(out, cms) == 1);
	n = BIO_get_mem_data(out, &p);
	CLIENT_CHECK(n > 0);
	b.n = (size_t)n;
	b.p = OPENSSL_memdup(p, b.n);
	BIO_free(out);
	return b;
}

static inline struct client_bytes client_envelope(X509 *to, struct client_bytes inside, const struct client_how *how)
{
	unsigned flags = CMS_BINARY | CMS_PARTIAL | (how->indefinite ? CMS_STREAM : 0);
	BIO *in = BIO_new_mem_buf(inside.p, (int)inside.n);
	CMS_ContentInfo *cms = CMS_encrypt(NULL, in, how->cipher ? how->cipher : EVP_aes_256_cbc(), flags);
	CMS_RecipientInfo *ri;
	struct client_bytes out;

	CLIENT_CHECK(cms != NULL);
	ri = CMS_add1_recipient_cert(cms, to, how->oaep ? CMS_KEY_PARAM : 0);
	CLIENT_CHECK(ri != NULL);
	if (how->oaep)
		CLIENT_CHECK(EVP_PKEY_CTX_set_rsa_padding(CMS_RecipientInfo_get0_pkey_ctx(ri), RSA_PKCS1_OAEP_PADDING) == 1);
	if (!how->indefinite)
		CLIENT_CHECK(CMS_final(cms, in, NULL, CMS_BINARY) == 1);
	out = client_encode(cms, in, how->indefinite);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	return out;
}

static inline void client_attribute(CMS_SignerInfo *si, const char *nn, int type, const void *p, size_t n)
{
	char oid[64];

	snprintf(oid, sizeof(oid), "2.16.840.1.113733.1.9.%s", nn);
	CLIENT_CHECK(CMS_signed_add1_attr_by_txt(si, oid, type, p, (int)n) == 1);
}

static inline void client_attributes(CMS_SignerInfo *si, const struct client_how *how)
{
	const char *type = how->type ? how->type : "19", *id = how->transaction ? how->transaction : "0123ABCD";
	uint8_t nonce[128];

	memset(nonce, 0x5a, sizeof(nonce));
	client_attribute(si, "2", V_ASN1_PRINTABLESTRING, type, strlen(type));
	if (how->two_types)
		client_attribute(si, "2", V_ASN1_PRINTABLESTRING, "17", 2);
	client_attribute(si, "7", how->transaction_type ? how->transaction_type : V_ASN1_PRINTABLESTRING, id, strlen(id));
	if (!how->no_nonce)
		client_attribute(si, "5", V_ASN1_OCTET_STRING, nonce, how->nonce_n ? how->nonce_n : 16);
}

/* A whole pkiMessage around `content` (an envelope, or what the test wants there). */
static inline struct client_bytes client_sign(X509 *cert, EVP_PKEY *key, struct client_bytes content, const struct client_how *how)
{
	unsigned flags = CMS_BINARY | CMS_PARTIAL | (how->indefinite ? CMS_STREAM : 0);
	unsigned signer = CMS_NOSMIMECAP | (how->no_certificate ? CMS_NOCERTS : 0) | (how->key_id ? CMS_USE_KEYID : 0);
	BIO *in = BIO_new_mem_buf(content.p, (int)content.n);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, in, flags);
	struct client_bytes out;

	CLIENT_CHECK(cms != NULL);
	for (int i = 0; i < (how->two_signers ? 2 : 1); i++) {
		CMS_SignerInfo *si = CMS_add1_signer(cms, cert, key, how->digest ? how->digest : EVP_sha256(),
		    signer | (i > 0 ? CMS_NOCERTS : 0));

		CLIENT_CHECK(si != NULL);
		client_attributes(si, how);
	}
	if (!how->indefinite)
		CLIENT_CHECK(CMS_final(cms, in, NULL, CMS_BINARY) == 1);
	out = client_encode(cms, in, how->indefinite);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	return out;
}

/* CSR, envelope to `to`, signature. */
static inline struct client_bytes client_message(X509 *to, X509 *cert, EVP_PKEY *key, struct client_bytes csr, const struct client_how *how)
{
	struct client_bytes inside, out;

	inside = how->raw_content ? (struct client_bytes){ OPENSSL_memdup(csr.p, csr.n), csr.n } : client_envelope(to, csr, how);
	out = client_sign(cert, key, inside, how);
	OPENSSL_free(inside.p);
	return out;
}

#endif
