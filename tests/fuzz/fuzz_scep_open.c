/*
 * What the signer opens with an RA's key: envelopes of anybody's making. They are tried as they come, and with a key transport and a last block that are
 * good, so that what lies behind them is reached. What is opened is bounded and fits into the envelope; nothing is left in OpenSSL's queue.
 */
#include "enroll/signer/scep_open.h"

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "common/text.h"
#include "der_mutate.h"
#include "enroll/cms_form.h"
#include "fuzz_key.h"

/* The RA's certificate, the same in every run but for its dates. */
static X509 *make_ra(void)
{
	X509 *cert = X509_new();

	FUZZ_CHECK(cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(cert), 4711) == 1);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)"Example RA", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	FUZZ_CHECK(X509_set_pubkey(cert, fuzz_key()) == 1 && X509_sign(cert, fuzz_key(), EVP_sha256()) > 0);
	return cert;
}

static struct ca_files *make_ca(void)
{
	struct ca_files *ca = calloc(1, sizeof(*ca));

	FUZZ_CHECK(ca != NULL);
	ca->n = 1;
	ca->entries[0] = (struct ca_entry){ .kind = CA_RA, .state = CA_CURRENT, .generation = 1, .certificate = make_ra(), .pkey = fuzz_key() };
	return ca;
}

static void open_one(struct ca_files *ca, const char *p, size_t n)
{
	const struct scep_ciphers all = { .des3 = true, .des = true }, none = { false, false };
	struct refusal r = { .status = SIGNER_OK };
	size_t plain_n = 0;
	unsigned char *plain = scep_open(ca, &all, p, n, &plain_n, &r);

	FUZZ_CHECK(ERR_peek_error() == 0);
	if (plain != NULL)
		FUZZ_CHECK(plain_n > 0 && plain_n <= n && plain_n <= SIGNER_DATA_MAX);
	else
		FUZZ_CHECK(r.status == SIGNER_BAD_MESSAGE || r.status == SIGNER_BAD_CIPHER);
	OPENSSL_clear_free(plain, plain != NULL ? plain_n : 0);
	plain = scep_open(ca, &none, p, n, &plain_n, &r);
	OPENSSL_clear_free(plain, plain != NULL ? plain_n : 0);
}

static void overwrite(struct strv message, struct strv these, const void *by)
{
	char *at = these.n > 0 ? memmem(message.p, message.n, these.p, these.n) : NULL;

	if (at != NULL)
		memcpy(at, by, these.n);
}

/* A session key of zeros, its bits those of DES's parity, wrapped once for each length. */
static const uint8_t *wrapped(size_t key_n)
{
	static uint8_t all[EVP_MAX_KEY_LENGTH + 1][256];
	uint8_t key[EVP_MAX_KEY_LENGTH];
	size_t n = sizeof(all[0]);
	EVP_PKEY_CTX *ctx;

	memset(key, 1, sizeof(key));
	if (all[key_n][0] == 0 && all[key_n][1] == 0) {
		ctx = EVP_PKEY_CTX_new_from_pkey(NULL, fuzz_key(), NULL);
		FUZZ_CHECK(ctx != NULL && EVP_PKEY_encrypt_init(ctx) == 1 && EVP_PKEY_encrypt(ctx, all[key_n], &n, key, key_n) == 1);
		EVP_PKEY_CTX_free(ctx);
	}
	return all[key_n];
}

/* What is there becomes the content's clear text, but for its last byte. */
static void encrypt(struct strv message, const CMS_ENCRYPTED_FORM *content, const EVP_CIPHER *cipher)
{
	struct strv bytes = asn1_string_view(content->bytes);
	const ASN1_TYPE *iv = content->cipher->parameter;
	size_t block = (size_t)EVP_CIPHER_get_block_size(cipher);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t key[EVP_MAX_KEY_LENGTH], *out = malloc(bytes.n + EVP_MAX_BLOCK_LENGTH);
	int n = 0;

	memset(key, 1, sizeof(key));
	if (bytes.n >= block && bytes.n % block == 0 && iv != NULL && ASN1_TYPE_get(iv) == V_ASN1_OCTET_STRING &&
	    ASN1_STRING_length(iv->value.octet_string) == EVP_CIPHER_get_iv_length(cipher) &&
	    EVP_EncryptInit_ex(ctx, cipher, NULL, key, ASN1_STRING_get0_data(iv->value.octet_string)) == 1 && EVP_CIPHER_CTX_set_padding(ctx, 0) == 1) {
		memcpy(out, bytes.p, bytes.n);
		out[bytes.n - 1] = 1;
		if (EVP_EncryptUpdate(ctx, out, &n, out, (int)bytes.n) == 1 && (size_t)n == bytes.n)
			overwrite(message, bytes, out);
	}
	EVP_CIPHER_CTX_free(ctx);
	free(out);
}

/* Changes the message in its place: each key transport of the RA's size is one of ours. */
static void seal_anew(struct strv message)
{
	CMS_ENVELOPED_FORM *form = cms_enveloped_read(message);
	const EVP_CIPHER *cipher = form != NULL ? EVP_get_cipherbyobj(form->content->cipher->algorithm) : NULL;

	if (cipher != NULL && EVP_CIPHER_get_mode(cipher) == EVP_CIPH_CBC_MODE) {
		for (int i = 0; i < sk_CMS_RECIPIENT_FORM_num(form->recipients); i++) {
			struct strv key = asn1_string_view(sk_CMS_RECIPIENT_FORM_value(form->recipients, i)->key);

			if (key.n == 256)
				overwrite(message, key, wrapped((size_t)EVP_CIPHER_get_key_length(cipher)));
		}
		encrypt(message, form->content, cipher);
	}
	cms_enveloped_free(form);
	ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct ca_files *ca;
	char *copy;

	if (n > 65536)
		return 0;
	if (ca == NULL)
		ca = make_ca();
	copy = fuzz_exact(bytes, n);
	ERR_clear_error();
	open_one(ca, copy, n);
	seal_anew((struct strv){ copy, n });
	open_one(ca, copy, n);
	free(copy);
	return 0;
}
