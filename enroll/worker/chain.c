/*
 * chain: asks the signer for its certificates and keeps them parsed. Believes nothing of their form. Worker of easenroll.
 */
#include "enroll/worker/chain.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"

#define ASK_MS	 5000
#define AGAIN_MS 1000

struct chain {
	struct loop *loop;
	struct asker *signer;
	void (*changed)(void *arg);
	void *arg;
	struct chain_entry entries[SIGNER_CHAIN_MAX];
	size_t n;
	uint64_t asked;
	struct deadline again;
	bool said;
};

static void entries_clear(struct chain_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		X509_free(entries[i].certificate);
		free((void *)(uintptr_t)entries[i].der.p);
	}
}

static int read_entry(struct chain_entry *e, const struct signer_chain_entry *head, const char *der)
{
	const unsigned char *p = (const unsigned char *)der;
	char *copy = malloc(head->n);

	ERR_clear_error();
	*e = (struct chain_entry){ .kind = (enum signer_chain_kind)head->kind, .certificate = d2i_X509(NULL, &p, (long)head->n) };
	ERR_clear_error();
	if (copy == NULL || e->certificate == NULL || p != (const unsigned char *)der + head->n) {
		X509_free(e->certificate);
		free(copy);
		return -1;
	}
	memcpy(copy, der, head->n);
	e->der = (struct strv){ copy, head->n };
	memcpy(e->spki_sha256, head->spki_sha256, SHA256_SIZE);
	memcpy(e->sha256, head->sha256, SHA256_SIZE);
	text_hex(e->name, e->spki_sha256, SHA256_SIZE);
	return 0;
}

/* How many entries, or -1. */
static int read_answer(struct chain_entry *entries, const char *p, size_t n)
{
	size_t count = 0;

	while (n > 0) {
		struct signer_chain_entry head;
		if (n < sizeof(head) || count == SIGNER_CHAIN_MAX)
			goto bad;
		memcpy(&head, p, sizeof(head));
		p += sizeof(head);
		n -= sizeof(head);
		if (head.n == 0 || head.n > n || read_entry(&entries[count], &head, p) < 0)
			goto bad;
		count++;
		p += head.n;
		n -= head.n;
	}
	return (int)count;
bad:
	entries_clear(entries, count);
	return -1;
}

static bool is_same(const struct chain *c, const struct chain_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i >= c->n || c->entries[i].kind != entries[i].kind || !strv_eq(c->entries[i].der, entries[i].der))
			return false;
	}
	return n == c->n;
}

static void take(struct chain *c, struct chain_entry *entries, size_t n)
{
	if (is_same(c, entries, n)) {
		entries_clear(entries, n);
		return;
	}
	entries_clear(c->entries, c->n);
	memcpy(c->entries, entries, n * sizeof(*entries));
	c->n = n;
	c->changed(c->arg);
}

static void on_again(struct deadline *d)
{
	chain_ask(CONTAINER_OF(d, struct chain, again));
}

static void on_answer(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct chain *c = arg;
	struct chain_entry entries[SIGNER_CHAIN_MAX];
	struct signer_answer head = { .status = SIGNER_BROKEN };
	int count = -1;

	c->asked = 0;
	if (status == WIRE_OK && n >= sizeof(head)) {
		memcpy(&head, body, sizeof(head));
		head.text[sizeof(head.text) - 1] = '\0';
		if (head.status == SIGNER_OK && head.n == n - sizeof(head))
			count = read_answer(entries, (const char *)body + sizeof(head), head.n);
	}
	if (count >= 0) {
		c->said = false;
		take(c, entries, (size_t)count);
		return;
	}
	if (!c->said)
		log_say(LOG_WARNING, "no_chain", "the signer has not told the CA's certificates: %s", head.text[0] != '\0' ? head.text : "no answer");
	c->said = true;
	deadline_arm(c->loop, &c->again, AGAIN_MS, on_again);
}

void chain_ask(struct chain *c)
{
	if (c->asked != 0)
		return;
	c->asked = asker_ask(c->signer, SIGNER_CHAIN, NULL, 0, ASK_MS, on_answer, c);
	if (c->asked == 0)
		deadline_arm(c->loop, &c->again, AGAIN_MS, on_again);
}

struct chain *chain_new(struct loop *loop, struct asker *signer, void (*changed)(void *arg), void *arg)
{
	struct chain *c = calloc(1, sizeof(*c));

	if (c != NULL) {
		c->loop = loop;
		c->signer = signer;
		c->changed = changed;
		c->arg = arg;
	}
	return c;
}

void chain_free(struct chain *c)
{
	if (c == NULL)
		return;
	deadline_disarm(&c->again);
	asker_cancel(c->signer, c->asked);
	entries_clear(c->entries, c->n);
	free(c);
}

bool chain_is_known(const struct chain *c)
{
	return chain_first(c, SIGNER_CHAIN_ISSUING) != NULL;
}

const struct chain_entry *chain_at(const struct chain *c, size_t i)
{
	return i < c->n ? &c->entries[i] : NULL;
}

const struct chain_entry *chain_first(const struct chain *c, enum signer_chain_kind kind)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->entries[i].kind == kind)
			return &c->entries[i];
	}
	return NULL;
}

const struct chain_entry *chain_issuer(const struct chain *c, struct strv name)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct chain_entry *e = &c->entries[i];
		if ((e->kind == SIGNER_CHAIN_ISSUING || e->kind == SIGNER_CHAIN_OLD_ISSUING || e->kind == SIGNER_CHAIN_NEXT_ISSUING) &&
		    strv_eq(strv_from(e->name), name))
			return e;
	}
	return NULL;
}
