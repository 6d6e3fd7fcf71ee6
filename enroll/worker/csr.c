/*
 * csr: reading a certification request: first its key and whether that signed it, then what it claims. Pure. Worker process and fuzzers.
 */
#include "enroll/worker/csr.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "common/public_key.h"
#include "common/text.h"
#include "enroll/worker/csr_parts.h"

const char *csr_result_text(enum csr_result result)
{
	switch (result) {
	case CSR_OK: return "ok";
	case CSR_MALFORMED: return "no PKCS#10 request";
	case CSR_TOO_LONG: return "longer than any request";
	case CSR_NO_PROOF: return "not signed by the key that it holds, or with a hash that proves nothing";
	case CSR_WEAK_KEY: return "its key is too weak, too large or on a curve that is not accepted: RSA 2048 to 8192 bits, P-256 or P-384";
	case CSR_KEY_KIND: return "its key is neither RSA nor EC";
	case CSR_BAD_CHALLENGE: return "its challenge password is there twice, too long or no text";
	}
	return "unknown";
}

void csr_clear(struct csr *c)
{
	OPENSSL_cleanse(c, sizeof(*c));
}

static enum csr_result check_rsa(EVP_PKEY *key, unsigned bits)
{
	BIGNUM *e;
	bool good;

	if (bits < 2048 || bits > 8192)
		return CSR_WEAK_KEY;
	/* a large exponent makes every verification slow: nobody uses one */
	e = public_key_number(key, OSSL_PKEY_PARAM_RSA_E, 8);
	good = e != NULL && BN_is_odd(e) && BN_num_bits(e) >= 17 && BN_num_bits(e) <= 33;
	BN_free(e);
	return good ? CSR_OK : CSR_WEAK_KEY;
}

static enum csr_result check_ec(EVP_PKEY *key)
{
	char group[64] = "", encoding[32] = "";
	size_t n = 0;

	if (EVP_PKEY_get_group_name(key, group, sizeof(group), &n) != 1 ||
	    EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, encoding, sizeof(encoding), NULL) != 1 ||
	    strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) != 0)
		return CSR_WEAK_KEY;
	return strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 ? CSR_OK : CSR_WEAK_KEY;
}

static enum csr_result check_key(EVP_PKEY *key, struct csr *out)
{
	int kind = EVP_PKEY_get_base_id(key);

	out->bits = (unsigned)EVP_PKEY_get_bits(key);
	out->rsa = kind == EVP_PKEY_RSA;
	if (out->rsa)
		return check_rsa(key, out->bits);
	return kind == EVP_PKEY_EC ? check_ec(key) : CSR_KEY_KIND;
}

/* The hash in RSASSA-PSS's parameters (RFC 4055 section 3.1): where they name none it is SHA-1. */
static int pss_digest(const X509_ALGOR *algorithm)
{
	RSA_PSS_PARAMS *pss = algorithm->parameter != NULL ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS), algorithm->parameter) : NULL;
	int digest = pss == NULL ? NID_undef : pss->hashAlgorithm == NULL ? NID_sha1 : OBJ_obj2nid(pss->hashAlgorithm->algorithm);

	RSA_PSS_PARAMS_free(pss);
	return digest;
}

static enum csr_result check_proof(const CSR_FORM *form, EVP_PKEY *key, bool sha1)
{
	int digest = NID_undef, kind = NID_undef, signature = OBJ_obj2nid(form->algorithm->algorithm);

	if (signature == NID_rsassaPss)
		digest = pss_digest(form->algorithm);
	else if (OBJ_find_sigid_algs(signature, &digest, &kind) != 1)
		return CSR_NO_PROOF;
	if (digest != NID_sha256 && digest != NID_sha384 && digest != NID_sha512 && digest != NID_sha224 && !(sha1 && digest == NID_sha1))
		return CSR_NO_PROOF;
	return csr_form_is_signed_by(form, key) ? CSR_OK : CSR_NO_PROOF;
}

static enum csr_result take_challenge(const CSR_FORM *form, struct csr *out)
{
	const STACK_OF(X509_ATTRIBUTE) *attributes = form->info->attributes;
	int at = X509at_get_attr_by_NID(attributes, NID_pkcs9_challengePassword, -1);
	X509_ATTRIBUTE *attribute;
	const ASN1_TYPE *value;
	struct strv text;

	if (at < 0)
		return CSR_OK;
	attribute = X509at_get_attr(attributes, at);
	if (X509at_get_attr_by_NID(attributes, NID_pkcs9_challengePassword, at) >= 0 || X509_ATTRIBUTE_count(attribute) != 1)
		return CSR_BAD_CHALLENGE;
	value = X509_ATTRIBUTE_get0_type(attribute, 0);
	if (value == NULL || (value->type != V_ASN1_PRINTABLESTRING && value->type != V_ASN1_UTF8STRING))
		return CSR_BAD_CHALLENGE;
	text = (struct strv){ (const char *)ASN1_STRING_get0_data(value->value.asn1_string), (size_t)ASN1_STRING_length(value->value.asn1_string) };
	if (text_copy(out->challenge, sizeof(out->challenge), text) < 0)
		return CSR_BAD_CHALLENGE;
	out->has_challenge = text.n > 0;
	return CSR_OK;
}

/* Whether it names a key that a key made for it is to be encrypted with: id-aa-decryptKeyID, id-aa-asymmDecryptKeyID (RFC 7030 section 4.4.1). */
static bool wants_sealed_key(const CSR_FORM *form)
{
	static const char smime[] = { 0x2a, (char)0x86, 0x48, (char)0x86, (char)0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02 };
	const STACK_OF(X509_ATTRIBUTE) *attributes = form->info->attributes;

	for (int i = 0; i < sk_X509_ATTRIBUTE_num(attributes); i++) {
		const ASN1_OBJECT *object = X509_ATTRIBUTE_get0_object(sk_X509_ATTRIBUTE_value(attributes, i));
		const unsigned char *p = OBJ_get0_data(object);

		if (OBJ_length(object) == sizeof(smime) + 1 && memcmp(p, smime, sizeof(smime)) == 0 && (p[sizeof(smime)] == 37 || p[sizeof(smime)] == 54))
			return true;
	}
	return false;
}

/* Its SubjectPublicKeyInfo in DER, whatever it was sent in. */
static enum csr_result take_spki(struct strv bytes, EVP_PKEY *key, struct csr *out)
{
	unsigned char *der = NULL;
	int n;

	if (!public_key_is_plain(bytes)) {
		n = i2d_PUBKEY(key, &der);
		bytes = (struct strv){ (const char *)der, n > 0 ? (size_t)n : 0 };
	}
	if (bytes.n > 0 && bytes.n <= CSR_SPKI_MAX) {
		memcpy(out->spki, bytes.p, bytes.n);
		out->spki_n = bytes.n;
	}
	OPENSSL_free(der);
	if (out->spki_n == 0)
		return CSR_TOO_LONG;
	return EVP_Digest(out->spki, out->spki_n, out->spki_sha256, NULL, EVP_sha256(), NULL) == 1 ? CSR_OK : CSR_MALFORMED;
}

static enum csr_result take_key(const CSR_FORM *form, bool sha1, struct csr *out)
{
	EVP_PKEY *key = public_key_read(csr_form_key(form));
	enum csr_result rc;

	if (key == NULL)
		return CSR_KEY_KIND;
	rc = check_key(key, out);
	if (rc == CSR_OK)
		rc = check_proof(form, key, sha1);
	if (rc == CSR_OK)
		rc = take_spki(csr_form_key(form), key, out);
	EVP_PKEY_free(key);
	return rc;
}

enum csr_result csr_read_der(struct strv der, bool sha1, struct csr *out)
{
	enum csr_result rc = CSR_MALFORMED;
	CSR_FORM *form;

	memset(out, 0, sizeof(*out));
	if (der.n > CSR_BYTES_MAX)
		return CSR_TOO_LONG;
	if (der.n == 0)
		return CSR_MALFORMED;
	form = csr_form_read(der);
	if (form != NULL)
		rc = take_key(form, sha1, out);
	if (rc == CSR_OK)
		rc = take_challenge(form, out);
	if (rc == CSR_OK) {
		out->sealed_key = wants_sealed_key(form);
		csr_take_claims(form, out);
	} else {
		csr_clear(out);
	}
	csr_form_free(form);
	ERR_clear_error();
	return rc;
}

/* What stands between the lines of PEM, or all of it. */
static struct strv inside_pem(struct strv text)
{
	static const char *const begins[] = { "-----BEGIN CERTIFICATE REQUEST-----", "-----BEGIN NEW CERTIFICATE REQUEST-----" };
	const char *start, *end;

	for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
		start = memmem(text.p, text.n, begins[i], strlen(begins[i]));
		if (start == NULL)
			continue;
		start += strlen(begins[i]);
		end = memmem(start, (size_t)(text.p + text.n - start), "-----END ", 9);
		return end != NULL ? (struct strv){ start, (size_t)(end - start) } : (struct strv){ NULL, 0 };
	}
	return text;
}

/* The base64 text without white space, decoded; -1: none. */
static long decode(struct strv text, uint8_t *out, size_t size)
{
	char *plain = OPENSSL_malloc(text.n + 1);
	size_t kept = 0;
	long n = -1;

	if (plain == NULL)
		return -1;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] != ' ' && text.p[i] != '\t' && text.p[i] != '\r' && text.p[i] != '\n')
			plain[kept++] = text.p[i];
	n = text_base64_decode(out, size, (struct strv){ plain, kept });
	OPENSSL_clear_free(plain, text.n + 1);
	return n > 0 ? n : -1;
}

enum csr_result csr_decode(struct strv bytes, uint8_t out[CSR_BYTES_MAX], size_t *n)
{
	long got;

	*n = 0;
	if (bytes.n == 0)
		return CSR_MALFORMED;
	if (bytes.n > CSR_TEXT_MAX)
		return CSR_TOO_LONG;
	if (bytes.n > 0 && bytes.p[0] == 0x30 && (bytes.n < 2 || (uint8_t)bytes.p[1] >= 0x80)) {
		if (bytes.n > CSR_BYTES_MAX)
			return CSR_TOO_LONG;
		memcpy(out, bytes.p, bytes.n);
		*n = bytes.n;
		return CSR_OK;
	}
	got = decode(inside_pem(bytes), out, CSR_BYTES_MAX);
	if (got < 0)
		return CSR_MALFORMED;
	*n = (size_t)got;
	return CSR_OK;
}

enum csr_result csr_read(struct strv bytes, bool sha1, struct csr *out)
{
	uint8_t der[CSR_BYTES_MAX];
	size_t n;
	enum csr_result rc = csr_decode(bytes, der, &n);

	memset(out, 0, sizeof(*out));
	if (rc == CSR_OK)
		rc = csr_read_der((struct strv){ (const char *)der, n }, sha1, out);
	OPENSSL_cleanse(der, n);
	return rc;
}
