/*
 * registry_sqlite: opening, prepared statements, checks of texts. Knows no table.
 * Worker process and CLI.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/object_memory.h"
#include "enroll/worker/registry_parts.h"

#define BUSY_MS 5000	/* the CLI reads meanwhile; nobody else writes but the worker of a reload, and not for long */
#define BUSY_AGAIN_MS 50	/* until it can be written again: the loop waits once for whoever holds the lock, and then for nobody */

const char *registry_result_text(enum registry_result result)
{
	switch (result) {
	case REGISTRY_OK: return "ok";
	case REGISTRY_NONE: return "there is none";
	case REGISTRY_BAD: return "the input is not acceptable";
	case REGISTRY_TAKEN: return "it is there or used already";
	case REGISTRY_LIMIT: return "there are too many";
	case REGISTRY_STATE: return "its state does not allow this";
	case REGISTRY_EXPIRED: return "it has expired";
	case REGISTRY_FOREIGN: return "it belongs to something else";
	case REGISTRY_FAILED: break;
	}
	return "the registry failed";
}

#ifndef EASGATE_SANITIZED

static void *get(int n)
{
	return object_memory_get((size_t)n);
}

static void *resize(void *p, int n)
{
	return object_memory_resize(p, (size_t)n);
}

static int size(void *p)
{
	return (int)object_memory_size(p);
}

static int round_up(int n)
{
	return (n + 15) & ~15;
}

static int begin(void *arg)
{
	(void)arg;
	return SQLITE_OK;
}

static void end(void *arg)
{
	(void)arg;
}

/* What a savepoint keeps of a page is four small pieces: by the C library they cost a tenth of an enrolment's statements. */
static void use_object_memory(void)
{
	static const sqlite3_mem_methods methods = { get, object_memory_give, resize, size, round_up, begin, end, NULL };

	(void)sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

#else

static void use_object_memory(void)
{
}

#endif

/*
 * Our processes have one thread, and nobody reads SQLite's counts of memory: without both no allocation takes a lock. Refused (and needless) once
 * something was opened.
 */
static void configure(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	use_object_memory();
}

/* What an operator can do about it. */
static const char *cure(int code)
{
	switch (code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return "the file is damaged: stop easenroll, keep the file, and put the newest copy in its place (docs/enrolment.md, Backup)";
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return "another process holds its lock: find it with fuser, and end it";
	default:
		return "look for room and rights in its folder";
	}
}

static struct registry *open_file(const char *path, int flags, char *why, size_t why_size)
{
	struct registry *r = calloc(1, sizeof(*r));
	/* temporary files in memory: no folder for them is open to the process (Landlock) */
	static const char writer[] = "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;PRAGMA trusted_schema=OFF;"
	    "PRAGMA cell_size_check=ON;PRAGMA secure_delete=ON;"
	    "PRAGMA temp_store=MEMORY";
	static const char reader[] = "PRAGMA query_only=ON;PRAGMA trusted_schema=OFF;PRAGMA cell_size_check=ON";

	if (r == NULL) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	configure();
	if (sqlite3_open_v2(path, &r->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, reg_log_vfs()) != SQLITE_OK) {
		snprintf(why, why_size, "%s cannot be opened: %s", path, r->db != NULL ? sqlite3_errmsg(r->db) : "out of memory");
		registry_close(r);
		return NULL;
	}
	sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_busy_timeout(r->db, BUSY_MS);
	if (sqlite3_exec(r->db, (flags & SQLITE_OPEN_READONLY) != 0 ? reader : writer, NULL, NULL, NULL) != SQLITE_OK) {
		snprintf(why, why_size, "%s cannot be used: %s; %s", path, sqlite3_errmsg(r->db), cure(sqlite3_extended_errcode(r->db)));
		registry_close(r);
		return NULL;
	}
	return r;
}

struct registry *registry_open(const char *path, char *why, size_t why_size)
{
	struct registry *r;
	char text[320];
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		snprintf(why, why_size, "%s cannot be opened: %s; it must belong to the service user", path, strerror(errno));
		return NULL;
	}
	close(fd);
	r = open_file(path, SQLITE_OPEN_READWRITE, why, why_size);
	if (r != NULL && registry_migrate(r->db, text, sizeof(text)) < 0) {
		int code = sqlite3_errcode(r->db) & 0xff;
		bool newer = code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE;	/* which names its cure itself */
		snprintf(why, why_size, "%s %s%s%s", path, text, newer ? "" : "; ", newer ? "" : cure(code));
		registry_close(r);
		r = NULL;
	}
	return r;
}

struct registry *registry_open_read(const char *path, char *why, size_t why_size)
{
	return open_file(path, SQLITE_OPEN_READONLY, why, why_size);
}

void registry_close(struct registry *r)
{
	if (r == NULL)
		return;
	if (r->db != NULL)
		reg_close(r);
	for (unsigned i = 0; i < r->statements; i++)
		sqlite3_finalize(r->statement[i].st);
	sqlite3_close(r->db);
	free(r);
}

const char *registry_problem(const struct registry *r)
{
	return r->problem;
}

bool registry_is_up(struct registry *r)
{
	int64_t version = 0;

	return reg_number(r, &version, "PRAGMA user_version", "") == REGISTRY_OK && version == registry_schema_version();
}

enum registry_result reg_fail(struct registry *r, enum registry_result rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->problem, sizeof(r->problem), fmt, ap);
	va_end(ap);
	return rc;
}

void reg_patience(struct registry *r, bool patient)
{
	if (patient != r->impatient)
		return;
	r->impatient = !patient;
	sqlite3_busy_timeout(r->db, patient ? BUSY_MS : BUSY_AGAIN_MS);
}

/* --- statements --- */

static sqlite3_stmt *prepared(struct registry *r, const char *sql)
{
	sqlite3_stmt *st = NULL;

	for (unsigned i = 0; i < r->statements; i++)
		if (r->statement[i].sql == sql)
			return r->statement[i].st;
	if (r->statements == REGISTRY_STATEMENTS)
		bug("registry: more than %d statements", REGISTRY_STATEMENTS);
	if (sqlite3_prepare_v3(r->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK)
		return NULL;
	r->statement[r->statements].sql = sql;
	r->statement[r->statements++].st = st;
	return st;
}

static enum registry_result failed(struct registry *r)
{
	int code = sqlite3_extended_errcode(r->db);

	if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID)
		return reg_fail(r, REGISTRY_TAKEN, "registry: %s", sqlite3_errmsg(r->db));
	reg_fail(r, REGISTRY_FAILED, "registry %s: %s (%d); %s", sqlite3_db_filename(r->db, "main"), sqlite3_errmsg(r->db), code, cure(code));
	if ((code & 0xff) == SQLITE_BUSY)
		reg_patience(r, false);
	log_say(LOG_ERROR, "registry_failed", "%s", r->problem);
	return REGISTRY_FAILED;
}

static int bind_all(sqlite3_stmt *st, const char *types, va_list ap)
{
	int rc = SQLITE_OK;

	for (int i = 1; *types != '\0' && rc == SQLITE_OK; types++, i++) {
		if (*types == 't') {
			rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
		} else if (*types == 'i') {
			rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
		} else if (*types == 'b') {
			const void *p = va_arg(ap, const void *);
			size_t n = va_arg(ap, size_t);
			rc = p != NULL ? sqlite3_bind_blob64(st, i, p, n, SQLITE_STATIC) : sqlite3_bind_null(st, i);
		} else {
			bug("registry: type %c of a parameter", *types);
		}
	}
	return rc;
}

void reg_done(sqlite3_stmt *st)
{
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
}

enum registry_result reg_next(struct registry *r, sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);
	enum registry_result result = REGISTRY_NONE;

	if (rc == SQLITE_ROW)
		return REGISTRY_OK;
	if (rc != SQLITE_DONE)
		result = failed(r);
	reg_done(st);
	return result;
}

static enum registry_result start(struct registry *r, sqlite3_stmt **st, const char *sql, const char *types, va_list ap)
{
	*st = prepared(r, sql);
	if (*st == NULL)
		return failed(r);
	if (sqlite3_stmt_busy(*st))
		bug("registry: a statement inside its own walk");
	if (bind_all(*st, types, ap) != SQLITE_OK) {
		reg_done(*st);
		return failed(r);
	}
	return reg_next(r, *st);
}

enum registry_result reg_row(struct registry *r, sqlite3_stmt **st, const char *sql, const char *types, ...)
{
	enum registry_result rc;
	va_list ap;

	va_start(ap, types);
	rc = start(r, st, sql, types, ap);
	va_end(ap);
	return rc;
}

enum registry_result reg_run(struct registry *r, const char *sql, const char *types, ...)
{
	enum registry_result rc;
	sqlite3_stmt *st;
	va_list ap;

	va_start(ap, types);
	rc = start(r, &st, sql, types, ap);
	va_end(ap);
	if (rc == REGISTRY_OK)
		reg_done(st);
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result reg_number(struct registry *r, int64_t *out, const char *sql, const char *types, ...)
{
	enum registry_result rc;
	sqlite3_stmt *st;
	va_list ap;

	va_start(ap, types);
	rc = start(r, &st, sql, types, ap);
	va_end(ap);
	if (rc == REGISTRY_OK) {
		*out = sqlite3_column_int64(st, 0);
		reg_done(st);
	}
	return rc;
}

void reg_text(sqlite3_stmt *st, int column, char *out, size_t size)
{
	const unsigned char *p = sqlite3_column_text(st, column);
	size_t n = p != NULL ? (size_t)sqlite3_column_bytes(st, column) : 0;

	n = n < size ? n : size - 1;
	if (n > 0)
		memcpy(out, p, n);
	out[n] = '\0';
}

void reg_bytes(sqlite3_stmt *st, int column, void *out, size_t n)
{
	const void *p = sqlite3_column_blob(st, column);

	memset(out, 0, n);
	if (p != NULL && (size_t)sqlite3_column_bytes(st, column) == n)
		memcpy(out, p, n);
}

/* --- checks --- */

enum registry_result reg_check(struct registry *r, const char *what, const char *text, size_t size, bool needed)
{
	size_t n = text != NULL ? strnlen(text, size) : 0;

	if (text == NULL || n >= size)
		return reg_fail(r, REGISTRY_BAD, "%s is missing or has %zu bytes or more", what, size);
	if (needed && n == 0)
		return reg_fail(r, REGISTRY_BAD, "%s is empty", what);
	if (!text_is_clean((struct strv){ text, n }))
		return reg_fail(r, REGISTRY_BAD, "%s has control characters or is no UTF-8", what);
	return REGISTRY_OK;
}

enum registry_result reg_check_hex(struct registry *r, const char *what, const char *text, size_t digits)
{
	if (text == NULL || strnlen(text, digits + 1) != digits || strspn(text, "0123456789abcdef") != digits)
		return reg_fail(r, REGISTRY_BAD, "%s is not %zu lower-case hex digits", what, digits);
	return REGISTRY_OK;
}

enum registry_result reg_like(struct registry *r, const char *text, char out[REGISTRY_LIKE])
{
	enum registry_result rc = reg_check(r, "the text to look for", text, REGISTRY_NAME_MAX, false);
	size_t n = 0;

	if (rc != REGISTRY_OK)
		return rc;
	out[n++] = '%';
	for (; *text != '\0'; text++) {
		if (*text == '%' || *text == '_' || *text == '\\')
			out[n++] = '\\';
		out[n++] = *text;
	}
	out[n++] = '%';
	out[n] = '\0';
	return REGISTRY_OK;
}
