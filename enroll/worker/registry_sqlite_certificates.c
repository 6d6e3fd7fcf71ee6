/*
 * registry_sqlite_certificates: certificates: looked up, and taken through issuing. Worker process.
 */
#include <openssl/evp.h>

#include "enroll/worker/registry_parts.h"

const char *registry_state_text(enum registry_state state)
{
	switch (state) {
	case REGISTRY_ISSUING: return "issuing";
	case REGISTRY_LIVE: return "live";
	case REGISTRY_HOLD: return "hold";
	case REGISTRY_REVOKING: return "revoking";
	case REGISTRY_REVOKED: return "revoked";
	case REGISTRY_EXPIRED_STATE: return "expired";
	case REGISTRY_REPLACED: return "replaced";
	}
	return "unknown";
}

void reg_certificate(sqlite3_stmt *st, struct registry_certificate *out)
{
	reg_bytes(st, 0, out->serial, sizeof(out->serial));
	reg_text(st, 1, out->issuer, sizeof(out->issuer));
	reg_text(st, 2, out->device, sizeof(out->device));
	reg_text(st, 3, out->profile, sizeof(out->profile));
	out->state = (enum registry_state)sqlite3_column_int(st, 4);
	reg_bytes(st, 5, out->spki_sha256, sizeof(out->spki_sha256));
	reg_bytes(st, 6, out->sha256, sizeof(out->sha256));
	out->not_before = sqlite3_column_int64(st, 7);
	out->not_after = sqlite3_column_int64(st, 8);
	out->issued = sqlite3_column_int64(st, 9);
	out->first_used = sqlite3_column_int64(st, 10);
	out->revoked_at = sqlite3_column_int64(st, 11);
	out->reason = sqlite3_column_int(st, 12);
	out->replaced = sqlite3_column_int(st, 13) != 0;
}

/* st: where reg_row() puts its statement; by its address, since arguments are evaluated in any order. */
static enum registry_result one(enum registry_result rc, sqlite3_stmt *const *st, struct registry_certificate *out)
{
	if (rc == REGISTRY_OK) {
		reg_certificate(*st, out);
		reg_done(*st);
	}
	return rc;
}

enum registry_result registry_certificate_get(struct registry *r, const uint8_t serial[REGISTRY_SERIAL], struct registry_certificate *out)
{
	sqlite3_stmt *st = NULL;

	return one(reg_row(r, &st, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE serial=?", "b", (const void *)serial,
	    (size_t)REGISTRY_SERIAL), &st, out);
}

enum registry_result registry_certificate_by_sha256(struct registry *r, const uint8_t sha256[SHA256_SIZE], struct registry_certificate *out)
{
	sqlite3_stmt *st = NULL;

	return one(reg_row(r, &st, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE sha256=?", "b", (const void *)sha256, (size_t)SHA256_SIZE), &st,
	    out);
}

enum registry_result registry_certificate_der(struct registry *r, const uint8_t serial[REGISTRY_SERIAL], uint8_t *out, size_t size, size_t *n)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT der FROM certificate_bytes WHERE serial=?", "b", (const void *)serial, (size_t)REGISTRY_SERIAL);
	const void *p;

	if (rc != REGISTRY_OK)
		return rc;
	p = sqlite3_column_blob(st, 0);
	*n = (size_t)sqlite3_column_bytes(st, 0);
	if (p == NULL || *n > size)
		rc = REGISTRY_LIMIT;
	else
		memcpy(out, p, *n);
	reg_done(st);
	return rc;
}

enum registry_result registry_certificates(struct registry *r, const char *device, registry_certificate_fn *fn, void *arg)
{
	struct registry_certificate row;
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_check_hex(r, "the device's id", device, REGISTRY_DEVICE - 1);

	if (rc == REGISTRY_OK)
		rc = reg_row(r, &st, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE device=? ORDER BY issued DESC,serial", "t", device);
	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		reg_certificate(st, &row);
		if (!fn(arg, &row)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

enum registry_result registry_certificate_status(struct registry *r, const char *issuer, const uint8_t serial[REGISTRY_SERIAL],
    struct registry_status *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT state,reason,revoked_at,not_after FROM certificates WHERE serial=? AND issuer=?", "bt",
	    (const void *)serial, (size_t)REGISTRY_SERIAL, issuer);

	if (rc == REGISTRY_OK) {
		out->state = (enum registry_state)sqlite3_column_int(st, 0);
		out->reason = sqlite3_column_int(st, 1);
		out->revoked_at = sqlite3_column_int64(st, 2);
		out->not_after = sqlite3_column_int64(st, 3);
		reg_done(st);
	}
	return rc;
}

static enum registry_result write_used(struct registry *r, const struct registry_by *by, const uint8_t *serial)
{
	struct registry_certificate c;
	enum registry_result rc = registry_certificate_get(r, serial, &c);

	if (rc != REGISTRY_OK || c.first_used != 0)
		return rc;
	if (c.state != REGISTRY_LIVE)
		return reg_fail(r, REGISTRY_STATE, "the certificate is %s", registry_state_text(c.state));
	rc = reg_run(r, "UPDATE certificates SET first_used=? WHERE serial=?", "ib", by->at, (const void *)serial, (size_t)REGISTRY_SERIAL);
	return rc == REGISTRY_OK ? reg_audit_serial(r, by, "certificate-used-first", serial) : rc;
}

enum registry_result registry_certificate_used(struct registry *r, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL])
{
	enum registry_result rc = reg_begin(r);

	return rc == REGISTRY_OK ? reg_end(r, write_used(r, by, serial)) : rc;
}

/* --- issuing --- */

static enum registry_result check_issue(struct registry *r, const struct registry_issue *i)
{
	static const uint8_t zero[REGISTRY_SERIAL];
	enum registry_result rc = reg_check_hex(r, "the issuer", i->issuer, REGISTRY_HEX - 1);

	if (rc == REGISTRY_OK)
		rc = reg_check_hex(r, "the device's id", i->device, REGISTRY_DEVICE - 1);
	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the profile", i->profile, REGISTRY_PROFILE_MAX, true);
	if (rc != REGISTRY_OK)
		return rc;
	if (memcmp(i->serial, zero, REGISTRY_SERIAL) == 0)
		return reg_fail(r, REGISTRY_BAD, "the serial is zero");
	if (i->not_after <= i->not_before || i->transaction.n > REGISTRY_TRANSACTION_MAX)
		return reg_fail(r, REGISTRY_BAD, "the certificate would end before it begins, or the transaction's id is too long");
	return REGISTRY_OK;
}

/* TAKEN with *there: this transaction was answered. OK: it is new, or was waiting and is granted now. */
static enum registry_result look_for_transaction(struct registry *r, const struct registry_issue *i, struct registry_certificate *there)
{
	struct registry_transaction t;
	enum registry_result rc;

	if (i->transaction.n == 0)
		return REGISTRY_OK;
	rc = registry_transaction_get(r, i->transaction, i->spki_sha256, &t);
	if (rc == REGISTRY_NONE)
		return REGISTRY_OK;
	if (rc != REGISTRY_OK)
		return rc;
	if (strcmp(t.device, i->device) != 0 || strcmp(t.profile, i->profile) != 0)
		return reg_fail(r, REGISTRY_FOREIGN, "the transaction belongs to another device or profile");
	if (t.state == REGISTRY_DENIED)
		return reg_fail(r, REGISTRY_STATE, "the transaction was denied");
	if (t.state == REGISTRY_PENDING)
		return REGISTRY_OK;
	rc = registry_certificate_get(r, t.serial, there);
	return rc == REGISTRY_OK ? REGISTRY_TAKEN : rc == REGISTRY_NONE ? REGISTRY_FAILED : rc;
}

/* What issuing has to know of a device. */
struct target {
	int64_t account;
	enum registry_device_state state;
	bool held, full;
};

/* The device is there, and the account's own. */
static enum registry_result find_target(struct registry *r, const struct registry_issue *i, struct target *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT d.account,d.state,EXISTS(SELECT 1 FROM certificates c WHERE c.device=d.id AND (c.state=3 OR (c.state=1 AND c.reason=6))),"
	    "?2 IS NULL OR a.sid=?2,(SELECT count(*) FROM certificates c WHERE c.device=d.id AND c.profile=?3 AND c.state IN (1,2)) >= ?4"
	    " FROM devices d JOIN accounts a ON a.id=d.account WHERE d.id=?1", "ttti", i->device, i->sid, i->profile, (int64_t)REGISTRY_LIVE_MAX);
	bool own;

	if (rc == REGISTRY_NONE)
		return reg_fail(r, REGISTRY_STATE, "there is no such device");
	if (rc != REGISTRY_OK)
		return rc;
	*out = (struct target){ sqlite3_column_int64(st, 0), (enum registry_device_state)sqlite3_column_int(st, 1), sqlite3_column_int(st, 2) != 0,
		sqlite3_column_int(st, 4) != 0 };
	own = sqlite3_column_int(st, 3) != 0;
	reg_done(st);
	return own ? rc : reg_fail(r, REGISTRY_STATE, "the device is another account's");
}

static enum registry_result may_device(struct registry *r, const struct target *d)
{
	if (d->state != REGISTRY_DEVICE_ACTIVE)
		return reg_fail(r, REGISTRY_STATE, "the device is %s", registry_device_state_text(d->state));
	if (d->held)
		return reg_fail(r, REGISTRY_STATE, "a certificate of the device is on hold: release or revoke it first");
	if (d->full)	/* who has one could have any number made, each of them valid */
		return reg_fail(r, REGISTRY_LIMIT, "the device has %d valid certificates that replace one another: the newest must be used, or an older one end or be revoked",
		    REGISTRY_LIVE_MAX);
	return REGISTRY_OK;
}

static enum registry_result take_serial(struct registry *r, const struct registry_by *by, const struct registry_issue *i,
    struct registry_certificate *there)
{
	struct target d = { .account = 0 };
	enum registry_result rc = find_target(r, i, &d);

	if (rc == REGISTRY_OK)
		rc = look_for_transaction(r, i, there);
	if (rc == REGISTRY_OK)
		rc = may_device(r, &d);
	if (rc == REGISTRY_OK && i->secret_mac != NULL)
		rc = reg_secret_take(r, i->secret_mac, d.account, i->device, i->profile, i->purpose, by->at);
	/* as TAKEN says that the transaction was answered, a secret that was used is told apart by `there`, which stays empty */
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "INSERT INTO certificates(serial,issuer,device,profile,state,spki_sha256,not_before,not_after,issued,secret) VALUES(?,?,?,?,1,?,?,?,?,?)",
		    "btttbiiib", (const void *)i->serial, (size_t)REGISTRY_SERIAL, i->issuer, i->device, i->profile, (const void *)i->spki_sha256,
		    (size_t)SHA256_SIZE, i->not_before, i->not_after, by->at, (const void *)i->secret_mac, (size_t)SHA256_SIZE);
	if (rc == REGISTRY_OK && i->transaction.n > 0)
		rc = reg_run(r, "INSERT INTO transactions(id,spki_sha256,state,device,profile,serial,at) VALUES(?,?,2,?,?,?,?)"
		    " ON CONFLICT(id,spki_sha256) DO UPDATE SET state=2,serial=excluded.serial,at=excluded.at", "bbttbi", (const void *)i->transaction.p,
		    i->transaction.n, (const void *)i->spki_sha256, (size_t)SHA256_SIZE, i->device, i->profile, (const void *)i->serial,
		    (size_t)REGISTRY_SERIAL, by->at);
	return rc == REGISTRY_OK ? reg_audit_serial(r, by, "certificate-issuing", i->serial) : rc;
}

enum registry_result registry_issue_begin(struct registry *r, const struct registry_by *by, const struct registry_issue *issue,
    struct registry_certificate *there)
{
	enum registry_result rc = check_issue(r, issue);

	*there = (struct registry_certificate){ .state = 0 };
	if (rc == REGISTRY_OK)
		rc = reg_check_by(r, by);
	if (rc == REGISTRY_OK)
		rc = reg_begin_sure(r);
	return rc == REGISTRY_OK ? reg_end(r, take_serial(r, by, issue, there)) : rc;
}

/* What write_live() has to know of the row. */
struct issuing {
	char device[REGISTRY_DEVICE], profile[REGISTRY_PROFILE_MAX];
	bool renews;		/* the device has one of the same profile that is live, or held meanwhile */
	bool waited;		/* its request was kept for an admin */
	bool held;		/* the device was put on hold meanwhile */
};

static enum registry_result find_issuing(struct registry *r, const uint8_t *serial, struct issuing *out)
{
	enum registry_state state;
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT device,profile,state,EXISTS(SELECT 1 FROM certificates o WHERE o.device=c.device AND"
	    " o.profile=c.profile AND o.state IN (2,3)),EXISTS(SELECT 1 FROM transactions t WHERE t.serial=c.serial AND t.csr IS NOT NULL),reason=6"
	    " FROM certificates c WHERE serial=?", "b", (const void *)serial, (size_t)REGISTRY_SERIAL);

	if (rc != REGISTRY_OK)
		return rc;
	reg_text(st, 0, out->device, sizeof(out->device));
	reg_text(st, 1, out->profile, sizeof(out->profile));
	state = (enum registry_state)sqlite3_column_int(st, 2);
	out->renews = sqlite3_column_int(st, 3) != 0;
	out->waited = sqlite3_column_int(st, 4) != 0;
	out->held = sqlite3_column_int(st, 5) != 0;
	reg_done(st);
	return state == REGISTRY_ISSUING ? rc : reg_fail(r, REGISTRY_STATE, "the certificate is %s", registry_state_text(state));
}

static enum registry_result write_live(struct registry *r, const struct registry_by *by, const uint8_t *serial, struct strv der, bool fleet)
{
	struct issuing c;
	uint8_t hash[SHA256_SIZE];
	int64_t id;
	enum registry_result rc = find_issuing(r, serial, &c);

	if (rc != REGISTRY_OK)
		return rc;
	if (EVP_Digest(der.p, der.n, hash, NULL, EVP_sha256(), NULL) != 1)
		return reg_fail(r, REGISTRY_FAILED, "the certificate's hash could not be made");
	/* even where it changes nothing this statement costs as much as an insertion */
	if (c.renews)
		rc = reg_run(r, "UPDATE certificates SET successor=?1 WHERE device=?2 AND profile=?3 AND state IN (2,3) AND (successor IS NULL OR"
		    " NOT EXISTS (SELECT 1 FROM certificates n WHERE n.serial=certificates.successor AND n.state IN (2,3)))", "btt",
		    (const void *)serial, (size_t)REGISTRY_SERIAL, c.device, c.profile);
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "UPDATE OR FAIL certificates SET state=?,sha256=? WHERE serial=?", "ibb",
		    (int64_t)(c.held ? REGISTRY_HOLD : REGISTRY_LIVE), (const void *)hash, sizeof(hash), (const void *)serial, (size_t)REGISTRY_SERIAL);
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "INSERT INTO certificate_bytes(serial,der) VALUES(?,?)", "bb", (const void *)serial, (size_t)REGISTRY_SERIAL,
		    (const void *)der.p, der.n);
	if (rc == REGISTRY_OK && c.waited)	/* it holds the challenge that it came with */
		rc = reg_run(r, "UPDATE transactions SET csr=NULL WHERE serial=?", "b", (const void *)serial, (size_t)REGISTRY_SERIAL);
	if (rc == REGISTRY_OK && fleet)
		rc = reg_act_insert(r, REGISTRY_ACT_REGISTER, serial, REGISTRY_STEP_LIST, by->at, &id);
	return rc == REGISTRY_OK ? reg_audit_serial(r, by, "certificate-issued", serial) : rc;
}

enum registry_result registry_issue_live(struct registry *r, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL], struct strv der,
    bool fleet)
{
	enum registry_result rc = reg_check_by(r, by);

	if (der.n == 0 || der.n > REGISTRY_DER_MAX)
		return reg_fail(r, REGISTRY_BAD, "the certificate has %zu bytes", der.n);
	if (rc == REGISTRY_OK)
		rc = reg_begin_sure(r);
	return rc == REGISTRY_OK ? reg_end(r, write_live(r, by, serial, der, fleet)) : rc;
}

static enum registry_result write_failed(struct registry *r, const struct registry_by *by, const uint8_t *serial)
{
	struct registry_certificate c;
	int64_t id = 0;
	enum registry_result rc = registry_certificate_get(r, serial, &c);

	if (rc != REGISTRY_OK)
		return rc;
	if (c.state != REGISTRY_ISSUING)
		return reg_fail(r, REGISTRY_STATE, "the certificate is %s", registry_state_text(c.state));
	rc = reg_act_insert(r, REGISTRY_ACT_REVOKE, serial, 0, by->at, &id);
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "UPDATE secrets SET used=0 WHERE mac=(SELECT secret FROM certificates WHERE serial=?)", "b", (const void *)serial,
		    (size_t)REGISTRY_SERIAL);
	/* what an admin approved is still approved */
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "UPDATE transactions SET state=1,serial=NULL WHERE serial=? AND csr IS NOT NULL", "b", (const void *)serial,
		    (size_t)REGISTRY_SERIAL);
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "DELETE FROM transactions WHERE serial=?", "b", (const void *)serial, (size_t)REGISTRY_SERIAL);
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "UPDATE certificates SET state=4,reason=0,revoked_at=?,act=?,secret=NULL WHERE serial=?", "iib", by->at, id,
		    (const void *)serial, (size_t)REGISTRY_SERIAL);
	return rc == REGISTRY_OK ? reg_audit_serial(r, by, "certificate-not-issued", serial) : rc;
}

enum registry_result registry_issue_failed(struct registry *r, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL])
{
	enum registry_result rc = reg_begin(r);

	return rc == REGISTRY_OK ? reg_end(r, write_failed(r, by, serial)) : rc;
}

enum registry_result registry_issue_recover(struct registry *r, const struct registry_by *by, unsigned *n)
{
	uint8_t serial[REGISTRY_SERIAL];
	enum registry_result rc;
	sqlite3_stmt *st;

	for (*n = 0;; (*n)++) {
		rc = reg_row(r, &st, "SELECT serial FROM certificates WHERE state=1 LIMIT 1", "");
		if (rc != REGISTRY_OK)
			return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
		reg_bytes(st, 0, serial, sizeof(serial));
		reg_done(st);
		rc = registry_issue_failed(r, by, serial);
		if (rc != REGISTRY_OK)
			return rc;
	}
}
