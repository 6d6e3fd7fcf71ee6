/*
 * apple_seal: bytes encrypted to one device's certificate. Decides nothing. Runs in the worker of easenroll.
 */
#include "enroll/worker/apple_seal.h"

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

/* What CMS would encrypt to, and a device decrypt with. */
static bool may_receive(X509 *recipient)
{
	EVP_PKEY *key = X509_get0_pubkey(recipient);

	if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || EVP_PKEY_get_bits(key) < 2048)
		return false;
	/* UINT32_MAX when the extension is absent: then anything goes */
	return (X509_get_key_usage(recipient) & KU_KEY_ENCIPHERMENT) != 0;
}

static CMS_ContentInfo *encrypt(struct strv bytes, X509 *recipient)
{
	BIO *in = BIO_new_mem_buf(bytes.p, (int)bytes.n);
	STACK_OF(X509) *to = sk_X509_new_null();
	CMS_ContentInfo *cms = NULL;

	/* the certificate stays the caller's: the stack is freed without what lies in it */
	if (in != NULL && to != NULL && sk_X509_push(to, recipient) > 0)
		cms = CMS_encrypt(to, in, EVP_aes_256_cbc(), CMS_BINARY);
	sk_X509_free(to);
	BIO_free(in);
	return cms;
}

int apple_seal(struct strv bytes, X509 *recipient, struct buffer *out)
{
	CMS_ContentInfo *cms;
	unsigned char *der = NULL;
	int n = -1, r = -1;

	if (bytes.n == 0 || bytes.n > INT_MAX || !may_receive(recipient))
		return -1;
	cms = encrypt(bytes, recipient);
	if (cms != NULL)
		n = i2d_CMS_ContentInfo(cms, &der);
	if (n > 0)
		r = buffer_add(out, der, (size_t)n);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	ERR_clear_error();
	return r;
}
