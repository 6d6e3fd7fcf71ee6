/*
 * confine: what the revocation process may open: the folders of its lists, the system's CAs and names, state_dir to write.
 */
#ifndef EASGATE_REVOCATION_CONFINE_H
#define EASGATE_REVOCATION_CONFINE_H

#include "common/process.h"
#include "proxy/settings.h"

/* 0, or -1 (logged, or out of memory): then exit. */
MUST_CHECK int revocation_confine(struct child *child, const struct settings *settings);

#endif
