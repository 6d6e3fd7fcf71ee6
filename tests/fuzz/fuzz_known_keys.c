/*
 * The administrator's file of keys that others know: read whole or refused with a reason, and a key is known by it if and only if its hash stands there.
 */
#include <ctype.h>
#include <string.h>

#include "common/text.h"
#include "enroll/signer/known_keys.h"

#include "fuzz.h"

#define KEY "easgate"		/* in a SubjectPublicKeyInfo's place: only its hash counts */
#define HEX (2 * SHA256_SIZE)

/* The same question without the reader under test: a line that begins with the hash and goes on with what ends one. */
static bool stands_there(const char *p, size_t n, const char *hex)
{
	for (size_t i = 0; i + HEX <= n; i++) {
		size_t k = 0;

		if (i > 0 && p[i - 1] != '\n')
			continue;
		while (k < HEX && tolower((unsigned char)p[i + k]) == hex[k])
			k++;
		if (k == HEX)
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *p = fuzz_exact(bytes, n), hex[HEX + 1];
	uint8_t hash[SHA256_SIZE];
	EVP_PKEY *no_key = EVP_PKEY_new();
	struct refusal r = { 0 };
	struct known_keys *k;
	FILE *f = n > 0 ? fmemopen(p, n, "r") : NULL;
	size_t lines = 1;

	FUZZ_CHECK(no_key != NULL && EVP_Digest(KEY, sizeof(KEY) - 1, hash, NULL, EVP_sha256(), NULL) == 1);
	text_hex(hex, hash, sizeof(hash));
	if (f == NULL)
		goto out;
	k = known_keys_from(f, "keys", &r);
	fclose(f);
	for (size_t i = 0; i < n; i++)
		lines += p[i] == '\n';
	if (k == NULL) {
		FUZZ_CHECK(strncmp(r.text, "keys", 4) == 0);
	} else {
		FUZZ_CHECK(known_keys_count(k) <= lines);
		FUZZ_CHECK(known_keys_has(k, (const uint8_t *)KEY, sizeof(KEY) - 1, no_key) == stands_there(p, n, hex));
	}
	known_keys_free(k);
out:
	EVP_PKEY_free(no_key);
	free(p);
	return 0;
}
