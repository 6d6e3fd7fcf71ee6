/*
 * certificate_alt: the values that a certificate has in altSecurityIdentities
 * (MS-PKCA 3.1.5.2.1.3). Must not write what could be read as another certificate's value. Runs in
 * every process.
 *
 * Names stand in the order of their encoding (root first), attributes in Windows' short forms,
 * values with special characters in quotes, serial bytes least significant first.
 */
#include "common/certificate_parts.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "common/text.h"

#define OID_SKI STRV("\x55\x1d\x0e") /* 2.5.29.14 */

/* What was written so far; `over` stays set once something did not fit. */
struct writer {
	char *out;
	size_t n, size;
	bool over;
};

static void put(struct writer *w, const char *p, size_t n)
{
	if (w->over || n >= w->size - w->n) {
		w->over = true;
		return;
	}
	memcpy(w->out + w->n, p, n);
	w->n += n;
	w->out[w->n] = '\0';
}

static void put_text(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_hex(struct writer *w, const uint8_t *p, size_t n, bool reversed, const char *digits)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = reversed ? p[n - 1 - i] : p[i];

		put(w, &digits[byte >> 4], 1);
		put(w, &digits[byte & 15], 1);
	}
}

static struct writer writer_begin(char *out, size_t size, const char *tag)
{
	struct writer w = { .out = out, .size = size };

	out[0] = '\0';
	put_text(&w, "X509:");
	put_text(&w, tag);
	return w;
}

/* All or nothing. */
static enum cert_result writer_end(struct writer *w, enum cert_result rc)
{
	if (rc == CERT_OK && w->over)
		rc = CERT_TOO_LONG;
	if (rc != CERT_OK)
		w->out[0] = '\0';
	return rc;
}

/* --- names --- */

static const struct {
	int nid;
	const char *name;
} short_names[] = {
	{ NID_commonName, "CN" },
	{ NID_localityName, "L" },
	{ NID_organizationName, "O" },
	{ NID_organizationalUnitName, "OU" },
	{ NID_pkcs9_emailAddress, "E" },
	{ NID_countryName, "C" },
	{ NID_stateOrProvinceName, "S" },
	{ NID_streetAddress, "STREET" },
	{ NID_title, "T" },
	{ NID_givenName, "G" },
	{ NID_initials, "I" },
	{ NID_surname, "SN" },
	{ NID_domainComponent, "DC" },
	{ NID_serialNumber, "SERIALNUMBER" },
};

static void put_type(struct writer *w, const ASN1_OBJECT *type)
{
	char oid[128];
	int nid = OBJ_obj2nid(type);
	int n;

	for (size_t i = 0; nid != NID_undef && i < ARRAY_LEN(short_names); i++) {
		if (short_names[i].nid == nid) {
			put_text(w, short_names[i].name);
			return;
		}
	}
	n = OBJ_obj2txt(oid, sizeof(oid), type, 1);
	if (n <= 0 || (size_t)n >= sizeof(oid)) {
		w->over = true;
		return;
	}
	put_text(w, "OID.");
	put_text(w, oid);
}

static void put_value(struct writer *w, const char *text)
{
	if (strpbrk(text, ",+=\"<>#;\\") == NULL) {
		put_text(w, text);
		return;
	}
	put_text(w, "\"");
	for (; *text != '\0'; text++) {
		put(w, text, 1);
		if (*text == '"')
			put(w, text, 1);
	}
	put_text(w, "\"");
}

static enum cert_result put_name(struct writer *w, const X509_NAME *name)
{
	char text[CERT_TEXT_MAX];
	int set = -1;
	int count = X509_NAME_entry_count(name);

	if (count == 0)
		return CERT_ABSENT;
	for (int i = 0; i < count; i++) {
		const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		enum cert_result rc;

		if (i > 0 && X509_NAME_ENTRY_set(entry) == set)
			return CERT_AMBIGUOUS;
		set = X509_NAME_ENTRY_set(entry);
		rc = cert_string(text, sizeof(text), X509_NAME_ENTRY_get_data(entry));
		if (rc != CERT_OK)
			return rc;
		if (i > 0)
			put_text(w, ",");
		put_type(w, X509_NAME_ENTRY_get_object(entry));
		put_text(w, "=");
		put_value(w, text);
	}
	return CERT_OK;
}

/* --- the six values --- */

enum cert_result cert_alt_issuer_serial(const X509 *cert, char *out, size_t size)
{
	struct writer w = writer_begin(out, size, "<I>");
	struct serial serial;
	enum cert_result rc = cert_serial(X509_get0_serialNumber(cert), &serial);

	if (rc == CERT_OK)
		rc = put_name(&w, X509_get_issuer_name(cert));
	if (rc == CERT_OK) {
		put_text(&w, "<SR>");
		put_hex(&w, serial.byte, serial.n, true, "0123456789ABCDEF");
	}
	return writer_end(&w, rc);
}

enum cert_result cert_alt_ski(const X509 *cert, char *out, size_t size)
{
	struct writer w = writer_begin(out, size, "<SKI>");
	ASN1_OCTET_STRING *ski = NULL;
	struct strv value;
	const unsigned char *p;
	enum cert_result rc = cert_extension(cert, OID_SKI, &value);

	if (rc == CERT_OK) {
		p = (const unsigned char *)value.p;
		ski = d2i_ASN1_OCTET_STRING(NULL, &p, (long)value.n);
		if (ski == NULL || p != (const unsigned char *)value.p + value.n ||
		    ASN1_STRING_length(ski) == 0)
			rc = CERT_MALFORMED;
		ERR_clear_error();
	}
	if (rc == CERT_OK)
		put_hex(&w, ASN1_STRING_get0_data(ski), (size_t)ASN1_STRING_length(ski), false,
		    "0123456789abcdef");
	ASN1_OCTET_STRING_free(ski);
	return writer_end(&w, rc);
}

enum cert_result cert_alt_sha1_public_key(const X509 *cert, char *out, size_t size)
{
	struct writer w = writer_begin(out, size, "<SHA1-PUKEY>");
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	/*
	 * Of the key's BIT STRING, not of the certificate, though some scripts put the thumbprint
	 * there.
	 */
	if (X509_pubkey_digest(cert, EVP_sha1(), hash, &n) != 1) {
		ERR_clear_error();
		return writer_end(&w, CERT_MALFORMED);
	}
	put_hex(&w, hash, n, false, "0123456789abcdef");
	return writer_end(&w, CERT_OK);
}

enum cert_result cert_alt_issuer_subject(const X509 *cert, char *out, size_t size)
{
	struct writer w = writer_begin(out, size, "<I>");
	enum cert_result rc = put_name(&w, X509_get_issuer_name(cert));

	if (rc == CERT_OK) {
		put_text(&w, "<S>");
		rc = put_name(&w, X509_get_subject_name(cert));
	}
	return writer_end(&w, rc);
}

enum cert_result cert_alt_subject(const X509 *cert, char *out, size_t size)
{
	struct writer w = writer_begin(out, size, "<S>");

	return writer_end(&w, put_name(&w, X509_get_subject_name(cert)));
}

enum cert_result cert_alt_rfc822(const X509 *cert, char *out, size_t size)
{
	struct writer w = writer_begin(out, size, "<RFC822>");
	char mail[CERT_TEXT_MAX];
	enum cert_result rc = cert_email(cert, mail);

	if (rc == CERT_OK)
		put_text(&w, mail);
	return writer_end(&w, rc);
}
