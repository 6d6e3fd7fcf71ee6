/*
 * scep_message: reads SCEP pkiMessages and what was inside their envelope. Refuses, never repairs; decrypts nothing.
 * OpenSSL's CMS_ functions only (its PKCS7_verify has a history). Runs in the worker process.
 */
#include "enroll/worker/scep_message.h"

#include <openssl/asn1t.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "common/text.h"

#define ATTRIBUTES_MAX 32

/* What is looked at of an EnvelopedData (RFC 5652 §6.1) before the signer opens it. */
typedef struct encrypted_content {
	ASN1_OBJECT *type;
	X509_ALGOR *cipher;
	ASN1_OCTET_STRING *bytes;
} ENCRYPTED_CONTENT;
typedef struct enveloped {
	ASN1_INTEGER *version;
	STACK_OF(ASN1_TYPE) *recipients;
	ENCRYPTED_CONTENT *content;
	STACK_OF(ASN1_TYPE) *attributes;
} ENVELOPED;
typedef struct envelope {
	ASN1_OBJECT *type;
	ENVELOPED *enveloped;
} ENVELOPE;

ASN1_SEQUENCE(ENCRYPTED_CONTENT) = {
	ASN1_SIMPLE(ENCRYPTED_CONTENT, type, ASN1_OBJECT),
	ASN1_SIMPLE(ENCRYPTED_CONTENT, cipher, X509_ALGOR),
	ASN1_IMP(ENCRYPTED_CONTENT, bytes, ASN1_OCTET_STRING, 0),
} static_ASN1_SEQUENCE_END(ENCRYPTED_CONTENT)

ASN1_SEQUENCE(ENVELOPED) = {
	ASN1_SIMPLE(ENVELOPED, version, ASN1_INTEGER),
	ASN1_SET_OF(ENVELOPED, recipients, ASN1_ANY),
	ASN1_SIMPLE(ENVELOPED, content, ENCRYPTED_CONTENT),
	ASN1_IMP_SET_OF_OPT(ENVELOPED, attributes, ASN1_ANY, 1),
} static_ASN1_SEQUENCE_END(ENVELOPED)

ASN1_SEQUENCE(ENVELOPE) = {
	ASN1_SIMPLE(ENVELOPE, type, ASN1_OBJECT),
	ASN1_EXP(ENVELOPE, enveloped, ENVELOPED, 0),
} static_ASN1_SEQUENCE_END(ENVELOPE)

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
	X509_free(request->signer);
	OPENSSL_free(request->envelope);
	*request = (struct scep_request){ 0 };
}

bool scep_same_key(const X509 *signer, EVP_PKEY *key)
{
	EVP_PKEY *theirs = X509_get0_pubkey(signer);

	return theirs != NULL && key != NULL && EVP_PKEY_eq(theirs, key) == 1;
}

/* RSA of a size that is neither breakable nor a way to burn our time, with an exponent that does what one should. */
static bool key_is_fit(X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	BIGNUM *e = NULL;
	bool fit;

	if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		return false;
	if (EVP_PKEY_get_bits(key) < 2048 || EVP_PKEY_get_bits(key) > 8192)
		return false;
	fit = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(e) <= 64;
	BN_free(e);
	return fit;
}

/* The one signer, and its certificate among the embedded ones: exactly one that has its issuer and serial, or key id. */
static CMS_SignerInfo *find_signer(CMS_ContentInfo *cms, X509 **cert)
{
	STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);
	STACK_OF(X509) *certs = CMS_get1_certs(cms);
	CMS_SignerInfo *si = NULL;
	int found = 0;

	*cert = NULL;
	if (sk_CMS_SignerInfo_num(signers) != 1 || sk_X509_num(certs) < 1 || sk_X509_num(certs) > SCEP_CERTIFICATES_MAX)
		goto out;
	si = sk_CMS_SignerInfo_value(signers, 0);
	for (int i = 0; i < sk_X509_num(certs); i++) {
		if (CMS_SignerInfo_cert_cmp(si, sk_X509_value(certs, i)) == 0) {
			*cert = sk_X509_value(certs, i);
			found++;
		}
	}
	if (found != 1 || X509_up_ref(*cert) != 1) {
		*cert = NULL;
		si = NULL;
	}
out:
	sk_X509_pop_free(certs, X509_free);
	return si;
}

/* The attribute 2.16.840.1.113733.1.9.nn if it stands there once, with one value of that type; NULL if not. */
static const ASN1_STRING *attribute(const CMS_SignerInfo *si, uint8_t nn, int type)
{
	const uint8_t oid[] = { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, nn };
	const ASN1_TYPE *value;
	X509_ATTRIBUTE *found = NULL;

	for (int i = 0; i < CMS_signed_get_attr_count(si); i++) {
		X509_ATTRIBUTE *one = CMS_signed_get_attr(si, i);
		const ASN1_OBJECT *object = X509_ATTRIBUTE_get0_object(one);

		if (OBJ_length(object) != sizeof(oid) || memcmp(OBJ_get0_data(object), oid, sizeof(oid)) != 0)
			continue;
		if (found != NULL)
			return NULL;
		found = one;
	}
	if (found == NULL || X509_ATTRIBUTE_count(found) != 1)
		return NULL;
	value = X509_ATTRIBUTE_get0_type(found, 0);
	if (value == NULL || ASN1_TYPE_get(value) != type)
		return NULL;
	return type == V_ASN1_OCTET_STRING ? value->value.octet_string : value->value.printablestring;
}

static struct strv string_view(const ASN1_STRING *s)
{
	return (struct strv){ (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) };
}

static enum scep_result read_attributes(struct scep_request *out, const CMS_SignerInfo *si)
{
	const ASN1_STRING *type = attribute(si, 2, V_ASN1_PRINTABLESTRING);
	const ASN1_STRING *nonce = attribute(si, 5, V_ASN1_OCTET_STRING);
	const ASN1_STRING *transaction = attribute(si, 7, V_ASN1_PRINTABLESTRING);
	uint64_t number;
	struct strv id, bytes;

	if (CMS_signed_get_attr_count(si) > ATTRIBUTES_MAX || type == NULL || nonce == NULL || transaction == NULL)
		return SCEP_NO_ATTRIBUTES;
	id = string_view(transaction);
	bytes = string_view(nonce);
	if (id.n == 0 || id.n > sizeof(out->transaction) || bytes.n == 0 || bytes.n > sizeof(out->nonce))
		return SCEP_NO_ATTRIBUTES;
	for (size_t i = 0; i < id.n; i++) {	/* what PrintableString can hold, or clients put there */
		if (id.p[i] < 0x20 || id.p[i] > 0x7e)
			return SCEP_NO_ATTRIBUTES;
	}
	if (ASN1_STRING_length(type) > 2 || string_view(type).p[0] == '0' || text_u64(string_view(type), 99, &number) < 0)
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
static enum scep_result check_algorithms(CMS_SignerInfo *si, const struct scep_rules *rules, int *digest)
{
	X509_ALGOR *digest_alg = NULL, *signature_alg = NULL;
	const ASN1_OBJECT *object;
	int nid, md = NID_undef, pk = NID_undef;

	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest_alg, &signature_alg);
	X509_ALGOR_get0(&object, NULL, NULL, digest_alg);
	*digest = OBJ_obj2nid(object);
	if (*digest != NID_sha256 && *digest != NID_sha384 && *digest != NID_sha512 && !(*digest == NID_sha1 && rules->sha1))
		return SCEP_WEAK_DIGEST;
	X509_ALGOR_get0(&object, NULL, NULL, signature_alg);
	nid = OBJ_obj2nid(object);
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
static enum scep_result check_envelope(const uint8_t *p, size_t n, const struct scep_rules *rules, int *cipher)
{
	const unsigned char *at = p;
	enum scep_result rc = SCEP_BAD_CONTENT;
	ENVELOPE *e;
	int recipients;

	if (n == 0 || n > SCEP_ENVELOPE_MAX)
		return SCEP_BAD_CONTENT;
	e = (ENVELOPE *)ASN1_item_d2i(NULL, &at, (long)n, ASN1_ITEM_rptr(ENVELOPE));
	if (e == NULL || at != p + n || OBJ_obj2nid(e->type) != NID_pkcs7_enveloped)
		goto out;
	recipients = sk_ASN1_TYPE_num(e->enveloped->recipients);
	if (recipients < 1 || recipients > SCEP_CERTIFICATES_MAX || OBJ_obj2nid(e->enveloped->content->type) != NID_pkcs7_data)
		goto out;
	for (int i = 0; i < recipients; i++) {
		if (ASN1_TYPE_get(sk_ASN1_TYPE_value(e->enveloped->recipients, i)) != V_ASN1_SEQUENCE)
			goto out;
	}
	rc = check_cipher(e->enveloped->content->cipher, rules, cipher);
out:
	ASN1_item_free((ASN1_VALUE *)e, ASN1_ITEM_rptr(ENVELOPE));
	return rc;
}

/* Verifies and takes the content out. */
static enum scep_result verify(struct scep_request *out, CMS_ContentInfo *cms, CMS_SignerInfo *si)
{
	BIO *content = BIO_new(BIO_s_mem());
	enum scep_result rc = SCEP_BAD_SIGNATURE;
	X509 *used = NULL;
	char *p;
	long n;

	if (content == NULL || CMS_verify(cms, NULL, NULL, NULL, content, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY) != 1)
		goto out;
	CMS_SignerInfo_get0_algs(si, NULL, &used, NULL, NULL);
	if (used == NULL || X509_cmp(used, out->signer) != 0)
		goto out;
	rc = SCEP_BAD_CONTENT;
	n = BIO_get_mem_data(content, &p);
	if (n <= 0 || n > SCEP_ENVELOPE_MAX)
		goto out;
	out->envelope = OPENSSL_memdup(p, (size_t)n);
	if (out->envelope == NULL)
		goto out;
	out->envelope_n = (size_t)n;
	rc = SCEP_OK;
out:
	BIO_free(content);
	return rc;
}

static enum scep_result read_signed(struct scep_request *out, CMS_ContentInfo *cms, const struct scep_rules *rules)
{
	ASN1_OCTET_STRING **content;
	CMS_SignerInfo *si;
	enum scep_result rc;

	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		return SCEP_NOT_CMS;
	si = find_signer(cms, &out->signer);
	if (si == NULL)
		return SCEP_NOT_CMS;
	rc = read_attributes(out, si);
	if (rc != SCEP_OK)
		return rc;
	rc = check_algorithms(si, rules, &out->digest);
	if (rc != SCEP_OK)
		return rc;
	if (!key_is_fit(out->signer))
		return SCEP_BAD_KEY;
	content = CMS_get0_content(cms);
	if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data || content == NULL || *content == NULL)
		return SCEP_BAD_CONTENT;
	rc = verify(out, cms, si);
	if (rc != SCEP_OK)
		return rc;
	return check_envelope(out->envelope, out->envelope_n, rules, &out->cipher);
}

enum scep_result scep_request_read(struct scep_request *out, const void *bytes, size_t n, const struct scep_rules *rules)
{
	const unsigned char *p = bytes;
	enum scep_result rc = SCEP_NOT_CMS;
	CMS_ContentInfo *cms;

	*out = (struct scep_request){ 0 };
	if (n < 2 || n > SCEP_MESSAGE_MAX)
		return SCEP_NOT_CMS;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);
	if (cms != NULL && p == (const unsigned char *)bytes + n)
		rc = read_signed(out, cms, rules);
	CMS_ContentInfo_free(cms);
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
