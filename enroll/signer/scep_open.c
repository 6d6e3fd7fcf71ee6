/*
 * scep_open: decrypts with an RA's key. Runs in the signer, on bytes that anybody on the network can make.
 */
#include "enroll/signer/scep_open.h"

#include <limits.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>

static int bad_message(struct refusal *r)
{
	return refuse(r, SIGNER_BAD_MESSAGE, "not a message encrypted to this RA");
}

/* CMS has no way to ask which cipher the content has; PKCS#7's structure, read and nothing more, has. */
static int check_cipher(
    const struct scep_ciphers *ciphers, const unsigned char *p, size_t n, struct refusal *r)
{
	const unsigned char *at = p;
	PKCS7 *p7 = d2i_PKCS7(NULL, &at, (long)n);
	int nid = NID_undef;

	if (p7 != NULL && at == p + n && PKCS7_type_is_enveloped(p7) && p7->d.enveloped != NULL &&
	    p7->d.enveloped->enc_data != NULL && p7->d.enveloped->enc_data->algorithm != NULL)
		nid = OBJ_obj2nid(p7->d.enveloped->enc_data->algorithm->algorithm);
	PKCS7_free(p7);
	switch (nid) {
	case NID_aes_128_cbc:
	case NID_aes_192_cbc:
	case NID_aes_256_cbc: return 0;
	case NID_des_ede3_cbc:
		return ciphers->des3 ?
		    0 :
		    refuse(r, SIGNER_BAD_CIPHER, "Triple DES is switched off (enroll.scep.des3)");
	case NID_des_cbc:
		return ciphers->des ?
		    0 :
		    refuse(r, SIGNER_BAD_CIPHER, "single DES is refused (enroll.scep.legacy_des)");
	case NID_undef: return bad_message(r);
	default:
		return refuse(r, SIGNER_BAD_CIPHER, "cipher %s is none of SCEP's", OBJ_nid2sn(nid));
	}
}

/* The RA that one of the recipients names. NULL: none, or a recipient that is no RSA key transport. */
static struct ca_entry *find_ra(struct ca_files *ca, CMS_ContentInfo *cms)
{
	STACK_OF(CMS_RecipientInfo) *recipients = CMS_get0_RecipientInfos(cms);
	struct ca_entry *found = NULL;

	if (recipients == NULL || sk_CMS_RecipientInfo_num(recipients) < 1 ||
	    sk_CMS_RecipientInfo_num(recipients) > SCEP_RECIPIENTS_MAX)
		return NULL;
	for (int i = 0; i < sk_CMS_RecipientInfo_num(recipients); i++) {
		CMS_RecipientInfo *ri = sk_CMS_RecipientInfo_value(recipients, i);
		X509_ALGOR *algorithm = NULL;
		int nid;

		if (CMS_RecipientInfo_type(ri) != CMS_RECIPINFO_TRANS ||
		    !CMS_RecipientInfo_ktri_get0_algs(ri, NULL, NULL, &algorithm))
			return NULL;
		nid = OBJ_obj2nid(algorithm->algorithm);
		if (nid != NID_rsaEncryption && nid != NID_rsaesOaep)
			return NULL;
		for (size_t k = 0; k < ca->n && found == NULL; k++) {
			struct ca_entry *e = &ca->entries[k];
			if (e->kind == CA_RA && e->pkey != NULL && e->certificate != NULL &&
			    CMS_RecipientInfo_ktri_cert_cmp(ri, e->certificate) == 0)
				found = e;
		}
	}
	return found;
}

static unsigned char *take(BIO *out, size_t *n)
{
	char *bytes;
	long len = BIO_get_mem_data(out, &bytes);
	unsigned char *copy;

	if (len <= 0 || len > SIGNER_DATA_MAX)
		return NULL;
	copy = OPENSSL_malloc((size_t)len);
	if (copy == NULL)
		return NULL;
	memcpy(copy, bytes, (size_t)len);
	*n = (size_t)len;
	return copy;
}

unsigned char *scep_open(struct ca_files *ca, const struct scep_ciphers *ciphers, const void *bytes,
    size_t bytes_n, size_t *n, struct refusal *r)
{
	BIO *in = NULL, *out = NULL;
	CMS_ContentInfo *cms = NULL;
	struct ca_entry *ra;
	unsigned char *plain = NULL;

	if (bytes_n == 0 || bytes_n > INT_MAX) {
		bad_message(r);
		return NULL;
	}
	if (check_cipher(ciphers, bytes, bytes_n, r) < 0)
		return NULL;
	in = BIO_new_mem_buf(bytes, (int)bytes_n);
	out = BIO_new(BIO_s_secmem());
	cms = in != NULL ? d2i_CMS_bio(in, NULL) : NULL;
	ra = cms != NULL && OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_enveloped ?
	    find_ra(ca, cms) :
	    NULL;
	/* without the certificate OpenSSL goes on with a random key where the padding is wrong: what we want */
	if (ra != NULL && out != NULL &&
	    CMS_decrypt(cms, ra->pkey, NULL, NULL, out, CMS_BINARY) == 1)
		plain = take(out, n);
	if (plain == NULL)
		bad_message(r);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	BIO_free(out);
	ERR_clear_error();
	return plain;
}
