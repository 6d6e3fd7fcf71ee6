/*
 * members: DIRECTORY_MEMBERS: one asker's walk through the enabled accounts of a group, of the accounts' file or of AD. A page an answer: the
 * asker asks for the next when it likes. *directory* process.
 */
#ifndef EASGATE_DIRECTORY_MEMBERS_H
#define EASGATE_DIRECTORY_MEMBERS_H

#include "common/directory/ask.h"

struct members;
struct directory_file;
struct directory_ldap;
/* n: bytes of the page that are in use. */
typedef void members_answer_fn(void *arg, uint64_t number, const struct directory_member_page *page, size_t n);

struct members_setup {
	struct directory_file *file;	/* one of the two; borrowed */
	struct directory_ldap *ldap;
	unsigned groups_count;
	members_answer_fn *answer;
	void *arg;
};
struct members *members_new(const struct members_setup *setup);	/* NULL: out of memory */
void members_free(struct members *m);				/* accepts NULL; nothing is answered any more */
/* 0: `answer` runs once, perhaps at once. -1: the last page is still awaited, or there is no such group. */
MUST_CHECK int members_ask(struct members *m, uint64_t number, const struct directory_members *ask);

#endif
