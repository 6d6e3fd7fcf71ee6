/*
 * settings_schema: the libcyaml schema of easgate.yaml as easproxy reads it. For settings.c and the test that holds
 * docs/configuration.md against it.
 */
#ifndef EASGATE_PROXY_SETTINGS_SCHEMA_H
#define EASGATE_PROXY_SETTINGS_SCHEMA_H

#include "proxy/settings.h"

extern const cyaml_schema_value_t settings_schema;

#endif
