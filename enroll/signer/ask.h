/*
 * ask: the questions that workers of easenroll put to the *signer*, which alone holds the CA's, the SCEP RA's, the OCSP signer's and the profile key.
 *
 * Every answer is a struct signer_answer followed by `n` bytes. The signer believes nothing: it checks each question against its own configuration and
 * refuses with a text that names what was wrong and the cure. Bodies are flat structs in host order (common/wire); texts end with NUL inside their room.
 */
#ifndef EASGATE_ENROLL_SIGNER_ASK_H
#define EASGATE_ENROLL_SIGNER_ASK_H

#include "common/base.h"

#define SIGNER_SERIAL	 16    /* bytes of a serial: an unsigned number, not zero */
#define SIGNER_DATA_MAX	 60000 /* bytes behind a question's or an answer's struct */
#define SIGNER_OCSP_MAX	 64    /* single responses in one question */
#define SIGNER_NONCE_MAX 128   /* RFC 9654 */
#define SIGNER_CHAIN_MAX 16    /* certificates in an answer to SIGNER_CHAIN */

/* What certificates say where things are, behind the plain URL; %s: the issuer's name, 64 hex digits of SHA-256 of its SubjectPublicKeyInfo. */
#define ENROLL_CRL_PATH	      "/crl/%s.crl"
#define ENROLL_DELTA_CRL_PATH "/crl/%s.delta.crl"
#define ENROLL_ISSUER_PATH    "/ca/%s.cer" /* the issuing CA's certificate, DER */
#define ENROLL_OCSP_PATH      "/ocsp"

enum signer_verb {
	SIGNER_ISSUE = 1, /* struct signer_issue + spki_n bytes -> certificate DER */
	SIGNER_CRL, /* struct signer_crl -> struct signer_crl_done. Takes seconds for a million entries; others are answered meanwhile */
	SIGNER_OCSP, /* struct signer_ocsp + entries_n struct signer_ocsp_entry -> one OCSPResponse DER with all of them */
	SIGNER_OCSP_PRESIGN, /* the same without nonce -> for each entry, in order, uint32_t length and an OCSPResponse DER of its own */
	SIGNER_SCEP_OPEN, /* ContentInfo(EnvelopedData), DER or BER -> plaintext. Every failure of the decryption reads the same */
	SIGNER_SCEP_SIGN, /* struct signer_scep_sign + content_n bytes -> ContentInfo(SignedData) DER: the CertRep */
	SIGNER_PROFILE_SIGN, /* bytes -> ContentInfo(SignedData) DER with them inside, signed by the profile key, chain included */
	SIGNER_CHAIN, /* nothing -> signer_chain_entry by signer_chain_entry, each followed by its n bytes. Ask it at each new link */
	SIGNER_NEXT_CA, /* nothing -> the body of an answer to GetNextCACert (RFC 8894 section 4.7.1), DER; SIGNER_NONE: there is none */
};

enum signer_status {
	SIGNER_OK = 0,
	SIGNER_REFUSED, /* the question asks for what may not be: `text` says what; the same question again is refused again */
	SIGNER_BAD_KEY, /* the public key is weak, known to be bad or not ours to certify: `text` says which */
	SIGNER_BAD_MESSAGE, /* SCEP_OPEN: not decryptable; one text for all reasons */
	SIGNER_BAD_CIPHER, /* SCEP_OPEN: an algorithm that the configuration does not allow (failInfo badAlg) */
	SIGNER_NONE, /* what was asked for does not exist (no next CA, an issuer that is none of ours) */
	SIGNER_TOO_MANY, /* too many refusals in a short time; again after a while */
	SIGNER_BROKEN,	 /* our own failure: token gone, disk full; `text` is for the log */
};

struct signer_answer {
	uint32_t status; /* enum signer_status */
	uint32_t n;	 /* bytes behind this struct; 0 unless SIGNER_OK */
	char text[248];	 /* "" on SIGNER_OK */
};

struct signer_issue {
	char profile[32];
	uint8_t serial[SIGNER_SERIAL];
	int64_t not_before,
	    not_after; /* seconds since 1970; notAfter may come back earlier: never after the CA's own */
	/* Of the account, from the directory; "" : it has none. A profile that wants one that is missing is refused. */
	char sid[192], upn[320], mail[320], sam[128], display_name[320];
	char device[33]; /* the device's id, lower-case hex, for {device} in the subject */
	uint8_t reserved[3];
	uint32_t spki_n; /* SubjectPublicKeyInfo DER behind this struct */
};

/*
 * The entries stand in <state_dir>/crl/in.<number>, written by the worker (0600) before it asks: `entries` times struct signer_crl_entry, ascending by serial,
 * each serial once. The signer writes <state_dir>/crl/<issuer>.crl or .delta.crl (through a temporary file, fsync, rename) and removes the input.
 */
struct signer_crl {
	uint8_t issuer[SHA256_SIZE]; /* of its SubjectPublicKeyInfo */
	uint64_t
	    number; /* CRLNumber; larger than any before for this issuer: the signer remembers since its start and refuses others */
	uint64_t base_number; /* 0: a full CRL; else a delta to the full CRL of that number */
	int64_t this_update, next_update;
	uint64_t entries;
};

struct signer_crl_entry {
	uint8_t serial[SIGNER_SERIAL];
	int64_t when; /* revocation date */
	uint8_t
	    reason; /* RFC 5280 section 5.3.1: 0..6, 8 (delta only), 9, 10; 0 is left out of the CRL */
	uint8_t pad[7]; /* zero */
};

struct signer_crl_done {
	uint64_t bytes;
	uint8_t sha256[SHA256_SIZE]; /* of the file */
};

enum signer_ocsp_status { SIGNER_OCSP_GOOD = 0, SIGNER_OCSP_REVOKED, SIGNER_OCSP_UNKNOWN };

struct signer_ocsp_entry {
	uint8_t cert_id[128]; /* CertID DER as asked (SHA-1 or SHA-256), of this issuer */
	uint32_t cert_id_n;
	uint32_t status; /* enum signer_ocsp_status */
	int64_t revoked_at;
	uint32_t reason, reserved;
};

struct signer_ocsp {
	uint8_t issuer[SHA256_SIZE];
	int64_t this_update, next_update;
	uint32_t nonce_n; /* 0: none */
	uint32_t entries_n;
	uint8_t nonce[SIGNER_NONCE_MAX];
};

enum signer_scep_status {
	SIGNER_SCEP_SUCCESS = 0,
	SIGNER_SCEP_FAILURE = 2,
	SIGNER_SCEP_PENDING = 3
};

/* Always a CertRep (messageType 3); content is the ContentInfo(EnvelopedData) for the requester, made by the worker; none in a failure or pending. */
struct signer_scep_sign {
	char transaction_id[260]; /* PrintableString as the requester gave it */
	uint32_t pki_status;	  /* enum signer_scep_status */
	uint32_t fail_info;	  /* 0..4; only in a failure */
	uint8_t recipient_nonce[64], sender_nonce[16];
	uint32_t recipient_nonce_n; /* 0: the request had none */
	char fail_text[256];	    /* failInfoText, UTF-8; "" : none */
	uint32_t digest;	    /* 256, 384 or 512 */
	/* Which RA signs: SHA-256 of the RA certificate that the request was encrypted to; zeros: the current one */
	uint8_t ra[SHA256_SIZE];
	uint32_t content_n;
};

enum signer_chain_kind {
	SIGNER_CHAIN_RA = 1,
	SIGNER_CHAIN_ISSUING,
	SIGNER_CHAIN_ROOT,
	SIGNER_CHAIN_OLD_ISSUING,
	SIGNER_CHAIN_NEXT_ISSUING,
	SIGNER_CHAIN_OLD_RA,
	SIGNER_CHAIN_PROFILE,
};

struct signer_chain_entry {
	uint32_t kind; /* enum signer_chain_kind */
	uint32_t n;    /* certificate DER behind this struct */
	uint8_t spki_sha256[SHA256_SIZE], sha256[SHA256_SIZE];
};

#endif
