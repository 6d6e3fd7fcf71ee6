/*
 * scep_message: what a CertRep is made of: degenerate SignedData, and the envelope for the requester.
 * Signs nothing and knows no key of ours. Runs in the worker process.
 */
#include "enroll/worker/scep_message.h"

#include <openssl/asn1t.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>

/* RFC 5652 §5.1 with no signers and no content: CMS_ functions would not write one without a digest algorithm. */
typedef struct no_content {
	ASN1_OBJECT *type;
} NO_CONTENT;
typedef struct degenerate {
	ASN1_INTEGER *version;
	STACK_OF(X509_ALGOR) *digests;
	NO_CONTENT *content;
	STACK_OF(ASN1_TYPE) *certificates;
	STACK_OF(ASN1_TYPE) *crls;
	STACK_OF(ASN1_TYPE) *signers;
} DEGENERATE;
typedef struct degenerate_info {
	ASN1_OBJECT *type;
	DEGENERATE *signed_data;
} DEGENERATE_INFO;

ASN1_SEQUENCE(NO_CONTENT) = {
	ASN1_SIMPLE(NO_CONTENT, type, ASN1_OBJECT),
} static_ASN1_SEQUENCE_END(NO_CONTENT)

/*
 * SEQUENCE OF where the standard says SET OF: the encoding is the same, and the certificate asked for stays first. Bytes, not objects: to
 * read a certificate costs OpenSSL 3.0 more than to sign one.
 */
ASN1_SEQUENCE(DEGENERATE) = {
	ASN1_SIMPLE(DEGENERATE, version, ASN1_INTEGER),
	ASN1_SET_OF(DEGENERATE, digests, X509_ALGOR),
	ASN1_SIMPLE(DEGENERATE, content, NO_CONTENT),
	ASN1_IMP_SEQUENCE_OF_OPT(DEGENERATE, certificates, ASN1_ANY, 0),
	ASN1_IMP_SEQUENCE_OF_OPT(DEGENERATE, crls, ASN1_ANY, 1),
	ASN1_SET_OF(DEGENERATE, signers, ASN1_ANY),
} static_ASN1_SEQUENCE_END(DEGENERATE)

ASN1_SEQUENCE(DEGENERATE_INFO) = {
	ASN1_SIMPLE(DEGENERATE_INFO, type, ASN1_OBJECT),
	ASN1_EXP(DEGENERATE_INFO, signed_data, DEGENERATE, 0),
} static_ASN1_SEQUENCE_END(DEGENERATE_INFO)

static int add(STACK_OF(ASN1_TYPE) **list, struct strv der)
{
	ASN1_TYPE *value = ASN1_TYPE_new();
	ASN1_STRING *bytes = ASN1_STRING_type_new(V_ASN1_SEQUENCE);

	if (*list == NULL)
		*list = sk_ASN1_TYPE_new_null();
	if (value == NULL || bytes == NULL || *list == NULL || der.n == 0 || der.n > INT_MAX || ASN1_STRING_set(bytes, der.p, (int)der.n) != 1) {
		ASN1_STRING_free(bytes);
		ASN1_TYPE_free(value);
		return -1;
	}
	ASN1_TYPE_set(value, V_ASN1_SEQUENCE, bytes);
	if (sk_ASN1_TYPE_push(*list, value) > 0)
		return 0;
	ASN1_TYPE_free(value);
	return -1;
}

static int add_all(STACK_OF(ASN1_TYPE) **list, const STACK_OF(X509) *certs)
{
	for (int i = 0; i < sk_X509_num(certs); i++) {
		unsigned char *der = NULL;
		int n = i2d_X509(sk_X509_value(certs, i), &der);
		int rc = n > 0 ? add(list, (struct strv){ (char *)der, (size_t)n }) : -1;

		OPENSSL_free(der);
		if (rc < 0)
			return -1;
	}
	return 0;
}

unsigned char *scep_degenerate(const STACK_OF(X509) *certs, struct strv cert, struct strv crl, size_t *n)
{
	DEGENERATE_INFO *d = (DEGENERATE_INFO *)ASN1_item_new(ASN1_ITEM_rptr(DEGENERATE_INFO));
	unsigned char *der = NULL;
	int size = -1;

	*n = 0;
	if (d == NULL)
		return NULL;
	d->type = OBJ_nid2obj(NID_pkcs7_signed);
	d->signed_data->content->type = OBJ_nid2obj(NID_pkcs7_data);
	if (ASN1_INTEGER_set(d->signed_data->version, 1) == 1 && add_all(&d->signed_data->certificates, certs) == 0 &&
	    (cert.n == 0 || add(&d->signed_data->certificates, cert) == 0) && (crl.n == 0 || add(&d->signed_data->crls, crl) == 0))
		size = ASN1_item_i2d((const ASN1_VALUE *)d, &der, ASN1_ITEM_rptr(DEGENERATE_INFO));
	ASN1_item_free((ASN1_VALUE *)d, ASN1_ITEM_rptr(DEGENERATE_INFO));
	ERR_clear_error();
	*n = size > 0 ? (size_t)size : 0;
	return size > 0 ? der : NULL;
}

static const EVP_CIPHER *reply_cipher(int asked)
{
	switch (asked) {
	case NID_des_cbc:	/* OpenSSL 3 clients cannot open it, and those that send it read AES */
	case NID_aes_128_cbc:
		return EVP_aes_128_cbc();
	case NID_aes_192_cbc:
		return EVP_aes_192_cbc();
	case NID_des_ede3_cbc:
		return EVP_des_ede3_cbc();
	default:
		return EVP_aes_256_cbc();
	}
}

unsigned char *scep_envelope(X509 *recipient, int cipher, const void *bytes, size_t bytes_n, size_t *n)
{
	STACK_OF(X509) *to = sk_X509_new_null();
	CMS_ContentInfo *cms = NULL;
	unsigned char *der = NULL;
	BIO *in = NULL;
	int size = -1;

	*n = 0;
	if (to == NULL || bytes_n == 0 || bytes_n > SCEP_MESSAGE_MAX)
		goto out;
	if (EVP_PKEY_get_base_id(X509_get0_pubkey(recipient)) != EVP_PKEY_RSA || sk_X509_push(to, recipient) <= 0)
		goto out;
	in = BIO_new_mem_buf(bytes, (int)bytes_n);
	if (in == NULL)
		goto out;
	cms = CMS_encrypt(to, in, reply_cipher(cipher), CMS_BINARY);
	if (cms != NULL)
		size = i2d_CMS_ContentInfo(cms, &der);
out:
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	sk_X509_free(to);
	ERR_clear_error();
	*n = size > 0 ? (size_t)size : 0;
	return size > 0 ? der : NULL;
}
