/*
 * audit_parts: what the files of `easenroll audit` share. Runs as a command of its own.
 */
#ifndef EASGATE_ENROLL_CLI_AUDIT_PARTS_H
#define EASGATE_ENROLL_CLI_AUDIT_PARTS_H

#include "enroll/cli/cli.h"
#include "enroll/worker/registry.h"

/* Prints the verdict; at and log (a file's name, "-") may be NULL. 0: whole. 1: not, or it could not be found out. 2: `at` is malformed. */
MUST_CHECK int audit_verify(struct registry *r, bool json, const char *at, const char *log);

#endif
