/*
 * local: a question to a running easproxy by its socket in run_dir. For the command line; blocks.
 */
#ifndef EASGATE_PROXY_LOCAL_H
#define EASGATE_PROXY_LOCAL_H

#include "proxy/settings.h"

/*
 * GET path (with its query, encoded). The body inside text (size bytes, NUL-terminated), *code the status; or NULL: said on standard error
 * why not, with the cure.
 */
const char *local_get(const struct settings *s, const char *path, char *text, size_t size, unsigned *code);

#endif
