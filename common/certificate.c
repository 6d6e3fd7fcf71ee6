/*
 * certificate: readers of names, SAN, UPN, SID, serial and key hashes.
 * Must not shorten or repair: what is not just what the standard says is refused. Runs in every
 * process.
 */
#include "common/certificate_parts.h"

#include <stdio.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "common/text.h"

/*
 * DER contents octets of the OIDs below: compared as bytes, so that no table of OpenSSL's is asked.
 */
/* 2.5.29.17 */
#define OID_SAN STRV("\x55\x1d\x11")
/* 1.3.6.1.4.1.311.20.2.3 */
#define OID_UPN STRV("\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03")
/* 1.3.6.1.4.1.311.25.2 and .1 below it */
#define OID_SECURITY_EXT STRV("\x2b\x06\x01\x04\x01\x82\x37\x19\x02")
#define OID_OBJECT_SID	 STRV("\x2b\x06\x01\x04\x01\x82\x37\x19\x02\x01")

const char *cert_result_text(enum cert_result result)
{
	switch (result) {
	case CERT_OK:
		return "good";
	case CERT_ABSENT:
		return "not in the certificate";
	case CERT_BAD_TEXT:
		return "bytes or a string type that no directory name holds";
	case CERT_AMBIGUOUS:
		return "there more than once";
	case CERT_TOO_LONG:
		return "too long";
	case CERT_MALFORMED:
		return "malformed";
	case CERT_BAD_SERIAL:
		return "serial number negative, zero or longer than 20 bytes";
	}
	return "unknown";
}

/* --- hashes and serials --- */

int cert_spki_sha256(const X509 *cert, uint8_t out[SHA256_SIZE])
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	int rc = -1;

	if (n > 0 && EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL) == 1)
		rc = 0;
	OPENSSL_free(der);
	return rc;
}

int cert_sha256(const X509 *cert, uint8_t out[SHA256_SIZE])
{
	unsigned n = 0;

	return X509_digest(cert, EVP_sha256(), out, &n) == 1 && n == SHA256_SIZE ? 0 : -1;
}

enum cert_result cert_serial(const ASN1_INTEGER *serial, struct serial *out)
{
	struct serial s = { 0 };
	const uint8_t *p;
	int n;

	if (serial == NULL || ASN1_STRING_type(serial) != V_ASN1_INTEGER)
		return CERT_BAD_SERIAL; /* V_ASN1_NEG_INTEGER is another type */
	p = ASN1_STRING_get0_data(serial);
	n = ASN1_STRING_length(serial);
	while (n > 0 && *p == 0) {
		p++;
		n--;
	}
	if (n <= 0 || n > SERIAL_MAX)
		return CERT_BAD_SERIAL;
	s.n = (uint8_t)n;
	memcpy(s.byte, p, (size_t)n);
	*out = s;
	return CERT_OK;
}

/* --- extensions --- */

static bool oid_is(const ASN1_OBJECT *object, struct strv oid)
{
	return strv_eq(
	    (struct strv){ (const char *)OBJ_get0_data(object), OBJ_length(object) }, oid);
}

enum cert_result cert_extension(const X509 *cert, struct strv oid, struct strv *out)
{
	X509_EXTENSION *found = NULL;
	const ASN1_OCTET_STRING *value;
	int count = X509_get_ext_count(cert);

	for (int i = 0; i < count; i++) {
		X509_EXTENSION *ext = X509_get_ext(cert, i);

		if (!oid_is(X509_EXTENSION_get_object(ext), oid))
			continue;
		if (found != NULL)
			return CERT_AMBIGUOUS;
		found = ext;
	}
	if (found == NULL)
		return CERT_ABSENT;
	value = X509_EXTENSION_get_data(found);
	out->p = (const char *)ASN1_STRING_get0_data(value);
	out->n = (size_t)ASN1_STRING_length(value);
	return out->n > 0 ? CERT_OK : CERT_MALFORMED;
}

/*
 * The subjectAltName as OpenSSL's template reads it, and only if writing it again gives the same
 * bytes: so there are no trailing bytes, no BER, and nothing that another reader would see
 * differently.
 */
static enum cert_result subject_alt_names(const X509 *cert, GENERAL_NAMES **out)
{
	GENERAL_NAMES *names;
	unsigned char *again = NULL;
	struct strv value;
	const unsigned char *p;
	enum cert_result rc = cert_extension(cert, OID_SAN, &value);
	int n;

	if (rc != CERT_OK)
		return rc;
	p = (const unsigned char *)value.p;
	names = d2i_GENERAL_NAMES(NULL, &p, (long)value.n);
	if (names == NULL) {
		ERR_clear_error();
		return CERT_MALFORMED;
	}
	n = i2d_GENERAL_NAMES(names, &again);
	if (n <= 0 || !strv_eq(value, (struct strv){ (const char *)again, (size_t)n })) {
		GENERAL_NAMES_free(names);
		rc = CERT_MALFORMED;
	} else {
		*out = names;
	}
	OPENSSL_free(again);
	ERR_clear_error();
	return rc;
}

/* Something on both sides of its only '@'. */
static bool is_mail_shaped(const char *text)
{
	const char *at = strchr(text, '@');

	return at != NULL && at != text && at[1] != '\0' && strchr(at + 1, '@') == NULL;
}

static const ASN1_TYPE *upn_of(const GENERAL_NAME *name)
{
	if (name->type != GEN_OTHERNAME || !oid_is(name->d.otherName->type_id, OID_UPN))
		return NULL;
	return name->d.otherName->value;
}

enum cert_result cert_upn(const X509 *cert, char out[CERT_TEXT_MAX])
{
	GENERAL_NAMES *names = NULL;
	const ASN1_TYPE *upn = NULL;
	enum cert_result rc = subject_alt_names(cert, &names);

	out[0] = '\0';
	for (int i = 0; rc == CERT_OK && i < sk_GENERAL_NAME_num(names); i++) {
		const ASN1_TYPE *one = upn_of(sk_GENERAL_NAME_value(names, i));

		if (one != NULL && upn != NULL)
			rc = CERT_AMBIGUOUS; /* two are two, be they alike or not */
		else if (one != NULL)
			upn = one;
	}
	if (rc == CERT_OK && upn == NULL)
		rc = CERT_ABSENT;
	else if (rc == CERT_OK && upn->type != V_ASN1_UTF8STRING)
		rc = CERT_BAD_TEXT;
	else if (rc == CERT_OK)
		rc = cert_string(out, CERT_TEXT_MAX, upn->value.utf8string);
	if (rc == CERT_OK && !is_mail_shaped(out))
		rc = CERT_MALFORMED;
	if (rc != CERT_OK)
		out[0] = '\0';
	GENERAL_NAMES_free(names);
	return rc;
}

enum cert_result cert_email(const X509 *cert, char out[CERT_TEXT_MAX])
{
	char one[CERT_TEXT_MAX];
	GENERAL_NAMES *names = NULL;
	enum cert_result rc = subject_alt_names(cert, &names);

	out[0] = '\0';
	for (int i = 0; rc == CERT_OK && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_EMAIL)
			continue;
		rc = cert_string(one, sizeof(one), name->d.rfc822Name);
		if (rc == CERT_OK && !is_mail_shaped(one))
			rc = CERT_MALFORMED;
		else if (rc == CERT_OK && out[0] != '\0' && strcmp(one, out) != 0)
			rc = CERT_AMBIGUOUS;
		else if (rc == CERT_OK)
			memcpy(out, one, CERT_TEXT_MAX);
	}
	if (rc == CERT_OK && out[0] == '\0')
		rc = CERT_ABSENT;
	if (rc != CERT_OK)
		out[0] = '\0';
	GENERAL_NAMES_free(names);
	return rc;
}

/* --- the SID extension --- */

/*
 * Takes one DER element with this tag from the front: definite, minimal length, whole. False: it is
 * not that.
 */
static bool der_take(struct strv *rest, uint8_t tag, struct strv *contents)
{
	const uint8_t *p = (const uint8_t *)rest->p;
	size_t head = 2, n;

	if (rest->n < 2 || p[0] != tag)
		return false;
	n = p[1];
	if (n == 0x81 && rest->n >= 3 && p[2] >= 0x80) {
		n = p[2];
		head = 3;
	} else if (n == 0x82 && rest->n >= 4 && p[2] != 0) {
		n = (size_t)p[2] << 8 | p[3];
		head = 4;
	} else if (n >= 0x80) {
		return false;
	}
	if (rest->n - head < n)
		return false;
	*contents = (struct strv){ rest->p + head, n };
	rest->p += head + n;
	rest->n -= head + n;
	return true;
}

/*
 * S-1-authority(-number)+: decimal, no leading zeros, at most 15 numbers of 32 bits, authority
 * of 48.
 */
static bool is_sid(struct strv text)
{
	struct strv rest = text, part;
	uint64_t value;
	unsigned parts = 0;

	if (!strv_eq(text_split(&rest, '-'), STRV("S")) || rest.p == NULL ||
	    !strv_eq(text_split(&rest, '-'), STRV("1")))
		return false;
	while (rest.p != NULL) {
		part = text_split(&rest, '-');
		if (part.n > 1 && part.p[0] == '0')
			return false;
		if (text_u64(part, parts == 0 ? 0xffffffffffffu : UINT32_MAX, &value) != 0)
			return false;
		parts++;
	}
	return parts >= 2 && parts <= 16;
}

/* One OtherName of the extension: CERT_ABSENT when it is of another type. */
static enum cert_result sid_of_entry(struct strv entry, struct strv *sid)
{
	struct strv type, outer, text;

	if (!der_take(&entry, 0x06, &type) || type.n == 0)
		return CERT_MALFORMED;
	if (!der_take(&entry, 0xa0, &outer) || entry.n != 0)
		return CERT_MALFORMED;
	if (!strv_eq(type, OID_OBJECT_SID))
		return CERT_ABSENT;
	if (!der_take(&outer, 0x04, &text) || outer.n != 0)
		return CERT_MALFORMED;
	*sid = text;
	return CERT_OK;
}

enum cert_result cert_sid(const X509 *cert, char out[CERT_SID_MAX])
{
	struct strv rest, sequence, entry, one, sid = { NULL, 0 };
	enum cert_result rc = cert_extension(cert, OID_SECURITY_EXT, &rest);

	out[0] = '\0';
	if (rc != CERT_OK)
		return rc;
	if (!der_take(&rest, 0x30, &sequence) || rest.n != 0)
		return CERT_MALFORMED;
	while (sequence.n > 0) {
		if (!der_take(&sequence, 0xa0, &entry))
			return CERT_MALFORMED;
		rc = sid_of_entry(entry, &one);
		if (rc == CERT_OK && sid.p != NULL)
			return CERT_AMBIGUOUS;
		if (rc == CERT_OK)
			sid = one;
		else if (rc != CERT_ABSENT)
			return rc;
	}
	/*
	 * The extension is there to hold a SID: one without is not "no SID" but a certificate gone
	 * wrong.
	 */
	if (sid.p == NULL || sid.n == 0)
		return CERT_MALFORMED;
	if (sid.n >= CERT_SID_MAX)
		return CERT_TOO_LONG;
	if (!is_sid(sid))
		return CERT_MALFORMED;
	memcpy(out, sid.p, sid.n);
	out[sid.n] = '\0';
	return CERT_OK;
}

/* --- the subject --- */

/* True when the entry at `index` shares its RDN with another one. */
static bool in_multi_valued_rdn(const X509_NAME *name, int index)
{
	int set = X509_NAME_ENTRY_set(X509_NAME_get_entry(name, index));

	for (int i = 0; i < X509_NAME_entry_count(name); i++) {
		if (i != index && X509_NAME_ENTRY_set(X509_NAME_get_entry(name, i)) == set)
			return true;
	}
	return false;
}

enum cert_result cert_subject_attribute(const X509 *cert, int nid, char out[CERT_TEXT_MAX])
{
	const X509_NAME *name = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(name, nid, -1);

	out[0] = '\0';
	if (at < 0)
		return CERT_ABSENT;
	if (X509_NAME_get_index_by_NID(name, nid, at) >= 0 || in_multi_valued_rdn(name, at))
		return CERT_AMBIGUOUS;
	return cert_string(
	    out, CERT_TEXT_MAX, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
}

void cert_name_for_log(const X509_NAME *name, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n = 0;

	out[0] = '\0';
	if (bio != NULL &&
	    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
		n = BIO_get_mem_data(bio, &text);
	if (n > 0) {
		size_t keep = (size_t)n < size ? (size_t)n : size - 1;

		/* Cut between characters. */
		while (keep > 0 && keep < (size_t)n && ((uint8_t)text[keep] & 0xc0) == 0x80)
			keep--;
		memcpy(out, text, keep);
		out[keep] = '\0';
	}
	BIO_free(bio);
	ERR_clear_error();
}
