/*
 * folder: files of the CA's folder: read with their owner and mode checked, written whole or not at all (temporary file, fsync, rename, fsync of the folder).
 */
#ifndef EASGATE_ENROLL_SIGNER_FOLDER_H
#define EASGATE_ENROLL_SIGNER_FOLDER_H

#include <sys/types.h>

#include "enroll/signer/refusal.h"

#define FOLDER_FILE_MAX (1u << 20)

/*
 * The file's bytes and a NUL behind them, malloc()ed; *n their number, at most FOLDER_FILE_MAX. `secret`: refused unless it is a plain file of root's or of
 * this process's user that nobody else may read (mode 0600 or less). NULL with *r.
 */
char *folder_read(const char *path, bool secret, size_t *n, struct refusal *r);
/* Writes path with that mode; an existing file is replaced in one step. 0 or -1 with *r. */
MUST_CHECK int folder_write(
    const char *path, const void *bytes, size_t n, mode_t mode, struct refusal *r);
/* The folder itself: one of root's or of this process's user, into which nobody else may write. 0 or -1 with *r. */
MUST_CHECK int folder_check(const char *path, struct refusal *r);
/* The same, made if it is missing (0700). 0 or -1 with *r. */
MUST_CHECK int folder_make(const char *path, struct refusal *r);
/* First line of a file of secrets, without its end, malloc()ed; the caller wipes it. NULL with *r: missing, empty, readable by others. */
char *folder_secret(const char *path, struct refusal *r);

#endif
