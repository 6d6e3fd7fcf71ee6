/*
 * registry_parts: what the files of the registry share: the open database, its prepared statements, transactions. Worker process and CLI.
 * Statements are found by the address of their text, which therefore must be a literal or static.
 */
#ifndef EASGATE_ENROLL_REGISTRY_PARTS_H
#define EASGATE_ENROLL_REGISTRY_PARTS_H

#include <sqlite3.h>

#include "common/text.h"
#include "enroll/worker/audit_trail.h"
#include "enroll/worker/registry.h"

#define REGISTRY_STATEMENTS 128

struct registry {
	sqlite3 *db;
	struct { const char *sql; sqlite3_stmt *st; } statement[REGISTRY_STATEMENTS];
	unsigned statements;
	/* registry_sqlite_transactions.c: a group is open; how many changes are in it; it was lost; commits that went well */
	bool open, lost;
	bool impatient;		/* the lock was waited for in vain, and nothing was committed since */
	bool sure;		/* the change under way has no savepoint; `changes`: what SQLite had counted when it began */
	int64_t changes;
	unsigned joined;
	uint64_t commits;
	int log_pages;		/* in the write-ahead log after the last commit; 0: they were moved into the file since */
	/* registry_sqlite_audit.c: the trail's last entry, while this process alone can add one: inside an open group */
	bool tail_known;
	int64_t tail_n;
	uint8_t tail_hash[SHA256_SIZE];
	registry_changed_fn *changed;
	void *changed_arg;
	char problem[512];
};

/* registry_schema.c: brings the file up to date. 0 or -1 with why. */
MUST_CHECK int registry_migrate(sqlite3 *db, char *why, size_t why_size);
int registry_schema_version(void);

/* --- transactions: every change stands between these two --- */
MUST_CHECK enum registry_result reg_begin(struct registry *r);
/*
 * The same for a change that refuses before it writes: once a row was changed, only a broken file or disk makes it fail. Costs a tenth less of an
 * enrolment; where it fails half way all the same, all of its group is lost, of which nobody has been told (registry_settle()).
 */
MUST_CHECK enum registry_result reg_begin_sure(struct registry *r);
/* Commits when rc is REGISTRY_OK, else rolls back; returns what counts. */
MUST_CHECK enum registry_result reg_end(struct registry *r, enum registry_result rc);
/* Whether the next one who finds the lock taken waits for it; what was committed makes patient again. */
void reg_patience(struct registry *r, bool patient);
/* What was gathered is committed, and nobody is told of it any more. */
void reg_close(struct registry *r);
/* The texts of `by` are what reg_audit() takes: for a change that must not fail there. */
MUST_CHECK enum registry_result reg_check_by(struct registry *r, const struct registry_by *by);
MUST_CHECK enum registry_result reg_audit(struct registry *r, const struct registry_by *by, const char *action, const char *object);
MUST_CHECK enum registry_result reg_audit_serial(struct registry *r, const struct registry_by *by, const char *action, const uint8_t *serial);

/* --- registry_sqlite_log.c --- */
/* The name of the layer that writes a commit's part of the log at once, for sqlite3_open_v2(). NULL: the usual one (which always works). */
const char *reg_log_vfs(void);

/* --- statements. types: t const char *, i int64_t, b const void * and size_t (NULL: NULL) --- */
/* TAKEN: a uniqueness was violated. */
MUST_CHECK enum registry_result reg_run(struct registry *r, const char *sql, const char *types, ...);
/* OK: *st stands on its first row, to be reset by reg_done(). NONE: no row (already reset). */
MUST_CHECK enum registry_result reg_row(struct registry *r, sqlite3_stmt **st, const char *sql, const char *types, ...);
/* The next row: OK, NONE or FAILED (reset in the latter two). */
MUST_CHECK enum registry_result reg_next(struct registry *r, sqlite3_stmt *st);
void reg_done(sqlite3_stmt *st);
/* One number of one row. */
MUST_CHECK enum registry_result reg_number(struct registry *r, int64_t *out, const char *sql, const char *types, ...);

void reg_text(sqlite3_stmt *st, int column, char *out, size_t size);
/* Exactly n bytes, else zeros. */
void reg_bytes(sqlite3_stmt *st, int column, void *out, size_t n);

/* --- checks of what comes in --- */
PRINTF(3, 4) enum registry_result reg_fail(struct registry *r, enum registry_result rc, const char *fmt, ...);
/* Clean text shorter than `size` bytes; with `needed` not empty. */
MUST_CHECK enum registry_result reg_check(struct registry *r, const char *what, const char *text, size_t size, bool needed);
MUST_CHECK enum registry_result reg_check_hex(struct registry *r, const char *what, const char *text, size_t digits);

/* --- rows (registry_sqlite_certificates.c) --- */
#define CERTIFICATE_COLUMNS "serial,issuer,device,profile,state,spki_sha256,sha256,not_before,not_after,issued,first_used,revoked_at,reason," \
	"successor IS NOT NULL"
void reg_certificate(sqlite3_stmt *st, struct registry_certificate *out);
/* Inserts an act; *id gets its number. */
MUST_CHECK enum registry_result reg_act_insert(struct registry *r, enum registry_act_kind kind, const uint8_t *serial, unsigned steps, int64_t at,
    int64_t *id);
/* registry_device_set_state() inside the caller's transaction. */
MUST_CHECK enum registry_result reg_device_state(struct registry *r, const struct registry_by *by, const char *id, enum registry_device_state state);
/* Uses a secret up inside the caller's transaction. */
MUST_CHECK enum registry_result reg_secret_take(struct registry *r, const uint8_t *mac, int64_t account, const char *device, const char *profile,
    const char *purpose, int64_t now);

/* `text` for LIKE with ESCAPE '\'. out: 2 * REGISTRY_NAME_MAX + 3 bytes. */
#define REGISTRY_LIKE (2 * REGISTRY_NAME_MAX + 3)
MUST_CHECK enum registry_result reg_like(struct registry *r, const char *text, char out[REGISTRY_LIKE]);

#endif
