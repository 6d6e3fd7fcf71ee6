/*
 * scep_message: reads SCEP pkiMessages and what was inside their envelope. Refuses, never repairs; decrypts nothing.
 * The signature is over the bytes that came (RFC 5652 section 5.4): content by its digest among the signed attributes. Runs in the worker process.
 */
#include "enroll/worker/scep_message.h"

#include <openssl/asn1t.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "common/der.h"
#include "common/public_key.h"
#include "common/text.h"
#include "enroll/cms_form.h"

#define ATTRIBUTES_MAX 32

typedef struct issuer_serial {
	X509_NAME *issuer;
	ASN1_INTEGER *serial;
} ISSUER_SERIAL;
typedef struct issuer_subject {
	X509_NAME *issuer, *subject;
} ISSUER_SUBJECT;

ASN1_SEQUENCE(ISSUER_SERIAL) = {
	ASN1_SIMPLE(ISSUER_SERIAL, issuer, X509_NAME),
	ASN1_SIMPLE(ISSUER_SERIAL, serial, ASN1_INTEGER),
} static_ASN1_SEQUENCE_END(ISSUER_SERIAL)

ASN1_SEQUENCE(ISSUER_SUBJECT) = {
	ASN1_SIMPLE(ISSUER_SUBJECT, issuer, X509_NAME),
	ASN1_SIMPLE(ISSUER_SUBJECT, subject, X509_NAME),
} static_ASN1_SEQUENCE_END(ISSUER_SUBJECT)

const char *scep_result_text(enum scep_result result)
{
	switch (result) {
	case SCEP_OK:
		return "ok";
	case SCEP_NOT_CMS:
		return "no CMS SignedData with one signer and its certificate";
	case SCEP_NO_ATTRIBUTES:
		return "messageType, transactionID or senderNonce absent or malformed";
	case SCEP_UNKNOWN_TYPE:
		return "messageType is not that of a request";
	case SCEP_WEAK_DIGEST:
		return "digest or signature algorithm not accepted";
	case SCEP_BAD_KEY:
		return "signer's key is not RSA of 2048 to 8192 bits";
	case SCEP_BAD_SIGNATURE:
		return "signature does not verify";
	case SCEP_BAD_CONTENT:
		return "content is not EnvelopedData";
	case SCEP_BAD_CIPHER:
		return "content cipher not accepted";
	}
	return "unknown";
}

void scep_request_clear(struct scep_request *request)
{
	EVP_PKEY_free(request->key);
	OPENSSL_free(request->certificate);
	OPENSSL_free(request->envelope);
	*request = (struct scep_request){ 0 };
}

struct strv scep_certificate(const struct scep_request *request)
{
	return (struct strv){ (const char *)request->certificate, request->certificate_n };
}

int scep_spki_sha256(const struct scep_request *request, uint8_t out[SHA256_SIZE])
{
	struct der_certificate parts;

	if (der_certificate_read(scep_certificate(request), &parts) < 0)
		return -1;
	return EVP_Digest(parts.spki.p, parts.spki.n, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

bool scep_is_signed_by(const struct scep_request *request, struct strv spki)
{
	struct der_certificate parts;
	EVP_PKEY *key;
	bool same;

	if (der_certificate_read(scep_certificate(request), &parts) < 0)
		return false;
	if (strv_eq(parts.spki, spki))
		return true;
	/* one key can be written in several ways */
	key = public_key_read(spki);
	same = key != NULL && request->key != NULL && EVP_PKEY_eq(request->key, key) == 1;
	EVP_PKEY_free(key);
	ERR_clear_error();
	return same;
}

/* RSA of a size that is neither breakable nor a way to burn our time, with an exponent that does what one should. */
static bool key_is_fit(EVP_PKEY *key)
{
	BIGNUM *e;
	bool fit;

	if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		return false;
	if (EVP_PKEY_get_bits(key) < 2048 || EVP_PKEY_get_bits(key) > 8192)
		return false;
	e = public_key_number(key, OSSL_PKEY_PARAM_RSA_E, 8);
	fit = e != NULL && BN_is_odd(e) && !BN_is_one(e);
	BN_free(e);
	return fit;
}

/* Some write a name in another way than their certificate has it. */
static bool same_name(struct strv a, struct strv b)
{
	const unsigned char *p = (const unsigned char *)a.p, *q = (const unsigned char *)b.p;
	X509_NAME *one, *other;
	bool same;

	if (strv_eq(a, b))
		return true;
	one = d2i_X509_NAME(NULL, &p, (long)a.n);
	other = d2i_X509_NAME(NULL, &q, (long)b.n);
	same = one != NULL && other != NULL && X509_NAME_cmp(one, other) == 0;
	X509_NAME_free(one);
	X509_NAME_free(other);
	return same;
}

static bool has_key_id(struct strv certificate, struct strv id)
{
	const unsigned char *p = (const unsigned char *)certificate.p;
	X509 *cert = d2i_X509(NULL, &p, (long)certificate.n);
	const ASN1_OCTET_STRING *own = cert != NULL ? X509_get0_subject_key_id(cert) : NULL;
	bool has = own != NULL && strv_eq(asn1_string_view(own), id);

	X509_free(cert);
	return has;
}

/* By its issuer and serial, or by its key identifier: what the signer says of itself. */
static bool is_signers(const CMS_SIGNER_FORM *signer, struct strv certificate, const struct der_certificate *parts)
{
	struct strv who, list, issuer, serial, inside;
	int type = ASN1_TYPE_get(signer->who);

	/* only of these is it known that bytes are there: a NULL or BOOLEAN has none */
	if (type != V_ASN1_OTHER && type != V_ASN1_SEQUENCE)
		return false;
	who = asn1_string_view(signer->who->value.asn1_string);
	if (type == V_ASN1_OTHER)
		return der_take(&who, DER_CONTEXT(0), &inside, NULL) == 0 && who.n == 0 && has_key_id(certificate, inside);
	return der_take(&who, DER_SEQUENCE, &list, NULL) == 0 && who.n == 0 &&
	    der_take(&list, DER_SEQUENCE, &inside, &issuer) == 0 && der_take(&list, DER_INTEGER, &inside, &serial) == 0 && list.n == 0 &&
	    strv_eq(serial, parts->serial) && same_name(issuer, parts->issuer);
}

/* The one signer, and its certificate among the embedded ones: exactly one that it names. */
static CMS_SIGNER_FORM *find_signer(const CMS_SIGNED_FORM *form, struct strv *certificate, struct der_certificate *parts)
{
	CMS_SIGNER_FORM *signer;
	struct der_certificate one;
	unsigned found = 0;

	if (sk_CMS_SIGNER_FORM_num(form->signers) != 1 || sk_ASN1_TYPE_num(form->certificates) > SCEP_CERTIFICATES_MAX)
		return NULL;
	signer = sk_CMS_SIGNER_FORM_value(form->signers, 0);
	for (int i = 0; i < sk_ASN1_TYPE_num(form->certificates); i++) {
		const ASN1_TYPE *value = sk_ASN1_TYPE_value(form->certificates, i);
		struct strv der;

		if (ASN1_TYPE_get(value) != V_ASN1_SEQUENCE)
			continue;
		der = asn1_string_view(value->value.sequence);
		if (der_certificate_read(der, &one) < 0)
			return NULL;
		if (!is_signers(signer, der, &one))
			continue;
		*certificate = der;
		*parts = one;
		found++;
	}
	return found == 1 ? signer : NULL;
}

/* The attribute 2.16.840.1.113733.1.9.nn if it stands there once, with one value of that type; NULL if not. */
static const ASN1_STRING *attribute(const CMS_SIGNER_FORM *signer, char nn, int type)
{
	const char oid[] = { 0x60, (char)0x86, 0x48, 0x01, (char)0x86, (char)0xf8, 0x45, 0x01, 0x09, nn };
	const ASN1_TYPE *value = cms_signed_attribute(signer, (struct strv){ oid, sizeof(oid) }, type);

	return value != NULL ? value->value.asn1_string : NULL;
}

static enum scep_result read_attributes(struct scep_request *out, const CMS_SIGNER_FORM *si)
{
	const ASN1_STRING *type = attribute(si, 2, V_ASN1_PRINTABLESTRING);
	const ASN1_STRING *nonce = attribute(si, 5, V_ASN1_OCTET_STRING);
	const ASN1_STRING *transaction = attribute(si, 7, V_ASN1_PRINTABLESTRING);
	uint64_t number;
	struct strv id, bytes;

	if (sk_X509_ATTRIBUTE_num(si->attributes) > ATTRIBUTES_MAX || type == NULL || nonce == NULL || transaction == NULL)
		return SCEP_NO_ATTRIBUTES;
	id = asn1_string_view(transaction);
	bytes = asn1_string_view(nonce);
	if (id.n == 0 || id.n > sizeof(out->transaction) || bytes.n == 0 || bytes.n > sizeof(out->nonce))
		return SCEP_NO_ATTRIBUTES;
	for (size_t i = 0; i < id.n; i++) {	/* what PrintableString can hold, or clients put there */
		if (id.p[i] < 0x20 || id.p[i] > 0x7e)
			return SCEP_NO_ATTRIBUTES;
	}
	if (ASN1_STRING_length(type) > 2 || asn1_string_view(type).p[0] == '0' || text_u64(asn1_string_view(type), 99, &number) < 0)
		return SCEP_UNKNOWN_TYPE;
	if (number != SCEP_RENEWAL_REQ && (number < SCEP_PKCS_REQ || number > SCEP_GET_CRL))
		return SCEP_UNKNOWN_TYPE;
	memcpy(out->transaction, id.p, id.n);
	out->transaction_n = id.n;
	memcpy(out->nonce, bytes.p, bytes.n);
	out->nonce_n = bytes.n;
	out->type = (enum scep_type)number;
	return SCEP_OK;
}

/* Digest and signature algorithm, which must say the same; RSA PKCS#1 v1.5, as all clients do. */
static enum scep_result check_algorithms(const CMS_SIGNER_FORM *si, const struct scep_rules *rules, int *digest)
{
	int nid = OBJ_obj2nid(si->algorithm->algorithm), md = NID_undef, pk = NID_undef;

	*digest = OBJ_obj2nid(si->digest->algorithm);
	if (*digest != NID_sha256 && *digest != NID_sha384 && *digest != NID_sha512 && !(*digest == NID_sha1 && rules->sha1))
		return SCEP_WEAK_DIGEST;
	if (nid == NID_rsaEncryption)
		return SCEP_OK;
	if (OBJ_find_sigid_algs(nid, &md, &pk) != 1 || md != *digest || pk != NID_rsaEncryption)
		return SCEP_WEAK_DIGEST;
	return SCEP_OK;
}

static enum scep_result check_cipher(const X509_ALGOR *alg, const struct scep_rules *rules, int *cipher)
{
	const ASN1_OBJECT *object;
	const void *iv;
	int type, want = 16;

	X509_ALGOR_get0(&object, &type, &iv, alg);
	*cipher = OBJ_obj2nid(object);
	switch (*cipher) {
	case NID_aes_128_cbc:
	case NID_aes_192_cbc:
	case NID_aes_256_cbc:
		break;
	case NID_des_ede3_cbc:
	case NID_des_cbc:
		if (*cipher == NID_des_cbc ? !rules->des : !rules->des3)
			return SCEP_BAD_CIPHER;
		want = 8;
		break;
	default:
		return SCEP_BAD_CIPHER;
	}
	if (type != V_ASN1_OCTET_STRING || ASN1_STRING_length(iv) != want)
		return SCEP_BAD_CONTENT;
	return SCEP_OK;
}

/* The outside of the envelope: key transport only, bounded, a cipher that the configuration accepts. Opens nothing. */
static enum scep_result check_envelope(struct strv bytes, const struct scep_rules *rules, int *cipher)
{
	enum scep_result rc = SCEP_BAD_CONTENT;
	CMS_ENVELOPED_FORM *e;
	int recipients;

	if (bytes.n == 0 || bytes.n > SCEP_ENVELOPE_MAX)
		return SCEP_BAD_CONTENT;
	e = cms_enveloped_read(bytes);
	recipients = e != NULL ? sk_CMS_RECIPIENT_FORM_num(e->recipients) : 0;
	if (recipients >= 1 && recipients <= SCEP_CERTIFICATES_MAX && OBJ_obj2nid(e->content->type) == NID_pkcs7_data)
		rc = check_cipher(e->content->cipher, rules, cipher);
	cms_enveloped_free(e);
	return rc;
}

/* RFC 5652 section 5.4: the signed attributes say what kind of content this is, and its digest. */
static bool attributes_are_of(const CMS_SIGNER_FORM *signer, const EVP_MD *md, const CMS_CONTENT_FORM *content)
{
	static const char type_oid[] = { 0x2a, (char)0x86, 0x48, (char)0x86, (char)0xf7, 0x0d, 0x01, 0x09, 0x03 };
	static const char digest_oid[] = { 0x2a, (char)0x86, 0x48, (char)0x86, (char)0xf7, 0x0d, 0x01, 0x09, 0x04 };
	const ASN1_TYPE *type = cms_signed_attribute(signer, (struct strv){ type_oid, sizeof(type_oid) }, V_ASN1_OBJECT);
	const ASN1_TYPE *digest = cms_signed_attribute(signer, (struct strv){ digest_oid, sizeof(digest_oid) }, V_ASN1_OCTET_STRING);
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	return type != NULL && digest != NULL && OBJ_cmp(type->value.object, content->type) == 0 &&
	    EVP_Digest(ASN1_STRING_get0_data(content->bytes), (size_t)ASN1_STRING_length(content->bytes), hash, &n, md, NULL) == 1 &&
	    strv_eq(asn1_string_view(digest->value.octet_string), (struct strv){ (const char *)hash, n });
}

static bool is_signed(const CMS_SIGNER_FORM *signer, EVP_PKEY *key, const EVP_MD *md, const CMS_CONTENT_FORM *content)
{
	unsigned char *der = NULL;
	EVP_MD_CTX *ctx;
	bool good;
	int n;

	if (!attributes_are_of(signer, md, content))
		return false;
	n = cms_signed_attributes(signer, &der);
	ctx = EVP_MD_CTX_new();
	good = n > 0 && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 &&
	    EVP_DigestVerify(ctx, ASN1_STRING_get0_data(signer->signature), (size_t)ASN1_STRING_length(signer->signature), der, (size_t)n) == 1;
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	return good;
}

/* Takes the content out. */
static enum scep_result take_envelope(struct scep_request *out, const CMS_CONTENT_FORM *content, const struct scep_rules *rules)
{
	struct strv bytes = asn1_string_view(content->bytes);
	enum scep_result rc = check_envelope(bytes, rules, &out->cipher);

	if (rc != SCEP_OK)
		return rc;
	out->envelope = OPENSSL_memdup(bytes.p, bytes.n);
	out->envelope_n = bytes.n;
	return out->envelope != NULL ? SCEP_OK : SCEP_BAD_CONTENT;
}

static enum scep_result read_signed(struct scep_request *out, const CMS_SIGNED_FORM *form, const struct scep_rules *rules)
{
	struct strv certificate = { NULL, 0 };
	struct der_certificate parts = { .spki = { NULL, 0 } };
	CMS_SIGNER_FORM *signer = find_signer(form, &certificate, &parts);
	enum scep_result rc;

	if (signer == NULL)
		return SCEP_NOT_CMS;
	out->key = public_key_read(parts.spki);
	out->certificate = OPENSSL_memdup(certificate.p, certificate.n);
	out->certificate_n = out->certificate != NULL ? certificate.n : 0;
	if (out->certificate == NULL)
		return SCEP_NOT_CMS;
	rc = read_attributes(out, signer);
	if (rc != SCEP_OK)
		return rc;
	rc = check_algorithms(signer, rules, &out->digest);
	if (rc != SCEP_OK)
		return rc;
	if (!key_is_fit(out->key))
		return SCEP_BAD_KEY;
	if (OBJ_obj2nid(form->content->type) != NID_pkcs7_data || form->content->bytes == NULL)
		return SCEP_BAD_CONTENT;
	if (!is_signed(signer, out->key, EVP_get_digestbynid(out->digest), form->content))
		return SCEP_BAD_SIGNATURE;
	return take_envelope(out, form->content, rules);
}

enum scep_result scep_request_read(struct scep_request *out, const void *bytes, size_t n, const struct scep_rules *rules)
{
	enum scep_result rc = SCEP_NOT_CMS;
	CMS_SIGNED_FORM *form;

	*out = (struct scep_request){ 0 };
	if (n < 2 || n > SCEP_MESSAGE_MAX)
		return SCEP_NOT_CMS;
	form = cms_signed_read((struct strv){ bytes, n });
	if (form != NULL)
		rc = read_signed(out, form, rules);
	cms_signed_free(form);
	ERR_clear_error();
	return rc;
}

int scep_read_issuer_serial(const void *der, size_t n, X509_NAME **issuer, ASN1_INTEGER **serial)
{
	const unsigned char *p = der;
	ISSUER_SERIAL *is;
	int rc = -1;

	*issuer = NULL;
	*serial = NULL;
	if (n == 0 || n > SCEP_ENVELOPE_MAX)
		return -1;
	is = (ISSUER_SERIAL *)ASN1_item_d2i(NULL, &p, (long)n, ASN1_ITEM_rptr(ISSUER_SERIAL));
	if (is != NULL && p == (const unsigned char *)der + n) {
		*issuer = is->issuer;
		*serial = is->serial;
		is->issuer = NULL;
		is->serial = NULL;
		rc = 0;
	}
	ASN1_item_free((ASN1_VALUE *)is, ASN1_ITEM_rptr(ISSUER_SERIAL));
	ERR_clear_error();
	return rc;
}

int scep_read_issuer_subject(const void *der, size_t n, X509_NAME **issuer, X509_NAME **subject)
{
	const unsigned char *p = der;
	ISSUER_SUBJECT *is;
	int rc = -1;

	*issuer = NULL;
	*subject = NULL;
	if (n == 0 || n > SCEP_ENVELOPE_MAX)
		return -1;
	is = (ISSUER_SUBJECT *)ASN1_item_d2i(NULL, &p, (long)n, ASN1_ITEM_rptr(ISSUER_SUBJECT));
	if (is != NULL && p == (const unsigned char *)der + n) {
		*issuer = is->issuer;
		*subject = is->subject;
		is->issuer = NULL;
		is->subject = NULL;
		rc = 0;
	}
	ASN1_item_free((ASN1_VALUE *)is, ASN1_ITEM_rptr(ISSUER_SUBJECT));
	ERR_clear_error();
	return rc;
}
