/*
 * settings_schema: the libcyaml schema of easgate.yaml as easenroll reads it. For settings.c and the test that holds
 * docs/configuration.md against it.
 */
#ifndef EASGATE_ENROLL_SETTINGS_SCHEMA_H
#define EASGATE_ENROLL_SETTINGS_SCHEMA_H

#include "enroll/settings.h"

extern const cyaml_schema_value_t enroll_settings_schema;

#endif
