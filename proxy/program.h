/*
 * program: easproxy as the master sees it: which processes, which files each may read, which sockets, what a reload may change.
 */
#ifndef EASGATE_PROXY_PROGRAM_H
#define EASGATE_PROXY_PROGRAM_H

#include "common/master.h"
#include "proxy/settings.h"

extern const struct master_program easproxy_program;

/* The configuration of a file; NULL with error. */
struct settings *program_settings(const char *config_file, struct config_error *error);
/* Builds what workers build, from the disk: what `check` and a reload's trial do. 0, or -1 with why. */
MUST_CHECK int program_trial(const struct settings *s, struct bundle *files, char *why, size_t why_size);

#endif
