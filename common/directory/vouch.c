/*
 * vouch: makes and checks vouchers. Knows no account and no ticket, keeps nothing.
 * Made in the *directory* process, checked in the *kerberos* processes.
 */
#include "common/directory/vouch.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdlib.h>

#define RANDOM_SIZE 16
#define MAC_AT	    (8 + RANDOM_SIZE)
#define MAC_SIZE    32
#define AHEAD_MAX   3600 /* an expiry further away is no voucher of ours */

_Static_assert(MAC_AT + MAC_SIZE == VOUCHER_SIZE, "voucher layout");

struct vouch {
	EVP_MAC_CTX *hmac; /* knows the key; each MAC begins with it anew */
};

struct vouch *vouch_new(const uint8_t key[VOUCH_KEY_SIZE])
{
	char sha256[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_utf8_string("digest", sha256, 0), OSSL_PARAM_END };
	struct vouch *v = calloc(1, sizeof(*v));
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	if (v != NULL && mac != NULL)
		v->hmac = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac); /* the context holds it */
	if (v != NULL && v->hmac != NULL && EVP_MAC_init(v->hmac, key, VOUCH_KEY_SIZE, params) == 1)
		return v;
	vouch_free(v);
	return NULL;
}

void vouch_free(struct vouch *v)
{
	if (v != NULL)
		EVP_MAC_CTX_free(v->hmac);
	free(v);
}

static void put_u64(uint8_t out[8], uint64_t value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t in[8])
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | in[i];
	return value;
}

/*
 * The text that is signed: a label, then each part behind its length, so that no two different
 * pairs of names give the same bytes. The voucher's own first bytes (expiry, random) come last.
 */
static int mac(struct vouch *v, const char *sam, const char *realm,
    const uint8_t certificate[SHA256_SIZE], const uint8_t head[MAC_AT], uint8_t out[MAC_SIZE])
{
	static const char label[] = "easgate voucher 1";
	uint8_t text[sizeof(label) + 8 + ACCOUNT_NAME_MAX + 8 + ACCOUNT_NAME_MAX + SHA256_SIZE +
		     MAC_AT];
	const char *const name[] = { sam, realm };
	size_t n = sizeof(label), size = 0;

	memcpy(text, label, sizeof(label));
	for (size_t i = 0; i < ARRAY_LEN(name); i++) {
		size_t len = strnlen(name[i], ACCOUNT_NAME_MAX);
		if (len == 0 || len >= ACCOUNT_NAME_MAX)
			return -1;
		put_u64(text + n, len);
		memcpy(text + n + 8, name[i], len);
		n += 8 + len;
	}
	memcpy(text + n, certificate, SHA256_SIZE);
	n += SHA256_SIZE;
	memcpy(text + n, head, MAC_AT);
	n += MAC_AT;
	if (EVP_MAC_init(v->hmac, NULL, 0, NULL) != 1 || EVP_MAC_update(v->hmac, text, n) != 1 ||
	    EVP_MAC_final(v->hmac, out, &size, MAC_SIZE) != 1 || size != MAC_SIZE)
		return -1;
	return 0;
}

int vouch_make(struct vouch *v, const char *sam, const char *realm,
    const uint8_t certificate[SHA256_SIZE], time_t expires, uint8_t out[VOUCHER_SIZE])
{
	uint8_t voucher[VOUCHER_SIZE];

	memset(out, 0, VOUCHER_SIZE);
	if (expires <= 0)
		return -1;
	put_u64(voucher, (uint64_t)expires);
	if (RAND_bytes(voucher + 8, RANDOM_SIZE) != 1)
		return -1;
	if (mac(v, sam, realm, certificate, voucher, voucher + MAC_AT) < 0)
		return -1;
	memcpy(out, voucher, sizeof(voucher));
	return 0;
}

bool vouch_check(struct vouch *v, const char *sam, const char *realm,
    const uint8_t certificate[SHA256_SIZE], time_t now, const uint8_t voucher[VOUCHER_SIZE])
{
	uint8_t right[MAC_SIZE];
	uint64_t expires = get_u64(voucher);
	bool good;

	if (mac(v, sam, realm, certificate, voucher, right) < 0)
		return false;
	good = CRYPTO_memcmp(right, voucher + MAC_AT, MAC_SIZE) == 0;
	OPENSSL_cleanse(right, sizeof(right));
	return good && now > 0 && expires > (uint64_t)now && expires - (uint64_t)now <= AHEAD_MAX;
}
