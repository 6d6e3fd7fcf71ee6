/*
 * config: loads YAML by a libcyaml schema and turns the library's words into one line with file, line and key.
 * Also the sections that both programs share. Runs in the master and wherever a bundle carries the text.
 */
#include "common/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/config_fill.h"
#include "common/config_shape.h"
#include "common/text.h"

#define FILE_MAX (1u << 20)

/* --- loading --- */

struct capture {
	char what[256];		/* the first complaint */
	char where[256];	/* "key" of the innermost place */
	unsigned line;
};

/* The library tells one complaint, then a backtrace from the inside out: "in mapping field 'x' (line: 3, column: 5)". */
PRINTF(3, 0) static void on_cyaml(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	struct capture *c = ctx;
	char text[512];
	const char *line, *key, *end;

	(void)level;
	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	line = strstr(text, "(line: ");
	if (line == NULL) {
		if (c->what[0] == '\0') {
			const char *from = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
			snprintf(c->what, sizeof(c->what), "%s", from);
		}
		return;
	}
	if (c->line == 0)
		c->line = (unsigned)strtoul(line + 7, NULL, 10);
	key = strchr(text, '\'');
	if (key == NULL || key > line || c->where[0] != '\0')
		return;
	end = strchr(key + 1, '\'');
	if (end != NULL)
		snprintf(c->where, sizeof(c->where), "%.*s", (int)(end - key - 1), key + 1);
}

int config_load(const char *name, struct strv text, const cyaml_schema_value_t *schema, cyaml_data_t **out,
    struct config_error *error)
{
	struct capture c = { .line = 0 };
	cyaml_config_t config = {
		.log_fn = on_cyaml,
		.log_ctx = &c,
		.mem_fn = cyaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_DEFAULT | CYAML_CFG_NO_ALIAS,
	};
	cyaml_err_t rc;

	*out = NULL;
	if (config_shape(name, text, schema, error) < 0)
		return -1;
	rc = cyaml_load_data((const uint8_t *)text.p, text.n, &config, schema, out, NULL);
	if (rc == CYAML_OK)
		return 0;
	snprintf(error->text, sizeof(error->text), "%s:%u: %s%s%s", name, c.line ? c.line : 1, c.where,
	    c.where[0] != '\0' ? ": " : "", c.what[0] != '\0' ? c.what : cyaml_strerror(rc));
	return -1;
}

int config_load_part(struct strv text, const cyaml_schema_value_t *schema, cyaml_data_t **out)
{
	static const cyaml_config_t config = { .mem_fn = cyaml_mem,
		.flags = CYAML_CFG_DEFAULT | CYAML_CFG_NO_ALIAS | CYAML_CFG_IGNORE_UNKNOWN_KEYS };

	*out = NULL;
	return cyaml_load_data((const uint8_t *)text.p, text.n, &config, schema, out, NULL) == CYAML_OK ? 0 : -1;
}

void config_release(const cyaml_schema_value_t *schema, cyaml_data_t *data)
{
	static const cyaml_config_t config = { .mem_fn = cyaml_mem, .flags = CYAML_CFG_DEFAULT };

	if (data != NULL)
		cyaml_free(&config, schema, data, 0);
}

int config_read_file(const char *path, char **out, size_t *n, struct config_error *error)
{
	struct stat st;
	char *text = NULL;
	size_t at = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);	/* a FIFO must not hold us */

	if (fd < 0 || fstat(fd, &st) < 0)
		goto failed;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : S_ISREG(st.st_mode) ? EFBIG : EINVAL;
		goto failed;
	}
	text = malloc((size_t)st.st_size + 1);
	if (text == NULL)
		goto failed;
	while (at < (size_t)st.st_size) {
		ssize_t r = read(fd, text + at, (size_t)st.st_size - at);
		if (r <= 0)
			break;
		at += (size_t)r;
	}
	text[at] = '\0';
	close(fd);
	*out = text;
	*n = at;
	return 0;
failed:
	snprintf(error->text, sizeof(error->text), "%s: %s: expected a file of at most 1 MiB that may be read", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(text);
	return -1;
}

void config_fail(struct config_error *error, const char *name, struct strv text, const char *key_path, const char *fmt, ...)
{
	unsigned line = config_line_of(text, key_path);
	va_list args;
	int n;

	n = snprintf(error->text, sizeof(error->text), "%s:%u: %s: ", name, line ? line : 1, key_path);
	if (n < 0 || (size_t)n >= sizeof(error->text))
		return;
	va_start(args, fmt);
	vsnprintf(error->text + n, sizeof(error->text) - (size_t)n, fmt, args);
	va_end(args);
}

int config_refuse(const struct config_place *place, const char *key, const char *fmt, ...)
{
	char text[384];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	config_fail(place->error, place->name, place->text, key, "%s", text);
	return -1;
}

/* --- defaults and limits --- */

int config_fill(void *base, const struct config_fill *rows, const char *prefix, const struct config_place *place)
{
	char key[256];

	for (const struct config_fill *r = rows; r->key != NULL; r++) {
		void *at = (char *)base + r->offset;
		snprintf(key, sizeof(key), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", r->key);
		if (r->text != NULL) {
			char **s = at;
			if (*s == NULL && (*s = strdup(r->text)) == NULL)
				return -1;
			if (r->must && (*s)[0] == '\0') {
				config_fail(place->error, place->name, place->text, key, "is missing: expected %s", r->must);
				return -1;
			}
		} else {
			uint32_t *v = at;
			if (*v == 0 && (r->min == 0 || !config_names_key(place->text, key)))
				*v = r->value;
			if (*v < r->min || *v > r->max) {
				config_fail(place->error, place->name, place->text, key, "%u is out of range: expected %u to %u",
				    *v, r->min, r->max);
				return -1;
			}
		}
	}
	return 0;
}

int config_choice(const char *value, const char *const *choices, const char *key, const struct config_place *place)
{
	char list[256] = "";
	size_t n = 0;

	for (int i = 0; choices[i] != NULL; i++) {
		if (strcmp(value, choices[i]) == 0)
			return i;
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", choices[i]);
		if (n >= sizeof(list))
			break;
	}
	config_fail(place->error, place->name, place->text, key, "\"%s\" is none of: %s", value, list);
	return -1;
}

int config_groups(const struct config_directory *d, const char *const *groups, unsigned n, const char *key, const struct config_place *place)
{
	if (strcmp(d->kind, "ldap") != 0)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		if (strchr(groups[i], '=') == NULL)
			return config_refuse(place, key, "group \"%s\" is no distinguished name: expected such as CN=EAS-Users,OU=Groups,DC=corp,DC=example", groups[i]);
	}
	return 0;
}

/* --- the common sections --- */

static const cyaml_schema_value_t string_entry = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED) };
const cyaml_schema_value_t *const config_string_entry = &string_entry;

#define F_STR(key, type, member) CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 0, CYAML_UNLIMITED)
#define F_U32(key, type, member) CYAML_FIELD_UINT(key, CYAML_FLAG_OPTIONAL, type, member)
#define F_BOOL(key, type, member) CYAML_FIELD_BOOL(key, CYAML_FLAG_OPTIONAL, type, member)
#define F_LIST(key, type, member) CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, &string_entry, 0, 1024)

const cyaml_schema_field_t config_log_fields[] = {
	F_STR("level", struct config_log, level),
	CYAML_FIELD_BOOL_PTR("access", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_log, access_given),
	CYAML_FIELD_END,
};

const cyaml_schema_field_t config_redis_fields[] = {
	F_LIST("servers", struct config_redis, servers),
	F_STR("sentinel", struct config_redis, sentinel),
	F_STR("username", struct config_redis, username),
	F_STR("password_file", struct config_redis, password_file),
	F_STR("prefix", struct config_redis, prefix),
	F_STR("fleet_secret_file", struct config_redis, fleet_secret_file),
	F_BOOL("tls", struct config_redis, tls),
	F_STR("ca", struct config_redis, ca),
	F_U32("timeout_ms", struct config_redis, timeout_ms),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t ldap_fields[] = {
	F_LIST("servers", struct config_ldap, servers),
	F_BOOL("start_tls", struct config_ldap, start_tls),
	F_STR("ca", struct config_ldap, ca),
	F_STR("base", struct config_ldap, base),
	F_STR("bind", struct config_ldap, bind),
	F_STR("bind_name", struct config_ldap, bind_name),
	F_STR("bind_password_file", struct config_ldap, bind_password_file),
	F_STR("keytab", struct config_ldap, keytab),
	F_U32("timeout_ms", struct config_ldap, timeout_ms),
	F_U32("watch_seconds", struct config_ldap, watch_seconds),
	CYAML_FIELD_END,
};

const cyaml_schema_field_t config_directory_fields[] = {
	F_STR("kind", struct config_directory, kind),
	F_STR("file", struct config_directory, file),
	CYAML_FIELD_MAPPING_PTR("ldap", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_directory, ldap, ldap_fields),
	F_U32("ttl_seconds", struct config_directory, ttl_seconds),
	F_U32("negative_ttl_seconds", struct config_directory, negative_ttl_seconds),
	F_U32("stale_seconds", struct config_directory, stale_seconds),
	F_U32("cache_entries", struct config_directory, cache_entries),
	CYAML_FIELD_END,
};

const cyaml_schema_field_t config_lockout_fields[] = {
	F_STR("mode", struct config_lockout, mode),
	F_U32("margin", struct config_lockout, margin),
	F_U32("attempts", struct config_lockout, attempts),
	F_U32("window_seconds", struct config_lockout, window_seconds),
	F_U32("address_attempts", struct config_lockout, address_attempts),
	F_U32("good_seconds", struct config_lockout, good_seconds),
	F_U32("memory_mib", struct config_lockout, memory_mib),
	F_U32("processes", struct config_lockout, processes),
	F_U32("queue", struct config_lockout, queue),
	F_U32("entries", struct config_lockout, entries),
	CYAML_FIELD_END,
};

static const struct config_fill common_rows[] = {
	FILL_TEXT(struct config_common, user, "easgate", "the name of an unprivileged user"),
	FILL_TEXT(struct config_common, state_dir, "/var/lib/easgate", "a directory"),
	FILL_TEXT(struct config_common, run_dir, "/run/easgate", "a directory"),
	{ .key = NULL },
};
static const struct config_fill log_rows[] = {
	FILL_TEXT(struct config_log, level, "info", "a level"),
	{ .key = NULL },
};
static const struct config_fill redis_rows[] = {
	FILL_TEXT(struct config_redis, sentinel, "", NULL),
	FILL_TEXT(struct config_redis, username, "", NULL),
	FILL_TEXT(struct config_redis, password_file, "", NULL),
	FILL_TEXT(struct config_redis, prefix, "easgate:", NULL),
	FILL_TEXT(struct config_redis, fleet_secret_file, "", NULL),
	FILL_TEXT(struct config_redis, ca, "", NULL),
	FILL_U32(struct config_redis, timeout_ms, 2000, 50, 60000),
	{ .key = NULL },
};
static const struct config_fill ldap_rows[] = {
	FILL_TEXT(struct config_ldap, ca, "", NULL),
	FILL_TEXT(struct config_ldap, base, "", "the DN below which accounts are searched, such as DC=corp,DC=example"),
	FILL_TEXT(struct config_ldap, bind, "simple", NULL),
	FILL_TEXT(struct config_ldap, bind_name, "", "the service account's name"),
	FILL_TEXT(struct config_ldap, bind_password_file, "", NULL),
	FILL_TEXT(struct config_ldap, keytab, "", NULL),
	FILL_U32(struct config_ldap, timeout_ms, 3000, 50, 60000),
	FILL_U32(struct config_ldap, watch_seconds, 5, 1, 3600),
	{ .key = NULL },
};
static const struct config_fill lockout_rows[] = {
	FILL_TEXT(struct config_lockout, mode, "enforce", NULL),
	FILL_U32(struct config_lockout, margin, 2, 1, 100),
	FILL_U32(struct config_lockout, attempts, 0, 0, 1000),
	FILL_U32(struct config_lockout, window_seconds, 0, 0, 604800),
	FILL_U32(struct config_lockout, address_attempts, 50, 1, 100000),
	FILL_U32(struct config_lockout, good_seconds, 3600, 1, 86400),
	FILL_U32(struct config_lockout, memory_mib, 16, 1, 256),
	FILL_U32(struct config_lockout, processes, 0, 0, 64),
	FILL_U32(struct config_lockout, queue, 256, 1, 1024),
	FILL_U32(struct config_lockout, entries, 10000, 64, 1000000),
	{ .key = NULL },
};
static const struct config_fill directory_rows[] = {
	FILL_TEXT(struct config_directory, kind, "", "\"file\" or \"ldap\""),
	FILL_TEXT(struct config_directory, file, "", NULL),
	FILL_U32(struct config_directory, ttl_seconds, 60, 1, 86400),
	FILL_U32(struct config_directory, negative_ttl_seconds, 10, 1, 3600),
	FILL_U32(struct config_directory, stale_seconds, 3600, 1, 604800),
	FILL_U32(struct config_directory, cache_entries, 100000, 16, 10000000),
	{ .key = NULL },
};

static int check_ldap(struct config_ldap *l, const struct config_place *place)
{
	static const char *const binds[] = { "simple", "gssapi", NULL };
	int bind;

	if (config_fill(l, ldap_rows, "directory.ldap", place) < 0)
		return -1;
	if (l->servers_count == 0) {
		config_fail(place->error, place->name, place->text, "directory.ldap.servers", "is missing: expected a list of ldaps:// URLs");
		return -1;
	}
	for (unsigned i = 0; i < l->servers_count; i++) {
		struct strv url = strv_from(l->servers[i]);
		bool tls = text_starts_nocase(url, STRV("ldaps://"));
		if (!tls && !text_starts_nocase(url, STRV("ldap://"))) {
			config_fail(place->error, place->name, place->text, "directory.ldap.servers", "\"%s\" is no ldap:// or ldaps:// URL", l->servers[i]);
			return -1;
		}
		if (!tls && !l->start_tls) {
			config_fail(place->error, place->name, place->text, "directory.ldap.servers",
			    "\"%s\" would send %s in clear: expected ldaps://, or start_tls: true", l->servers[i],
			    strcmp(l->bind, "simple") == 0 ? "the password" : "what is asked and answered");
			return -1;
		}
	}
	bind = config_choice(l->bind, binds, "directory.ldap.bind", place);
	if (bind < 0)
		return -1;
	if (bind == 0 && l->bind_password_file[0] == '\0') {
		config_fail(place->error, place->name, place->text, "directory.ldap.bind_password_file", "is missing: expected a file with the service account's password");
		return -1;
	}
	if (bind == 1 && l->keytab[0] == '\0') {
		config_fail(place->error, place->name, place->text, "directory.ldap.keytab", "is missing: bind gssapi needs one");
		return -1;
	}
	return 0;
}

static int check_directory(struct config_directory *d, const struct config_place *place)
{
	static const char *const kinds[] = { "file", "ldap", NULL };
	int kind;

	if (config_fill(d, directory_rows, "directory", place) < 0)
		return -1;
	kind = config_choice(d->kind, kinds, "directory.kind", place);
	if (kind < 0)
		return -1;
	if (kind == 0 && d->file[0] == '\0') {
		config_fail(place->error, place->name, place->text, "directory.file", "is missing: kind file needs the accounts' YAML file");
		return -1;
	}
	if (kind == 1 && d->ldap == NULL) {
		config_fail(place->error, place->name, place->text, "directory.ldap", "is missing: kind ldap needs this section");
		return -1;
	}
	return d->ldap != NULL ? check_ldap(d->ldap, place) : 0;
}

static int check_redis(struct config_redis *r, const struct config_place *place)
{
	if (config_fill(r, redis_rows, "redis", place) < 0)
		return -1;
	if (r->servers_count == 0) {
		config_fail(place->error, place->name, place->text, "redis.servers", "is missing: expected a list of host:port or unix:/path");
		return -1;
	}
	return 0;
}

static int check_lockout(struct config_lockout *l, const struct config_place *place)
{
	static const char *const modes[] = { [LOCKOUT_ENFORCE] = "enforce", [LOCKOUT_LOG] = "log", [LOCKOUT_OFF] = "off", NULL };
	int mode;

	if (config_fill(l, lockout_rows, "lockout", place) < 0)
		return -1;
	mode = config_choice(l->mode, modes, "lockout.mode", place);
	if (mode < 0)
		return -1;
	l->parsed_mode = (enum lockout_mode)mode;
	if ((l->memory_mib & (l->memory_mib - 1)) != 0) {
		config_fail(place->error, place->name, place->text, "lockout.memory_mib", "%u is no power of two: expected 1, 2, 4, 8 ... 256",
		    l->memory_mib);
		return -1;
	}
	return 0;
}

int config_check_common(struct config_common *c, const char *name, struct strv text, struct config_error *error)
{
	struct config_place place = { name, text, error };

	if (config_fill(c, common_rows, "", &place) < 0 || config_fill(&c->log, log_rows, "log", &place) < 0)
		return -1;
	if (log_level_parse(strv_from(c->log.level), &c->log.parsed_level) < 0) {
		config_fail(error, name, text, "log.level", "\"%s\" is none of: error, warning, info, debug", c->log.level);
		return -1;
	}
	c->log.access = c->log.access_given == NULL || *c->log.access_given;
	if (c->redis != NULL && check_redis(c->redis, &place) < 0)
		return -1;
	if (check_lockout(&c->lockout, &place) < 0)
		return -1;
	return check_directory(&c->directory, &place);
}
