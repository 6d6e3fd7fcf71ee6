/*
 * questions: askers, searches and the cache between them: one search for many who ask the same,
 * everybody answered once.
 */
#ifndef EASGATE_DIRECTORY_QUESTIONS_H
#define EASGATE_DIRECTORY_QUESTIONS_H

#include "common/directory/ask.h"
#include "common/directory/process.h"
#include "common/directory/vouch.h"
#include "common/loop.h"

#define QUESTIONS_MAX 4096 /* waiting at once; more are refused */

struct questions;
struct directory_file;
struct directory_ldap;

/* Gives the answer to the asker; `asker` is what questions_ask() was given. */
typedef void questions_answer_fn(void *asker, uint64_t number, const struct directory_found *found);

struct questions_setup {
	struct loop *loop;
	const struct config_directory *config;
	struct directory_file *file; /* one of the two */
	struct directory_ldap *ldap;
	const struct directory_metrics *metrics;
	struct vouch *vouch; /* NULL: nobody is vouched for */
	questions_answer_fn *answer;
	void (*idle)(void *arg); /* the last waiting question was answered; may be NULL */
	void *arg;
};

/* NULL: out of memory. Copies setup, borrows what it points to. */
struct questions *questions_new(const struct questions_setup *setup);
void questions_free(struct questions *q);
/* 0: `answer` runs once, perhaps at once. -1: too many wait, or the question is malformed. */
MUST_CHECK int questions_ask(
    struct questions *q, void *asker, uint64_t number, const struct directory_find *find);
/* Nobody waits for this asker's answers any more. */
void questions_leave(struct questions *q, const void *asker);
/* What was said of the account is not used any more, nor what searches under way will say kept. "":
 * of all. */
void questions_forget(struct questions *q, const char *sid);
/* Changes may have been missed: everything is asked for again before it is believed. What was known still serves, for
 * stale_seconds from when it was found, while no server answers. */
void questions_doubt(struct questions *q);
unsigned questions_waiting(const struct questions *q);

#endif
