/*
 * crowd: a table of addresses; under each a list of its connections that wait, the newest first.
 */
#include "common/crowd.h"

#include <netinet/in.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "common/log.h"

#define KEY_SIZE 16

/* One address, as long as it has connections. */
struct crowd_place {
	struct crowd_place *next;		/* in the same bucket */
	uint8_t key[KEY_SIZE];
	unsigned members;
	struct crowd_member *newest, *oldest;	/* of those that wait */
};

struct crowd {
	uint64_t secret[2];
	unsigned buckets;
	struct crowd_place *places[];
};

struct crowd *crowd_new(unsigned buckets)
{
	struct crowd *c = calloc(1, sizeof(*c) + buckets * sizeof(c->places[0]));

	if (c == NULL)
		return NULL;
	c->buckets = buckets;
	if (RAND_bytes((unsigned char *)c->secret, sizeof(c->secret)) == 1)
		return c;
	free(c);
	return NULL;
}

void crowd_free(struct crowd *c)
{
	if (c == NULL)
		return;
	for (unsigned i = 0; i < c->buckets; i++) {
		if (c->places[i] != NULL)
			bug("a connection is left in a crowd that ends");
	}
	free(c);
}

/* --- addresses --- */

/* An IPv4 address as ::ffff:a.b.c.d; of IPv6 the first half. */
static void key_of(const struct sockaddr *from, uint8_t key[KEY_SIZE])
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	memset(key, 0, KEY_SIZE);
	if (from->sa_family == AF_INET) {
		memcpy(&v4, from, sizeof(v4));
		key[10] = key[11] = 0xff;
		memcpy(key + 12, &v4.sin_addr, 4);
	} else if (from->sa_family == AF_INET6) {
		memcpy(&v6, from, sizeof(v6));
		memcpy(key, &v6.sin6_addr, IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ? KEY_SIZE : KEY_SIZE / 2);
	}
}

/* Where it stands, or would be put. Which bucket that is nobody outside can know. */
static struct crowd_place **find(struct crowd *c, const uint8_t key[KEY_SIZE])
{
	struct crowd_place **at;
	uint64_t half[2], h;

	memcpy(half, key, sizeof(half));
	h = (half[0] ^ c->secret[0]) * (c->secret[1] | 1);
	h = ((h ^ (h >> 29)) + half[1]) * (c->secret[0] | 1);
	for (at = &c->places[(h >> 40) & (c->buckets - 1)]; *at != NULL && memcmp((*at)->key, key, KEY_SIZE) != 0;)
		at = &(*at)->next;
	return at;
}

static struct crowd_place *place_of(struct crowd *c, const struct sockaddr *from)
{
	uint8_t key[KEY_SIZE];

	key_of(from, key);
	return *find(c, key);
}

unsigned crowd_count(struct crowd *c, const struct sockaddr *from)
{
	const struct crowd_place *p = place_of(c, from);

	return p != NULL ? p->members : 0;
}

struct crowd_member *crowd_longest(struct crowd *c, const struct sockaddr *from)
{
	const struct crowd_place *p = place_of(c, from);

	return p != NULL ? p->oldest : NULL;
}

/* --- those that wait --- */

void crowd_served(struct crowd_member *m)
{
	if (!m->waits)
		return;
	m->waits = false;
	*(m->newer != NULL ? &m->newer->older : &m->place->newest) = m->older;
	*(m->older != NULL ? &m->older->newer : &m->place->oldest) = m->newer;
	m->newer = m->older = NULL;
}

void crowd_waits(struct crowd_member *m)
{
	struct crowd_place *p = m->place;

	if (p == NULL)
		return;
	crowd_served(m);
	m->waits = true;
	m->older = p->newest;
	*(p->newest != NULL ? &p->newest->newer : &p->oldest) = m;
	p->newest = m;
}

/* --- coming and going --- */

int crowd_enter(struct crowd *c, struct crowd_member *m, const struct sockaddr *from)
{
	uint8_t key[KEY_SIZE];
	struct crowd_place **at;

	key_of(from, key);
	at = find(c, key);
	if (*at == NULL) {
		*at = calloc(1, sizeof(**at));
		if (*at == NULL)
			return -1;
		memcpy((*at)->key, key, KEY_SIZE);
	}
	(*at)->members++;
	m->place = *at;
	crowd_waits(m);
	return 0;
}

void crowd_leave(struct crowd *c, struct crowd_member *m)
{
	struct crowd_place *p = m->place, **at;

	if (p == NULL)
		return;
	crowd_served(m);
	m->place = NULL;
	if (--p->members > 0)
		return;
	at = find(c, p->key);
	*at = p->next;
	free(p);
}
