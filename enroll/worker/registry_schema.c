/*
 * registry_schema: the tables, and how an older file becomes a newer one: step by step, each in a transaction of its own, numbered by PRAGMA user_version.
 * A step that was released is never changed. Worker process.
 */
#include <stdio.h>

#include "enroll/worker/registry_parts.h"

static const char step_1[] =
    "CREATE TABLE accounts(id INTEGER PRIMARY KEY AUTOINCREMENT, sid TEXT NOT NULL UNIQUE, sam TEXT NOT NULL, upn TEXT NOT NULL,"
    " mail TEXT NOT NULL, display_name TEXT NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL) STRICT;"
    "CREATE TABLE devices(id TEXT PRIMARY KEY, account INTEGER NOT NULL REFERENCES accounts(id), name TEXT NOT NULL, kind TEXT NOT NULL,"
    " udid TEXT NOT NULL DEFAULT '', serial_number TEXT NOT NULL DEFAULT '', eas_device_id TEXT NOT NULL DEFAULT '', state INTEGER NOT NULL"
    " CHECK(state BETWEEN 1 AND 3), created INTEGER NOT NULL, last_seen INTEGER NOT NULL) STRICT;"
    "CREATE INDEX devices_of ON devices(account, state);"
    "CREATE TABLE secrets(mac BLOB PRIMARY KEY, account INTEGER NOT NULL REFERENCES accounts(id), device TEXT NOT NULL, profile TEXT NOT NULL,"
    " purpose TEXT NOT NULL, made INTEGER NOT NULL, ends INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;"
    "CREATE INDEX secrets_of ON secrets(account, used, ends);"
    "CREATE TABLE certificates(serial BLOB PRIMARY KEY CHECK(length(serial) = 16), issuer TEXT NOT NULL, device TEXT NOT NULL REFERENCES devices(id),"
    " profile TEXT NOT NULL, state INTEGER NOT NULL CHECK(state BETWEEN 1 AND 7), spki_sha256 BLOB NOT NULL, sha256 BLOB UNIQUE,"
    " not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, issued INTEGER NOT NULL DEFAULT 0, first_used INTEGER NOT NULL DEFAULT 0,"
    " revoked_at INTEGER NOT NULL DEFAULT 0, reason INTEGER NOT NULL DEFAULT -1, successor BLOB REFERENCES certificates(serial),"
    " act INTEGER NOT NULL DEFAULT 0, secret BLOB) STRICT, WITHOUT ROWID;"
    /* one live certificate per device and purpose, whatever the program does */
    "CREATE UNIQUE INDEX one_live ON certificates(device, profile) WHERE state IN (2, 3) AND successor IS NULL;"
    "CREATE INDEX certificates_of ON certificates(device, issued);"
    "CREATE INDEX certificates_issuing ON certificates(serial) WHERE state = 1;"
    "CREATE INDEX certificates_held ON certificates(device) WHERE state = 3;"
    "CREATE INDEX certificates_revoking ON certificates(serial) WHERE state = 4;"
    "CREATE INDEX certificates_replaced ON certificates(successor) WHERE successor IS NOT NULL AND state = 2;"
    "CREATE INDEX certificates_ending ON certificates(not_after) WHERE state = 2;"
    "CREATE INDEX certificates_revoked ON certificates(issuer, serial, not_after, revoked_at, reason) WHERE revoked_at > 0;"
    "CREATE INDEX certificates_changed ON certificates(issuer, act, serial) WHERE act > 0;"
    /* apart, so that lists and searches do not read through it */
    "CREATE TABLE certificate_bytes(serial BLOB PRIMARY KEY REFERENCES certificates(serial), der BLOB NOT NULL) STRICT;"
    "CREATE TABLE transactions(id BLOB NOT NULL, spki_sha256 BLOB NOT NULL, state INTEGER NOT NULL CHECK(state BETWEEN 1 AND 3), device TEXT NOT NULL"
    " REFERENCES devices(id), profile TEXT NOT NULL, serial BLOB REFERENCES certificates(serial), csr BLOB, at INTEGER NOT NULL,"
    " PRIMARY KEY(id, spki_sha256)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX transactions_waiting ON transactions(at) WHERE state = 1;"
    "CREATE INDEX transactions_of ON transactions(serial);"
    "CREATE TABLE acts(id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, serial BLOB NOT NULL REFERENCES certificates(serial),"
    " steps INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;"
    "CREATE INDEX acts_undone ON acts(id) WHERE steps <> 3;"
    "CREATE INDEX acts_of ON acts(serial, id);"
    "CREATE TABLE crls(issuer TEXT NOT NULL, number INTEGER NOT NULL, base INTEGER NOT NULL, this_update INTEGER NOT NULL, next_update INTEGER NOT NULL,"
    " upto INTEGER NOT NULL, made INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(issuer, number)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE audit(n INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, detail TEXT NOT NULL,"
    " previous BLOB NOT NULL, hash BLOB NOT NULL) STRICT;"
    "CREATE INDEX audit_of ON audit(object, n);"
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;"
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;"
    "CREATE TRIGGER audit_in_order BEFORE INSERT ON audit WHEN NEW.n <> (SELECT coalesce(max(n), 0) + 1 FROM audit)"
    " BEGIN SELECT RAISE(ABORT, 'the audit trail has no gaps'); END;"
    /* what was given out is never forgotten, and a revocation is never taken back */
    "CREATE TRIGGER certificates_stay BEFORE DELETE ON certificates BEGIN SELECT RAISE(ABORT, 'certificates are never deleted'); END;"
    "CREATE TRIGGER certificates_stay_revoked BEFORE UPDATE OF state ON certificates WHEN OLD.state IN (4, 5, 7) AND NEW.state NOT IN (4, 5, 7)"
    " BEGIN SELECT RAISE(ABORT, 'a revoked certificate stays revoked'); END;";

/* device managers name devices by them */
static const char step_2[] =
    "CREATE INDEX devices_serial ON devices(serial_number COLLATE NOCASE) WHERE serial_number <> '';"
    "CREATE INDEX devices_udid ON devices(udid COLLATE NOCASE) WHERE udid <> '';";

/*
 * how many of what there is, kept in the transaction of each change: nobody counts a million rows while devices wait. (For a certificate two updates of a
 * row each: one of two rows costs SQLite twice as much.)
 */
static const char step_3[] =
    "CREATE TABLE counts(kind TEXT NOT NULL, state INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(kind, state)) STRICT, WITHOUT ROWID;"
    "INSERT INTO counts SELECT 'accounts', 0, count(*) FROM accounts;"
    "INSERT INTO counts SELECT 'devices', column1, (SELECT count(*) FROM devices WHERE state = column1) FROM (VALUES(1),(2),(3));"
    "INSERT INTO counts SELECT 'certificates', column1, (SELECT count(*) FROM certificates WHERE state = column1)"
    " FROM (VALUES(1),(2),(3),(4),(5),(6),(7));"
    "CREATE TRIGGER accounts_counted AFTER INSERT ON accounts BEGIN UPDATE counts SET n = n + 1 WHERE kind = 'accounts' AND state = 0; END;"
    "CREATE TRIGGER devices_counted AFTER INSERT ON devices BEGIN UPDATE counts SET n = n + 1 WHERE kind = 'devices' AND state = NEW.state; END;"
    "CREATE TRIGGER devices_counted_anew AFTER UPDATE OF state ON devices WHEN OLD.state <> NEW.state BEGIN"
    " UPDATE counts SET n = n + iif(state = NEW.state, 1, -1) WHERE kind = 'devices' AND state IN (OLD.state, NEW.state); END;"
    "CREATE TRIGGER certificates_counted AFTER INSERT ON certificates BEGIN"
    " UPDATE counts SET n = n + 1 WHERE kind = 'certificates' AND state = NEW.state; END;"
    "CREATE TRIGGER certificates_counted_anew AFTER UPDATE OF state ON certificates WHEN OLD.state <> NEW.state BEGIN"
    " UPDATE counts SET n = n - 1 WHERE kind = 'certificates' AND state = OLD.state;"
    " UPDATE counts SET n = n + 1 WHERE kind = 'certificates' AND state = NEW.state; END;";

/*
 * What each enrolment does goes without a statement's own journal, which costs it a third: SQLite keeps one for a statement that fires a trigger and may be
 * taken back (ABORT). FAIL refuses the same rows; what the statement did before is taken back by whoever sees it fail, with the whole change. So nothing
 * fires when a certificate is inserted: it is ISSUING then, which nobody counts.
 */
static const char step_4[] =
    "DROP TRIGGER certificates_counted;"
    "DELETE FROM counts WHERE kind = 'certificates' AND state = 1;"
    /* without IN: a list of three is a table that SQLite makes anew each time */
    "DROP TRIGGER certificates_stay_revoked;"
    "CREATE TRIGGER certificates_stay_revoked BEFORE UPDATE OF state ON certificates WHEN (OLD.state = 4 OR OLD.state = 5 OR OLD.state = 7) AND"
    " NEW.state <> 4 AND NEW.state <> 5 AND NEW.state <> 7 BEGIN SELECT RAISE(FAIL, 'a revoked certificate stays revoked'); END;"
    "DROP TRIGGER audit_in_order;"
    "CREATE TRIGGER audit_in_order BEFORE INSERT ON audit WHEN NEW.n <> (SELECT coalesce(max(n), 0) + 1 FROM audit)"
    " BEGIN SELECT RAISE(FAIL, 'the audit trail has no gaps'); END;"
    /* a secret that is used leaves it, and changes no entry */
    "DROP INDEX secrets_of;"
    "CREATE INDEX secrets_unused ON secrets(account, ends) WHERE used = 0;"
    /* requests of devices that were rejected were kept */
    "UPDATE transactions SET state = 3, csr = NULL WHERE state = 1 AND device IN (SELECT id FROM devices WHERE state = 3);";

static const char *const steps[] = { step_1, step_2, step_3, step_4 };

int registry_schema_version(void)
{
	return (int)ARRAY_LEN(steps);
}

static int read_version(sqlite3 *db, int *out)
{
	sqlite3_stmt *st = NULL;
	int rc = -1;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		*out = sqlite3_column_int(st, 0);
		rc = 0;
	}
	sqlite3_finalize(st);
	return rc;
}

static int do_step(sqlite3 *db, int version)
{
	char set[48];
	int now = 0;

	if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return -1;
	/* another process may have been here first */
	if (read_version(db, &now) < 0)
		goto undo;
	if (now > version) {
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
		return 0;
	}
	snprintf(set, sizeof(set), "PRAGMA user_version=%d", version + 1);
	if (sqlite3_exec(db, steps[version], NULL, NULL, NULL) != SQLITE_OK || sqlite3_exec(db, set, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		goto undo;
	return 0;
undo:
	if (sqlite3_get_autocommit(db) == 0)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

int registry_migrate(sqlite3 *db, char *why, size_t why_size)
{
	int version = 0;

	if (read_version(db, &version) < 0) {
		snprintf(why, why_size, "cannot be read: %s", sqlite3_errmsg(db));
		return -1;
	}
	if (version > registry_schema_version() || version < 0) {
		snprintf(why, why_size, "was written by a newer easenroll (schema %d, this one knows %d): run that one, or restore the copy from "
		    "before", version, registry_schema_version());
		return -1;
	}
	for (; version < registry_schema_version(); version++) {
		if (do_step(db, version) < 0) {
			snprintf(why, why_size, "could not be brought to schema %d: %s", version + 1, sqlite3_errmsg(db));
			return -1;
		}
	}
	return 0;
}
