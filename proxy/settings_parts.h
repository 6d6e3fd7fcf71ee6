/*
 * settings_parts: what the files settings*.c share. Nobody else includes it.
 */
#ifndef EASGATE_PROXY_SETTINGS_PARTS_H
#define EASGATE_PROXY_SETTINGS_PARTS_H

#include "common/config_fill.h"
#include "proxy/settings.h"

/* What one policy, named `key`, says of devices. 0, or -1 with at->error. */
MUST_CHECK int settings_check_devices(const struct settings *s, struct policy_settings *q, const char *key, const struct config_place *at);
/* The tables of methods of all policies, and the bits of all groups. The same. */
MUST_CHECK int settings_check_methods(struct settings *s, const struct config_place *at);

#endif
