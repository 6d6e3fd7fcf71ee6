/*
 * public_key: reads the two usual kinds of SubjectPublicKeyInfo byte by byte, and leaves all others to OpenSSL. Hostile bytes.
 */
#include "common/public_key.h"

#include <openssl/asn1.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

/* SEQUENCE { OID rsaEncryption, NULL }; SEQUENCE { OID id-ecPublicKey, OID of the curve } */
static const uint8_t rsa_algorithm[] = { 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00 };
static const uint8_t p256_algorithm[] = { 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
	0x07 };
static const uint8_t p384_algorithm[] = { 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22 };
static const uint8_t p521_algorithm[] = { 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23 };

static const struct curve {
	const char *name;
	const uint8_t *algorithm;
	size_t algorithm_n, field;	/* bytes of a coordinate */
} curves[] = {
	{ "P-256", p256_algorithm, sizeof(p256_algorithm), 32 },
	{ "P-384", p384_algorithm, sizeof(p384_algorithm), 48 },
	{ "P-521", p521_algorithm, sizeof(p521_algorithm), 66 },
};

/* A value of this tag at the front of *in, its length in the shortest form; *content: what is inside. */
static bool take(struct strv *in, uint8_t tag, struct strv *content)
{
	const uint8_t *p = (const uint8_t *)in->p;
	size_t n, head = 2;

	if (in->n < 2 || p[0] != tag)
		return false;
	n = p[1];
	if (n == 0x81 && in->n >= 3 && p[2] >= 0x80) {
		n = p[2];
		head = 3;
	} else if (n == 0x82 && in->n >= 4 && p[2] != 0) {
		n = (size_t)p[2] << 8 | p[3];
		head = 4;
	} else if (n >= 0x80) {
		return false;
	}
	if (n > in->n - head)
		return false;
	*content = (struct strv){ in->p + head, n };
	*in = (struct strv){ in->p + head + n, in->n - head - n };
	return true;
}

/* The bits of the key behind this algorithm, which are whole bytes. */
static bool key_bits(struct strv spki, const uint8_t *algorithm, size_t n, struct strv *bits)
{
	struct strv inside;

	if (!take(&spki, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, &inside) || spki.n != 0 || inside.n < n || memcmp(inside.p, algorithm, n) != 0)
		return false;
	inside = (struct strv){ inside.p + n, inside.n - n };
	if (!take(&inside, V_ASN1_BIT_STRING, bits) || inside.n != 0 || bits->n < 2 || bits->p[0] != 0)
		return false;
	*bits = (struct strv){ bits->p + 1, bits->n - 1 };
	return true;
}

/* A positive INTEGER in its shortest form. */
static bool take_number(struct strv *in, struct strv *bytes)
{
	return take(in, V_ASN1_INTEGER, bytes) && bytes->n != 0 && (bytes->p[0] & 0x80) == 0 &&
	    (bytes->p[0] != 0 || (bytes->n > 1 && (bytes->p[1] & 0x80) != 0));
}

static bool rsa_numbers(struct strv spki, struct strv *n, struct strv *e)
{
	struct strv bits, both;

	return key_bits(spki, rsa_algorithm, sizeof(rsa_algorithm), &bits) && take(&bits, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, &both) && bits.n == 0 &&
	    take_number(&both, n) && take_number(&both, e) && both.n == 0;
}

static EVP_PKEY *make_rsa(const BIGNUM *n, const BIGNUM *e)
{
	static EVP_PKEY_CTX *context;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (context == NULL)
		context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	if (build != NULL && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	if (context == NULL || params == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	return key;
}

static EVP_PKEY *read_rsa(struct strv spki)
{
	struct strv modulus, exponent;
	BIGNUM *n = NULL, *e = NULL;
	EVP_PKEY *key = NULL;

	if (!rsa_numbers(spki, &modulus, &exponent))
		return NULL;
	n = BN_bin2bn((const unsigned char *)modulus.p, (int)modulus.n, NULL);
	e = BN_bin2bn((const unsigned char *)exponent.p, (int)exponent.n, NULL);
	if (n != NULL && e != NULL)
		key = make_rsa(n, e);
	BN_free(n);
	BN_free(e);
	return key;
}

/* A key of that curve without a point, made once. */
static EVP_PKEY *curve_only(size_t i)
{
	static EVP_PKEY *made[ARRAY_LEN(curves)];
	EVP_PKEY_CTX *context;

	if (made[i] != NULL)
		return made[i];
	context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (context == NULL || EVP_PKEY_paramgen_init(context) != 1 || EVP_PKEY_CTX_set_group_name(context, curves[i].name) != 1 ||
	    EVP_PKEY_paramgen(context, &made[i]) != 1)
		made[i] = NULL;
	EVP_PKEY_CTX_free(context);
	return made[i];
}

/* A point that is not compressed, or compressed: not the one at infinity, not the hybrid form that RFC 5480 forbids. */
static bool is_point(struct strv bits, size_t field)
{
	return bits.n == 1 + 2 * field ? bits.p[0] == 4 : bits.n == 1 + field && (bits.p[0] == 2 || bits.p[0] == 3);
}

static EVP_PKEY *read_ec(struct strv spki)
{
	struct strv bits = { NULL, 0 };
	EVP_PKEY *key, *curve;
	size_t i = 0;

	while (i < ARRAY_LEN(curves) && !key_bits(spki, curves[i].algorithm, curves[i].algorithm_n, &bits))
		i++;
	curve = i < ARRAY_LEN(curves) && is_point(bits, curves[i].field) ? curve_only(i) : NULL;
	key = curve != NULL ? EVP_PKEY_new() : NULL;
	if (key != NULL && EVP_PKEY_copy_parameters(key, curve) == 1 &&
	    EVP_PKEY_set1_encoded_public_key(key, (const unsigned char *)bits.p, bits.n) == 1)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

bool public_key_is_plain(struct strv spki)
{
	struct strv bits, exponent;

	for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
		if (key_bits(spki, curves[i].algorithm, curves[i].algorithm_n, &bits))
			return is_point(bits, curves[i].field);
	}
	return rsa_numbers(spki, &bits, &exponent);
}

EVP_PKEY *public_key_read(struct strv spki)
{
	const unsigned char *p = (const unsigned char *)spki.p, *end;
	EVP_PKEY *key;

	if (spki.n == 0 || spki.n > PUBLIC_KEY_BYTES_MAX)
		return NULL;
	key = read_ec(spki);
	if (key == NULL)
		key = read_rsa(spki);
	if (key == NULL) {
		end = p + spki.n;
		key = d2i_PUBKEY(NULL, &p, (long)spki.n);
		if (key != NULL && p != end) {
			EVP_PKEY_free(key);
			key = NULL;
		}
	}
	ERR_clear_error();
	return key;
}

BIGNUM *public_key_number(const EVP_PKEY *key, const char *name, size_t bytes_max)
{
	unsigned char bytes[PUBLIC_KEY_BYTES_MAX];
	OSSL_PARAM wanted[2] = { OSSL_PARAM_construct_BN(name, bytes, bytes_max), OSSL_PARAM_construct_end() };
	BIGNUM *number = NULL;

	if (bytes_max <= sizeof(bytes) && EVP_PKEY_get_params(key, wanted) == 1 && OSSL_PARAM_modified(wanted))
		(void)!OSSL_PARAM_get_BN(wanted, &number);
	ERR_clear_error();
	return number;
}
