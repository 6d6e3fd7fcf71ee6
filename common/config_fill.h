/*
 * config_fill: tables of defaults and limits for loaded settings, used by config.c and each program's settings.c.
 * What the file leaves out gets its default; a number outside its limits is refused, a 0 that the file gives as well.
 */
#ifndef EASGATE_CONFIG_FILL_H
#define EASGATE_CONFIG_FILL_H

#include "common/config.h"

struct config_fill {
	const char *key;	/* NULL ends the table */
	size_t offset;
	const char *text;	/* default of a char * member; NULL: the member is a uint32_t */
	const char *must;	/* what was expected, when "" is an error */
	uint32_t value, min, max;
};
#define FILL_TEXT(type, member, def, expected) { .key = #member, .offset = offsetof(type, member), .text = (def), .must = (expected) }
#define FILL_U32(type, member, def, low, high) { .key = #member, .offset = offsetof(type, member), .value = (def), .min = (low), .max = (high) }

/* Where an error is to be reported. */
struct config_place {
	const char *name;
	struct strv text;
	struct config_error *error;
};

/* Says there what is wrong with `key`; -1, always. */
PRINTF(3, 4) int config_refuse(const struct config_place *place, const char *key, const char *fmt, ...);
/* 0, or -1 with place->error. `prefix` is the mapping's key path. */
MUST_CHECK int config_fill(void *base, const struct config_fill *rows, const char *prefix, const struct config_place *place);
/* The index of `value` in the NULL-terminated choices, or -1 with an error that lists them. */
MUST_CHECK int config_choice(const char *value, const char *const *choices, const char *key, const struct config_place *place);
/* The groups' names can be some of this directory: in LDAP a name that is no DN would be nobody's group, and let nobody in without saying why. */
MUST_CHECK int config_groups(const struct config_directory *d, const char *const *groups, unsigned n, const char *key, const struct config_place *place);
/* The schema of one text in a list. */
extern const cyaml_schema_value_t *const config_string_entry;

#endif
