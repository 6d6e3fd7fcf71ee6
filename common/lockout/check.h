/*
 * check: one LOCKOUT_CHECK from its name to its answer:
 *
 *   finding     DIRECTORY_FIND: whose name is it, and what is the account's policy
 *   stretching  the memory-hard work, by a *stretch* process; a bounded and fair queue before it; not again for what was refused lately
 *   reading, taking   may it be tried (store, decide)
 *   waiting     somebody tries this very password: another node (asked again), or another check here (told by it)
 *   binding     DIRECTORY_SIGN_IN, for a bounded number at once
 *   reading, learning  what the try taught
 *
 * An answer that is told later keeps no place here. Knows no wire but those to *directory* and *stretch*. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_CHECK_H
#define EASGATE_LOCKOUT_CHECK_H

#include "common/asker.h"
#include "common/directory/vouch.h"
#include "common/lockout/ask.h"
#include "common/lockout/share.h"
#include "common/lockout/process.h"
#include "common/lockout/store.h"
#include "common/lockout/stretchers.h"

#define CHECKS_MAX 2048 /* under way at once; more are refused */

struct checks;

/* Gives the answer to the asker; `asker` is what checks_ask() was given. */
typedef void checks_answer_fn(void *asker, uint64_t number, const struct lockout_checked *answer);

struct checks_setup {
	struct loop *loop;
	const struct config_lockout *config;
	unsigned directory_ms;		/* its timeout_ms */
	unsigned floor_ms;		/* no refusal is told sooner: how long it took says nothing of why */
	struct asker *directory;
	struct lockout_store *store;	/* NULL: none is needed (mode off), or none can be had: then nothing is tried */
	struct share *share;
	struct stretchers *stretchers;	/* watched by this one alone */
	const struct lockout_metrics *metrics;
	bool has_key;			/* of the tags; without it nothing is tried */
	uint8_t key[LOCKOUT_KEY];
	struct vouch *vouch;		/* NULL: nobody is vouched for */
	checks_answer_fn *answer;
	void (*idle)(void *arg);	/* the last check was answered; may be NULL */
	void *arg;
};

/* NULL: out of memory. Copies setup, borrows what it points to. */
struct checks *checks_new(const struct checks_setup *setup);
void checks_free(struct checks *c);	/* no callback runs; accepts NULL */
/* 0: `answer` runs once, later. -1: malformed. The caller wipes its own copy of ask. */
MUST_CHECK int checks_ask(struct checks *c, void *asker, uint64_t number, const struct lockout_check *ask);
/* Nobody waits for this asker's answers any more; what was begun is ended all the same, since it taught something. */
void checks_leave(struct checks *c, const void *asker);
unsigned checks_count(const struct checks *c);

#endif
