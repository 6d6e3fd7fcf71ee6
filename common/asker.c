/*
 * asker: questions that outlive the process they were first put to. Worker process.
 */
#include "common/asker.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define WAITING_MAX 4096
#define OLD_MAX 4
#define TIDY_MS 500

struct waiting {
	struct waiting *next, *prev;
	struct asker *asker;
	uint64_t number;	/* ours */
	struct wire *wire;	/* where it was put; NULL: nowhere yet */
	uint64_t wire_number;
	struct deadline deadline;
	wire_done_fn *done;
	void *arg;
	uint16_t verb;
	bool spent;	/* it held a secret and was put once: never again */
	size_t n;
	char body[];
};

struct asker {
	struct loop *loop;
	const char *name;
	const struct wire_verb *verbs;
	void *arg;
	struct wire *wire;		/* current; NULL: none */
	struct wire *old[OLD_MAX];	/* finishing what they were asked; the oldest first, no gaps */
	struct deadline tidy;
	unsigned count;
	uint64_t next_number;
	struct waiting head;		/* all questions, oldest first; its own bytes are never used */
};

static void put(struct waiting *q);

struct asker *asker_new(struct loop *loop, const char *name, const struct wire_verb *verbs, void *arg)
{
	struct asker *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->loop = loop;
	a->name = name;
	a->verbs = verbs;
	a->arg = arg;
	a->head.next = a->head.prev = &a->head;
	return a;
}

static void drop(struct waiting *q)
{
	q->next->prev = q->prev;
	q->prev->next = q->next;
	q->asker->count--;
	deadline_disarm(&q->deadline);
	if ((q->verb & WIRE_SECRET) != 0)
		OPENSSL_cleanse(q->body, q->n);
	free(q);
}

void asker_free(struct asker *a)
{
	if (a == NULL)
		return;
	deadline_disarm(&a->tidy);
	wire_free(a->wire);
	for (unsigned i = 0; i < OLD_MAX; i++)
		wire_free(a->old[i]);
	while (a->head.next != &a->head)
		drop(a->head.next);
	free(a);
}

static void finish(struct waiting *q, enum wire_status status, const void *body, size_t n)
{
	wire_done_fn *done = q->done;
	void *arg = q->arg;

	drop(q);
	done(arg, status, body, n);
}

static void on_answer(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct waiting *q = arg;

	q->wire = NULL;
	q->wire_number = 0;
	if (status == WIRE_CLOSED && (q->verb & WIRE_SECRET) == 0) {
		put(q);		/* to the replacement, or it waits for one */
		return;
	}
	finish(q, status, body, n);
}

static void on_deadline(struct deadline *d)
{
	struct waiting *q = CONTAINER_OF(d, struct waiting, deadline);

	if (q->wire != NULL)
		wire_cancel(q->wire, q->wire_number);
	finish(q, WIRE_TIMEOUT, NULL, 0);
}

/* Puts the question to the current process, if there is one; else it stays until asker_link() or its deadline. */
static void put(struct waiting *q)
{
	struct asker *a = q->asker;

	if (q->spent || !wire_is_open(a->wire))
		return;
	/* the wire's own deadline is only a backstop: ours is earlier */
	q->wire_number = wire_ask(a->wire, q->verb, q->body, q->n, 600000, on_answer, q);
	if (q->wire_number == 0)
		return;
	q->wire = a->wire;
	if ((q->verb & WIRE_SECRET) != 0) {
		OPENSSL_cleanse(q->body, q->n);
		q->spent = true;
	}
}

static void on_closed(struct wire *w, void *arg)
{
	struct asker *a = arg;

	if (a->wire == w) {
		a->wire = NULL;
		log_say(LOG_WARNING, "peer_gone", "%s has gone: questions wait for its replacement", a->name);
	}
	for (unsigned i = 0, kept = 0; i < OLD_MAX; i++) {
		struct wire *old = a->old[i];
		a->old[i] = NULL;
		if (old != w)
			a->old[kept++] = old;
	}
	wire_free(w);
}

static bool is_waited_for(const struct asker *a, const struct wire *w)
{
	for (const struct waiting *q = a->head.next; q != &a->head; q = q->next) {
		if (q->wire == w)
			return true;
	}
	return false;
}

/* A process that was replaced ends when all its askers have let go of it: as soon as it owes us nothing. True: some still do. */
static bool let_go_of_idle(struct asker *a)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < OLD_MAX; i++) {
		struct wire *w = a->old[i];
		a->old[i] = NULL;
		if (w != NULL && is_waited_for(a, w))
			a->old[kept++] = w;
		else
			wire_free(w);
	}
	return kept > 0;
}

static void on_tidy(struct deadline *d)
{
	struct asker *a = CONTAINER_OF(d, struct asker, tidy);

	if (let_go_of_idle(a))
		deadline_arm(a->loop, &a->tidy, TIDY_MS, on_tidy);
}

/* Ends an old wire before its answers came: what it owes is to be asked of the current process. */
static void give_up(struct asker *a, struct wire *w)
{
	for (struct waiting *q = a->head.next; q != &a->head; q = q->next) {
		if (q->wire != w)
			continue;
		q->wire = NULL;
		q->wire_number = 0;
		if (q->spent)		/* its secret is wiped: whoever asked must ask again */
			deadline_arm(a->loop, &q->deadline, 0, on_deadline);
	}
	wire_free(w);
}

static void keep_old(struct asker *a, struct wire *w)
{
	unsigned n = 0;

	if (w == NULL)
		return;
	let_go_of_idle(a);
	if (a->old[OLD_MAX - 1] != NULL) {
		give_up(a, a->old[0]);
		memmove(&a->old[0], &a->old[1], (OLD_MAX - 1) * sizeof(a->old[0]));
		a->old[OLD_MAX - 1] = NULL;
	}
	while (a->old[n] != NULL)
		n++;
	a->old[n] = w;
	if (a->tidy.next == NULL)
		deadline_arm(a->loop, &a->tidy, TIDY_MS, on_tidy);
}

void asker_link(struct asker *a, int fd)
{
	struct wire_config config = { .verbs = a->verbs, .arg = a, .closed = on_closed, .name = a->name, .gather = true };
	struct wire *w = wire_new(a->loop, fd, &config);

	if (w == NULL)
		return;
	keep_old(a, a->wire);
	a->wire = w;
	for (struct waiting *q = a->head.next; q != &a->head; q = q->next) {
		if (q->wire == NULL)
			put(q);
	}
}

bool asker_is_up(const struct asker *a)
{
	return a != NULL && wire_is_open(a->wire);
}

uint64_t asker_ask(struct asker *a, uint16_t verb, const void *body, size_t n, unsigned timeout_ms, wire_done_fn *done, void *arg)
{
	struct waiting *q;

	if (a->count >= WAITING_MAX || n > WIRE_BODY_MAX)
		return 0;
	q = calloc(1, sizeof(*q) + n);
	if (q == NULL)
		return 0;
	q->asker = a;
	q->number = ++a->next_number;
	q->done = done;
	q->arg = arg;
	q->verb = verb;
	q->n = n;
	if (n > 0)
		memcpy(q->body, body, n);
	q->next = &a->head;
	q->prev = a->head.prev;
	a->head.prev->next = q;
	a->head.prev = q;
	a->count++;
	deadline_arm(a->loop, &q->deadline, timeout_ms, on_deadline);
	put(q);
	return q->number;
}

void asker_cancel(struct asker *a, uint64_t number)
{
	if (a == NULL || number == 0)
		return;
	for (struct waiting *q = a->head.prev; q != &a->head; q = q->prev) {
		if (q->number != number)
			continue;
		if (q->wire != NULL)
			wire_cancel(q->wire, q->wire_number);
		drop(q);
		return;
	}
}

void asker_tell(struct asker *a, uint16_t verb, const void *body, size_t n)
{
	if (a != NULL && wire_is_open(a->wire))
		wire_tell(a->wire, verb, body, n);
}

void *asker_owner(struct asker *a)
{
	return a->arg;
}
