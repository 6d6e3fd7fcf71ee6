/*
 * sign_in: DIRECTORY_SIGN_IN, whichever directory is behind it: the accounts' file or LDAP. Nothing of a password is
 * cached or logged.
 */
#ifndef EASGATE_DIRECTORY_SIGN_IN_H
#define EASGATE_DIRECTORY_SIGN_IN_H

#include "common/directory/ask.h"
#include "common/loop.h"

struct sign_ins;
struct directory_file;
struct directory_ldap;

/* Gives the answer to the asker; `asker` is what sign_ins_ask() was given. */
typedef void sign_ins_answer_fn(
    void *asker, uint64_t number, const struct directory_signed_in *answer);

struct sign_ins_setup {
	struct loop *loop;
	struct directory_file *file; /* one of the two */
	struct directory_ldap *ldap;
	sign_ins_answer_fn *answer;
};

/* NULL: out of memory. Copies setup, borrows what it points to. */
struct sign_ins *sign_ins_new(const struct sign_ins_setup *setup);
void sign_ins_free(struct sign_ins *s); /* accepts NULL */
/* 0: `answer` runs once, perhaps at once. -1: malformed. The caller wipes its own copy of ask. */
MUST_CHECK int sign_ins_ask(
    struct sign_ins *s, void *asker, uint64_t number, const struct directory_sign_in *ask);
/* Nobody waits for this asker's answers any more. */
void sign_ins_leave(struct sign_ins *s, const void *asker);

#endif
