/*
 * cache: two hash tables over one set of packed entries, and a list in order of use.
 * A packed entry holds an account's texts without their empty room: a few hundred bytes instead
 * of 1.6 kB. Asks nobody, decides nothing about age. Runs in the *directory* process.
 */
#include "common/directory/cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "common/text.h"

struct entry {
	struct entry *newer, *older;	  /* in order of use */
	struct entry *next_key;		  /* of the slot by claim */
	struct entry *next_sid, **at_sid; /* of the slot by account; at_sid NULL: in none */
	uint8_t key[SHA256_SIZE];
	uint64_t fetched_ms;
	uint64_t doubts; /* how often everything had been doubted when it came; UINT64_MAX: never young */
	uint32_t result;
	uint32_t packed; /* bytes of text */
	struct {
		uint64_t groups;
		uint32_t flags, bad_password_count, lockout_threshold, lockout_window, lockout_known;
		int64_t expires, pwd_last_set;
	} number;
	char text[]; /* the account's texts in order, each with its NUL */
};

struct cache {
	size_t entries, count, slots;
	uint64_t doubts;
	struct entry **by_key, **by_sid;
	struct entry *newest, *oldest;
	uint8_t seed[32];
};

#define TEXT(member)                                                                       \
	{                                                                                  \
		offsetof(struct account, member), sizeof(((struct account *)NULL)->member) \
	}
static const struct {
	size_t at, size;
} texts[] = { TEXT(sid), TEXT(sam), TEXT(realm), TEXT(netbios), TEXT(upn), TEXT(mail),
	TEXT(display_name) };

struct cache *cache_new(size_t entries)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->entries = entries > 0 ? entries : 1;
	for (c->slots = 64; c->slots < c->entries; c->slots *= 2)
		;
	c->by_key = calloc(c->slots, sizeof(struct entry *));
	c->by_sid = calloc(c->slots, sizeof(struct entry *));
	if (c->by_key == NULL || c->by_sid == NULL || RAND_bytes(c->seed, sizeof(c->seed)) != 1) {
		cache_free(c);
		return NULL;
	}
	return c;
}

void cache_free(struct cache *c)
{
	if (c == NULL)
		return;
	if (c->by_key != NULL && c->by_sid != NULL)
		cache_forget_all(c);
	free(c->by_key);
	free(c->by_sid);
	free(c);
}

int cache_key(const struct cache *c, uint32_t kind, const char *value, uint8_t out[SHA256_SIZE])
{
	char text[sizeof(c->seed) + sizeof(kind) + DIRECTORY_CLAIM_MAX];
	size_t n = strnlen(value, DIRECTORY_CLAIM_MAX);

	memcpy(text, c->seed, sizeof(c->seed));
	memcpy(text + sizeof(c->seed), &kind, sizeof(kind));
	memcpy(text + sizeof(c->seed) + sizeof(kind), value, n);
	text_lower(text + sizeof(c->seed) + sizeof(kind), n);
	return EVP_Digest(text, sizeof(c->seed) + sizeof(kind) + n, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

static size_t key_slot(const struct cache *c, const uint8_t key[SHA256_SIZE])
{
	uint64_t head;

	memcpy(&head, key, sizeof(head));
	return head & (c->slots - 1);
}

/* A domain's SIDs differ in their last digits and are the directory's, not an attacker's: FNV-1a
 * will do. */
static size_t sid_slot(const struct cache *c, const char *sid)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *sid != '\0'; sid++)
		hash = (hash ^ (uint8_t)*sid) * 0x100000001b3u;
	return (hash ^ hash >> 32) & (c->slots - 1);
}

static struct entry **find(struct cache *c, const uint8_t key[SHA256_SIZE])
{
	struct entry **at = &c->by_key[key_slot(c, key)];

	while (*at != NULL && memcmp((*at)->key, key, SHA256_SIZE) != 0)
		at = &(*at)->next_key;
	return at;
}

static void use_unlink(struct cache *c, struct entry *e)
{
	*(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
	*(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
}

static void use_link(struct cache *c, struct entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

static void sid_link(struct cache *c, struct entry *e)
{
	if (e->text[0] == '\0')
		return;
	e->at_sid = &c->by_sid[sid_slot(c, e->text)];
	e->next_sid = *e->at_sid;
	if (e->next_sid != NULL)
		e->next_sid->at_sid = &e->next_sid;
	*e->at_sid = e;
}

static void sid_unlink(struct entry *e)
{
	if (e->at_sid == NULL)
		return;
	*e->at_sid = e->next_sid;
	if (e->next_sid != NULL)
		e->next_sid->at_sid = e->at_sid;
}

static void drop(struct cache *c, struct entry *e)
{
	struct entry **at = find(c, e->key);

	*at = e->next_key;
	sid_unlink(e);
	use_unlink(c, e);
	c->count--;
	OPENSSL_cleanse(e->text, e->packed);
	free(e);
}

static struct entry *pack(const struct cached *item)
{
	const char *base = (const char *)&item->account;
	struct entry *e;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		n += strnlen(base + texts[i].at, texts[i].size - 1) + 1;
	e = calloc(1, sizeof(*e) + n);
	if (e == NULL)
		return NULL;
	e->packed = (uint32_t)n;
	n = 0;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		size_t len = strnlen(base + texts[i].at, texts[i].size - 1);
		memcpy(e->text + n, base + texts[i].at, len);
		n += len + 1;
	}
	e->result = item->result;
	e->fetched_ms = item->fetched_ms;
	e->number.groups = item->account.groups;
	e->number.flags = item->account.flags;
	e->number.bad_password_count = item->account.bad_password_count;
	e->number.lockout_threshold = item->account.lockout_threshold;
	e->number.lockout_window = item->account.lockout_window;
	e->number.lockout_known = item->account.lockout_known;
	e->number.expires = item->account.expires;
	e->number.pwd_last_set = item->account.pwd_last_set;
	return e;
}

static void unpack(const struct entry *e, struct cached *out)
{
	char *base = (char *)&out->account;
	const char *text = e->text;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		size_t len = strlen(text);
		memcpy(base + texts[i].at, text, len);
		text += len + 1;
	}
	out->result = e->result;
	out->fetched_ms = e->fetched_ms;
	out->account.groups = e->number.groups;
	out->account.flags = e->number.flags;
	out->account.bad_password_count = e->number.bad_password_count;
	out->account.lockout_threshold = e->number.lockout_threshold;
	out->account.lockout_window = e->number.lockout_window;
	out->account.lockout_known = e->number.lockout_known;
	out->account.expires = e->number.expires;
	out->account.pwd_last_set = e->number.pwd_last_set;
}

void cache_doubt_all(struct cache *c)
{
	c->doubts++;
}

bool cache_get(struct cache *c, const uint8_t key[SHA256_SIZE], struct cached *out)
{
	struct entry *e = *find(c, key);

	if (e == NULL)
		return false;
	use_unlink(c, e);
	use_link(c, e);
	unpack(e, out);
	out->doubtful = e->doubts != c->doubts;
	return true;
}

void cache_put(struct cache *c, const uint8_t key[SHA256_SIZE], const struct cached *item)
{
	struct entry **at = find(c, key), *e;

	if (*at != NULL)
		drop(c, *at);
	e = pack(item);
	if (e == NULL)
		return;
	while (c->count >= c->entries)
		drop(c, c->oldest);
	memcpy(e->key, key, SHA256_SIZE);
	e->doubts = item->doubtful ? UINT64_MAX : c->doubts;
	at = &c->by_key[key_slot(c, key)];
	e->next_key = *at;
	*at = e;
	sid_link(c, e);
	use_link(c, e);
	c->count++;
}

size_t cache_forget_sid(struct cache *c, const char *sid)
{
	struct entry *e = c->by_sid[sid_slot(c, sid)], *next;
	size_t gone = 0;

	for (; e != NULL; e = next) {
		next = e->next_sid;
		if (strcmp(e->text, sid) != 0)
			continue;
		drop(c, e);
		gone++;
	}
	return gone;
}

void cache_forget_all(struct cache *c)
{
	while (c->oldest != NULL)
		drop(c, c->oldest);
}

size_t cache_count(const struct cache *c)
{
	return c->count;
}
