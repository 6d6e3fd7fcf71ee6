/*
 * password_hash: crypt(3). What it computes on the way is overwritten. Keeps nothing. *directory* process.
 */
#include "common/directory/password_hash.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#define PASSWORD_MAX 256

bool password_hash_is_good(const char *hash)
{
	static const struct {
		const char *prefix;
		size_t min;
	} methods[] = { { "$y$", 60 }, { "$gy$", 60 }, { "$6$", 90 }, { "$2b$", 60 } };
	size_t n = strlen(hash);

	if (n >= PASSWORD_HASH_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (hash[i] <= ' ' || hash[i] > '~' || strchr(":;*!\\", hash[i]) != NULL)
			return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		if (strncmp(hash, methods[i].prefix, strlen(methods[i].prefix)) == 0)
			return n >= methods[i].min;
	}
	return false;
}

static bool same(const char *a, const char *b)
{
	size_t n = strlen(a);

	return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

bool password_hash_matches(const char *hash, const char *like, const char *password, size_t n)
{
	/* yescrypt with crypt(5)'s default cost; of what, does not matter */
	static const char nobody[] = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$";
	const char *setting = hash != NULL ? hash : like != NULL ? like : nobody;
	struct crypt_data *data;
	char text[PASSWORD_MAX + 1];
	const char *made;
	bool good;

	if (n == 0 || n > PASSWORD_MAX || memchr(password, '\0', n) != NULL)
		return false;
	data = calloc(1, sizeof(*data));
	if (data == NULL)
		return false;
	memcpy(text, password, n);
	text[n] = '\0';
	made = crypt_r(text, setting, data);
	good = made != NULL && made[0] != '*' && hash != NULL && same(made, hash);
	OPENSSL_cleanse(text, sizeof(text));
	OPENSSL_cleanse(data, sizeof(*data));
	free(data);
	return good;
}
