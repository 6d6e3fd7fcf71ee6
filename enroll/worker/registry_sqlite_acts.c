/*
 * registry_sqlite_acts: revocation: what was decided, which of its steps are done, and what the lists say. Worker process.
 */
#include "enroll/worker/registry_parts.h"

#define ACT_COLUMNS "id,kind,serial,steps,at"

static void take_act(sqlite3_stmt *st, struct registry_act *out)
{
	out->id = sqlite3_column_int64(st, 0);
	out->kind = (enum registry_act_kind)sqlite3_column_int(st, 1);
	reg_bytes(st, 2, out->serial, sizeof(out->serial));
	out->steps = (unsigned)sqlite3_column_int(st, 3);
	out->at = sqlite3_column_int64(st, 4);
}

enum registry_result reg_act_insert(struct registry *r, enum registry_act_kind kind, const uint8_t *serial, unsigned steps, int64_t at, int64_t *id)
{
	enum registry_result rc = reg_run(r, "INSERT INTO acts(kind,serial,steps,at) VALUES(?,?,?,?)", "ibii", (int64_t)kind, (const void *)serial,
	    (size_t)REGISTRY_SERIAL, (int64_t)steps, at);

	if (rc == REGISTRY_OK)
		*id = sqlite3_last_insert_rowid(r->db);
	return rc;
}

static enum registry_result last_act(struct registry *r, const uint8_t *serial, struct registry_act *act)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT " ACT_COLUMNS " FROM acts WHERE serial=? AND kind<>4 ORDER BY id DESC LIMIT 1", "b",
	    (const void *)serial, (size_t)REGISTRY_SERIAL);

	if (rc == REGISTRY_OK) {
		take_act(st, act);
		reg_done(st);
	}
	return rc;
}

/* One that is being signed is on hold as soon as it is there. */
static bool is_held(const struct registry_certificate *c)
{
	return c->state == REGISTRY_HOLD || (c->state == REGISTRY_ISSUING && c->reason == 6);
}

/* What the act makes of a certificate: 0 nothing to do, -1 it cannot be. */
static int next_state(enum registry_act_kind kind, const struct registry_certificate *c)
{
	enum registry_state now = c->state;

	switch (kind) {
	case REGISTRY_ACT_REVOKE:
		if (now == REGISTRY_REVOKING || now == REGISTRY_REVOKED || now == REGISTRY_REPLACED)
			return 0;
		return now == REGISTRY_LIVE || now == REGISTRY_HOLD || now == REGISTRY_ISSUING ? REGISTRY_REVOKING : -1;
	case REGISTRY_ACT_HOLD:
		return is_held(c) ? 0 : now == REGISTRY_LIVE ? REGISTRY_HOLD : now == REGISTRY_ISSUING ? REGISTRY_ISSUING : -1;
	case REGISTRY_ACT_RELEASE:
		return !is_held(c) ? (now == REGISTRY_LIVE ? 0 : -1) : now == REGISTRY_HOLD ? REGISTRY_LIVE : REGISTRY_ISSUING;
	case REGISTRY_ACT_REGISTER:
		break;
	}
	return -1;
}

static enum registry_result write_act(struct registry *r, const struct registry_by *by, enum registry_act_kind kind, const uint8_t *serial, int reason,
    struct registry_act *act)
{
	static const char *const action[] = { [REGISTRY_ACT_REVOKE] = "certificate-revoked", [REGISTRY_ACT_HOLD] = "certificate-held",
		[REGISTRY_ACT_RELEASE] = "certificate-released" };
	struct registry_certificate c;
	int64_t id = 0;
	int next;
	enum registry_result rc = registry_certificate_get(r, serial, &c);

	if (rc != REGISTRY_OK)
		return rc;
	next = next_state(kind, &c);
	if (next == 0)
		return last_act(r, serial, act);
	if (next < 0)
		return reg_fail(r, REGISTRY_STATE, "the certificate is %s", registry_state_text(c.state));
	rc = reg_act_insert(r, kind, serial, 0, by->at, &id);
	if (rc == REGISTRY_OK && kind == REGISTRY_ACT_RELEASE)
		rc = reg_run(r, "UPDATE certificates SET state=?,reason=-1,revoked_at=0,act=? WHERE serial=?", "iib", (int64_t)next, id,
		    (const void *)serial, (size_t)REGISTRY_SERIAL);
	else if (rc == REGISTRY_OK)
		rc = reg_run(r, "UPDATE certificates SET state=?,reason=?,revoked_at=?,act=? WHERE serial=?", "iiiib", (int64_t)next,
		    (int64_t)(kind == REGISTRY_ACT_HOLD ? 6 : reason), by->at, id, (const void *)serial, (size_t)REGISTRY_SERIAL);
	*act = (struct registry_act){ .id = id, .kind = kind, .at = by->at };
	memcpy(act->serial, serial, REGISTRY_SERIAL);
	return rc == REGISTRY_OK ? reg_audit_serial(r, by, action[kind], serial) : rc;
}

enum registry_result registry_act_begin(struct registry *r, const struct registry_by *by, enum registry_act_kind kind,
    const uint8_t serial[REGISTRY_SERIAL], int reason, struct registry_act *act)
{
	enum registry_result rc;

	*act = (struct registry_act){ .id = 0 };
	if (kind == REGISTRY_ACT_REVOKE && (reason < 0 || reason > 10 || reason == 2 || reason == 6 || reason == 7 || reason == 8))
		return reg_fail(r, REGISTRY_BAD, "%d is no reason for a revocation here", reason);
	rc = reg_begin(r);
	return rc == REGISTRY_OK ? reg_end(r, write_act(r, by, kind, serial, reason, act)) : rc;
}

/* Each act takes its certificate out of what is looked for. */
static enum registry_result act_on_device(struct registry *r, const struct registry_by *by, enum registry_act_kind kind, const char *device, int reason,
    unsigned *n)
{
	static const char *const concerned[] = {
		[REGISTRY_ACT_REVOKE] = "SELECT serial FROM certificates WHERE device=? AND state BETWEEN 1 AND 3 LIMIT 1",
		[REGISTRY_ACT_HOLD] = "SELECT serial FROM certificates WHERE device=? AND (state=2 OR (state=1 AND reason<>6)) LIMIT 1",
		[REGISTRY_ACT_RELEASE] = "SELECT serial FROM certificates WHERE device=? AND (state=3 OR (state=1 AND reason=6)) LIMIT 1",
	};
	enum registry_result rc = REGISTRY_OK;
	uint8_t serial[REGISTRY_SERIAL];
	struct registry_act act;
	sqlite3_stmt *st;

	if (kind == REGISTRY_ACT_REVOKE)
		rc = reg_device_state(r, by, device, REGISTRY_DEVICE_REVOKED);
	while (rc == REGISTRY_OK) {
		rc = reg_row(r, &st, concerned[kind], "t", device);
		if (rc != REGISTRY_OK)
			break;
		reg_bytes(st, 0, serial, sizeof(serial));
		reg_done(st);
		rc = write_act(r, by, kind, serial, reason, &act);
		*n += rc == REGISTRY_OK;
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_device_act(struct registry *r, const struct registry_by *by, enum registry_act_kind kind, const char *device, int reason,
    unsigned *n)
{
	struct registry_device d;
	enum registry_result rc = registry_device_get(r, device, &d);

	*n = 0;
	if (rc == REGISTRY_OK && d.state == REGISTRY_DEVICE_REVOKED && kind != REGISTRY_ACT_REVOKE)
		rc = reg_fail(r, REGISTRY_STATE, "the device is revoked");
	if (rc == REGISTRY_OK)
		rc = reg_begin(r);
	return rc == REGISTRY_OK ? reg_end(r, act_on_device(r, by, kind, device, reason, n)) : rc;
}

static enum registry_result revoke_devices(struct registry *r, const struct registry_by *by, int64_t account, int reason, unsigned *n)
{
	char device[REGISTRY_DEVICE];
	enum registry_result rc;
	sqlite3_stmt *st;

	for (;;) {
		rc = reg_row(r, &st, "SELECT id FROM devices WHERE account=? AND state<>3 LIMIT 1", "i", account);
		if (rc != REGISTRY_OK)
			return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
		reg_text(st, 0, device, sizeof(device));
		reg_done(st);
		rc = act_on_device(r, by, REGISTRY_ACT_REVOKE, device, reason, n);
		if (rc != REGISTRY_OK)
			return rc;
	}
}

enum registry_result registry_account_revoke(struct registry *r, const struct registry_by *by, int64_t account, int reason, unsigned *n)
{
	enum registry_result rc = reg_begin(r);

	*n = 0;
	return rc == REGISTRY_OK ? reg_end(r, revoke_devices(r, by, account, reason, n)) : rc;
}

/* What a list and the fleet know is revoked for good; superseded ones have another name. */
#define SETTLE "UPDATE certificates SET state=CASE WHEN reason=4 AND successor IS NOT NULL THEN 7 ELSE 5 END WHERE state=4 AND NOT EXISTS" \
	" (SELECT 1 FROM acts WHERE acts.serial=certificates.serial AND steps<>3)"

enum registry_result registry_act_step(struct registry *r, int64_t id, unsigned steps)
{
	enum registry_result rc = reg_begin(r);

	if (rc != REGISTRY_OK)
		return rc;
	rc = reg_run(r, "UPDATE acts SET steps=steps|? WHERE id=?", "ii", (int64_t)(steps & REGISTRY_STEPS_ALL), id);
	if (rc == REGISTRY_OK)
		rc = reg_run(r, SETTLE " AND serial=(SELECT serial FROM acts WHERE id=?)", "i", id);
	return reg_end(r, rc);
}

enum registry_result registry_acts_listed(struct registry *r, const char *issuer, int64_t id)
{
	enum registry_result rc = reg_begin(r);

	if (rc != REGISTRY_OK)
		return rc;
	rc = reg_run(r, "UPDATE acts SET steps=steps|1 WHERE steps<>3 AND id<=? AND serial IN (SELECT serial FROM certificates c WHERE c.serial=acts.serial"
	    " AND issuer=?)", "it", id, issuer);
	return reg_end(r, rc == REGISTRY_OK ? reg_run(r, SETTLE, "") : rc);
}

static enum registry_result walk_acts(struct registry *r, enum registry_result rc, sqlite3_stmt *st, registry_act_fn *fn, void *arg)
{
	struct registry_act row;

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		take_act(st, &row);
		if (!fn(arg, &row)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_acts_undone(struct registry *r, unsigned missing, int64_t after, unsigned limit, registry_act_fn *fn, void *arg)
{
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_row(r, &st, "SELECT " ACT_COLUMNS " FROM acts WHERE steps<>3 AND (steps&?1)<>?1 AND id>?2 ORDER BY id LIMIT ?3",
	    "iii", (int64_t)missing, after, (int64_t)limit);

	return walk_acts(r, rc, st, fn, arg);
}

enum registry_result registry_acts_unlisted(struct registry *r, int64_t after, unsigned limit, registry_act_fn *fn, void *arg)
{
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_row(r, &st, "SELECT a.id,a.kind,a.serial,a.steps,a.at FROM acts a JOIN certificates c ON c.serial=a.serial WHERE a.id>?"
	    " AND c.revoked_at>0 AND a.id>coalesce((SELECT upto FROM crls WHERE crls.issuer=c.issuer AND made=1 AND base=0 ORDER BY number DESC LIMIT 1),0)"
	    " ORDER BY a.id LIMIT ?", "ii", after, (int64_t)limit);

	return walk_acts(r, rc, st, fn, arg);
}

static enum registry_result walk_issuers(struct registry *r, enum registry_result rc, sqlite3_stmt *st, registry_issuer_fn *fn, void *arg)
{
	char issuer[REGISTRY_HEX];

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		reg_text(st, 0, issuer, sizeof(issuer));
		if (!fn(arg, issuer)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_acts_issuers(struct registry *r, registry_issuer_fn *fn, void *arg)
{
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_row(r, &st, "SELECT DISTINCT c.issuer FROM acts a JOIN certificates c ON c.serial=a.serial WHERE a.steps<>3 AND"
	    " (a.steps&1)=0", "");

	return walk_issuers(r, rc, st, fn, arg);
}

enum registry_result registry_acts_count(struct registry *r, int64_t *undone)
{
	return reg_number(r, undone, "SELECT count(*) FROM acts WHERE steps<>3", "");
}

enum registry_result registry_superseded(struct registry *r, int64_t before, unsigned limit, registry_certificate_fn *fn, void *arg)
{
	struct registry_certificate row;
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE state=2 AND successor IS NOT NULL AND EXISTS"
	    " (SELECT 1 FROM certificates n WHERE n.serial=certificates.successor AND (n.first_used>0 OR n.successor IS NOT NULL OR"
	    " (n.state=2 AND n.issued<?))) LIMIT ?", "ii", before, (int64_t)limit);

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		reg_certificate(st, &row);
		if (!fn(arg, &row)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_expire(struct registry *r, int64_t now)
{
	return reg_run(r, "UPDATE certificates SET state=6 WHERE state=2 AND not_after<?", "i", now);
}

/* --- lists --- */

static void take_crl(sqlite3_stmt *st, struct registry_crl *out)
{
	reg_text(st, 0, out->issuer, sizeof(out->issuer));
	out->number = (uint64_t)sqlite3_column_int64(st, 1);
	out->base = (uint64_t)sqlite3_column_int64(st, 2);
	out->this_update = sqlite3_column_int64(st, 3);
	out->next_update = sqlite3_column_int64(st, 4);
	out->upto = sqlite3_column_int64(st, 5);
	out->made = sqlite3_column_int(st, 6) != 0;
}

enum registry_result registry_crl_newest(struct registry *r, const char *issuer, bool delta, struct registry_crl *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT issuer,number,base,this_update,next_update,upto,made FROM crls WHERE issuer=? AND made=1 AND"
	    " (base<>0)=? ORDER BY number DESC LIMIT 1", "ti", issuer, (int64_t)delta);

	if (rc == REGISTRY_OK) {
		take_crl(st, out);
		reg_done(st);
	}
	return rc;
}

enum registry_result registry_crl_number(struct registry *r, const char *issuer, int64_t now, uint64_t *number)
{
	int64_t taken = 0;
	enum registry_result rc = reg_number(r, &taken, "SELECT coalesce(max(number),0) FROM crls WHERE issuer=?", "t", issuer);

	/* the next list's number is at least the second in which it is begun (insert_crl) */
	*number = (uint64_t)(taken > now - 1 ? taken : now - 1);
	return rc;
}

static enum registry_result insert_crl(struct registry *r, bool delta, struct registry_crl *c)
{
	struct registry_crl base;
	int64_t number = 0;
	enum registry_result rc;

	if (delta) {
		rc = registry_crl_newest(r, c->issuer, false, &base);
		if (rc != REGISTRY_OK)
			return rc;
		c->base = base.number;
	}
	rc = reg_number(r, &number, "SELECT coalesce(max(number),0)+1 FROM crls WHERE issuer=?", "t", c->issuer);
	if (rc == REGISTRY_OK)
		rc = reg_number(r, &c->upto, "SELECT coalesce(max(id),0) FROM acts", "");
	/* never below the clock: a registry restored from a copy would number lists again that others have seen */
	if (number < c->this_update)
		number = c->this_update;
	c->number = (uint64_t)number;
	/* what is no longer asked for goes; numbers never do */
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "DELETE FROM crls WHERE issuer=?1 AND number<(SELECT coalesce(max(number),0) FROM crls WHERE issuer=?1 AND made=1 AND base=0 AND"
		    " next_update<?2)", "ti", c->issuer, c->this_update);
	return rc != REGISTRY_OK ? rc : reg_run(r, "INSERT INTO crls(issuer,number,base,this_update,next_update,upto) VALUES(?,?,?,?,?,?)", "tiiiii",
	    c->issuer, number, (int64_t)c->base, c->this_update, c->next_update, c->upto);
}

enum registry_result registry_crl_begin(struct registry *r, const char *issuer, bool delta, int64_t this_update, int64_t next_update,
    struct registry_crl *out)
{
	struct registry_crl c = { .this_update = this_update, .next_update = next_update };
	enum registry_result rc = reg_check_hex(r, "the issuer", issuer, REGISTRY_HEX - 1);

	if (rc != REGISTRY_OK)
		return rc;
	memcpy(c.issuer, issuer, REGISTRY_HEX);
	rc = reg_begin(r);
	if (rc == REGISTRY_OK)
		rc = reg_end(r, insert_crl(r, delta, &c));
	if (rc == REGISTRY_OK)
		*out = c;
	return rc;
}

enum registry_result registry_crl_made(struct registry *r, const struct registry_crl *crl)
{
	enum registry_result rc = reg_run(r, "UPDATE crls SET made=1 WHERE issuer=? AND number=?", "ti", crl->issuer, (int64_t)crl->number);

	return rc == REGISTRY_OK ? registry_acts_listed(r, crl->issuer, crl->upto) : rc;
}

static enum registry_result first_entry(struct registry *r, const struct registry_crl *crl, const uint8_t *after, unsigned limit, sqlite3_stmt **st)
{
	static const uint8_t zero[REGISTRY_SERIAL];
	const void *from = after != NULL ? after : zero;
	int64_t since = 0;
	enum registry_result rc;

	if (crl->base == 0) {
		/* RFC 5280 §3.3: on one more list after it has ended */
		rc = reg_number(r, &since, "SELECT coalesce(max(this_update),0) FROM crls WHERE issuer=? AND made=1 AND base=0 AND number<?", "ti",
		    crl->issuer, (int64_t)crl->number);
		return rc != REGISTRY_OK ? rc : reg_row(r, st, "SELECT serial,revoked_at,reason FROM certificates INDEXED BY certificates_revoked WHERE"
		    " revoked_at>0 AND issuer=? AND serial>? AND not_after>=? ORDER BY serial LIMIT ?", "tbii", crl->issuer, from,
		    (size_t)REGISTRY_SERIAL, since, (int64_t)limit);
	}
	rc = reg_number(r, &since, "SELECT upto FROM crls WHERE issuer=? AND number=?", "ti", crl->issuer, (int64_t)crl->base);
	return rc != REGISTRY_OK ? rc : reg_row(r, st, "SELECT serial,revoked_at,reason,act FROM certificates INDEXED BY certificates_changed WHERE"
	    " act>0 AND act>? AND issuer=? AND serial>? ORDER BY serial LIMIT ?", "itbi", since, crl->issuer, from, (size_t)REGISTRY_SERIAL, (int64_t)limit);
}

enum registry_result registry_entries(struct registry *r, const struct registry_crl *crl, const uint8_t *after, unsigned limit, registry_entry_fn *fn,
    void *arg)
{
	struct registry_entry e;
	sqlite3_stmt *st = NULL;
	enum registry_result rc = first_entry(r, crl, after, limit, &st);

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		e = (struct registry_entry){ .when = sqlite3_column_int64(st, 1) };
		reg_bytes(st, 0, e.serial, sizeof(e.serial));
		/* revoked_at 0: it was on hold and was released: removeFromCRL, which only a delta says */
		e.reason = e.when > 0 ? (uint8_t)sqlite3_column_int(st, 2) : 8;
		if (e.when == 0)
			e.when = crl->this_update;
		if (!fn(arg, &e)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_issuers(struct registry *r, int64_t now, registry_issuer_fn *fn, void *arg)
{
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_row(r, &st, "SELECT issuer FROM (SELECT DISTINCT issuer FROM crls) c WHERE EXISTS (SELECT 1 FROM"
	    " certificates WHERE issuer=c.issuer AND not_after>=?)", "i", now);

	return walk_issuers(r, rc, st, fn, arg);
}

enum registry_result registry_accounts_count(struct registry *r, int64_t *accounts)
{
	return reg_number(r, accounts, "SELECT n FROM counts WHERE kind='accounts' AND state=0", "");
}

static void take_count(const char *kind, int64_t state, int64_t n, struct registry_counts *out)
{
	if (strcmp(kind, "accounts") == 0) {
		out->accounts = n;
	} else if (strcmp(kind, "devices") == 0) {
		out->devices += n;
		out->waiting += state == REGISTRY_DEVICE_WAITING ? n : 0;
	} else {
		out->live += state == REGISTRY_LIVE ? n : 0;
		out->held += state == REGISTRY_HOLD ? n : 0;
		out->revoked += state == REGISTRY_REVOKING || state == REGISTRY_REVOKED || state == REGISTRY_REPLACED ? n : 0;
	}
}

enum registry_result registry_count(struct registry *r, struct registry_counts *out)
{
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_row(r, &st, "SELECT kind,state,n FROM counts", "");
	char kind[16];

	*out = (struct registry_counts){ 0 };
	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		reg_text(st, 0, kind, sizeof(kind));
		take_count(kind, sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2), out);
	}
	return rc == REGISTRY_NONE ? registry_acts_count(r, &out->undone_acts) : rc;
}
