/*
 * crl_verify: whether a list is what its issuer says now: issuer, key usage, signature, times, order of numbers.
 * Reads no file and decides nothing beyond the one list. Runs in the revocation process.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "proxy/revocation/crl.h"
#include "common/der.h"

#define CLOCK_SKEW 300	/* seconds that a thisUpdate may lie ahead of our clock */

static int check_issuer(const struct crl *crl, X509 *ca)
{
	const unsigned char *p = (const unsigned char *)crl->issuer.p;
	X509_NAME *name = d2i_X509_NAME(NULL, &p, (long)crl->issuer.n);
	AUTHORITY_KEYID *akid = NULL;
	int rc = CRL_WRONG_ISSUER;

	if (name == NULL || p != (const unsigned char *)crl->issuer.p + crl->issuer.n ||
	    X509_NAME_cmp(name, X509_get_subject_name(ca)) != 0)
		goto out;
	if (crl->authority_key.n > 0) {
		p = (const unsigned char *)crl->authority_key.p;
		akid = d2i_AUTHORITY_KEYID(NULL, &p, (long)crl->authority_key.n);
		if (akid == NULL || p != (const unsigned char *)crl->authority_key.p + crl->authority_key.n ||
		    X509_check_akid(ca, akid) != X509_V_OK)
			goto out;
	}
	rc = CRL_OK;
out:
	AUTHORITY_KEYID_free(akid);
	X509_NAME_free(name);
	ERR_clear_error();
	return rc;
}

static int check_right(const struct crl *crl, X509 *ca, X509 *signer)
{
	uint32_t flags = X509_get_extension_flags(signer);

	if (flags & EXFLAG_INVALID)
		return CRL_NOT_A_CRL_SIGNER;
	if ((flags & EXFLAG_KUSAGE) && (X509_get_key_usage(signer) & KU_CRL_SIGN) == 0)
		return CRL_NOT_A_CRL_SIGNER;
	/* User certificates only: complete for an issuer that may have no others below it. */
	if (crl->only_user && X509_get_pathlen(ca) != 0)
		return CRL_PARTIAL;
	return CRL_OK;
}

static bool digest_is_strong(const EVP_MD *md)
{
	return md != NULL && EVP_MD_get_size(md) >= 28;		/* SHA-224 and above */
}

/* RSASSA-PSS keeps its digest and salt in the algorithm's parameters (RFC 4055 §3.1). */
static int pss_parameters(const X509_ALGOR *algorithm, const EVP_MD **md, const EVP_MD **mgf, int *salt)
{
	const ASN1_OBJECT *oid;
	const void *value;
	RSA_PSS_PARAMS *pss = NULL;
	X509_ALGOR *mask = NULL;
	int type, rc = CRL_BAD_ALGORITHM;

	X509_ALGOR_get0(&oid, &type, &value, algorithm);
	if (type == V_ASN1_SEQUENCE)
		pss = ASN1_item_unpack(value, ASN1_ITEM_rptr(RSA_PSS_PARAMS));
	if (pss == NULL || pss->hashAlgorithm == NULL || pss->maskGenAlgorithm == NULL)
		goto out;	/* the defaults are SHA-1 */
	X509_ALGOR_get0(&oid, &type, &value, pss->maskGenAlgorithm);
	if (OBJ_obj2nid(oid) != NID_mgf1 || type != V_ASN1_SEQUENCE)
		goto out;
	mask = ASN1_item_unpack(value, ASN1_ITEM_rptr(X509_ALGOR));
	if (mask == NULL)
		goto out;
	X509_ALGOR_get0(&oid, NULL, NULL, pss->hashAlgorithm);
	*md = EVP_get_digestbyobj(oid);
	X509_ALGOR_get0(&oid, NULL, NULL, mask);
	*mgf = EVP_get_digestbyobj(oid);
	*salt = pss->saltLength != NULL ? (int)ASN1_INTEGER_get(pss->saltLength) : 20;
	if (*salt >= 0 && digest_is_strong(*md) && digest_is_strong(*mgf) &&
	    (pss->trailerField == NULL || ASN1_INTEGER_get(pss->trailerField) == 1))
		rc = CRL_OK;
out:
	X509_ALGOR_free(mask);
	RSA_PSS_PARAMS_free(pss);
	return rc;
}

/* Sets ctx up for `algorithm` with the CA's key. */
static int prepare(EVP_MD_CTX *ctx, const X509_ALGOR *algorithm, EVP_PKEY *key)
{
	const EVP_MD *md = NULL, *mgf = NULL;
	int md_nid, key_nid, salt = 0;
	const ASN1_OBJECT *oid;
	EVP_PKEY_CTX *pctx = NULL;

	X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
	if (!OBJ_find_sigid_algs(OBJ_obj2nid(oid), &md_nid, &key_nid))
		return CRL_BAD_ALGORITHM;
	if (key_nid == EVP_PKEY_RSA_PSS) {
		if (!EVP_PKEY_is_a(key, "RSA") && !EVP_PKEY_is_a(key, "RSA-PSS"))
			return CRL_BAD_ALGORITHM;
		if (pss_parameters(algorithm, &md, &mgf, &salt) < 0)
			return CRL_BAD_ALGORITHM;
	} else {
		if (!EVP_PKEY_is_a(key, OBJ_nid2sn(key_nid)) && EVP_PKEY_get_base_id(key) != key_nid)
			return CRL_BAD_ALGORITHM;
		/* Without a digest of its own (Ed25519, ML-DSA) the algorithm is as strong as the key. */
		md = md_nid != NID_undef ? EVP_get_digestbynid(md_nid) : NULL;
		if (md_nid != NID_undef && !digest_is_strong(md))
			return CRL_BAD_ALGORITHM;
	}
	if (EVP_DigestVerifyInit(ctx, &pctx, md, NULL, key) != 1)
		return CRL_BAD_ALGORITHM;
	if (mgf != NULL && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, salt) <= 0 || EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, mgf) <= 0))
		return CRL_BAD_ALGORITHM;
	return CRL_OK;
}

static int check_signature(const struct crl *crl, X509 *ca)
{
	const unsigned char *p = (const unsigned char *)crl->algorithm.p;
	X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &p, (long)crl->algorithm.n);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY *key = X509_get0_pubkey(ca);
	int rc = CRL_BAD_ALGORITHM;

	if (algorithm == NULL || ctx == NULL || key == NULL)
		goto out;
	rc = prepare(ctx, algorithm, key);
	if (rc == CRL_OK && EVP_DigestVerify(ctx, (const unsigned char *)crl->signature.p, crl->signature.n,
	    (const unsigned char *)crl->tbs.p, crl->tbs.n) != 1)
		rc = CRL_BAD_SIGNATURE;
out:
	EVP_MD_CTX_free(ctx);
	X509_ALGOR_free(algorithm);
	ERR_clear_error();
	return rc;
}

int crl_times(const struct crl *crl, time_t now)
{
	if (crl->this_update > now + CLOCK_SKEW || crl->next_update < crl->this_update)
		return CRL_NOT_YET_VALID;
	return crl->next_update <= now ? CRL_EXPIRED : CRL_OK;
}

int crl_verify(const struct crl *crl, X509 *ca, X509 *signer, time_t now)
{
	int rc = check_issuer(crl, signer);

	if (rc == CRL_OK && X509_NAME_cmp(X509_get_subject_name(ca), X509_get_subject_name(signer)) != 0)
		rc = CRL_WRONG_ISSUER;
	if (rc == CRL_OK)
		rc = check_right(crl, ca, signer);
	if (rc == CRL_OK)
		rc = check_signature(crl, signer);
	return rc == CRL_OK ? crl_times(crl, now) : rc;
}

int crl_verify_any(const struct crl *crl, const STACK_OF(X509) *certs, time_t now)
{
	X509 *ca = sk_X509_value(certs, 0);
	int first = crl_verify(crl, ca, ca, now), rc = first, i;

	for (i = 1; i < sk_X509_num(certs) && rc != CRL_OK && rc != CRL_EXPIRED; i++)
		rc = crl_verify(crl, ca, sk_X509_value(certs, i), now);
	return rc == CRL_OK || rc == CRL_EXPIRED ? rc : first;
}

int crl_follows(const struct crl *crl, const struct serial *known_number, int64_t known_update)
{
	if (crl->this_update < known_update)
		return CRL_ROLLBACK;
	return serial_compare(&crl->number, known_number) < 0 ? CRL_ROLLBACK : CRL_OK;
}

int crl_delta_fits(const struct crl *base, const struct crl *delta)
{
	if (base->is_delta)
		return CRL_IS_DELTA;
	if (!delta->is_delta || !delta->has_number)
		return CRL_NOT_A_DELTA;
	if (!strv_eq(base->scope, delta->scope))
		return CRL_DELTA_SCOPE;
	if (!base->has_number || serial_compare(&delta->base_number, &base->number) > 0)
		return CRL_DELTA_BASE;
	return CRL_OK;
}
