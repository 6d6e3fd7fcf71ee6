/*
 * registry_sqlite_audit: the rows of the audit trail: appended inside the transaction of what they tell, and read. Worker process and CLI.
 */
#include <stdio.h>

#include "common/log.h"
#include "enroll/worker/registry_parts.h"

enum registry_result reg_check_by(struct registry *r, const struct registry_by *by)
{
	enum registry_result rc = reg_check(r, "the actor", by->actor, REGISTRY_ACTOR_MAX, true);

	return rc == REGISTRY_OK && by->detail != NULL ? reg_check(r, "the detail", by->detail, REGISTRY_DETAIL_MAX, false) : rc;
}

static enum registry_result fill(struct registry *r, const struct registry_by *by, const char *action, const char *object,
    struct registry_audit_entry *e)
{
	const char *detail = by->detail != NULL ? by->detail : "";
	enum registry_result rc = reg_check_by(r, by);

	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the action", action, sizeof(e->action), true);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the object", object, sizeof(e->object), false);
	if (rc != REGISTRY_OK)
		return rc;
	e->at = by->at;
	memcpy(e->actor, by->actor, strlen(by->actor) + 1);
	memcpy(e->action, action, strlen(action) + 1);
	memcpy(e->object, object, strlen(object) + 1);
	memcpy(e->detail, detail, strlen(detail) + 1);
	return REGISTRY_OK;
}

static enum registry_result read_tail(struct registry *r)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT n,hash FROM audit ORDER BY n DESC LIMIT 1", "");

	r->tail_n = 0;
	memset(r->tail_hash, 0, sizeof(r->tail_hash));
	if (rc == REGISTRY_OK) {
		r->tail_n = sqlite3_column_int64(st, 0);
		reg_bytes(st, 1, r->tail_hash, sizeof(r->tail_hash));
		reg_done(st);
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result reg_audit(struct registry *r, const struct registry_by *by, const char *action, const char *object)
{
	struct registry_audit_entry e;
	enum registry_result rc = fill(r, by, action, object, &e);

	if (rc == REGISTRY_OK && !r->tail_known)
		rc = read_tail(r);
	if (rc != REGISTRY_OK)
		return rc;
	e.n = r->tail_n + 1;
	memcpy(e.previous, r->tail_hash, sizeof(e.previous));
	if (audit_trail_hash(&e, e.hash) < 0)
		return reg_fail(r, REGISTRY_FAILED, "registry: the audit entry's hash could not be made");
	rc = reg_run(r, "INSERT OR FAIL INTO audit(n,at,actor,action,object,detail,previous,hash) VALUES(?,?,?,?,?,?,?,?)", "iittttbb", e.n, e.at, e.actor,
	    e.action, e.object, e.detail, (const void *)e.previous, sizeof(e.previous), (const void *)e.hash, sizeof(e.hash));
	r->tail_known = rc == REGISTRY_OK && r->open;
	r->tail_n = e.n;
	memcpy(r->tail_hash, e.hash, sizeof(r->tail_hash));
	return rc;
}

enum registry_result reg_audit_serial(struct registry *r, const struct registry_by *by, const char *action, const uint8_t *serial)
{
	char object[16 + 2 * REGISTRY_SERIAL] = "certificate ";

	text_hex(object + strlen(object), serial, REGISTRY_SERIAL);
	return reg_audit(r, by, action, object);
}

enum registry_result registry_audit(struct registry *r, const struct registry_by *by, const char *action, const char *object)
{
	enum registry_result rc = reg_begin(r);

	if (rc != REGISTRY_OK)
		return rc;
	return reg_end(r, reg_audit(r, by, action, object));
}

static void take_row(sqlite3_stmt *st, struct registry_audit_entry *e)
{
	e->n = sqlite3_column_int64(st, 0);
	e->at = sqlite3_column_int64(st, 1);
	reg_text(st, 2, e->actor, sizeof(e->actor));
	reg_text(st, 3, e->action, sizeof(e->action));
	reg_text(st, 4, e->object, sizeof(e->object));
	reg_text(st, 5, e->detail, sizeof(e->detail));
	reg_bytes(st, 6, e->previous, sizeof(e->previous));
	reg_bytes(st, 7, e->hash, sizeof(e->hash));
}

static enum registry_result walk(struct registry *r, enum registry_result rc, sqlite3_stmt *st, registry_audit_fn *fn, void *arg)
{
	struct registry_audit_entry e;

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		take_row(st, &e);
		if (!fn(arg, &e)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_audit_list(struct registry *r, int64_t first, unsigned limit, const char *object, registry_audit_fn *fn, void *arg)
{
	enum registry_result rc = reg_check(r, "the object", object, REGISTRY_ACTOR_MAX, false);
	sqlite3_stmt *st = NULL;

	if (rc != REGISTRY_OK)
		return rc;
	if (object[0] == '\0')
		rc = reg_row(r, &st, "SELECT n,at,actor,action,object,detail,previous,hash FROM audit WHERE n>=? ORDER BY n LIMIT ?", "ii", first,
		    (int64_t)limit);
	else
		rc = reg_row(r, &st, "SELECT n,at,actor,action,object,detail,previous,hash FROM audit WHERE object=? AND n>=? ORDER BY n LIMIT ?", "tii",
		    object, first, (int64_t)limit);
	return walk(r, rc, st, fn, arg);
}

enum registry_result registry_audit_newest(struct registry *r, const char *object, unsigned skip, unsigned limit, registry_audit_fn *fn, void *arg)
{
	enum registry_result rc = reg_check(r, "the object", object, REGISTRY_ACTOR_MAX, true);
	sqlite3_stmt *st = NULL;

	if (rc == REGISTRY_OK)
		rc = reg_row(r, &st, "SELECT n,at,actor,action,object,detail,previous,hash FROM audit WHERE object=? ORDER BY n DESC LIMIT ? OFFSET ?", "tii",
		    object, (int64_t)limit, (int64_t)skip);
	return walk(r, rc, st, fn, arg);
}

enum registry_result registry_audit_last(struct registry *r, int64_t *n)
{
	return reg_number(r, n, "SELECT coalesce(max(n),0) FROM audit", "");
}
