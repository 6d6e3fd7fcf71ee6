/*
 * settings_parts: what the files settings*.c share. Nobody else includes it.
 */
#ifndef EASGATE_PROXY_SETTINGS_PARTS_H
#define EASGATE_PROXY_SETTINGS_PARTS_H

#include "common/config_fill.h"
#include "proxy/settings.h"

/* The tables of methods of all policies, and the bits of all groups. 0, or -1 with at->error. */
MUST_CHECK int settings_check_methods(struct settings *s, const struct config_place *at);

#endif
