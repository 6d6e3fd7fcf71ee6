/*
 * message_sign: SignedData that OpenSSL's CMS makes: profiles, and the next CA. Runs in the signer.
 */
#include "enroll/signer/message_sign.h"

#include <openssl/cms.h>

static unsigned char *encode(CMS_ContentInfo *cms, size_t *n, struct refusal *r)
{
	unsigned char *out = NULL;
	int len = i2d_CMS_ContentInfo(cms, &out);

	if (len > 0 && len <= SIGNER_DATA_MAX) {
		*n = (size_t)len;
		return out;
	}
	OPENSSL_free(out);
	refuse(
	    r, SIGNER_REFUSED, "the signed message would be larger than %d bytes", SIGNER_DATA_MAX);
	return NULL;
}

unsigned char *message_profile(
    struct ca_files *ca, const void *bytes, size_t bytes_n, size_t *n, struct refusal *r)
{
	struct ca_entry *e = ca_files_find(ca, CA_PROFILE, CA_CURRENT),
			*issuer = e != NULL ? ca_files_issuer_of(ca, e->certificate) : NULL;
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *bio = BIO_new_mem_buf(bytes, (int)bytes_n);
	CMS_ContentInfo *cms = NULL;
	unsigned char *out = NULL;

	if (e == NULL || e->pkey == NULL) {
		refuse(r, SIGNER_NONE, "there is no profile key in the CA's folder");
		goto out;
	}
	if (chain == NULL || bio == NULL ||
	    (issuer != NULL && sk_X509_push(chain, issuer->certificate) <= 0)) {
		refuse(r, SIGNER_BROKEN, "out of memory");
		goto out;
	}
	cms = CMS_sign(e->certificate, e->pkey, chain, bio, CMS_BINARY | CMS_NOSMIMECAP);
	if (cms == NULL)
		refuse_openssl(r, "cannot sign the profile");
	else
		out = encode(cms, n, r);
out:
	CMS_ContentInfo_free(cms);
	sk_X509_free(chain);
	BIO_free(bio);
	return out;
}

/* A SignedData without signers; DER. */
static unsigned char *certificates_only(struct ca_files *ca, const struct ca_entry *next, int *n)
{
	struct ca_entry *ra = ca_files_generation(ca, CA_RA, next->generation),
			*root = ca_files_issuer_of(ca, next->certificate);
	BIO *empty = BIO_new_mem_buf("", 0);
	CMS_ContentInfo *cms = CMS_sign(
	    NULL, NULL, NULL, empty, CMS_PARTIAL | CMS_BINARY | CMS_DETACHED);
	unsigned char *out = NULL;

	*n = -1;
	if (cms != NULL && CMS_add1_cert(cms, next->certificate) &&
	    (ra == NULL || ra->certificate == NULL || CMS_add1_cert(cms, ra->certificate)) &&
	    (root == NULL || CMS_add1_cert(cms, root->certificate)))
		*n = i2d_CMS_ContentInfo(cms, &out);
	CMS_ContentInfo_free(cms);
	BIO_free(empty);
	return out;
}

unsigned char *message_next_ca(struct ca_files *ca, size_t *n, struct refusal *r)
{
	struct ca_entry *next = ca_files_find(ca, CA_ISSUING, CA_NEXT),
			*ra = ca_files_find(ca, CA_RA, CA_CURRENT);
	CMS_ContentInfo *cms = NULL;
	unsigned char *inner = NULL, *out = NULL;
	struct ca_entry *issuer;
	STACK_OF(X509) *chain = NULL;
	BIO *bio = NULL;
	int inner_n;

	if (next == NULL || next->certificate == NULL || ra == NULL || ra->pkey == NULL) {
		refuse(r, SIGNER_NONE, "there is no next issuing CA");
		return NULL;
	}
	inner = certificates_only(ca, next, &inner_n);
	bio = inner_n > 0 ? BIO_new_mem_buf(inner, inner_n) : NULL;
	/* the chain goes with it: clients that hold only the root verify this alone */
	issuer = ca_files_issuer_of(ca, ra->certificate);
	chain = sk_X509_new_null();
	if (bio != NULL && chain != NULL && issuer != NULL &&
	    sk_X509_push(chain, issuer->certificate) > 0)
		cms = CMS_sign(ra->certificate, ra->pkey, chain, bio,
		    CMS_BINARY | CMS_NOSMIMECAP);
	if (cms == NULL)
		refuse_openssl(r, "cannot sign the next CA's certificates");
	else
		out = encode(cms, n, r);
	CMS_ContentInfo_free(cms);
	sk_X509_free(chain);
	BIO_free(bio);
	OPENSSL_free(inner);
	return out;
}
