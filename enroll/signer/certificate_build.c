/*
 * certificate_build: puts a device's certificate together and has it signed. Runs in the signer.
 */
#include "enroll/signer/certificate_build.h"

#include <openssl/asn1t.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "common/text.h"
#include "enroll/signer/authority_build.h"

/* SubjectPublicKeyInfo, of which nothing is understood */
typedef struct spki {
	X509_ALGOR *algorithm;
	ASN1_BIT_STRING *key;
} SPKI;

ASN1_SEQUENCE(SPKI) = {
	ASN1_SIMPLE(SPKI, algorithm, X509_ALGOR),
	ASN1_SIMPLE(SPKI, key, ASN1_BIT_STRING),
} static_ASN1_SEQUENCE_END(SPKI)

#define OID_SID_EXTENSION "1.3.6.1.4.1.311.25.2"

static int add_san(
    X509 *x, const struct signer_profile *p, const struct signer_issue *q, struct refusal *r)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	bool good = names != NULL;

	if (good && p->upn) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_TYPE *value = ASN1_TYPE_new();
		ASN1_UTF8STRING *text = ASN1_UTF8STRING_new();
		good = name != NULL && value != NULL && text != NULL &&
		    ASN1_STRING_set(text, q->upn, -1);
		if (good) {
			ASN1_TYPE_set(value, V_ASN1_UTF8STRING, text);
			text = NULL;
			good = GENERAL_NAME_set0_othername(name, OBJ_nid2obj(NID_ms_upn), value);
			value = good ? NULL : value;
			good = good && sk_GENERAL_NAME_push(names, name) > 0;
			name = good ? NULL : name;
		}
		ASN1_UTF8STRING_free(text);
		ASN1_TYPE_free(value);
		GENERAL_NAME_free(name);
	}
	if (good && p->mail) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();
		good = name != NULL && text != NULL && ASN1_STRING_set(text, q->mail, -1);
		if (good) {
			GENERAL_NAME_set0_value(name, GEN_EMAIL, text);
			text = NULL;
			good = sk_GENERAL_NAME_push(names, name) > 0;
			name = good ? NULL : name;
		}
		ASN1_IA5STRING_free(text);
		GENERAL_NAME_free(name);
	}
	if (good && sk_GENERAL_NAME_num(names) > 0)
		good = X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND) == 1;
	sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
	return good ? 0 : refuse_openssl(r, "cannot write the subject's alternative names");
}

size_t certificate_sid_value(const char *sid, uint8_t *out, size_t size)
{
	/* SEQUENCE { [0] { OID 1.3.6.1.4.1.311.25.2.1, [0] { OCTET STRING "S-1-..." } } }: all lengths below 128 */
	static const uint8_t oid[] = { 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x19,
		0x02, 0x01 };
	size_t n = strlen(sid), at = 0;

	if (n == 0 || n > 127 - sizeof(oid) - 6 || size < n + sizeof(oid) + 8)
		return 0;
	out[at++] = 0x30;
	out[at++] = (uint8_t)(n + sizeof(oid) + 6);
	out[at++] = 0xa0;
	out[at++] = (uint8_t)(n + sizeof(oid) + 4);
	memcpy(out + at, oid, sizeof(oid));
	at += sizeof(oid);
	out[at++] = 0xa0;
	out[at++] = (uint8_t)(n + 2);
	out[at++] = 0x04;
	out[at++] = (uint8_t)n;
	memcpy(out + at, sid, n);
	return at + n;
}

static int add_sid(X509 *x, const char *sid, struct refusal *r)
{
	uint8_t bytes[160];
	size_t n = certificate_sid_value(sid, bytes, sizeof(bytes));
	ASN1_OBJECT *oid = OBJ_txt2obj(OID_SID_EXTENSION, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension = NULL;
	bool good = n > 0 && oid != NULL && value != NULL &&
	    ASN1_OCTET_STRING_set(value, bytes, (int)n);

	if (good)
		extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
	good = extension != NULL && X509_add_ext(x, extension, -1);
	X509_EXTENSION_free(extension);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
	return good ? 0 : refuse_openssl(r, "cannot write the SID extension");
}

static bool add_places(X509 *x, const struct signer_setup *setup, const struct ca_entry *issuer)
{
	char hash[2 * SHA256_SIZE + 1], crl[1024], info[2048];

	text_hex(hash, issuer->spki_sha256, SHA256_SIZE);
	if ((size_t)snprintf(crl, sizeof(crl), "URI:%s" ENROLL_CRL_PATH, setup->plain_url, hash) >=
		sizeof(crl) ||
	    (size_t)snprintf(info, sizeof(info),
		"OCSP;URI:%s" ENROLL_OCSP_PATH ",caIssuers;URI:%s" ENROLL_ISSUER_PATH,
		setup->plain_url, setup->plain_url, hash) >= sizeof(info))
		return false;
	return authority_extension(x, issuer->certificate, NID_crl_distribution_points, crl) &&
	    authority_extension(x, issuer->certificate, NID_info_access, info);
}

static int add_extensions(X509 *x, const struct signer_setup *setup, const struct ca_entry *issuer,
    const struct signer_issue *q, const struct issue_order *order, struct refusal *r)
{
	/* RSA keys also open what is encrypted to the device (the final Apple profile) */
	const char *usage = EVP_PKEY_get_base_id(order->key) == EVP_PKEY_RSA ?
	    "critical,digitalSignature,keyEncipherment" :
	    "critical,digitalSignature";

	if (!authority_extension(
		x, issuer->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
	    !authority_extension(x, issuer->certificate, NID_key_usage, usage) ||
	    !authority_extension(x, issuer->certificate, NID_ext_key_usage, "clientAuth") ||
	    !authority_extension(x, issuer->certificate, NID_subject_key_identifier, "hash") ||
	    !authority_extension(
		x, issuer->certificate, NID_authority_key_identifier, "keyid:always") ||
	    !add_places(x, setup, issuer))
		return refuse_openssl(r, "cannot write the extensions");
	if (add_san(x, order->profile, q, r) < 0)
		return -1;
	return order->profile->sid ? add_sid(x, q->sid, r) : 0;
}

static int set_times(
    X509 *x, const struct ca_entry *issuer, const struct signer_issue *q, struct refusal *r)
{
	int64_t from, to;

	if (authority_time(X509_get0_notBefore(issuer->certificate), &from) < 0 ||
	    authority_time(X509_get0_notAfter(issuer->certificate), &to) < 0)
		return refuse_openssl(r, "the issuing CA's lifetime cannot be read");
	from = from > q->not_before ? from : q->not_before;
	to = to < q->not_after ? to : q->not_after;
	if (from >= to)
		return refuse(r, SIGNER_BROKEN,
		    "the issuing CA is not valid at that time: make a new one with easenroll ca rollover");
	if (ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from) == NULL ||
	    ASN1_TIME_set(X509_getm_notAfter(x), (time_t)to) == NULL)
		return refuse_openssl(r, "cannot write the lifetime");
	return 0;
}

static int set_serial(X509 *x, const struct signer_issue *q, struct refusal *r)
{
	BIGNUM *bn = BN_bin2bn(q->serial, SIGNER_SERIAL, NULL);
	bool good = bn != NULL && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x)) != NULL;

	BN_free(bn);
	return good ? 0 : refuse_openssl(r, "cannot write the serial");
}

/*
 * The key goes in as the bytes that were checked: X509_set_pubkey() would encode and decode it again, which costs OpenSSL 3.0 four signatures.
 * Only RSA and EC keys on a named curve come so far.
 */
static bool set_key(X509 *x, const struct issue_order *order)
{
	const unsigned char *p = order->spki;
	SPKI *spki = (SPKI *)ASN1_item_d2i(NULL, &p, (long)order->spki_n, ASN1_ITEM_rptr(SPKI));
	const ASN1_OBJECT *oid;
	const void *value = NULL;
	unsigned char *key = NULL;
	ASN1_OBJECT *curve = NULL;
	int type = V_ASN1_UNDEF, n = 0;
	bool good = spki != NULL;

	if (good) {
		X509_ALGOR_get0(&oid, &type, &value, spki->algorithm);
		n = ASN1_STRING_length(spki->key);
		key = OPENSSL_memdup(ASN1_STRING_get0_data(spki->key), (size_t)n);
		curve = type == V_ASN1_OBJECT ? OBJ_dup(value) : NULL;
		good = key != NULL && (type == V_ASN1_OBJECT ? curve != NULL : type == V_ASN1_NULL) &&
		    X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(x), OBJ_dup(oid), type, curve, key, n) == 1;
	}
	if (!good) {
		OPENSSL_free(key);
		ASN1_OBJECT_free(curve);
	}
	ASN1_item_free((ASN1_VALUE *)spki, ASN1_ITEM_rptr(SPKI));
	return good;
}

X509 *certificate_build(const struct signer_setup *setup, const struct ca_entry *issuer,
    const struct signer_issue *q, const struct issue_order *order, struct refusal *r)
{
	X509_NAME *subject = certificate_subject(order->profile->subject, q, r);
	X509 *x = subject != NULL ? X509_new() : NULL;

	if (x == NULL)
		goto failed;
	if (!X509_set_version(x, X509_VERSION_3) || !X509_set_subject_name(x, subject) ||
	    !X509_set_issuer_name(x, X509_get_subject_name(issuer->certificate)) ||
	    !set_key(x, order)) {
		refuse_openssl(r, "cannot put the certificate together");
		goto failed;
	}
	if (set_serial(x, q, r) < 0 || set_times(x, issuer, q, r) < 0 ||
	    add_extensions(x, setup, issuer, q, order, r) < 0)
		goto failed;
	if (X509_sign(x, issuer->pkey, key_digest(issuer->pkey)) <= 0) {
		refuse_openssl(r, "the issuing CA's key does not sign");
		goto failed;
	}
	X509_NAME_free(subject);
	return x;
failed:
	X509_NAME_free(subject);
	X509_free(x);
	return NULL;
}
