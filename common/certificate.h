/*
 * certificate: length-safe readers of X.509 certificates: names, SAN, UPN, SID, serial, key hashes. Runs in every process.
 * Nothing is shortened or repaired: text with bytes that no directory name holds is refused.
 */
#ifndef EASGATE_CERTIFICATE_H
#define EASGATE_CERTIFICATE_H

#include <openssl/x509.h>

#include "common/base.h"

#define SERIAL_MAX 20			/* bytes, RFC 5280 §4.1.2.2 */
#define CERT_TEXT_MAX 320		/* a UPN, mail address or subject attribute, with the final NUL */
#define CERT_SID_MAX 192

enum cert_result {
	CERT_OK = 0,
	CERT_ABSENT = 1,		/* the certificate does not have it */
	CERT_BAD_TEXT = -300,		/* NUL, control byte, malformed UTF-8, wrong string type */
	CERT_AMBIGUOUS,			/* two UPNs, two SIDs, two CNs, multi-valued RDN */
	CERT_TOO_LONG,
	CERT_MALFORMED,			/* not the ASN.1 that the standard says; empty SID; SID that is no S-1-... */
	CERT_BAD_SERIAL,		/* negative, zero or longer than 20 bytes */
};
const char *cert_result_text(enum cert_result result);

/* A serial as an unsigned number, most significant byte first, without leading zeros. */
struct serial {
	uint8_t n;
	uint8_t byte[SERIAL_MAX];
};

/* The exact 32 bytes that name an issuer everywhere (DESIGN §6): SHA-256 of its SubjectPublicKeyInfo (DER). */
MUST_CHECK int cert_spki_sha256(const X509 *cert, uint8_t out[SHA256_SIZE]);
MUST_CHECK int cert_sha256(const X509 *cert, uint8_t out[SHA256_SIZE]);		/* of the whole DER: the device's fingerprint */
MUST_CHECK enum cert_result cert_serial(const ASN1_INTEGER *serial, struct serial *out);

/* SAN otherName 1.3.6.1.4.1.311.20.2.3 as UTF8String only. */
enum cert_result cert_upn(const X509 *cert, char out[CERT_TEXT_MAX]);
/* SAN rfc822Name. Two different ones are CERT_AMBIGUOUS. */
enum cert_result cert_email(const X509 *cert, char out[CERT_TEXT_MAX]);
/* Extension 1.3.6.1.4.1.311.25.2 (szOID_NTDS_CA_SECURITY_EXT): SID as text, checked to be S-1-n(-n)+. A SID in a SAN URI is never read. */
enum cert_result cert_sid(const X509 *cert, char out[CERT_SID_MAX]);
/* A subject attribute by NID (CN, UID, emailAddress); UTF8String, PrintableString or IA5String only. */
enum cert_result cert_subject_attribute(const X509 *cert, int nid, char out[CERT_TEXT_MAX]);

/* altSecurityIdentities values (MS-PKCA 3.1.5.2.1.3): DN in Windows order, serial bytes reversed; see facts/activesync.md 4.9. */
enum cert_result cert_alt_issuer_serial(const X509 *cert, char *out, size_t size);	/* X509:<I>...<SR>... */
enum cert_result cert_alt_ski(const X509 *cert, char *out, size_t size);		/* X509:<SKI>... */
enum cert_result cert_alt_sha1_public_key(const X509 *cert, char *out, size_t size);	/* X509:<SHA1-PUKEY>... */
enum cert_result cert_alt_issuer_subject(const X509 *cert, char *out, size_t size);	/* X509:<I>...<S>... (weak) */
enum cert_result cert_alt_subject(const X509 *cert, char *out, size_t size);		/* X509:<S>... (weak) */
enum cert_result cert_alt_rfc822(const X509 *cert, char *out, size_t size);		/* X509:<RFC822>... (weak) */

/* Issuer and subject for logs, RFC 2253 UTF-8 with escapes, cut at size. */
void cert_name_for_log(const X509_NAME *name, char *out, size_t size);

#endif
