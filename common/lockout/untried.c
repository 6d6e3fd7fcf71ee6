/*
 * untried: see untried.h. *lockout* process.
 */
#include "common/lockout/untried.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>

_Static_assert(sizeof(struct untried_entry) == BRIEF_VALUE, "it is the value of an entry");

int untried_place(const struct brief *b, const char *sid, int64_t generation, const uint8_t address[LOCKOUT_TAG], uint8_t place[LOCKOUT_TAG])
{
	uint8_t of[sizeof(generation) + LOCKOUT_TAG];

	memcpy(of, &generation, sizeof(generation));
	memcpy(of + sizeof(generation), address, LOCKOUT_TAG);
	return brief_name(b, sid, of, sizeof(of), place);
}

/* The tags alone: when a wrong one was last sent to us changes nothing. */
int untried_known(const struct brief *b, const struct lockout_record *r, uint8_t known[8])
{
	uint8_t tags[(RECORD_BAD + RECORD_GOOD) * LOCKOUT_TAG], whole[LOCKOUT_TAG];
	size_t n = 0;

	for (uint32_t i = 0; i < r->bad_n; i++, n += LOCKOUT_TAG)
		memcpy(tags + n, r->bad[i].tag, LOCKOUT_TAG);
	for (uint32_t i = 0; i < r->good_n; i++, n += LOCKOUT_TAG)
		memcpy(tags + n, r->good[i].tag, LOCKOUT_TAG);
	if (brief_name(b, "known", tags, n, whole) < 0)
		return -1;
	memcpy(known, whole, 8);
	return 0;
}

static bool byte_of(const struct brief *b, uint64_t number, struct strv password, uint8_t *byte)
{
	uint8_t whole[SHA256_SIZE];
	char label[24];
	bool good;

	snprintf(label, sizeof(label), "%llu", (unsigned long long)number);
	good = brief_hash(b, label, password.p, password.n, whole) == 0;
	*byte = whole[0];
	OPENSSL_cleanse(whole, sizeof(whole));
	return good;
}

int untried_note(const struct brief *b, struct strv password, struct untried_entry *e)
{
	*e = (struct untried_entry){ .number = 0 };
	return RAND_bytes((unsigned char *)&e->number, sizeof(e->number)) == 1 && byte_of(b, e->number, password, &e->byte) ? 0 : -1;
}

static struct brief_entry *find(struct brief *b, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now, struct untried_entry *e)
{
	uint8_t byte;

	for (struct brief_entry *at = NULL; (at = brief_next(b, place, now, at)) != NULL;) {
		memcpy(e, at->value, sizeof(*e));
		if (byte_of(b, e->number, password, &byte) && byte == e->byte)
			return at;
	}
	return NULL;
}

bool untried_find(struct brief *b, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now, struct untried_entry *e)
{
	return find(b, place, password, now, e) != NULL;
}

void untried_drop(struct brief *b, const uint8_t place[LOCKOUT_TAG], struct strv password, int64_t now)
{
	struct untried_entry e;
	struct brief_entry *at = find(b, place, password, now, &e);

	if (at != NULL)
		brief_drop(at);
}

void untried_keep(struct brief *b, const uint8_t place[LOCKOUT_TAG], int64_t now, const struct untried_entry *e)
{
	memcpy(brief_make(b, place, now + UNTRIED_SECONDS)->value, e, sizeof(*e));
}
