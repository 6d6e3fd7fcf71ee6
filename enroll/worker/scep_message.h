/*
 * scep_message: SCEP pkiMessages (RFC 8894 §3) read and built. Pure: no I/O, no clock, no keys.
 * All bytes are hostile. Nothing here decrypts or signs: that is the signer's (enroll/signer/ask.h).
 */
#ifndef EASGATE_ENROLL_SCEP_MESSAGE_H
#define EASGATE_ENROLL_SCEP_MESSAGE_H

#include <openssl/x509.h>

#include "common/base.h"

#define SCEP_MESSAGE_MAX (1024 * 1024)	/* a pkiMessage */
#define SCEP_ENVELOPE_MAX 61440		/* its content: goes to the signer as one wire message */
#define SCEP_TRANSACTION_MAX 256
#define SCEP_NONCE_MAX 64
#define SCEP_CERTIFICATES_MAX 8		/* embedded ones; and recipients of the envelope */

enum scep_type {		/* messageType, RFC 8894 §3.2.1.2 */
	SCEP_CERT_REP = 3,
	SCEP_RENEWAL_REQ = 17,
	SCEP_PKCS_REQ = 19,
	SCEP_CERT_POLL = 20,
	SCEP_GET_CERT = 21,
	SCEP_GET_CRL = 22,
};

enum scep_fail {		/* failInfo, RFC 8894 §3.2.1.4.5 */
	SCEP_BAD_ALG = 0,
	SCEP_BAD_MESSAGE_CHECK,
	SCEP_BAD_REQUEST,
	SCEP_BAD_TIME,
	SCEP_BAD_CERT_ID,
};

enum scep_result {
	SCEP_OK = 0,
	SCEP_NOT_CMS = -400,	/* no CMS SignedData of one signer, over a limit, bytes behind it: nothing to answer to */
	SCEP_NO_ATTRIBUTES,	/* messageType, transactionID or senderNonce absent, doubled, of a wrong type or size */
	SCEP_UNKNOWN_TYPE,	/* messageType is none of a request's */
	/* from here on transaction, nonce and type are filled, so that a signed refusal can be sent */
	SCEP_WEAK_DIGEST,	/* MD5, SHA-1 unless allowed, or an algorithm that nobody uses */
	SCEP_BAD_KEY,		/* the signer's key is not RSA of 2048 to 8192 bits with a sane exponent */
	SCEP_BAD_SIGNATURE,
	SCEP_BAD_CONTENT,	/* no EnvelopedData */
	SCEP_BAD_CIPHER,	/* content cipher refused by the configuration */
};
const char *scep_result_text(enum scep_result result);

struct scep_rules {
	bool sha1, des3, des;	/* accept SHA-1, Triple-DES-CBC, single DES-CBC */
};

/* One request. Owns what it points to; free with scep_request_clear(). */
struct scep_request {
	enum scep_type type;
	char transaction[SCEP_TRANSACTION_MAX];	/* opaque bytes of a PrintableString, never in paths, SQL text or logs raw */
	size_t transaction_n;
	uint8_t nonce[SCEP_NONCE_MAX];
	size_t nonce_n;
	int digest;		/* NID of the signer's digest */
	int cipher;		/* NID of the envelope's content cipher */
	EVP_PKEY *key;		/* that signed the message; proves nothing about whose it is. NULL: one that OpenSSL does not know */
	uint8_t *certificate;	/* the embedded one with that key: its bytes, of which nobody has vouched for any */
	size_t certificate_n;
	uint8_t *envelope;	/* the EnvelopedData as a CMS ContentInfo (BER) */
	size_t envelope_n;
};

/*
 * Reads a pkiMessage; the signature is checked against the embedded certificate of its signer, whose names, dates, version
 * and issuer mean nothing here. Returns SCEP_OK, or a refusal: what is then filled stands at enum scep_result, and
 * scep_request_clear() is still to be called. Drains OpenSSL's error queue.
 */
MUST_CHECK enum scep_result scep_request_read(struct scep_request *out, const void *bytes, size_t n, const struct scep_rules *rules);
/* Frees; harmless on zeroed storage. */
void scep_request_clear(struct scep_request *request);

/* The request's own certificate, and SHA-256 of the SubjectPublicKeyInfo in it. The latter: 0 or -1. */
struct strv scep_certificate(const struct scep_request *request);
MUST_CHECK int scep_spki_sha256(const struct scep_request *request, uint8_t out[SHA256_SIZE]);
/* True if `spki` (DER) is the key that signed the message: subjects are never compared, clients make them up. */
bool scep_is_signed_by(const struct scep_request *request, struct strv spki);

/* The opened content of GetCert and GetCRL: IssuerAndSerialNumber (RFC 8894 §3.3.4). 0 or -1. The caller frees *issuer and *serial. */
MUST_CHECK int scep_read_issuer_serial(const void *der, size_t n, X509_NAME **issuer, ASN1_INTEGER **serial);
/* The opened content of CertPoll: IssuerAndSubject (RFC 8894 §3.3.3). 0 or -1. The caller frees both names. */
MUST_CHECK int scep_read_issuer_subject(const void *der, size_t n, X509_NAME **issuer, X509_NAME **subject);

/*
 * A degenerate SignedData (RFC 5652 §5.1: certificates and CRL only), in the order given: `certs`
 * (NULL: none), then `cert` and `crl` (n == 0: none), DER of our own making that is not read again. Returns the DER (free with
 * OPENSSL_free), *n its length, NULL: no memory.
 */
unsigned char *scep_degenerate(const STACK_OF(X509) *certs, struct strv cert, struct strv crl, size_t *n);

/*
 * An EnvelopedData around `bytes` for who signed the request (RSA, PKCS#1 v1.5 key transport: what every client reads), its cipher the one of
 * the request. Anything but AES-CBC, Triple-DES-CBC and, where rules allow it, DES-CBC becomes AES-256-CBC; DES itself is never
 * answered with DES but with AES-128-CBC, which such clients read. NULL: its key is unfit, or no memory.
 */
unsigned char *scep_envelope(const struct scep_request *request, const void *bytes, size_t bytes_n, size_t *n);

#endif
