/*
 * ticket_cache: a hash table in a ring of use. Opens no ticket, asks nobody.
 * Runs in the *kerberos* process.
 */
#include "proxy/kerberos/ticket_cache.h"

#include <stdlib.h>

#include "common/text.h"

struct node {
	struct ticket_entry entry;
	struct node *next;          /* of the slot */
	struct node *newer, *older; /* ring of use */
	uint32_t hash;
	unsigned service;
	char sam[];
};

struct ticket_cache {
	struct node **slot;
	size_t slots; /* a power of two */
	size_t n, max;
	struct node *newest, *oldest;
	void (*drop)(struct s4u_ticket *t, void *arg);
	void *arg;
};

/* By the account alone, and folded, so that one slot holds all that an account's change concerns.
 */
static uint32_t hash_of(const char *sam)
{
	uint32_t h = 2166136261u;

	for (; *sam != '\0'; sam++)
		h = (h ^ (uint8_t)text_lower_char(*sam)) * 16777619u;
	return h;
}

struct ticket_cache *ticket_cache_new(
    size_t max, void (*drop)(struct s4u_ticket *t, void *arg), void *arg)
{
	struct ticket_cache *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->max = max > 0 ? max : 1;
	for (c->slots = 16; c->slots < c->max; c->slots *= 2)
		;
	c->drop = drop;
	c->arg = arg;
	c->slot = calloc(c->slots, sizeof(struct node *));
	if (c->slot == NULL) {
		free(c);
		return NULL;
	}
	return c;
}

static void ring_out(struct ticket_cache *c, struct node *n)
{
	*(n->newer != NULL ? &n->newer->older : &c->newest) = n->older;
	*(n->older != NULL ? &n->older->newer : &c->oldest) = n->newer;
	n->newer = n->older = NULL;
}

static void ring_in(struct ticket_cache *c, struct node *n)
{
	n->newer = NULL;
	n->older = c->newest;
	*(c->newest != NULL ? &c->newest->newer : &c->oldest) = n;
	c->newest = n;
}

static void drop_contents(struct ticket_cache *c, struct node *n)
{
	if (n->entry.ticket.end != 0)
		c->drop(&n->entry.ticket, c->arg);
	memset(&n->entry.ticket, 0, sizeof(n->entry.ticket));
	free(n->entry.denied);
	n->entry.denied = NULL;
	n->entry.denied_until_ms = 0;
}

/* `at` is the pointer to the node in its slot. */
static void take_out(struct ticket_cache *c, struct node **at)
{
	struct node *n = *at;

	*at = n->next;
	ring_out(c, n);
	drop_contents(c, n);
	free(n);
	c->n--;
}

static void evict_oldest(struct ticket_cache *c)
{
	struct node **at = &c->slot[c->oldest->hash & (c->slots - 1)];

	while (*at != c->oldest)
		at = &(*at)->next;
	take_out(c, at);
}

void ticket_cache_free(struct ticket_cache *c)
{
	if (c == NULL)
		return;
	while (c->oldest != NULL)
		evict_oldest(c);
	free(c->slot);
	free(c);
}

static struct node *find(struct ticket_cache *c, const char *sam, unsigned service)
{
	uint32_t hash = hash_of(sam);
	struct node *n = c->slot[hash & (c->slots - 1)];

	while (n != NULL && (n->hash != hash || n->service != service || strcmp(n->sam, sam) != 0))
		n = n->next;
	if (n != NULL && n != c->newest) {
		ring_out(c, n);
		ring_in(c, n);
	}
	return n;
}

struct ticket_entry *ticket_cache_find(struct ticket_cache *c, const char *sam, unsigned service)
{
	struct node *n = find(c, sam, service);

	return n != NULL ? &n->entry : NULL;
}

/* The account's node, empty; made where there is none. */
static struct node *fresh(struct ticket_cache *c, const char *sam, unsigned service)
{
	struct node *n = find(c, sam, service), **at;
	size_t size = strlen(sam) + 1;

	if (n != NULL) {
		drop_contents(c, n);
		return n;
	}
	n = calloc(1, sizeof(*n) + size);
	if (n == NULL)
		return NULL;
	if (c->n == c->max)
		evict_oldest(c);
	n->hash = hash_of(sam);
	n->service = service;
	memcpy(n->sam, sam, size);
	at = &c->slot[n->hash & (c->slots - 1)];
	n->next = *at;
	*at = n;
	ring_in(c, n);
	c->n++;
	return n;
}

struct ticket_entry *ticket_cache_put(
    struct ticket_cache *c, const char *sam, unsigned service, const struct s4u_ticket *ticket)
{
	struct s4u_ticket taken = *ticket;
	struct node *n = fresh(c, sam, service);

	if (n == NULL) {
		c->drop(&taken, c->arg);
		return NULL;
	}
	n->entry.ticket = taken;
	return &n->entry;
}

void ticket_cache_deny(struct ticket_cache *c, const char *sam, unsigned service,
    const struct krb_fault *fault, uint64_t until_ms)
{
	struct node *n = fresh(c, sam, service);

	if (n == NULL)
		return;
	n->entry.denied = malloc(sizeof(*fault));
	if (n->entry.denied == NULL)
		return;
	*n->entry.denied = *fault;
	n->entry.denied_until_ms = until_ms;
}

size_t ticket_cache_forget(struct ticket_cache *c, const char *sam)
{
	uint32_t hash = hash_of(sam);
	struct node **at = &c->slot[hash & (c->slots - 1)];
	size_t before = c->n;

	while (*at != NULL) {
		if ((*at)->hash == hash && text_eq_nocase(strv_from((*at)->sam), strv_from(sam)))
			take_out(c, at);
		else
			at = &(*at)->next;
	}
	return before - c->n;
}

size_t ticket_cache_count(const struct ticket_cache *c)
{
	return c->n;
}
