/*
 * registry_sqlite_people: accounts and devices. Worker process.
 */
#include <openssl/rand.h>
#include <stdio.h>

#include "enroll/worker/registry_parts.h"

#define ACCOUNT_COLUMNS "a.id,a.sid,a.sam,a.upn,a.mail,a.display_name,a.first_seen,a.last_seen"
#define DEVICE_COLUMNS	"d.id,d.account,d.name,d.kind,d.udid,d.serial_number,d.eas_device_id,d.state,d.created,d.last_seen"
#define DEVICE_WIDTH	10
#define SEEN_SECONDS	60

static void take_account(sqlite3_stmt *st, int c, struct registry_account *out)
{
	out->id = sqlite3_column_int64(st, c);
	reg_text(st, c + 1, out->sid, sizeof(out->sid));
	reg_text(st, c + 2, out->sam, sizeof(out->sam));
	reg_text(st, c + 3, out->upn, sizeof(out->upn));
	reg_text(st, c + 4, out->mail, sizeof(out->mail));
	reg_text(st, c + 5, out->display_name, sizeof(out->display_name));
	out->first_seen = sqlite3_column_int64(st, c + 6);
	out->last_seen = sqlite3_column_int64(st, c + 7);
}

static enum registry_result check_account(struct registry *r, const struct account *a)
{
	enum registry_result rc = reg_check(r, "the account's SID", a->sid, sizeof(a->sid), true);

	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the account's name", a->sam, sizeof(a->sam), true);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the account's UPN", a->upn, sizeof(a->upn), false);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the account's mail address", a->mail, sizeof(a->mail), false);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the account's display name", a->display_name, sizeof(a->display_name), false);
	return rc;
}

static bool same_names(const struct registry_account *old, const struct account *a)
{
	return strcmp(old->sam, a->sam) == 0 && strcmp(old->upn, a->upn) == 0 && strcmp(old->mail, a->mail) == 0 &&
	    strcmp(old->display_name, a->display_name) == 0;
}

/* Seen to the minute is enough, and spares most enrolments a write. */
static bool is_seen(const struct registry_account *old, const struct registry_by *by, const struct account *a)
{
	return same_names(old, a) && by->at >= old->last_seen && by->at - old->last_seen < SEEN_SECONDS;
}

static enum registry_result write_account(struct registry *r, const struct registry_by *by, const struct account *a)
{
	struct registry_account old;
	enum registry_result rc = registry_account_by_sid(r, a->sid, &old);
	char object[ACCOUNT_SID_MAX + 16];

	snprintf(object, sizeof(object), "account %s", a->sid);
	if (rc == REGISTRY_NONE) {
		rc = reg_run(r, "INSERT INTO accounts(sid,sam,upn,mail,display_name,first_seen,last_seen) VALUES(?,?,?,?,?,?,?)", "tttttii", a->sid,
		    a->sam, a->upn, a->mail, a->display_name, by->at, by->at);
		return rc == REGISTRY_OK ? reg_audit(r, by, "account-added", object) : rc;
	}
	if (rc != REGISTRY_OK)
		return rc;
	if (is_seen(&old, by, a))
		return REGISTRY_OK;
	rc = reg_run(r, "UPDATE accounts SET sam=?,upn=?,mail=?,display_name=?,last_seen=? WHERE id=?", "ttttii", a->sam, a->upn, a->mail,
	    a->display_name, by->at, old.id);
	return rc == REGISTRY_OK && !same_names(&old, a) ? reg_audit(r, by, "account-renamed", object) : rc;
}

enum registry_result registry_account_seen(struct registry *r, const struct registry_by *by, const struct account *account, struct registry_account *out)
{
	struct registry_account old;
	enum registry_result rc = check_account(r, account);

	if (rc == REGISTRY_OK)
		rc = registry_account_by_sid(r, account->sid, &old);
	if (rc == REGISTRY_OK && is_seen(&old, by, account)) {
		if (out != NULL)
			*out = old;
		return rc;
	}
	if (rc == REGISTRY_OK || rc == REGISTRY_NONE)
		rc = reg_begin(r);
	if (rc != REGISTRY_OK)
		return rc;
	rc = reg_end(r, write_account(r, by, account));
	return rc == REGISTRY_OK && out != NULL ? registry_account_by_sid(r, account->sid, out) : rc;
}

enum registry_result registry_account_by_sid(struct registry *r, const char *sid, struct registry_account *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT " ACCOUNT_COLUMNS " FROM accounts a WHERE sid=?", "t", sid);

	if (rc == REGISTRY_OK) {
		take_account(st, 0, out);
		reg_done(st);
	}
	return rc;
}

enum registry_result registry_account_by_id(struct registry *r, int64_t id, struct registry_account *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT " ACCOUNT_COLUMNS " FROM accounts a WHERE id=?", "i", id);

	if (rc == REGISTRY_OK) {
		take_account(st, 0, out);
		reg_done(st);
	}
	return rc;
}

static enum registry_result walk_accounts(struct registry *r, enum registry_result rc, sqlite3_stmt *st, registry_account_fn *fn, void *arg)
{
	struct registry_account row;

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		take_account(st, 0, &row);
		if (!fn(arg, &row)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_accounts_after(struct registry *r, int64_t after, unsigned limit, registry_account_fn *fn, void *arg)
{
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_row(r, &st, "SELECT " ACCOUNT_COLUMNS " FROM accounts a WHERE id>? ORDER BY id LIMIT ?", "ii", after, (int64_t)limit);

	return walk_accounts(r, rc, st, fn, arg);
}

enum registry_result registry_accounts(struct registry *r, const char *text, unsigned skip, unsigned limit, registry_account_fn *fn, void *arg)
{
	char like[REGISTRY_LIKE];
	enum registry_result rc = reg_like(r, text, like);
	sqlite3_stmt *st = NULL;

	if (rc == REGISTRY_OK)
		rc = reg_row(r, &st, "SELECT " ACCOUNT_COLUMNS " FROM accounts a WHERE sam LIKE ?1 ESCAPE '\\' OR upn LIKE ?1 ESCAPE '\\' OR mail LIKE ?1"
		    " ESCAPE '\\' OR display_name LIKE ?1 ESCAPE '\\' ORDER BY sam,id LIMIT ?2 OFFSET ?3", "tii", like, (int64_t)limit, (int64_t)skip);
	return walk_accounts(r, rc, st, fn, arg);
}

/* --- devices --- */

const char *registry_device_state_text(enum registry_device_state state)
{
	switch (state) {
	case REGISTRY_DEVICE_WAITING: return "waiting";
	case REGISTRY_DEVICE_ACTIVE: return "active";
	case REGISTRY_DEVICE_REVOKED: return "revoked";
	}
	return "unknown";
}

static void take_device(sqlite3_stmt *st, struct registry_device *out)
{
	reg_text(st, 0, out->id, sizeof(out->id));
	out->account = sqlite3_column_int64(st, 1);
	reg_text(st, 2, out->name, sizeof(out->name));
	reg_text(st, 3, out->kind, sizeof(out->kind));
	reg_text(st, 4, out->udid, sizeof(out->udid));
	reg_text(st, 5, out->serial_number, sizeof(out->serial_number));
	reg_text(st, 6, out->eas_device_id, sizeof(out->eas_device_id));
	out->state = (enum registry_device_state)sqlite3_column_int(st, 7);
	out->created = sqlite3_column_int64(st, 8);
	out->last_seen = sqlite3_column_int64(st, 9);
}

enum registry_result registry_device_get(struct registry *r, const char *id, struct registry_device *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_check_hex(r, "the device's id", id, REGISTRY_DEVICE - 1);

	if (rc == REGISTRY_OK)
		rc = reg_row(r, &st, "SELECT " DEVICE_COLUMNS " FROM devices d WHERE id=?", "t", id);
	if (rc == REGISTRY_OK) {
		take_device(st, out);
		reg_done(st);
	}
	return rc;
}

static enum registry_result audit_device(struct registry *r, const struct registry_by *by, const char *action, const char *id)
{
	char object[REGISTRY_DEVICE + 16];

	snprintf(object, sizeof(object), "device %s", id);
	return reg_audit(r, by, action, object);
}

static enum registry_result insert_device(struct registry *r, const struct registry_by *by, const struct registry_device *d, unsigned limit)
{
	int64_t n = 0;
	enum registry_result rc = reg_number(r, &n, "SELECT count(*) FROM devices WHERE account=? AND state<>3", "i", d->account);

	if (rc != REGISTRY_OK)
		return rc;
	if (n >= (int64_t)limit)
		return reg_fail(r, REGISTRY_LIMIT, "the account has %lld devices, which is the limit", (long long)n);
	rc = reg_number(r, &n, "SELECT count(*) FROM accounts WHERE id=?", "i", d->account);
	if (rc == REGISTRY_OK && n == 0)
		return REGISTRY_NONE;
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "INSERT INTO devices(id,account,name,kind,udid,serial_number,eas_device_id,state,created,last_seen) VALUES(?,?,?,?,?,?,?,?,?,?)",
		    "tittttt" "iii", d->id, d->account, d->name, d->kind, d->udid, d->serial_number, d->eas_device_id, (int64_t)d->state, d->created,
		    d->last_seen);
	return rc == REGISTRY_OK ? audit_device(r, by, "device-added", d->id) : rc;
}

static enum registry_result check_device(struct registry *r, const struct registry_device *d)
{
	enum registry_result rc = reg_check(r, "the device's name", d->name, sizeof(d->name), true);

	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the device's kind", d->kind, sizeof(d->kind), true);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the device's UDID", d->udid, sizeof(d->udid), false);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the device's serial number", d->serial_number, sizeof(d->serial_number), false);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the ActiveSync device id", d->eas_device_id, sizeof(d->eas_device_id), false);
	if (rc == REGISTRY_OK && d->state != REGISTRY_DEVICE_WAITING && d->state != REGISTRY_DEVICE_ACTIVE)
		return reg_fail(r, REGISTRY_BAD, "a new device waits or is active");
	return rc;
}

enum registry_result registry_device_add(struct registry *r, const struct registry_by *by, const struct registry_device *d, unsigned limit,
    struct registry_device *out)
{
	struct registry_device row = *d;
	uint8_t random[(REGISTRY_DEVICE - 1) / 2];
	enum registry_result rc = check_device(r, d);

	if (rc != REGISTRY_OK)
		return rc;
	if (RAND_bytes(random, sizeof(random)) != 1)
		return reg_fail(r, REGISTRY_FAILED, "no random bytes");
	text_hex(row.id, random, sizeof(random));
	row.created = by->at;
	row.last_seen = 0;
	rc = reg_begin(r);
	if (rc != REGISTRY_OK)
		return rc;
	rc = reg_end(r, insert_device(r, by, &row, limit));
	if (rc == REGISTRY_OK && out != NULL)
		*out = row;
	return rc;
}

enum registry_result reg_device_state(struct registry *r, const struct registry_by *by, const char *id, enum registry_device_state state)
{
	static const char *const action[] = { [REGISTRY_DEVICE_ACTIVE] = "device-approved", [REGISTRY_DEVICE_REVOKED] = "device-revoked" };
	struct registry_device d;
	enum registry_result rc = registry_device_get(r, id, &d);

	if (rc != REGISTRY_OK || d.state == state)
		return rc;
	if (d.state == REGISTRY_DEVICE_REVOKED || state == REGISTRY_DEVICE_WAITING)
		return reg_fail(r, REGISTRY_STATE, "a device that is %s cannot become %s", registry_device_state_text(d.state),
		    registry_device_state_text(state));
	rc = reg_run(r, "UPDATE devices SET state=? WHERE id=?", "it", (int64_t)state, id);
	/* a request holds the challenge that it came with */
	if (rc == REGISTRY_OK && state == REGISTRY_DEVICE_REVOKED)
		rc = reg_run(r, "UPDATE transactions SET state=3,csr=NULL,at=? WHERE device=? AND state=1", "it", by->at, id);
	return rc == REGISTRY_OK ? audit_device(r, by, action[state], id) : rc;
}

enum registry_result registry_device_set_state(struct registry *r, const struct registry_by *by, const char *id, enum registry_device_state state)
{
	enum registry_result rc = reg_begin(r);

	return rc == REGISTRY_OK ? reg_end(r, reg_device_state(r, by, id, state)) : rc;
}

static enum registry_result write_description(struct registry *r, const struct registry_by *by, const struct registry_device *d)
{
	enum registry_result rc = check_device(r, d);

	if (rc == REGISTRY_OK)
		rc = reg_run(r, "UPDATE devices SET name=?,udid=?,serial_number=?,eas_device_id=?,last_seen=? WHERE id=?", "ttttit", d->name, d->udid,
		    d->serial_number, d->eas_device_id, by->at, d->id);
	return rc == REGISTRY_OK ? audit_device(r, by, "device-described", d->id) : rc;
}

static enum registry_result take_text(struct registry *r, const char *what, const char *text, char *out, size_t size)
{
	enum registry_result rc = text != NULL ? reg_check(r, what, text, size, false) : REGISTRY_OK;

	if (rc == REGISTRY_OK && text != NULL)
		snprintf(out, size, "%s", text);
	return rc;
}

enum registry_result registry_device_describe(struct registry *r, const struct registry_by *by, const char *id, const char *name, const char *udid,
    const char *serial_number, const char *eas_device_id)
{
	struct registry_device d;
	enum registry_result rc = registry_device_get(r, id, &d);

	if (rc == REGISTRY_OK && d.state == REGISTRY_DEVICE_REVOKED)
		return reg_fail(r, REGISTRY_STATE, "the device is revoked");
	if (rc == REGISTRY_OK)
		rc = take_text(r, "the device's name", name, d.name, sizeof(d.name));
	if (rc == REGISTRY_OK)
		rc = take_text(r, "the device's UDID", udid, d.udid, sizeof(d.udid));
	if (rc == REGISTRY_OK)
		rc = take_text(r, "the device's serial number", serial_number, d.serial_number, sizeof(d.serial_number));
	if (rc == REGISTRY_OK)
		rc = take_text(r, "the ActiveSync device id", eas_device_id, d.eas_device_id, sizeof(d.eas_device_id));
	if (rc == REGISTRY_OK)
		rc = reg_begin(r);
	return rc == REGISTRY_OK ? reg_end(r, write_description(r, by, &d)) : rc;
}

static enum registry_result walk_devices(struct registry *r, enum registry_result rc, sqlite3_stmt *st, registry_device_fn *fn, void *arg)
{
	struct registry_device row;
	struct registry_account owner;

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		take_device(st, &row);
		take_account(st, DEVICE_WIDTH, &owner);
		if (!fn(arg, &row, &owner)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_devices(struct registry *r, int64_t account, const char *text, unsigned skip, unsigned limit, registry_device_fn *fn,
    void *arg)
{
	return registry_devices_in(r, 0, account, text, skip, limit, fn, arg);
}

enum registry_result registry_devices_in(struct registry *r, enum registry_device_state state, int64_t account, const char *text, unsigned skip,
    unsigned limit, registry_device_fn *fn, void *arg)
{
	char like[REGISTRY_LIKE];
	enum registry_result rc = reg_like(r, text, like);
	sqlite3_stmt *st = NULL;

	if (rc == REGISTRY_OK)
		rc = reg_row(r, &st, "SELECT " DEVICE_COLUMNS "," ACCOUNT_COLUMNS " FROM devices d JOIN accounts a ON a.id=d.account WHERE (?1=0 OR a.id=?1)"
		    " AND (?5=0 OR d.state=?5)"
		    " AND (name LIKE ?2 ESCAPE '\\' OR sam LIKE ?2 ESCAPE '\\' OR upn LIKE ?2 ESCAPE '\\' OR mail LIKE ?2 ESCAPE '\\' OR"
		    " display_name LIKE ?2 ESCAPE '\\') ORDER BY d.created DESC,d.id LIMIT ?3 OFFSET ?4", "itiii", account, like, (int64_t)limit, (int64_t)skip,
		    (int64_t)state);
	return walk_devices(r, rc, st, fn, arg);
}

enum registry_result registry_devices_of_hardware(struct registry *r, const char *serial_number, const char *udid, registry_device_fn *fn, void *arg)
{
	enum registry_result rc = reg_check(r, "the device's serial number", serial_number, REGISTRY_UDID_MAX, false);
	sqlite3_stmt *st = NULL;

	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the device's UDID", udid, REGISTRY_UDID_MAX, false);
	if (rc == REGISTRY_OK)
		rc = reg_row(r, &st, "SELECT " DEVICE_COLUMNS "," ACCOUNT_COLUMNS " FROM devices d JOIN accounts a ON a.id=d.account WHERE d.state<>3 AND"
		    " ((serial_number<>'' AND serial_number=?1 COLLATE NOCASE) OR (udid<>'' AND udid=?2 COLLATE NOCASE)) ORDER BY d.id", "tt", serial_number, udid);
	return walk_devices(r, rc, st, fn, arg);
}
