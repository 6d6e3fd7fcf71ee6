/*
 * config: reading the one YAML file by a libcyaml schema, and the sections that both programs share.
 *
 * Strings are never NULL after loading: "" where the file says nothing. Numbers have their defaults and were held
 * against their limits. Lists are (pointer, count). All of it is owned by the loaded settings and freed with them.
 */
#ifndef EASGATE_CONFIG_H
#define EASGATE_CONFIG_H

#include <cyaml/cyaml.h>

#include "common/base.h"
#include "common/log.h"

struct config_log {
	char *level;
	bool *access_given;		/* as in the file; NULL: left out */
	bool access;			/* default true; filled by config_check_common */
	enum log_level parsed_level;	/* filled by config_check_common */
};

struct config_redis {
	char **servers;			/* "host:port" or "unix:/path" */
	unsigned servers_count;
	char *sentinel, *username, *password_file, *prefix, *fleet_secret_file, *ca;
	bool tls;
	uint32_t timeout_ms;
};

struct config_ldap {
	char **servers;			/* ldap:// or ldaps:// URLs */
	unsigned servers_count;
	bool start_tls;
	char *ca, *base, *bind, *bind_name, *bind_password_file, *keytab;
	uint32_t timeout_ms, watch_seconds;
};

struct config_directory {
	char *kind;			/* "file" or "ldap" */
	char *file;
	struct config_ldap *ldap;	/* NULL unless the section is there */
	uint32_t ttl_seconds, negative_ttl_seconds, stale_seconds, cache_entries;
};

enum lockout_mode { LOCKOUT_ENFORCE = 0, LOCKOUT_LOG, LOCKOUT_OFF };

struct config_lockout {
	char *mode;			/* "enforce", "log", "off" */
	enum lockout_mode parsed_mode;	/* filled by config_check_common */
	uint32_t margin;
	uint32_t attempts, window_seconds;	/* 0: as the domain's policy has it */
	uint32_t address_attempts, good_seconds;
	uint32_t memory_mib;		/* a power of two */
	uint32_t processes;		/* 0: by the number of CPUs: stretch_processes() */
	uint32_t queue, entries;
};

struct config_common {
	char *user, *state_dir, *run_dir;
	struct config_log log;
	struct config_redis *redis;	/* NULL: one machine, no Redis */
	struct config_directory directory;
	struct config_lockout lockout;
};

/* What a loader needs to say where it failed. */
struct config_error {
	char text[512];			/* "FILE:LINE: key: what was found, what was expected" */
};

/*
 * Loads `text` (the file's contents, `name` for messages) by `schema` into *out (cyaml_free()d by the caller with the
 * same schema). -1: error->text says file, line, key and what was expected.
 */
MUST_CHECK int config_load(const char *name, struct strv text, const cyaml_schema_value_t *schema, cyaml_data_t **out,
    struct config_error *error);
/* The part of it that `schema` has, of a text that was loaded whole: keys that the schema does not have are left alone. -1: not of that shape. */
MUST_CHECK int config_load_part(struct strv text, const cyaml_schema_value_t *schema, cyaml_data_t **out);
void config_release(const cyaml_schema_value_t *schema, cyaml_data_t *data);
/* Reads a whole file (at most 1 MiB). malloc()ed into *out. -1 with error. */
MUST_CHECK int config_read_file(const char *path, char **out, size_t *n, struct config_error *error);
/* The line (1..) on which a key path such as "proxy.upstreams[1].servers" stands, 0 if unknown: for errors found after loading. */
unsigned config_line_of(struct strv text, const char *key_path);
/* Whether the text says anything at that path: a number that is 0 may have been left out. */
bool config_names_key(struct strv text, const char *key_path);
PRINTF(5, 6) void config_fail(struct config_error *error, const char *name, struct strv text, const char *key_path, const char *fmt, ...);

/* Schema rows of the common sections, for a program's own top-level mapping. */
extern const cyaml_schema_field_t config_log_fields[], config_redis_fields[], config_directory_fields[], config_lockout_fields[];
/* Fills defaults and checks limits of the common part. 0 or -1 with error. */
MUST_CHECK int config_check_common(struct config_common *c, const char *name, struct strv text, struct config_error *error);

#endif
