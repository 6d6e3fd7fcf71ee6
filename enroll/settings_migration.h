/*
 * settings_migration: the groups of the migration. Private to settings.c.
 */
#ifndef EASGATE_ENROLL_SETTINGS_MIGRATION_H
#define EASGATE_ENROLL_SETTINGS_MIGRATION_H

#include "common/config_fill.h"
#include "enroll/settings.h"

/* Defaults and limits of enroll.migration, and ->all: of its list, then of the policies in at->text. 0 or -1 with at->error. */
MUST_CHECK int enroll_settings_migration(struct enroll_section *e, const struct config_place *at);

#endif
