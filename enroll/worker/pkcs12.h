/*
 * pkcs12: a key pair made here for a device that cannot make its own, and the PKCS#12 file (RFC 7292) that brings it there.
 * Stores nothing: the key lives from pkcs12_key_new() to EVP_PKEY_free(), the file from pkcs12_build() to buffer_clear(),
 * which wipe; the password is shown once. Which certificate, decides issue.h. Runs in the worker of easenroll.
 *
 * Threats E 49: whoever delivers it sends PKCS12_TYPE with Cache-Control: no-store, once.
 */
#ifndef EASGATE_ENROLL_PKCS12_H
#define EASGATE_ENROLL_PKCS12_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "common/buffer.h"

#define PKCS12_TYPE	     "application/x-pkcs12"
#define PKCS12_MAX	     65536	/* bytes; the ceiling that the buffer should have at least */
#define PKCS12_CHAIN_MAX     8
#define PKCS12_PASSWORD_SIZE 25		/* five groups of four, four '-', final NUL: 100 random bits */

enum pkcs12_key { PKCS12_KEY_EC = 0, PKCS12_KEY_RSA };	/* P-256, RSA 2048 */

enum pkcs12_age {
	PKCS12_MODERN = 0,	/* AES-256-CBC, PBKDF2 with SHA-256, MAC with SHA-256 */
	PKCS12_LEGACY,		/* 3DES and MAC with SHA-1: Android up to 13, iOS up to 14, Windows before 10 1709 */
};

/* NULL: out of memory or of randomness. EVP_PKEY_free() wipes. */
EVP_PKEY *pkcs12_key_new(enum pkcs12_key kind);
/* The SubjectPublicKeyInfo (DER) appended to `out`: all of a request that a server-made key has. 0 or -1. */
MUST_CHECK int pkcs12_public_key(const EVP_PKEY *key, struct buffer *out);
/* "K7QM-2XRA-...": upper-case letters and digits without 0, 1, I, O. 0, or -1: no randomness. The caller wipes. */
MUST_CHECK int pkcs12_password(char out[PKCS12_PASSWORD_SIZE]);

/*
 * Appends the file (DER): key, its certificate and the chain (issuing CA first; DER each; chain_n at most PKCS12_CHAIN_MAX).
 * `name` is what the device's list of certificates shows: 1 to 128 bytes of clean UTF-8. 0, or -1 and nothing is appended:
 * not certificates, a certificate that is not the key's, a password of less than 20 bytes, or no memory.
 */
MUST_CHECK int pkcs12_build(EVP_PKEY *key, struct strv certificate, const struct strv *chain, size_t chain_n, const char *password,
    const char *name, enum pkcs12_age age, struct buffer *out);

#endif
