/*
 * issuer_embedded: the CA behind the signer process. Worker process.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/asker.h"
#include "enroll/worker/issuer.h"

#define ISSUE_MS 15000		/* a token may be slow */
#define LIST_MS	 300000

struct question {
	struct question *next, *prev;
	uint64_t number;
	issuer_done_fn *done;
	void *arg;
};

struct embedded {
	struct issuer base;
	struct asker *signer;
	struct question head;		/* all that wait for an answer */
	char name[2 * SHA256_SIZE + 1];
};

static void drop(struct question *q)
{
	q->next->prev = q->prev;
	q->prev->next = q->next;
	free(q);
}

static enum issuer_status status_of(const struct signer_answer *a)
{
	if (a->status == SIGNER_OK)
		return ISSUER_OK;
	/* a verdict on the request; all else is a trouble of the moment */
	return a->status == SIGNER_REFUSED || a->status == SIGNER_BAD_KEY || a->status == SIGNER_NONE ? ISSUER_REFUSED : ISSUER_UNAVAILABLE;
}

static void on_answer(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct question q = *(struct question *)arg;
	struct signer_answer a;
	struct strv none = { NULL, 0 };

	drop(arg);
	if (status != WIRE_OK || n < sizeof(a)) {
		q.done(q.arg, ISSUER_UNAVAILABLE, none, status == WIRE_TIMEOUT ? "the signer did not answer in time" : "the signer is away");
		return;
	}
	memcpy(&a, body, sizeof(a));
	a.text[sizeof(a.text) - 1] = '\0';
	if (a.n != n - sizeof(a)) {
		q.done(q.arg, ISSUER_UNAVAILABLE, none, "the signer's answer is malformed");
		return;
	}
	q.done(q.arg, status_of(&a), (struct strv){ (const char *)body + sizeof(a), a.n }, a.text);
}

static int ask(struct issuer *i, uint16_t verb, const void *body, size_t n, unsigned ms, issuer_done_fn *done, void *arg)
{
	struct embedded *e = (struct embedded *)(void *)i;
	struct question *q = malloc(sizeof(*q));

	if (q == NULL)
		return -1;
	*q = (struct question){ .done = done, .arg = arg, .next = &e->head, .prev = e->head.prev };
	q->prev->next = q->next->prev = q;
	q->number = asker_ask(e->signer, verb, body, n, ms, on_answer, q);
	if (q->number != 0)
		return 0;
	drop(q);
	return -1;
}

static int embedded_issue(struct issuer *i, const struct signer_issue *request, size_t n, issuer_done_fn *done, void *arg)
{
	return ask(i, SIGNER_ISSUE, request, n, ISSUE_MS, done, arg);
}

static int embedded_crl(struct issuer *i, const struct signer_crl *request, issuer_done_fn *done, void *arg)
{
	return ask(i, SIGNER_CRL, request, sizeof(*request), LIST_MS, done, arg);
}

static const char *embedded_name(struct issuer *i)
{
	return ((struct embedded *)(void *)i)->name;
}

static void embedded_free(struct issuer *i)
{
	struct embedded *e = (struct embedded *)(void *)i;

	while (e->head.next != &e->head) {
		asker_cancel(e->signer, e->head.next->number);
		drop(e->head.next);
	}
	free(e);
}

struct issuer *issuer_embedded_new(struct asker *signer)
{
	struct embedded *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->base = (struct issuer){ embedded_issue, embedded_crl, embedded_name, embedded_free };
	e->signer = signer;
	e->head.next = e->head.prev = &e->head;
	return &e->base;
}

void issuer_embedded_set_name(struct issuer *i, const char *hex)
{
	struct embedded *e = (struct embedded *)(void *)i;

	snprintf(e->name, sizeof(e->name), "%s", hex);
}
