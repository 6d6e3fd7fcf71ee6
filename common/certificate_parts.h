/*
 * certificate_parts: what certificate.c and certificate_alt.c share. For these two only.
 */
#ifndef EASGATE_CERTIFICATE_PARTS_H
#define EASGATE_CERTIFICATE_PARTS_H

#include "common/certificate.h"

/*
 * Copies a name's text to a C string. Refused: empty, longer than size - 1, malformed UTF-8,
 * control characters, a space at either end, and characters that directories ignore, fold away or
 * that look like others: two byte strings must never name one account.
 */
enum cert_result cert_text(char *out, size_t size, struct strv text);
/*
 * The same from an ASN.1 string: UTF8String, or PrintableString and IA5String with ASCII bytes
 * only.
 */
enum cert_result cert_string(char *out, size_t size, const ASN1_STRING *string);
/* The contents of the extension with this OID (DER contents octets), borrowed from cert. */
enum cert_result cert_extension(const X509 *cert, struct strv oid, struct strv *out);

#endif
