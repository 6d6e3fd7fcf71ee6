/*
 * untried: sets of some ways each; where a set is full, the one that ends first goes. *lockout* process.
 */
#include "common/lockout/untried.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#define WAYS 8
#define SETS (UNTRIED_ENTRIES / WAYS)

struct entry {
	uint8_t place[LOCKOUT_TAG], known[LOCKOUT_TAG];
	uint64_t number;	/* drawn for this entry: two of one password have nothing in common */
	int64_t until;		/* 0: free */
	uint8_t byte;		/* all that is kept of the password */
};

struct untried {
	uint8_t key[LOCKOUT_KEY];
	struct entry set[SETS][WAYS];
};

struct untried *untried_new(void)
{
	struct untried *u = calloc(1, sizeof(*u));

	if (u != NULL && RAND_bytes(u->key, sizeof(u->key)) != 1) {
		free(u);
		return NULL;
	}
	return u;
}

void untried_free(struct untried *u)
{
	if (u == NULL)
		return;
	OPENSSL_cleanse(u, sizeof(*u));
	free(u);
}

int untried_place(const struct untried *u, const char *sid, int64_t generation, const uint8_t address[LOCKOUT_TAG], uint8_t place[LOCKOUT_TAG])
{
	uint8_t of[sizeof(generation) + LOCKOUT_TAG], whole[SHA256_SIZE];

	memcpy(of, &generation, sizeof(generation));
	memcpy(of + sizeof(generation), address, LOCKOUT_TAG);
	if (lockout_mac(u->key, sid, of, sizeof(of), whole) < 0)
		return -1;
	memcpy(place, whole, LOCKOUT_TAG);
	return 0;
}

/* The tags alone: when a wrong one was last sent to us changes nothing. */
int untried_known(const struct untried *u, const struct lockout_record *r, uint8_t known[LOCKOUT_TAG])
{
	uint8_t tags[(RECORD_BAD + RECORD_GOOD) * LOCKOUT_TAG], whole[SHA256_SIZE];
	size_t n = 0;

	for (uint32_t i = 0; i < r->bad_n; i++, n += LOCKOUT_TAG)
		memcpy(tags + n, r->bad[i].tag, LOCKOUT_TAG);
	for (uint32_t i = 0; i < r->good_n; i++, n += LOCKOUT_TAG)
		memcpy(tags + n, r->good[i].tag, LOCKOUT_TAG);
	if (lockout_mac(u->key, "known", tags, n, whole) < 0)
		return -1;
	memcpy(known, whole, LOCKOUT_TAG);
	return 0;
}

static bool byte_of(const struct untried *u, const struct entry *e, struct strv password, uint8_t *byte)
{
	uint8_t whole[SHA256_SIZE];
	char number[24];
	bool good;

	snprintf(number, sizeof(number), "%llu", (unsigned long long)e->number);
	good = lockout_mac(u->key, number, password.p, password.n, whole) == 0;
	*byte = whole[0];
	OPENSSL_cleanse(whole, sizeof(whole));
	return good;
}

/* Nobody can choose whose set is whose: the place is a keyed hash. */
static struct entry *find(struct untried *u, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now)
{
	struct entry *set = u->set[(place[0] | place[1] << 8) % SETS];
	uint8_t byte;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].until != 0 && set[i].until <= now)
			OPENSSL_cleanse(&set[i], sizeof(set[i]));
		if (set[i].until != 0 && memcmp(set[i].place, place, LOCKOUT_TAG) == 0 && byte_of(u, &set[i], password, &byte) && byte == set[i].byte)
			return &set[i];
	}
	return NULL;
}

bool untried_find(struct untried *u, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now, uint8_t known[LOCKOUT_TAG])
{
	const struct entry *e = find(u, place, password, now);

	if (e != NULL)
		memcpy(known, e->known, LOCKOUT_TAG);
	return e != NULL;
}

void untried_keep(struct untried *u, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now, const uint8_t known[LOCKOUT_TAG])
{
	struct entry *set = u->set[(place[0] | place[1] << 8) % SETS], *e = find(u, place, password, now);

	if (e != NULL && memcmp(e->known, known, LOCKOUT_TAG) == 0)
		return;
	for (size_t i = 0; e == NULL && i < WAYS; i++)
		e = set[i].until == 0 ? &set[i] : NULL;
	if (e == NULL) {
		e = set;
		for (size_t i = 1; i < WAYS; i++)
			e = set[i].until < e->until ? &set[i] : e;
	}
	OPENSSL_cleanse(e, sizeof(*e));
	if (RAND_bytes((unsigned char *)&e->number, sizeof(e->number)) != 1 || !byte_of(u, e, password, &e->byte))
		return;
	memcpy(e->place, place, LOCKOUT_TAG);
	memcpy(e->known, known, LOCKOUT_TAG);
	e->until = now + UNTRIED_SECONDS;
}

void untried_tidy(struct untried *u, int64_t now)
{
	for (size_t i = 0; i < SETS; i++) {
		for (size_t k = 0; k < WAYS; k++) {
			if (u->set[i][k].until != 0 && u->set[i][k].until <= now)
				OPENSSL_cleanse(&u->set[i][k], sizeof(u->set[i][k]));
		}
	}
}
