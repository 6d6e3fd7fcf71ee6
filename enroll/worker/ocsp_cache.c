/*
 * ocsp_cache: a table with two places for each key; the one that ends first gives way. Worker of easenroll.
 */
#include "enroll/worker/ocsp_cache.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "common/text.h"

struct ocsp_cache {
	size_t mask;
	uint64_t key;		/* so that nobody can aim at a place */
	struct ocsp_cached slots[];
};

struct ocsp_cache *ocsp_cache_new(size_t slots)
{
	struct ocsp_cache *c = calloc(1, sizeof(*c) + slots * sizeof(c->slots[0]));

	if (c == NULL)
		return NULL;
	c->mask = slots - 1;
	if (RAND_bytes((unsigned char *)&c->key, sizeof(c->key)) != 1) {
		free(c);
		return NULL;
	}
	return c;
}

static void slot_clear(struct ocsp_cached *s)
{
	free(s->id);
	free(s->response);
	*s = (struct ocsp_cached){ .id = NULL };
}

void ocsp_cache_clear(struct ocsp_cache *c)
{
	for (size_t i = 0; i <= c->mask; i++)
		slot_clear(&c->slots[i]);
}

void ocsp_cache_free(struct ocsp_cache *c)
{
	if (c == NULL)
		return;
	ocsp_cache_clear(c);
	free(c);
}

static size_t place(const struct ocsp_cache *c, const uint8_t *id, size_t n)
{
	uint64_t h = c->key;

	for (size_t i = 0; i < n; i++) {
		h = (h ^ id[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return (size_t)h & c->mask & ~(size_t)1;
}

static bool is_that(const struct ocsp_cached *s, const uint8_t *id, size_t n)
{
	return s->id != NULL && s->id_n == n && memcmp(s->id, id, n) == 0;
}

const struct ocsp_cached *ocsp_cache_get(const struct ocsp_cache *c, const uint8_t *id, size_t id_n)
{
	const struct ocsp_cached *s = &c->slots[place(c, id, id_n)];

	return is_that(&s[0], id, id_n) ? &s[0] : is_that(&s[1], id, id_n) ? &s[1] : NULL;
}

const struct ocsp_cached *ocsp_cache_put(struct ocsp_cache *c, const struct ocsp_cached *entry)
{
	struct ocsp_cached *s = &c->slots[place(c, entry->id, entry->id_n)], fresh = *entry;
	uint8_t hash[SHA256_SIZE];

	fresh.id = malloc(entry->id_n);
	fresh.response = malloc(entry->response_n);
	if (fresh.id == NULL || fresh.response == NULL || EVP_Digest(entry->response, entry->response_n, hash, NULL, EVP_sha256(), NULL) != 1) {
		free(fresh.id);
		free(fresh.response);
		return NULL;
	}
	memcpy(fresh.id, entry->id, entry->id_n);
	memcpy(fresh.response, entry->response, entry->response_n);
	text_hex(fresh.tag, hash, sizeof(hash));
	if (!is_that(&s[0], entry->id, entry->id_n) && (is_that(&s[1], entry->id, entry->id_n) || s[1].next_update < s[0].next_update))
		s++;
	slot_clear(s);
	*s = fresh;
	return s;
}
