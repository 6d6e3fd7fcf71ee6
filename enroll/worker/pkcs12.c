/*
 * pkcs12: key pairs made for devices, and the files that bring them there. Stores nothing, logs nothing.
 * Runs in the worker of easenroll.
 */
#include "enroll/worker/pkcs12.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "common/text.h"

#define MODERN_ITERATIONS 100000	/* the password has 100 bits; this is for the day it was photographed in part */
#define LEGACY_ITERATIONS 2048		/* old devices take seconds for more */
#define PASSWORD_MIN	  20
#define NAME_MAX_BYTES	  128
#define GROUPS		  5
#define GROUP		  4

EVP_PKEY *pkcs12_key_new(enum pkcs12_key kind)
{
	EVP_PKEY *key = kind == PKCS12_KEY_RSA ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");

	ERR_clear_error();
	return key;
}

int pkcs12_public_key(const EVP_PKEY *key, struct buffer *out)
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der), r;

	if (n <= 0) {
		ERR_clear_error();
		return -1;
	}
	r = buffer_add(out, der, (size_t)n);
	OPENSSL_free(der);
	return r;
}

int pkcs12_password(char out[PKCS12_PASSWORD_SIZE])
{
	static const char letters[32] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
	uint8_t random[GROUPS * GROUP];
	size_t at = 0;

	out[0] = '\0';
	if (RAND_priv_bytes(random, sizeof(random)) != 1)
		return -1;
	for (size_t i = 0; i < sizeof(random); i++) {
		if (i > 0 && i % GROUP == 0)
			out[at++] = '-';
		out[at++] = letters[random[i] % sizeof(letters)];
	}
	out[at] = '\0';
	OPENSSL_cleanse(random, sizeof(random));
	return 0;
}

static X509 *read_certificate(struct strv der)
{
	const unsigned char *p = (const unsigned char *)der.p;
	X509 *cert = der.n > 0 && der.n <= PKCS12_MAX ? d2i_X509(NULL, &p, (long)der.n) : NULL;

	if (cert != NULL && p != (const unsigned char *)der.p + der.n) {
		X509_free(cert);
		cert = NULL;
	}
	return cert;
}

static STACK_OF(X509) *read_chain(const struct strv *chain, size_t n)
{
	STACK_OF(X509) *all = n <= PKCS12_CHAIN_MAX ? sk_X509_new_null() : NULL;

	for (size_t i = 0; all != NULL && i < n; i++) {
		X509 *cert = read_certificate(chain[i]);

		if (cert == NULL || sk_X509_push(all, cert) <= 0) {
			X509_free(cert);
			sk_X509_pop_free(all, X509_free);
			all = NULL;
		}
	}
	return all;
}

static PKCS12 *encode(EVP_PKEY *key, X509 *cert, STACK_OF(X509) *chain, const char *password, const char *name, enum pkcs12_age age)
{
	bool old = age == PKCS12_LEGACY;
	int nid = old ? NID_pbe_WithSHA1And3_Key_TripleDES_CBC : NID_aes_256_cbc;
	int rounds = old ? LEGACY_ITERATIONS : MODERN_ITERATIONS;
	/* -1: the MAC is set below, where its hash can be named */
	PKCS12 *p12 = PKCS12_create(password, name, key, cert, chain, nid, nid, rounds, -1, 0);

	if (p12 != NULL && PKCS12_set_mac(p12, password, -1, NULL, 0, rounds, old ? EVP_sha1() : EVP_sha256()) != 1) {
		PKCS12_free(p12);
		p12 = NULL;
	}
	return p12;
}

int pkcs12_build(EVP_PKEY *key, struct strv certificate, const struct strv *chain, size_t chain_n, const char *password,
    const char *name, enum pkcs12_age age, struct buffer *out)
{
	X509 *cert = read_certificate(certificate);
	STACK_OF(X509) *all = read_chain(chain, chain_n);
	struct strv title = strv_from(name);
	unsigned char *der = NULL;
	PKCS12 *p12 = NULL;
	int n = -1, r = -1;

	if (cert == NULL || all == NULL || X509_check_private_key(cert, key) != 1 || strlen(password) < PASSWORD_MIN ||
	    title.n == 0 || title.n > NAME_MAX_BYTES || !text_is_clean(title))
		goto out;
	p12 = encode(key, cert, all, password, name, age);
	if (p12 != NULL)
		n = i2d_PKCS12(p12, &der);
	if (n > 0) {
		r = buffer_add(out, der, (size_t)n);
		OPENSSL_clear_free(der, (size_t)n);
	}
out:
	PKCS12_free(p12);
	sk_X509_pop_free(all, X509_free);
	X509_free(cert);
	ERR_clear_error();
	return r;
}
