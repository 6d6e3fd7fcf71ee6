/*
 * bundle: the files that one process may read, as bytes by name, in a sealed memfd.
 *
 * The master (root) builds it: every file is copied from disk to the memfd through a small buffer that is
 * wiped, so that no secret stays in the master's memory and none is inherited over fork. The process
 * reads files by the names the configuration gives them, and only those it was given.
 */
#ifndef EASGATE_BUNDLE_H
#define EASGATE_BUNDLE_H

#include "common/base.h"

#define BUNDLE_MAX (64u << 20)

struct bundle;

/* --- the master's side --- */
/* A memfd with the contents of `paths` (n of them; doubles and "" are skipped). Returns the descriptor, or
 * -1 with `why` (size why_size) naming the file, the reason and the cure. */
MUST_CHECK int bundle_build(const char *const *paths, size_t n, char *why, size_t why_size);
/* As bundle_build, with one more entry `name` that no file stands behind (the configuration's text, a key). */
MUST_CHECK int bundle_build_with(const char *const *paths, size_t n, const char *name, struct strv contents,
    char *why, size_t why_size);

/* --- the process's side --- */
/* Maps it read-only; takes fd. NULL with errno: not sealed, malformed, out of memory. */
struct bundle *bundle_open(int fd);
/* For tools that run alone (check, tests): reads from the disk itself when asked. */
struct bundle *bundle_from_disk(void);
void bundle_free(struct bundle *b);
/* The file's bytes, valid until bundle_free(). False: not in the bundle. */
MUST_CHECK bool bundle_get(struct bundle *b, const char *path, struct strv *out);
/* A secret kept in a file: its first line without the line end. False: missing or empty. */
MUST_CHECK bool bundle_get_secret(struct bundle *b, const char *path, struct strv *out);

#endif
