/*
 * key: makes, writes and loads private keys in files. Runs in the signer before it is confined, and in the `ca` commands. What it reads it wipes.
 */
#include "enroll/signer/key.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <stdlib.h>

#include "enroll/signer/folder.h"
#include "enroll/signer/key_token.h"

bool key_is_token(const char *reference) { return strncmp(reference, "pkcs11:", 7) == 0; }

EVP_PKEY *key_make(enum key_kind kind, struct refusal *r)
{
	EVP_PKEY *key;

	switch (kind) {
	case KEY_EC_P384: key = EVP_EC_gen("P-384"); break;
	case KEY_RSA_2048: key = EVP_RSA_gen(2048); break;
	case KEY_RSA_3072: key = EVP_RSA_gen(3072); break;
	case KEY_RSA_4096: key = EVP_RSA_gen(4096); break;
	case KEY_EC_P256:
	default: key = EVP_EC_gen("P-256"); break;
	}
	if (key == NULL)
		refuse_openssl(r, "cannot make a key");
	return key;
}

static bool has(const char *text) { return text != NULL && text[0] != '\0'; }

static void wipe(char *text)
{
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

int key_write(const char *path, EVP_PKEY *key, const struct key_source *source, struct refusal *r)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *password = NULL, *bytes;
	long n;
	int rc = -1;

	if (has(source->password_file)) {
		password = folder_secret(source->password_file, r);
		if (password == NULL)
			goto out;
	}
	if (bio == NULL ||
	    !PEM_write_bio_PKCS8PrivateKey(bio, key, password != NULL ? EVP_aes_256_cbc() : NULL,
		password, password != NULL ? (int)strlen(password) : 0, NULL, NULL)) {
		refuse_openssl(r, "%s: cannot encode the key", path);
		goto out;
	}
	n = BIO_get_mem_data(bio, &bytes);
	rc = folder_write(path, bytes, (size_t)n, 0600, r);
out:
	wipe(password);
	BIO_free(bio);
	return rc;
}

/* OpenSSL asks when the file is encrypted; without a password the answer is an error, never a prompt. */
static int on_password(char *out, int size, int writing, void *arg)
{
	const char *password = arg;
	size_t n = password != NULL ? strlen(password) : 0;

	(void)writing;
	if (n == 0 || n > (size_t)size)
		return -1;
	memcpy(out, password, n);
	return (int)n;
}

static EVP_PKEY *load_file(const char *path, const struct key_source *source, struct refusal *r)
{
	char *password = NULL, *text;
	EVP_PKEY *key = NULL;
	BIO *bio;
	size_t n;

	text = folder_read(path, true, &n, r);
	if (text == NULL)
		return NULL;
	if (has(source->password_file)) {
		password = folder_secret(source->password_file, r);
		if (password == NULL)
			goto out;
	}
	bio = BIO_new_mem_buf(text, (int)n);
	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, on_password, password);
	BIO_free(bio);
	if (key == NULL)
		refuse(r, SIGNER_BROKEN, "%s: not a private key in PEM%s", path,
		    password != NULL ?
			", or enroll.ca.key_password_file is not its password" :
			", or it is encrypted: name its password in enroll.ca.key_password_file");
out:
	wipe(password);
	OPENSSL_cleanse(text, n);
	free(text);
	return key;
}

EVP_PKEY *key_load(const char *reference, const struct key_source *source, struct refusal *r)
{
	char *pin = NULL;
	EVP_PKEY *key;

	if (!key_is_token(reference))
		return load_file(reference, source, r);
	if (!has(source->pkcs11_module)) {
		refuse(r, SIGNER_BROKEN,
		    "%s: a key in a token, and enroll.ca.pkcs11_module is not set", reference);
		return NULL;
	}
	if (has(source->pin_file)) {
		pin = folder_secret(source->pin_file, r);
		if (pin == NULL)
			return NULL;
	}
	key = key_token_load(reference, source->pkcs11_module, pin, r);
	wipe(pin);
	return key;
}

const EVP_MD *key_digest(const EVP_PKEY *key)
{
	int bits = EVP_PKEY_get_bits(key);

	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || bits <= 256)
		return EVP_sha256();
	return bits <= 384 ? EVP_sha384() : EVP_sha512();
}

/* Of OpenSSL itself: keys in a token are signed with as their engine or provider is used to. */
static bool is_plain(const EVP_PKEY *key)
{
	const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(key);

	return provider != NULL && strcmp(OSSL_PROVIDER_get0_name(provider), "default") == 0;
}

/* For key_sign(); NULL: none. To make it for each signature costs OpenSSL 3.0 a quarter of what one with P-256 does. */
static EVP_PKEY_CTX *signing_context(EVP_PKEY *key)
{
	static EVP_PKEY_CTX *kept; /* holds its key, so that no other one can come to lie in its place */

	if (kept != NULL && EVP_PKEY_CTX_get0_pkey(kept) == key)
		return kept;
	EVP_PKEY_CTX_free(kept);
	kept = is_plain(key) ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	if (kept != NULL &&
	    (EVP_PKEY_sign_init(kept) != 1 || EVP_PKEY_CTX_set_signature_md(kept, key_digest(key)) != 1)) {
		EVP_PKEY_CTX_free(kept);
		kept = NULL;
	}
	return kept;
}

int key_sign(EVP_PKEY *key, struct strv bytes, uint8_t *out, size_t *n)
{
	EVP_PKEY_CTX *context = signing_context(key);
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned hash_n;
	EVP_MD_CTX *whole;
	bool good;

	if (context != NULL)
		return EVP_Digest(bytes.p, bytes.n, hash, &hash_n, key_digest(key), NULL) == 1 &&
			EVP_PKEY_sign(context, out, n, hash, hash_n) == 1 ?
		    0 :
		    -1;
	whole = EVP_MD_CTX_new();
	good = whole != NULL && EVP_DigestSignInit(whole, NULL, key_digest(key), NULL, key) == 1 &&
	    EVP_DigestSign(whole, out, n, (const unsigned char *)bytes.p, bytes.n) == 1;
	EVP_MD_CTX_free(whole);
	return good ? 0 : -1;
}

uint8_t *key_algorithm(const EVP_PKEY *key, size_t *n)
{
	X509_ALGOR *algorithm = X509_ALGOR_new();
	bool rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
	unsigned char *der = NULL;
	uint8_t *out = NULL;
	int nid, len = -1;

	if (algorithm != NULL &&
	    OBJ_find_sigid_by_algs(
		&nid, EVP_MD_get_type(key_digest(key)), EVP_PKEY_get_base_id(key)) &&
	    X509_ALGOR_set0(algorithm, OBJ_nid2obj(nid), rsa ? V_ASN1_NULL : V_ASN1_UNDEF, NULL))
		len = i2d_X509_ALGOR(algorithm, &der);
	if (len > 0) {
		out = malloc((size_t)len);
		if (out != NULL)
			memcpy(out, der, (size_t)len);
		*n = (size_t)len;
	}
	OPENSSL_free(der);
	X509_ALGOR_free(algorithm);
	return out;
}
