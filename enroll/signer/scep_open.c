/*
 * scep_open: decrypts with an RA's key. Runs in the signer, on bytes that anybody on the network can make.
 */
#include "enroll/signer/scep_open.h"

#include <limits.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "enroll/cms_form.h"
#include "enroll/der_write.h"

#define RECIPIENT_MAX 2048 /* DER of an issuer's name */

static int bad_message(struct refusal *r)
{
	return refuse(r, SIGNER_BAD_MESSAGE, "not a message encrypted to this RA");
}

static int check_cipher(const struct scep_ciphers *ciphers, int nid, struct refusal *r)
{
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

/* Whatever OpenSSL's CMS can open: OAEP, recipients by key identifier. */
static unsigned char *open_any(struct ca_files *ca, const void *bytes, size_t bytes_n, size_t *n)
{
	BIO *in = BIO_new_mem_buf(bytes, (int)bytes_n), *out = BIO_new(BIO_s_secmem());
	CMS_ContentInfo *cms = in != NULL ? d2i_CMS_bio(in, NULL) : NULL;
	struct ca_entry *ra = cms != NULL && OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_enveloped ? find_ra(ca, cms) : NULL;
	unsigned char *plain = NULL;

	/* without the certificate OpenSSL goes on with a random key where the padding is wrong: what we want */
	if (ra != NULL && out != NULL && CMS_decrypt(cms, ra->pkey, NULL, NULL, out, CMS_BINARY) == 1)
		plain = take(out, n);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	BIO_free(out);
	return plain;
}

/* The recipient's name is this RA's certificate, byte by byte. */
static bool is_to(const CMS_RECIPIENT_FORM *to, const X509 *certificate)
{
	unsigned char name[RECIPIENT_MAX], serial[64], *p = name, *q = serial;
	const ASN1_INTEGER *number = X509_get0_serialNumber(certificate);
	const X509_NAME *issuer = X509_get_issuer_name(certificate);
	struct der_writer d;
	uint8_t room[RECIPIENT_MAX + 80];
	int name_n = i2d_X509_NAME(issuer, NULL), serial_n = i2d_ASN1_INTEGER(number, NULL);

	if (ASN1_TYPE_get(to->who) != V_ASN1_SEQUENCE || name_n <= 0 || name_n > (int)sizeof(name) || serial_n <= 0 || serial_n > (int)sizeof(serial))
		return false;
	i2d_X509_NAME(issuer, &p);
	i2d_ASN1_INTEGER(number, &q);
	der_start(&d, room, sizeof(room));
	der_put(&d, serial, (size_t)serial_n);
	der_put(&d, name, (size_t)name_n);
	der_enclose(&d, DER_SEQUENCE, sizeof(room));
	return strv_eq(der_done(&d), asn1_string_view(to->who->value.sequence));
}

/* What nearly all clients send: one recipient, an RA by its name, PKCS#1 v1.5. NULL: something else. */
static struct ca_entry *find_usual_ra(struct ca_files *ca, const CMS_ENVELOPED_FORM *form)
{
	const CMS_RECIPIENT_FORM *to = sk_CMS_RECIPIENT_FORM_value(form->recipients, 0);

	if (sk_CMS_RECIPIENT_FORM_num(form->recipients) != 1 || OBJ_obj2nid(to->algorithm->algorithm) != NID_rsaEncryption)
		return NULL;
	for (size_t i = 0; i < ca->n; i++) {
		struct ca_entry *e = &ca->entries[i];
		if (e->kind == CA_RA && e->pkey != NULL && e->certificate != NULL && is_to(to, e->certificate))
			return e;
	}
	return NULL;
}

/*
 * The content's key. Where the padding is wrong, or the key is not of the cipher's length, it is a random one: the content does not open then, and
 * nobody is told which it was (RFC 3218). 0, or -1: no memory, no random bytes.
 */
static int open_key(EVP_PKEY *ra, const ASN1_OCTET_STRING *wrapped, unsigned char *key, size_t n)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, ra, NULL);
	size_t size = (size_t)EVP_PKEY_get_size(ra), got = size;
	unsigned char *room = OPENSSL_malloc(size);
	int rc = -1;

	if (ctx == NULL || room == NULL || EVP_PKEY_decrypt_init(ctx) != 1 || RAND_priv_bytes(key, (int)n) != 1)
		goto out;
	rc = 0;
	if (EVP_PKEY_decrypt(ctx, room, &got, ASN1_STRING_get0_data(wrapped), (size_t)ASN1_STRING_length(wrapped)) == 1 && got == n)
		memcpy(key, room, n);
out:
	OPENSSL_clear_free(room, size);
	EVP_PKEY_CTX_free(ctx);
	return rc;
}

static unsigned char *open_usual(EVP_PKEY *ra, const CMS_ENVELOPED_FORM *form, size_t *n)
{
	const CMS_RECIPIENT_FORM *to = sk_CMS_RECIPIENT_FORM_value(form->recipients, 0);
	const CMS_ENCRYPTED_FORM *content = form->content;
	const EVP_CIPHER *cipher = EVP_get_cipherbyobj(content->cipher->algorithm);
	const ASN1_TYPE *iv = content->cipher->parameter;
	struct strv bytes = asn1_string_view(content->bytes);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char key[EVP_MAX_KEY_LENGTH], *plain = NULL;
	size_t room = bytes.n + EVP_MAX_BLOCK_LENGTH;
	int first = 0, last = 0;
	bool good = false;

	if (ctx == NULL || cipher == NULL || bytes.n == 0 || bytes.n > SIGNER_DATA_MAX || iv == NULL || ASN1_TYPE_get(iv) != V_ASN1_OCTET_STRING ||
	    ASN1_STRING_length(iv->value.octet_string) != EVP_CIPHER_get_iv_length(cipher) ||
	    open_key(ra, to->key, key, (size_t)EVP_CIPHER_get_key_length(cipher)) < 0)
		goto out;
	plain = OPENSSL_malloc(room);
	good = plain != NULL && EVP_DecryptInit_ex(ctx, cipher, NULL, key, ASN1_STRING_get0_data(iv->value.octet_string)) == 1 &&
	    EVP_DecryptUpdate(ctx, plain, &first, (const unsigned char *)bytes.p, (int)bytes.n) == 1 &&
	    EVP_DecryptFinal_ex(ctx, plain + first, &last) == 1 && first + last > 0;
	*n = (size_t)first + (size_t)last;
out:
	OPENSSL_cleanse(key, sizeof(key));
	EVP_CIPHER_CTX_free(ctx);
	if (good)
		return plain;
	OPENSSL_clear_free(plain, plain != NULL ? room : 0);
	return NULL;
}

unsigned char *scep_open(struct ca_files *ca, const struct scep_ciphers *ciphers, const void *bytes,
    size_t bytes_n, size_t *n, struct refusal *r)
{
	CMS_ENVELOPED_FORM *form = bytes_n <= INT_MAX ? cms_enveloped_read((struct strv){ bytes, bytes_n }) : NULL;
	int nid = form != NULL ? OBJ_obj2nid(form->content->cipher->algorithm) : NID_undef;
	unsigned char *plain = NULL;
	struct ca_entry *ra;

	if (check_cipher(ciphers, nid, r) == 0) {
		ra = find_usual_ra(ca, form);
		plain = ra != NULL ? open_usual(ra->pkey, form, n) : open_any(ca, bytes, bytes_n, n);
		if (plain == NULL)
			bad_message(r);
	}
	cms_enveloped_free(form);
	ERR_clear_error();
	return plain;
}
