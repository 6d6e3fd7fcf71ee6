/*
 * message_sign: builds SignedData of the three kinds that we send. Runs in the signer.
 */
#include "enroll/signer/message_sign.h"

#include <openssl/cms.h>
#include <openssl/err.h>

#include "common/text.h"

#define OID_MESSAGE_TYPE    "2.16.840.1.113733.1.9.2"
#define OID_PKI_STATUS	    "2.16.840.1.113733.1.9.3"
#define OID_FAIL_INFO	    "2.16.840.1.113733.1.9.4"
#define OID_SENDER_NONCE    "2.16.840.1.113733.1.9.5"
#define OID_RECIPIENT_NONCE "2.16.840.1.113733.1.9.6"
#define OID_TRANSACTION_ID  "2.16.840.1.113733.1.9.7"
#define OID_FAIL_TEXT	    "1.3.6.1.5.5.7.24.1"
#define CERT_REP	    "3"
#define FAIL_INFO_MAX	    4

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

static bool add(CMS_SignerInfo *si, const char *oid, int type, const void *bytes, size_t n)
{
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	bool good = object != NULL &&
	    CMS_signed_add1_attr_by_OBJ(si, object, type, bytes, (int)n) == 1;

	ASN1_OBJECT_free(object);
	return good;
}

static bool add_attributes(CMS_SignerInfo *si, const struct signer_scep_sign *q)
{
	const char status[] = { (char)('0' + q->pki_status), 0 },
		   fail[] = { (char)('0' + q->fail_info), 0 };
	bool failed = q->pki_status == SIGNER_SCEP_FAILURE;

	return add(si, OID_MESSAGE_TYPE, V_ASN1_PRINTABLESTRING, CERT_REP, 1) &&
	    add(si, OID_PKI_STATUS, V_ASN1_PRINTABLESTRING, status, 1) &&
	    (!failed || add(si, OID_FAIL_INFO, V_ASN1_PRINTABLESTRING, fail, 1)) &&
	    (!failed || q->fail_text[0] == '\0' ||
		add(si, OID_FAIL_TEXT, V_ASN1_UTF8STRING, q->fail_text, strlen(q->fail_text))) &&
	    add(si, OID_TRANSACTION_ID, V_ASN1_PRINTABLESTRING, q->transaction_id,
		strlen(q->transaction_id)) &&
	    add(si, OID_SENDER_NONCE, V_ASN1_OCTET_STRING, q->sender_nonce,
		sizeof(q->sender_nonce)) &&
	    (q->recipient_nonce_n == 0 ||
		add(si, OID_RECIPIENT_NONCE, V_ASN1_OCTET_STRING, q->recipient_nonce,
		    q->recipient_nonce_n));
}

static int check(const struct signer_scep_sign *q, struct refusal *r)
{
	if (memchr(q->transaction_id, '\0', sizeof(q->transaction_id)) == NULL ||
	    q->transaction_id[0] == '\0' ||
	    memchr(q->fail_text, '\0', sizeof(q->fail_text)) == NULL ||
	    !text_is_clean(strv_from(q->fail_text)))
		return refuse(r, SIGNER_REFUSED, "a text of the CertRep is no text");
	if (q->pki_status != SIGNER_SCEP_SUCCESS && q->pki_status != SIGNER_SCEP_FAILURE &&
	    q->pki_status != SIGNER_SCEP_PENDING)
		return refuse(r, SIGNER_REFUSED, "pkiStatus %u", q->pki_status);
	if (q->fail_info > FAIL_INFO_MAX || q->recipient_nonce_n > sizeof(q->recipient_nonce))
		return refuse(r, SIGNER_REFUSED, "failInfo %u, nonce of %u bytes", q->fail_info,
		    q->recipient_nonce_n);
	if ((q->pki_status == SIGNER_SCEP_SUCCESS) != (q->content_n > 0))
		return refuse(
		    r, SIGNER_REFUSED, "a CertRep has content when it says SUCCESS, and only then");
	return 0;
}

static struct ca_entry *find_ra(struct ca_files *ca, const uint8_t sha256[SHA256_SIZE])
{
	static const uint8_t zeros[SHA256_SIZE];

	if (memcmp(sha256, zeros, SHA256_SIZE) == 0)
		return ca_files_find(ca, CA_RA, CA_CURRENT);
	for (size_t i = 0; i < ca->n; i++) {
		struct ca_entry *e = &ca->entries[i];
		if (e->kind == CA_RA && e->certificate != NULL &&
		    memcmp(e->sha256, sha256, SHA256_SIZE) == 0)
			return e;
	}
	return NULL;
}

unsigned char *message_cert_rep(struct ca_files *ca, const struct signer_scep_sign *q,
    const void *content, size_t *n, struct refusal *r)
{
	const EVP_MD *md = q->digest == 512 ? EVP_sha512() :
	    q->digest == 384		    ? EVP_sha384() :
					      EVP_sha256();
	struct ca_entry *ra = find_ra(ca, q->ra);
	CMS_ContentInfo *cms = NULL;
	CMS_SignerInfo *si;
	unsigned char *out = NULL;
	BIO *bio = NULL;

	if (check(q, r) < 0)
		return NULL;
	if (ra == NULL || ra->pkey == NULL) {
		refuse(r, SIGNER_NONE, "no such RA");
		return NULL;
	}
	bio = BIO_new_mem_buf(q->content_n > 0 ? content : "", (int)q->content_n);
	cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY);
	si = cms != NULL ?
	    CMS_add1_signer(cms, ra->certificate, ra->pkey, md, CMS_NOSMIMECAP | CMS_BINARY) :
	    NULL;
	if (bio == NULL || si == NULL || !add_attributes(si, q) ||
	    CMS_final(cms, bio, NULL, CMS_BINARY) != 1)
		refuse_openssl(r, "cannot sign the CertRep");
	else
		out = encode(cms, n, r);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	ERR_clear_error();
	return out;
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
