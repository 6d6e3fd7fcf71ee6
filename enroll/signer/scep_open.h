/*
 * scep_open: opens what clients encrypted to an RA (RFC 8894 section 3.2.2): RSA key transport (PKCS#1 v1.5 and OAEP), AES-CBC, by configuration DES3 and DES.
 *
 * All ways in which the decryption itself can fail end in the same answer, and a wrong padding of the key goes on with a random key, so that nobody
 * learns from us about the padding.
 */
#ifndef EASGATE_ENROLL_SIGNER_SCEP_OPEN_H
#define EASGATE_ENROLL_SIGNER_SCEP_OPEN_H

#include "enroll/signer/ca_files.h"

#define SCEP_RECIPIENTS_MAX 4

struct scep_ciphers {
	bool des3,
	    des; /* beside AES-128/192/256-CBC; des needs OpenSSL's legacy provider, loaded before */
};

/*
 * bytes: ContentInfo(EnvelopedData), DER or BER with indefinite lengths. Tried with the RA that a recipient names (current, next or old). Returns the plaintext
 * (OPENSSL_clear_free(p, *n)), or NULL with *r: SIGNER_BAD_MESSAGE or SIGNER_BAD_CIPHER.
 */
unsigned char *scep_open(struct ca_files *ca, const struct scep_ciphers *ciphers, const void *bytes,
    size_t bytes_n, size_t *n, struct refusal *r);

#endif
