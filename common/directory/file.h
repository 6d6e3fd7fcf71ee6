/*
 * file: the accounts' file of one machine, followed as it changes.
 */
#ifndef EASGATE_DIRECTORY_FILE_H
#define EASGATE_DIRECTORY_FILE_H

#include "common/directory/ask.h"
#include "common/loop.h"

struct directory_file;

struct directory_file_setup {
	const char *path; /* borrowed, as the groups */
	const char *const *groups;
	unsigned groups_count;
	/* sid "" : more changed than is worth naming. From the loop. */
	void (*changed)(void *arg, const char *sid);
	void *arg;
};

/*
 * `text`: the contents that the process was given at start. A wrong file is logged
 * (`accounts_unusable`) and the process starts with no account at all: everybody is
 * ACCOUNT_UNAVAILABLE until the file is right. NULL: out of memory. The path is looked at four
 * times a second, and read again once it has been quiet for one look; a wrong new file is logged
 * and the old accounts stay.
 */
struct directory_file *directory_file_new(
    struct loop *loop, const struct directory_file_setup *setup, struct strv text);
void directory_file_free(struct directory_file *f);
enum account_result directory_file_find(
    struct directory_file *f, uint32_t kind, const char *value, struct account *out);

/* Where a walk through a group stands; all zero: at its beginning. */
struct directory_file_walk {
	const void *accounts;	/* as they were; the file may have changed */
	size_t at;
};
/* The next page; ACCOUNT_UNAVAILABLE where there are no accounts, or others than those of the walk. */
void directory_file_members(struct directory_file *f, unsigned group, struct directory_file_walk *walk, struct directory_member_page *page);

/* The account's password hash ("": none) and any account's ("": none anywhere); PASSWORD_HASH_MAX bytes each. */
void directory_file_hashes(const struct directory_file *f, const char *sid, char *own, char *like);

#endif
