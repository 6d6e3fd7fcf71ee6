/*
 * tag: HMAC-SHA-256 over parts that each stand behind their length, and scrypt by OpenSSL's EVP_KDF. Pure. *lockout* and *stretch* processes.
 */
#include "common/lockout/tag.h"

#include <arpa/inet.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>

#define SCRYPT_R 8u
#define MIB	 (1024u * 1024u)

/* No two different lists of parts give the same bytes. */
static int mac_parts(struct strv key, const char *label, const struct strv *part, size_t parts, uint8_t out[SHA256_SIZE])
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0), OSSL_PARAM_END };
	size_t n = 0;
	bool good = ctx != NULL && EVP_MAC_init(ctx, (const uint8_t *)key.p, key.n, params) == 1 &&
	    EVP_MAC_update(ctx, (const uint8_t *)label, strlen(label) + 1) == 1;

	for (size_t i = 0; good && i < parts; i++) {
		uint64_t size = part[i].n;
		uint8_t head[8];
		for (int b = 0; b < 8; b++)
			head[b] = (uint8_t)(size >> (8 * b));
		good = EVP_MAC_update(ctx, head, sizeof(head)) == 1 && EVP_MAC_update(ctx, (const uint8_t *)part[i].p, part[i].n) == 1;
	}
	good = good && EVP_MAC_final(ctx, out, &n, SHA256_SIZE) == 1 && n == SHA256_SIZE;
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
	return good ? 0 : -1;
}

static struct strv bytes_of(const void *p, size_t n)
{
	return (struct strv){ p, n };
}

int lockout_key(struct strv secret, uint8_t key[LOCKOUT_KEY])
{
	return secret.n > 0 ? mac_parts(secret, "easgate lockout 1", NULL, 0, key) : -1;
}

int lockout_salt(const uint8_t key[LOCKOUT_KEY], const char *sid, uint8_t salt[LOCKOUT_SALT])
{
	struct strv part = strv_from(sid);

	return mac_parts(bytes_of(key, LOCKOUT_KEY), "salt", &part, 1, salt);
}

int lockout_stretch(const uint8_t salt[LOCKOUT_SALT], struct strv password, unsigned mib, uint8_t out[LOCKOUT_STRETCHED])
{
	uint64_t n = (uint64_t)mib * MIB / (128 * SCRYPT_R), memory = (uint64_t)mib * MIB + MIB;
	uint32_t r = SCRYPT_R, p = 1;
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, (void *)(uintptr_t)password.p, password.n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt, LOCKOUT_SALT),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n), OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
		OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory), OSSL_PARAM_END };
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SCRYPT", NULL);
	EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
	int rc = -1;

	if (ctx != NULL && EVP_KDF_derive(ctx, out, LOCKOUT_STRETCHED, params) == 1)
		rc = 0;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return rc;
}

int lockout_tag(const uint8_t key[LOCKOUT_KEY], const char *sid, int64_t generation, const uint8_t stretched[LOCKOUT_STRETCHED],
    uint8_t out[LOCKOUT_TAG])
{
	char number[24];
	struct strv part[3];
	uint8_t whole[SHA256_SIZE];

	snprintf(number, sizeof(number), "%lld", (long long)generation);
	part[0] = strv_from(sid);
	part[1] = strv_from(number);
	part[2] = bytes_of(stretched, LOCKOUT_STRETCHED);
	if (mac_parts(bytes_of(key, LOCKOUT_KEY), "tag", part, ARRAY_LEN(part), whole) < 0)
		return -1;
	memcpy(out, whole, LOCKOUT_TAG);
	return 0;
}

int lockout_address_tag(const uint8_t key[LOCKOUT_KEY], const char *address, uint8_t out[LOCKOUT_TAG])
{
	struct strv part = strv_from(address);
	uint8_t whole[SHA256_SIZE];

	if (mac_parts(bytes_of(key, LOCKOUT_KEY), "address", &part, 1, whole) < 0)
		return -1;
	memcpy(out, whole, LOCKOUT_TAG);
	return 0;
}

int lockout_mac(const uint8_t key[LOCKOUT_KEY], const char *sid, const void *bytes, size_t n, uint8_t out[SHA256_SIZE])
{
	struct strv part[] = { strv_from(sid), bytes_of(bytes, n) };

	return mac_parts(bytes_of(key, LOCKOUT_KEY), "record", part, ARRAY_LEN(part), out);
}

void lockout_address(const char *client, char *out, size_t size)
{
	uint8_t bytes[16];

	if (strncmp(client, "::ffff:", 7) != 0 && inet_pton(AF_INET6, client, bytes) == 1) {
		memset(bytes + 8, 0, 8);
		if (inet_ntop(AF_INET6, bytes, out, (socklen_t)size) != NULL)
			return;
	}
	snprintf(out, size, "%s", client);
}
