/*
 * stretchers: an asker for each process, and what it has in hand. *lockout* process.
 */
#include "common/lockout/stretchers.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_MS 1000

struct one {
	struct stretchers *owner;
	struct asker *asker;
	unsigned index;
	bool busy;		/* has something in hand */
	bool hangs;		/* did not answer: until another has taken its place */
	stretched_fn *done;	/* NULL: nobody waits for it */
	void *arg;
	char name[24];
};

struct stretchers {
	struct stretchers_setup setup;
	void (*free)(void *arg);
	void *arg;
	struct deadline look;
	struct one one[STRETCH_PROCESSES_MAX];
};

static bool is_up(const struct one *o)
{
	return !o->hangs && asker_is_up(o->asker);
}

unsigned stretchers_up(const struct stretchers *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->setup.count; i++)
		n += is_up(&s->one[i]);
	return n;
}

static struct one *find_free(struct stretchers *s)
{
	for (unsigned i = 0; i < s->setup.count; i++) {
		if (!s->one[i].busy && is_up(&s->one[i]))
			return &s->one[i];
	}
	return NULL;
}

bool stretchers_have_room(const struct stretchers *s)
{
	for (unsigned i = 0; i < s->setup.count; i++) {
		if (!s->one[i].busy && is_up(&s->one[i]))
			return true;
	}
	return false;
}

static void tell_free(struct stretchers *s)
{
	if (s->free != NULL)
		s->free(s->arg);
}

static void on_answer(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct one *o = arg;
	stretched_fn *done = o->done;
	void *whose = o->arg;

	o->busy = false;
	o->done = NULL;
	o->hangs |= status == WIRE_TIMEOUT;
	if (done != NULL)
		done(whose, status == WIRE_OK && n == sizeof(struct stretch_done) ? ((const struct stretch_done *)body)->stretched : NULL);
	if (o->hangs && o->owner->setup.amiss != NULL)
		o->owner->setup.amiss(o->index, true, o->owner->setup.arg);
	tell_free(o->owner);
}

bool stretchers_work(struct stretchers *s, const struct stretch_work *work, stretched_fn *done, void *arg)
{
	struct one *o = find_free(s);

	if (o == NULL || asker_ask(o->asker, STRETCH_WORK, work, sizeof(*work), s->setup.limit_ms, on_answer, o) == 0)
		return false;
	o->busy = true;
	o->done = done;
	o->arg = arg;
	return true;
}

void stretchers_forget(struct stretchers *s, const void *arg)
{
	for (unsigned i = 0; i < s->setup.count; i++) {
		if (s->one[i].busy && s->one[i].arg == arg)
			s->one[i].done = NULL;
	}
}

void stretchers_link(struct stretchers *s, unsigned index, int fd)
{
	if (index >= s->setup.count) {
		(void)close(fd);
		return;
	}
	s->one[index].hangs = false;
	asker_link(s->one[index].asker, fd);
	tell_free(s);
}

static void on_look(struct deadline *d)
{
	struct stretchers *s = CONTAINER_OF(d, struct stretchers, look);

	for (unsigned i = 0; i < s->setup.count && s->setup.amiss != NULL; i++) {
		if (!is_up(&s->one[i]))
			s->setup.amiss(i, s->one[i].hangs, s->setup.arg);
	}
	deadline_arm(s->setup.loop, &s->look, LOOK_MS, on_look);
}

void stretchers_watch(struct stretchers *s, void (*told)(void *arg), void *arg)
{
	s->free = told;
	s->arg = arg;
}

struct stretchers *stretchers_new(const struct stretchers_setup *setup)
{
	struct stretchers *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->setup = *setup;
	if (s->setup.count > STRETCH_PROCESSES_MAX)
		s->setup.count = STRETCH_PROCESSES_MAX;
	for (unsigned i = 0; i < s->setup.count; i++) {
		struct one *o = &s->one[i];
		o->owner = s;
		o->index = i;
		snprintf(o->name, sizeof(o->name), "stretch %u", i);
		o->asker = asker_new(setup->loop, o->name, NULL, o);
		if (o->asker == NULL) {
			stretchers_free(s);
			return NULL;
		}
	}
	deadline_arm(setup->loop, &s->look, LOOK_MS, on_look);
	return s;
}

void stretchers_free(struct stretchers *s)
{
	if (s == NULL)
		return;
	deadline_disarm(&s->look);
	for (unsigned i = 0; i < s->setup.count; i++)
		asker_free(s->one[i].asker);
	free(s);
}
