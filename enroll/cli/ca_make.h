/*
 * ca_make: what importing a CA shares with making one.
 */
#ifndef EASGATE_ENROLL_CLI_CA_MAKE_H
#define EASGATE_ENROLL_CLI_CA_MAKE_H

#include "enroll/cli/ca_parts.h"

/* RA and profile key of an issuing CA's generation and state, under it. `issuing` holds its key. 0 or -1 with *r. */
MUST_CHECK int ca_make_helpers(struct ca_files *f, const struct ca_options *o,
    const struct ca_entry *issuing, struct refusal *r);

#endif
