/*
 * stale: sets of some ways each; where a set is full, the one that ends first goes. *lockout* process.
 */
#include "common/lockout/stale.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

#define WAYS 8
#define SETS (STALE_ENTRIES / WAYS)

struct entry {
	uint8_t name[LOCKOUT_TAG];
	uint8_t stretched[LOCKOUT_STRETCHED];
	int64_t until;		/* 0: free */
};

struct stale {
	uint8_t key[LOCKOUT_KEY];
	struct entry set[SETS][WAYS];
};

struct stale *stale_new(void)
{
	struct stale *s = calloc(1, sizeof(*s));

	if (s != NULL && RAND_bytes(s->key, sizeof(s->key)) != 1) {
		free(s);
		return NULL;
	}
	return s;
}

void stale_free(struct stale *s)
{
	if (s == NULL)
		return;
	OPENSSL_cleanse(s, sizeof(*s));
	free(s);
}

static void forget(struct entry *e)
{
	OPENSSL_cleanse(e, sizeof(*e));
}

int stale_name(const struct stale *s, const char *sid, struct strv password, uint8_t name[LOCKOUT_TAG])
{
	uint8_t whole[SHA256_SIZE];

	if (lockout_mac(s->key, sid, password.p, password.n, whole) < 0)
		return -1;
	memcpy(name, whole, LOCKOUT_TAG);
	return 0;
}

/* Nobody can choose whose set is whose: the name is a keyed hash. */
static struct entry *set_of(struct stale *s, const uint8_t name[LOCKOUT_TAG])
{
	return s->set[(name[0] | name[1] << 8) % SETS];
}

static struct entry *find(struct stale *s, const uint8_t name[LOCKOUT_TAG], int64_t now)
{
	struct entry *set = set_of(s, name);

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].until != 0 && set[i].until <= now)
			forget(&set[i]);
		else if (set[i].until != 0 && CRYPTO_memcmp(set[i].name, name, LOCKOUT_TAG) == 0)
			return &set[i];
	}
	return NULL;
}

bool stale_find(struct stale *s, const uint8_t name[LOCKOUT_TAG], int64_t now, uint8_t stretched[LOCKOUT_STRETCHED])
{
	const struct entry *e = find(s, name, now);

	if (e != NULL)
		memcpy(stretched, e->stretched, LOCKOUT_STRETCHED);
	return e != NULL;
}

void stale_keep(struct stale *s, const uint8_t name[LOCKOUT_TAG], int64_t now, const uint8_t stretched[LOCKOUT_STRETCHED])
{
	struct entry *set, *e;

	if (find(s, name, now) != NULL)
		return;
	set = e = set_of(s, name);
	for (size_t i = 1; i < WAYS; i++)
		e = set[i].until < e->until ? &set[i] : e;
	memcpy(e->name, name, LOCKOUT_TAG);
	memcpy(e->stretched, stretched, LOCKOUT_STRETCHED);
	e->until = now + STALE_SECONDS;
}

void stale_tidy(struct stale *s, int64_t now)
{
	for (size_t i = 0; i < SETS; i++) {
		for (size_t k = 0; k < WAYS; k++) {
			if (s->set[i][k].until != 0 && s->set[i][k].until <= now)
				forget(&s->set[i][k]);
		}
	}
}
