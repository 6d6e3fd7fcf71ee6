/*
 * members: where a walk stands, and its page. Decides nothing.
 */
#include "common/directory/members.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/directory/file.h"
#include "common/directory/ldap.h"

struct members {
	struct members_setup setup;
	struct ldap_members *walk;
	struct directory_file_walk file_walk;
	uint64_t number;	/* of the question under way; 0: none */
	struct directory_member_page page;
};

struct members *members_new(const struct members_setup *setup)
{
	struct members *m = calloc(1, sizeof(*m));

	if (m != NULL)
		m->setup = *setup;
	return m;
}

void members_free(struct members *m)
{
	if (m == NULL)
		return;
	ldap_members_free(m->walk);
	free(m);
}

static void answer(struct members *m)
{
	uint64_t number = m->number;
	struct directory_member_page *p = &m->page;

	m->number = 0;
	m->setup.answer(m->setup.arg, number, p, offsetof(struct directory_member_page, member) + p->n * sizeof(p->member[0]));
}

static void on_page(void *arg)
{
	answer(arg);
}

int members_ask(struct members *m, uint64_t number, const struct directory_members *ask)
{
	struct directory_member_page *p = &m->page;

	if (m->number != 0 || ask->group >= m->setup.groups_count)
		return -1;
	m->number = number;
	*p = (struct directory_member_page){ .result = ACCOUNT_UNAVAILABLE };
	if (m->setup.file != NULL) {
		if (ask->begin)
			m->file_walk = (struct directory_file_walk){ NULL, 0 };
		directory_file_members(m->setup.file, ask->group, &m->file_walk, p);
		answer(m);
		return 0;
	}
	if (ask->begin) {
		ldap_members_free(m->walk);
		m->walk = ldap_members_new(m->setup.ldap, ask->group, on_page, m);
	}
	if (m->walk == NULL || ldap_members_next(m->walk, p) < 0)
		answer(m);
	return 0;
}
