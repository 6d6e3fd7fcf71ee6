/*
 * known_keys: two sorted lists of hashes. Runs in the signer.
 */
#include "enroll/signer/known_keys.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

#define MODULUS_HASH 10	/* bytes: 80 bits */
#define LINE_BYTES   256

/* Hashes of one length, one behind the other. */
struct hashes {
	uint8_t *p;
	size_t n, room, size;
};

struct known_keys {
	struct hashes spki, modulus;
};

static int compare_spki(const void *a, const void *b)
{
	return memcmp(a, b, SHA256_SIZE);
}

static int compare_modulus(const void *a, const void *b)
{
	return memcmp(a, b, MODULUS_HASH);
}

static int add(struct hashes *h, const uint8_t *hash)
{
	if (h->n == h->room) {
		size_t room = h->room == 0 ? 1024 : h->room * 2;
		uint8_t *larger = reallocarray(h->p, room, h->size);

		if (larger == NULL)
			return -1;
		h->p = larger;
		h->room = room;
	}
	memcpy(h->p + h->n++ * h->size, hash, h->size);
	return 0;
}

static int take_line(struct known_keys *k, char *line, const char *path, size_t number, struct refusal *r)
{
	uint8_t hash[SHA256_SIZE];
	struct hashes *into;
	size_t n = strcspn(line, "#\r\n");

	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	if (n == 0)
		return 0;
	into = n == 2 * SHA256_SIZE ? &k->spki : n == 2 * MODULUS_HASH ? &k->modulus : NULL;
	if (into == NULL || text_unhex(hash, into->size, (struct strv){ line, n }) < 0)
		return refuse(r, SIGNER_BROKEN, "%s:%zu: expected 64 hex digits (SHA-256 of a SubjectPublicKeyInfo) or 20 (a line of openssl-blacklist)", path, number);
	if (k->spki.n + k->modulus.n == KNOWN_KEYS_MAX)
		return refuse(r, SIGNER_BROKEN, "%s: more than %u keys", path, KNOWN_KEYS_MAX);
	return add(into, hash) < 0 ? refuse(r, SIGNER_BROKEN, "%s: out of memory", path) : 0;
}

static int read_lines(struct known_keys *k, FILE *f, const char *path, struct refusal *r)
{
	char line[LINE_BYTES];
	size_t number = 0;

	while (fgets(line, sizeof(line), f) != NULL) {
		number++;
		if (strchr(line, '\n') == NULL && !feof(f))
			return refuse(r, SIGNER_BROKEN, "%s:%zu: the line is longer than %d bytes, or holds a NUL", path, number, LINE_BYTES - 2);
		if (take_line(k, line, path, number, r) < 0)
			return -1;
	}
	return ferror(f) ? refuse(r, SIGNER_BROKEN, "%s: %s", path, strerror(errno)) : 0;
}

struct known_keys *known_keys_from(FILE *f, const char *name, struct refusal *r)
{
	struct known_keys *k = calloc(1, sizeof(*k));

	if (k == NULL) {
		(void)refuse(r, SIGNER_BROKEN, "%s: out of memory", name);
		return NULL;
	}
	k->spki.size = SHA256_SIZE;
	k->modulus.size = MODULUS_HASH;
	if (read_lines(k, f, name, r) < 0) {
		known_keys_free(k);
		return NULL;
	}
	if (k->spki.n > 0)
		qsort(k->spki.p, k->spki.n, SHA256_SIZE, compare_spki);
	if (k->modulus.n > 0)
		qsort(k->modulus.p, k->modulus.n, MODULUS_HASH, compare_modulus);
	return k;
}

struct known_keys *known_keys_read(const char *path, struct refusal *r)
{
	FILE *f = fopen(path, "re");
	struct known_keys *k;

	if (f == NULL) {
		(void)refuse(r, SIGNER_BROKEN, "enroll.ca.known_keys_file: %s: %s: create it, or correct the path", path, strerror(errno));
		return NULL;
	}
	k = known_keys_from(f, path, r);
	fclose(f);
	return k;
}

void known_keys_free(struct known_keys *k)
{
	if (k == NULL)
		return;
	free(k->spki.p);
	free(k->modulus.p);
	free(k);
}

size_t known_keys_count(const struct known_keys *k)
{
	return k != NULL ? k->spki.n + k->modulus.n : 0;
}

static int has_modulus(const struct known_keys *k, EVP_PKEY *key)
{
	BIGNUM *n = NULL;
	char *hex = NULL, *text = NULL;
	uint8_t hash[20];
	int rc = -1, length;

	if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1 || (hex = BN_bn2hex(n)) == NULL)
		goto out;
	length = asprintf(&text, "Modulus=%s\n", hex);
	if (length < 0) {
		text = NULL;
		goto out;
	}
	if (EVP_Digest(text, (size_t)length, hash, NULL, EVP_sha1(), NULL) == 1)
		rc = bsearch(hash + sizeof(hash) - MODULUS_HASH, k->modulus.p, k->modulus.n, MODULUS_HASH, compare_modulus) != NULL;
out:
	free(text);
	OPENSSL_free(hex);
	BN_free(n);
	return rc;
}

int known_keys_has(const struct known_keys *k, const uint8_t *spki, size_t n, EVP_PKEY *key)
{
	uint8_t hash[SHA256_SIZE];

	if (k == NULL)
		return 0;
	if (k->spki.n > 0) {
		if (EVP_Digest(spki, n, hash, NULL, EVP_sha256(), NULL) != 1)
			return -1;
		if (bsearch(hash, k->spki.p, k->spki.n, SHA256_SIZE, compare_spki) != NULL)
			return 1;
	}
	return k->modulus.n > 0 && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? has_modulus(k, key) : 0;
}
