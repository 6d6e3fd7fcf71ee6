/*
 * scep_message: what a CertRep is made of: degenerate SignedData, and the envelope for the requester, put together from bytes (der.h).
 * Signs nothing and knows no key of ours. Runs in the worker process.
 */
#include "enroll/worker/scep_message.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "enroll/cms_form.h"
#include "enroll/der_write.h"

#define HEADS 256	/* room for all heads, identifiers of algorithms and versions */

static const uint8_t version_0[] = { DER_INTEGER, 1, 0 }, version_1[] = { DER_INTEGER, 1, 1 };

static bool put_certificate(struct der_writer *d, const X509 *cert)
{
	unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);

	if (n > 0)
		der_put(d, der, (size_t)n);
	OPENSSL_free(der);
	return n > 0;
}

/* RFC 5652 §5.1 with no signers and no content. Certificates in their order, which DER of a SET would change: the one asked for stays first. */
static bool write_degenerate(struct der_writer *d, const STACK_OF(X509) *certs, struct strv cert, struct strv crl)
{
	size_t end = der_mark(d), mark;

	der_value(d, DER_SET, NULL, 0);		/* signers */
	if (crl.n > 0)
		der_value(d, DER_CONSTRUCTED(1), crl.p, crl.n);
	mark = der_mark(d);
	der_put(d, cert.p, cert.n);
	for (int i = sk_X509_num(certs); i-- > 0;)
		if (!put_certificate(d, sk_X509_value(certs, i)))
			return false;
	if (der_mark(d) != mark)
		der_enclose(d, DER_CONSTRUCTED(0), mark);
	mark = der_mark(d);
	der_oid(d, NID_pkcs7_data);
	der_enclose(d, DER_SEQUENCE, mark);
	der_value(d, DER_SET, NULL, 0);		/* digests */
	der_put(d, version_1, sizeof(version_1));
	der_enclose(d, DER_SEQUENCE, end);
	der_enclose(d, DER_CONSTRUCTED(0), end);
	der_oid(d, NID_pkcs7_signed);
	der_enclose(d, DER_SEQUENCE, end);
	return true;
}

/* What was written, apart from its room. */
static unsigned char *keep(const struct der_writer *d, size_t *n)
{
	struct strv all = der_done(d);

	*n = all.n;
	return all.n > 0 ? OPENSSL_memdup(all.p, all.n) : NULL;
}

unsigned char *scep_degenerate(const STACK_OF(X509) *certs, struct strv cert, struct strv crl, size_t *n)
{
	size_t size = cert.n + crl.n + HEADS;
	unsigned char *room, *der = NULL;
	struct der_writer d;

	*n = 0;
	for (int i = 0; i < sk_X509_num(certs); i++) {
		int one = i2d_X509(sk_X509_value(certs, i), NULL);

		size += one > 0 ? (size_t)one : 0;
	}
	room = OPENSSL_malloc(size);
	if (room == NULL)
		return NULL;
	der_start(&d, room, size);
	if (write_degenerate(&d, certs, cert, crl))
		der = keep(&d, n);
	OPENSSL_free(room);
	ERR_clear_error();
	return der;
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

/* What the envelope is made of. */
struct sealed {
	const EVP_CIPHER *cipher;
	unsigned char key[EVP_MAX_KEY_LENGTH], iv[EVP_MAX_IV_LENGTH];
	unsigned char *bytes, *wrapped;		/* encrypted: the content, its key */
	size_t bytes_n, wrapped_n;
};

static bool encrypt(struct sealed *s, const void *bytes, size_t n)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int first = 0, last = 0;
	bool good;

	s->bytes = OPENSSL_malloc(n + EVP_MAX_BLOCK_LENGTH);
	/* not RAND_bytes(): Triple DES wants its parity */
	good = ctx != NULL && s->bytes != NULL && EVP_EncryptInit_ex(ctx, s->cipher, NULL, NULL, NULL) == 1 &&
	    EVP_CIPHER_CTX_rand_key(ctx, s->key) == 1 && RAND_bytes(s->iv, EVP_CIPHER_get_iv_length(s->cipher)) == 1 &&
	    EVP_EncryptInit_ex(ctx, NULL, NULL, s->key, s->iv) == 1 && EVP_EncryptUpdate(ctx, s->bytes, &first, bytes, (int)n) == 1 &&
	    EVP_EncryptFinal_ex(ctx, s->bytes + first, &last) == 1;
	s->bytes_n = (size_t)first + (size_t)last;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

static bool wrap_key(struct sealed *s, EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool good;

	s->wrapped_n = (size_t)EVP_PKEY_get_size(key);
	s->wrapped = OPENSSL_malloc(s->wrapped_n);
	good = ctx != NULL && s->wrapped != NULL && EVP_PKEY_encrypt_init(ctx) == 1 &&
	    EVP_PKEY_encrypt(ctx, s->wrapped, &s->wrapped_n, s->key, (size_t)EVP_CIPHER_get_key_length(s->cipher)) == 1;
	EVP_PKEY_CTX_free(ctx);
	return good;
}

/* KeyTransRecipientInfo (RFC 5652 §6.2.1) for who holds this certificate. */
static void write_recipient(struct der_writer *d, const struct sealed *s, const struct der_certificate *to)
{
	size_t end = der_mark(d), mark;

	der_value(d, DER_OCTETS, s->wrapped, s->wrapped_n);
	mark = der_mark(d);
	der_value(d, DER_NULL, NULL, 0);
	der_oid(d, NID_rsaEncryption);
	der_enclose(d, DER_SEQUENCE, mark);
	mark = der_mark(d);
	der_put(d, to->serial.p, to->serial.n);
	der_put(d, to->issuer.p, to->issuer.n);
	der_enclose(d, DER_SEQUENCE, mark);
	der_put(d, version_0, sizeof(version_0));
	der_enclose(d, DER_SEQUENCE, end);
	der_enclose(d, DER_SET, end);
}

static void write_envelope(struct der_writer *d, const struct sealed *s, const struct der_certificate *to)
{
	size_t end = der_mark(d), mark;

	der_value(d, DER_CONTEXT(0), s->bytes, s->bytes_n);
	mark = der_mark(d);
	der_value(d, DER_OCTETS, s->iv, (size_t)EVP_CIPHER_get_iv_length(s->cipher));
	der_oid(d, EVP_CIPHER_get_nid(s->cipher));
	der_enclose(d, DER_SEQUENCE, mark);
	der_oid(d, NID_pkcs7_data);
	der_enclose(d, DER_SEQUENCE, end);
	write_recipient(d, s, to);
	der_put(d, version_0, sizeof(version_0));
	der_enclose(d, DER_SEQUENCE, end);
	der_enclose(d, DER_CONSTRUCTED(0), end);
	der_oid(d, NID_pkcs7_enveloped);
	der_enclose(d, DER_SEQUENCE, end);
}

unsigned char *scep_envelope(const struct scep_request *request, const void *bytes, size_t bytes_n, size_t *n)
{
	struct sealed s = { .cipher = reply_cipher(request->cipher) };
	unsigned char *room = NULL, *der = NULL;
	struct der_certificate to;
	struct der_writer d;
	size_t size;

	*n = 0;
	if (bytes_n == 0 || bytes_n > SCEP_MESSAGE_MAX || request->key == NULL || EVP_PKEY_get_base_id(request->key) != EVP_PKEY_RSA ||
	    der_certificate_read(scep_certificate(request), &to) < 0)
		return NULL;
	if (encrypt(&s, bytes, bytes_n) && wrap_key(&s, request->key)) {
		size = s.bytes_n + s.wrapped_n + to.issuer.n + to.serial.n + HEADS;
		room = OPENSSL_malloc(size);
		der_start(&d, room, room != NULL ? size : 0);
		write_envelope(&d, &s, &to);
		der = keep(&d, n);
	}
	OPENSSL_free(room);
	OPENSSL_free(s.bytes);
	OPENSSL_free(s.wrapped);
	OPENSSL_cleanse(&s, sizeof(s));
	ERR_clear_error();
	return der;
}
