/*
 * authority_build: certificates of the CA itself. Runs in the signer (OCSP signers) and in the `ca` commands (all others).
 */
#include "enroll/signer/authority_build.h"

#include <openssl/bn.h>
#include <openssl/x509v3.h>

#include "enroll/signer/key.h"

struct extension {
	int nid;
	const char *value;
};

#define EXTENSIONS_MAX 6

static const struct extension wanted[][EXTENSIONS_MAX] = {
	[AUTHORITY_ROOT] = { { NID_basic_constraints, "critical,CA:TRUE" },
	    { NID_key_usage, "critical,keyCertSign,cRLSign" },
	    { NID_subject_key_identifier, "hash" } },
	/* no certificate authority below the issuing one */
	[AUTHORITY_ISSUING] = { { NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
	    { NID_key_usage, "critical,keyCertSign,cRLSign" },
	    { NID_subject_key_identifier, "hash" },
	    { NID_authority_key_identifier, "keyid:always" } },
	/* no extended key usage: clients look for an RA by these two bits alone (facts/enrolment.md 3.4) */
	[AUTHORITY_RA] = { { NID_basic_constraints, "critical,CA:FALSE" },
	    { NID_key_usage, "critical,digitalSignature,keyEncipherment" },
	    { NID_subject_key_identifier, "hash" },
	    { NID_authority_key_identifier, "keyid:always" } },
	[AUTHORITY_PROFILE] = { { NID_basic_constraints, "critical,CA:FALSE" },
	    { NID_key_usage, "critical,digitalSignature" },
	    { NID_ext_key_usage, "codeSigning,emailProtection" },
	    { NID_subject_key_identifier, "hash" },
	    { NID_authority_key_identifier, "keyid:always" } },
	[AUTHORITY_OCSP] = { { NID_basic_constraints, "critical,CA:FALSE" },
	    { NID_key_usage, "critical,digitalSignature" }, { NID_ext_key_usage, "OCSPSigning" },
	    { NID_id_pkix_OCSP_noCheck, "NULL" }, { NID_subject_key_identifier, "hash" },
	    { NID_authority_key_identifier, "keyid:always" } },
};

int authority_serial(ASN1_INTEGER *out, struct refusal *r)
{
	BIGNUM *bn = BN_new();
	bool good = bn != NULL;

	do
		good = good && BN_rand(bn, 8 * SIGNER_SERIAL, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1;
	while (good && BN_is_zero(bn));
	good = good && BN_to_ASN1_INTEGER(bn, out) != NULL;
	BN_free(bn);
	return good ? 0 : refuse_openssl(r, "cannot make a serial");
}

bool authority_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX ctx;
	bool good;

	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	good = extension != NULL && X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
	return good;
}

int authority_time(const ASN1_TIME *t, int64_t *out)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm))
		return -1;
	*out = (int64_t)timegm(&tm);
	return 0;
}

static X509_NAME *name_of(const char *common_name, struct refusal *r)
{
	X509_NAME *name = X509_NAME_new();

	if (name != NULL &&
	    X509_NAME_add_entry_by_NID(
		name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0))
		return name;
	X509_NAME_free(name);
	refuse_openssl(
	    r, "\"%s\" cannot be a common name (1 to 64 characters of UTF-8)", common_name);
	return NULL;
}

static bool set_times(X509 *x, const struct authority *a)
{
	int64_t from = a->not_before, to = a->not_after, limit;

	if (a->issuer != NULL) {
		if (authority_time(X509_get0_notAfter(a->issuer), &limit) < 0)
			return false;
		to = to > limit ? limit : to;
		if (authority_time(X509_get0_notBefore(a->issuer), &limit) < 0)
			return false;
		from = from < limit ? limit : from;
	}
	return from < to && ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from) != NULL &&
	    ASN1_TIME_set(X509_getm_notAfter(x), (time_t)to) != NULL;
}

X509 *authority_build(const struct authority *a, struct refusal *r)
{
	X509 *x = X509_new(), *issuer = a->issuer != NULL ? a->issuer : x;
	EVP_PKEY *issuer_key = a->issuer != NULL ? a->issuer_key : a->key;
	X509_NAME *name = name_of(a->common_name, r);
	bool good;

	if (x == NULL || name == NULL || authority_serial(X509_get_serialNumber(x), r) < 0)
		goto failed;
	good = X509_set_version(x, X509_VERSION_3) && X509_set_subject_name(x, name) &&
	    X509_set_issuer_name(x, a->issuer != NULL ? X509_get_subject_name(issuer) : name) &&
	    X509_set_pubkey(x, a->key) && set_times(x, a);
	for (size_t i = 0; good && i < EXTENSIONS_MAX && wanted[a->kind][i].value != NULL; i++)
		good = authority_extension(
		    x, issuer, wanted[a->kind][i].nid, wanted[a->kind][i].value);
	if (!good || X509_sign(x, issuer_key, key_digest(issuer_key)) <= 0) {
		refuse_openssl(r, "cannot make the certificate \"%s\" (is its issuer still valid?)",
		    a->common_name);
		goto failed;
	}
	X509_NAME_free(name);
	return x;
failed:
	X509_NAME_free(name);
	X509_free(x);
	return NULL;
}

X509_REQ *authority_request(const char *common_name, EVP_PKEY *key, struct refusal *r)
{
	X509_REQ *request = X509_REQ_new();
	X509_NAME *name = name_of(common_name, r);
	STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
	bool good = request != NULL && name != NULL && extensions != NULL;

	for (size_t i = 0; good && i < 2; i++) {
		const struct extension *e = &wanted[AUTHORITY_ISSUING][i];
		X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, e->nid, e->value);
		good = extension != NULL && sk_X509_EXTENSION_push(extensions, extension) > 0;
	}
	good = good && X509_REQ_set_version(request, X509_REQ_VERSION_1) &&
	    X509_REQ_set_subject_name(request, name) && X509_REQ_set_pubkey(request, key) &&
	    X509_REQ_add_extensions(request, extensions) &&
	    X509_REQ_sign(request, key, key_digest(key)) > 0;
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	if (!good) {
		if (name != NULL)
			refuse_openssl(r, "cannot make the request");
		X509_REQ_free(request);
		request = NULL;
	}
	X509_NAME_free(name);
	return request;
}
