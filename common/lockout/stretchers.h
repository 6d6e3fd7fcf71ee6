/*
 * stretchers: the *stretch* processes as *lockout* sees them. Each is given one password at a time; who has none waits outside (check_queue).
 * One that dies answers "not done" for what it had; one that does not answer within STRETCH_MS does so too, gets nothing more, and the master
 * is told of it again and again until it was ended and another has come. Nothing is given twice. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_STRETCHERS_H
#define EASGATE_LOCKOUT_STRETCHERS_H

#include "common/asker.h"
#include "common/lockout/stretch.h"

#define STRETCH_MS 5000	/* for one password: a hundred times what it takes */

struct stretchers;

/* stretched: LOCKOUT_STRETCHED bytes, or NULL: not done. Runs once, from the loop. */
typedef void stretched_fn(void *arg, const uint8_t *stretched);

struct stretchers_setup {
	struct loop *loop;
	unsigned count, limit_ms;	/* 1 to STRETCH_PROCESSES_MAX; STRETCH_MS but in tests */
	/* Where there is no wire, or no answer: to be told to the master. Each second for each of them. NULL: nobody is told */
	void (*amiss)(unsigned index, bool hangs, void *arg);
	void *arg;
};

/* NULL: out of memory. */
struct stretchers *stretchers_new(const struct stretchers_setup *setup);
void stretchers_free(struct stretchers *s);	/* no callback runs; accepts NULL */
/* Runs from the loop whenever one may have become free, or has come. */
void stretchers_watch(struct stretchers *s, void (*free)(void *arg), void *arg);
/* A wire to process `index`; takes fd. It takes the place of the one before, which still may answer. */
void stretchers_link(struct stretchers *s, unsigned index, int fd);
unsigned stretchers_up(const struct stretchers *s);	/* that work or could */
bool stretchers_have_room(const struct stretchers *s);
/* False: none is free; `done` will not run. The caller wipes its own copy of work. */
MUST_CHECK bool stretchers_work(struct stretchers *s, const struct stretch_work *work, stretched_fn *done, void *arg);
/* Nobody waits any more for what was given with this arg; it is worked on all the same. */
void stretchers_forget(struct stretchers *s, const void *arg);

#endif
