/*
 * config_shape: whether a YAML text has the form that a libcyaml schema asks for. Stricter than the library, which takes
 * "1.5" for 1, 010 for 8 and any word for true, and says neither where nor what it wanted.
 */
#ifndef EASGATE_CONFIG_SHAPE_H
#define EASGATE_CONFIG_SHAPE_H

#include "common/config.h"

/*
 * 0: one document without aliases, every key known and there once, every value of its type. -1: error->text is
 * "FILE:LINE: key.path: what was found: what was expected". Lengths of texts and lists are left to the library.
 */
MUST_CHECK int config_shape(const char *name, struct strv text, const cyaml_schema_value_t *schema, struct config_error *error);

#endif
