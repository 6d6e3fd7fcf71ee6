/*
 * share: sets of some ways each; where a set is full, the least loss goes. Keys are keyed hashes, so nobody can choose who shares a set.
 * *lockout* process.
 */
#include "common/lockout/share.h"

#include <stdlib.h>

#define SETS 2048
#define WAYS 8

struct entry {
	uint8_t key[LOCKOUT_TAG];
	int64_t since;		/* SHARE_ACCOUNT: the last one; SHARE_ADDRESS: the first */
	uint32_t window, count;	/* count 0: free */
};

struct share {
	struct entry set[SHARE_KINDS][SETS][WAYS];
};

struct share *share_new(void) { return calloc(1, sizeof(struct share)); }

void share_free(struct share *l) { free(l); }

static struct entry *set_of(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG])
{
	return l->set[kind][(key[0] | key[1] << 8) % SETS];
}

static struct entry *find(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG])
{
	struct entry *set = set_of(l, kind, key);

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].count > 0 && memcmp(set[i].key, key, LOCKOUT_TAG) == 0)
			return &set[i];
	}
	return NULL;
}

uint32_t share_count(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG], uint32_t window, int64_t now, int64_t *until)
{
	struct entry *e = find(l, kind, key);

	if (e == NULL)
		return 0;
	if (now - e->since > window) {
		e->count = 0;
		return 0;
	}
	*until = e->since + window + 1;
	return e->count;
}

void share_add(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG], uint32_t window, int64_t now)
{
	int64_t until;
	uint32_t count = share_count(l, kind, key, window, now, &until);
	struct entry *set = set_of(l, kind, key), *e = count > 0 ? find(l, kind, key) : NULL;

	for (size_t i = 0; e == NULL && i < WAYS; i++) {
		if (set[i].count == 0 || now - set[i].since > set[i].window)
			e = &set[i];
	}
	if (e == NULL) {
		e = set;
		for (size_t i = 1; i < WAYS; i++) {
			if (set[i].count < e->count || (set[i].count == e->count && set[i].since < e->since))
				e = &set[i];
		}
	}
	if (count == 0) {
		*e = (struct entry){ .since = now };
		memcpy(e->key, key, LOCKOUT_TAG);
	}
	e->window = window;
	e->count += e->count < UINT32_MAX;
	if (kind == SHARE_ACCOUNT)
		e->since = now;
}

void share_give_back(struct share *l, enum share_kind kind, const uint8_t key[LOCKOUT_TAG], uint32_t n)
{
	struct entry *e = find(l, kind, key);

	if (e != NULL)
		e->count -= e->count < n ? e->count : n;
}
