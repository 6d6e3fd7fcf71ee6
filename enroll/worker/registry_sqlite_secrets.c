/*
 * registry_sqlite_secrets: one-time secrets, and transactions that wait or were answered. Worker process.
 */
#include <openssl/crypto.h>

#include "enroll/worker/registry_parts.h"

#define TRANSACTION_COLUMNS "state,device,profile,spki_sha256,serial,at"

static void take_transaction(sqlite3_stmt *st, struct registry_transaction *out)
{
	out->state = (enum registry_transaction_state)sqlite3_column_int(st, 0);
	reg_text(st, 1, out->device, sizeof(out->device));
	reg_text(st, 2, out->profile, sizeof(out->profile));
	reg_bytes(st, 3, out->spki_sha256, sizeof(out->spki_sha256));
	reg_bytes(st, 4, out->serial, sizeof(out->serial));
	out->at = sqlite3_column_int64(st, 5);
}

static enum registry_result insert_waiting(struct registry *r, const struct registry_by *by, struct strv id, const char *device, const char *profile,
    const uint8_t *spki, struct strv csr)
{
	char object[REGISTRY_DEVICE + 16] = "device ";
	enum registry_result rc = reg_run(r, "INSERT INTO transactions(id,spki_sha256,state,device,profile,csr,at) VALUES(?,?,1,?,?,?,?)", "bbttbi",
	    (const void *)id.p, id.n, (const void *)spki, (size_t)SHA256_SIZE, device, profile, (const void *)csr.p, csr.n, by->at);

	memcpy(object + strlen(object), device, REGISTRY_DEVICE);
	return rc == REGISTRY_OK ? reg_audit(r, by, "request-waiting", object) : rc;
}

enum registry_result registry_transaction_wait(struct registry *r, const struct registry_by *by, struct strv id, const char *device,
    const char *profile, const uint8_t spki_sha256[SHA256_SIZE], struct strv csr)
{
	enum registry_result rc = reg_check_hex(r, "the device's id", device, REGISTRY_DEVICE - 1);

	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the profile", profile, REGISTRY_PROFILE_MAX, true);
	if (rc == REGISTRY_OK && (id.n == 0 || id.n > REGISTRY_TRANSACTION_MAX || csr.n == 0 || csr.n > REGISTRY_DER_MAX))
		return reg_fail(r, REGISTRY_BAD, "the transaction's id or the request is empty or too long");
	if (rc == REGISTRY_OK)
		rc = reg_begin(r);
	return rc == REGISTRY_OK ? reg_end(r, insert_waiting(r, by, id, device, profile, spki_sha256, csr)) : rc;
}

enum registry_result registry_transaction_get(struct registry *r, struct strv id, const uint8_t spki_sha256[SHA256_SIZE],
    struct registry_transaction *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT " TRANSACTION_COLUMNS " FROM transactions WHERE id=? AND spki_sha256=?", "bb",
	    (const void *)id.p, id.n, (const void *)spki_sha256, (size_t)SHA256_SIZE);

	if (rc == REGISTRY_OK) {
		take_transaction(st, out);
		reg_done(st);
	}
	return rc;
}

enum registry_result registry_transaction_request(struct registry *r, struct strv id, const uint8_t spki_sha256[SHA256_SIZE], uint8_t *csr, size_t *csr_n)
{
	sqlite3_stmt *st = NULL;
	enum registry_result rc = reg_row(r, &st, "SELECT csr FROM transactions WHERE id=? AND spki_sha256=? AND csr IS NOT NULL", "bb", (const void *)id.p,
	    id.n, (const void *)spki_sha256, (size_t)SHA256_SIZE);
	size_t n;

	if (rc != REGISTRY_OK)
		return rc;
	n = (size_t)sqlite3_column_bytes(st, 0);
	if (n > 0 && n <= *csr_n)
		memcpy(csr, sqlite3_column_blob(st, 0), n);
	else
		rc = reg_fail(r, REGISTRY_LIMIT, "the request has %zu bytes", n);
	*csr_n = n;
	reg_done(st);
	return rc;
}

/* --- secrets --- */

static void take_secret(sqlite3_stmt *st, struct registry_secret *out)
{
	reg_bytes(st, 0, out->mac, sizeof(out->mac));
	out->account = sqlite3_column_int64(st, 1);
	reg_text(st, 2, out->device, sizeof(out->device));
	reg_text(st, 3, out->profile, sizeof(out->profile));
	reg_text(st, 4, out->purpose, sizeof(out->purpose));
	out->made = sqlite3_column_int64(st, 5);
	out->ends = sqlite3_column_int64(st, 6);
	out->used = sqlite3_column_int64(st, 7);
}

static enum registry_result secret_audit(struct registry *r, const struct registry_by *by, const char *action, int64_t account, const char *device)
{
	char object[REGISTRY_ACTOR_MAX];
	struct registry_account a;
	enum registry_result rc;

	if (device[0] != '\0') {
		memcpy(object, "device ", 8);
		memcpy(object + 7, device, strlen(device) + 1);
		return reg_audit(r, by, action, object);
	}
	rc = registry_account_by_id(r, account, &a);
	if (rc != REGISTRY_OK)
		return rc;
	memcpy(object, "account ", 9);
	memcpy(object + 8, a.sid, sizeof(a.sid));
	return reg_audit(r, by, action, object);
}

static enum registry_result insert_secret(struct registry *r, const struct registry_by *by, const struct registry_secret *s, unsigned limit)
{
	struct registry_device d;
	int64_t n = 0;
	enum registry_result rc = reg_number(r, &n, "SELECT count(*) FROM secrets WHERE account=? AND used=0 AND ends>?", "ii", s->account, by->at);

	if (rc != REGISTRY_OK)
		return rc;
	if (n >= (int64_t)limit)
		return reg_fail(r, REGISTRY_LIMIT, "the account has %lld unused secrets, which is the limit", (long long)n);
	if (s->device[0] != '\0') {
		rc = registry_device_get(r, s->device, &d);
		if (rc != REGISTRY_OK)
			return rc;
		if (d.account != s->account)
			return reg_fail(r, REGISTRY_FOREIGN, "the device is another account's");
	}
	rc = reg_run(r, "INSERT INTO secrets(mac,account,device,profile,purpose,made,ends) VALUES(?,?,?,?,?,?,?)", "bitttii", (const void *)s->mac,
	    sizeof(s->mac), s->account, s->device, s->profile, s->purpose, by->at, s->ends);
	return rc == REGISTRY_OK ? secret_audit(r, by, "secret-made", s->account, s->device) : rc;
}

enum registry_result registry_secret_add(struct registry *r, const struct registry_by *by, const struct registry_secret *s, unsigned limit)
{
	enum registry_result rc = reg_check(r, "the profile", s->profile, sizeof(s->profile), true);

	if (rc == REGISTRY_OK)
		rc = reg_check(r, "the purpose", s->purpose, sizeof(s->purpose), true);
	if (rc == REGISTRY_OK && s->device[0] != '\0')
		rc = reg_check_hex(r, "the device's id", s->device, REGISTRY_DEVICE - 1);
	if (rc == REGISTRY_OK && s->ends <= by->at)
		return reg_fail(r, REGISTRY_BAD, "the secret would end before it begins");
	if (rc == REGISTRY_OK)
		rc = reg_begin(r);
	return rc == REGISTRY_OK ? reg_end(r, insert_secret(r, by, s, limit)) : rc;
}

enum registry_result registry_secret_get(struct registry *r, const uint8_t mac[SHA256_SIZE], struct registry_secret *out)
{
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT mac,account,device,profile,purpose,made,ends,used FROM secrets WHERE mac=?", "b",
	    (const void *)mac, (size_t)SHA256_SIZE);

	if (rc != REGISTRY_OK)
		return rc;
	take_secret(st, out);
	reg_done(st);
	/* The index compared bytes of a MAC that nobody can choose; this one decides. */
	return CRYPTO_memcmp(mac, out->mac, SHA256_SIZE) == 0 ? REGISTRY_OK : REGISTRY_NONE;
}

/* Why a secret was not taken. */
static enum registry_result refuse_secret(struct registry *r, const uint8_t *mac, int64_t account, const char *device, const char *profile,
    const char *purpose, int64_t now)
{
	struct registry_secret s;
	enum registry_result rc = registry_secret_get(r, mac, &s);

	if (rc != REGISTRY_OK)
		return rc == REGISTRY_NONE ? reg_fail(r, rc, "the secret is unknown") : rc;
	if (purpose == NULL || strcmp(s.purpose, purpose) != 0 || (account != 0 && s.account != account) ||
	    (device != NULL && s.device[0] != '\0' && strcmp(s.device, device) != 0) || (profile != NULL && strcmp(s.profile, profile) != 0))
		return reg_fail(r, REGISTRY_FOREIGN, "the secret was made for another account, device, profile or purpose");
	if (s.used != 0)
		return reg_fail(r, REGISTRY_TAKEN, "the secret was used before");
	if (s.ends <= now)
		return reg_fail(r, REGISTRY_EXPIRED, "the secret has expired");
	return reg_fail(r, REGISTRY_FAILED, "the secret could not be taken");
}

enum registry_result reg_secret_take(struct registry *r, const uint8_t *mac, int64_t account, const char *device, const char *profile,
    const char *purpose, int64_t now)
{
	enum registry_result rc;

	if (purpose == NULL)
		return refuse_secret(r, mac, account, device, profile, purpose, now);
	/* all that refuses is in the condition, so that taking it needs no look before */
	rc = reg_run(r, "UPDATE secrets SET used=?1 WHERE mac=?2 AND used=0 AND ends>?1 AND purpose=?3 AND (?4=0 OR account=?4)"
	    " AND (?5 IS NULL OR device='' OR device=?5) AND (?6 IS NULL OR profile=?6)", "ibtitt", now, (const void *)mac, (size_t)SHA256_SIZE, purpose,
	    account, device, profile);
	if (rc == REGISTRY_OK && sqlite3_changes(r->db) == 0)
		rc = refuse_secret(r, mac, account, device, profile, purpose, now);
	return rc;
}

static enum registry_result use_secret(struct registry *r, const struct registry_by *by, const uint8_t *mac, int64_t account, const char *device,
    const char *profile, const char *purpose)
{
	struct registry_secret s;
	enum registry_result rc = reg_secret_take(r, mac, account, device, profile, purpose, by->at);

	if (rc == REGISTRY_OK)
		rc = registry_secret_get(r, mac, &s);
	return rc == REGISTRY_OK ? secret_audit(r, by, "secret-used", s.account, s.device) : rc;
}

enum registry_result registry_secret_use(struct registry *r, const struct registry_by *by, const uint8_t mac[SHA256_SIZE], int64_t account,
    const char *device, const char *profile, const char *purpose)
{
	enum registry_result rc = reg_begin(r);

	return rc == REGISTRY_OK ? reg_end(r, use_secret(r, by, mac, account, device, profile, purpose)) : rc;
}

enum registry_result registry_secrets(struct registry *r, int64_t account, registry_secret_fn *fn, void *arg)
{
	struct registry_secret row;
	sqlite3_stmt *st;
	enum registry_result rc = reg_row(r, &st, "SELECT mac,account,device,profile,purpose,made,ends,used FROM secrets WHERE (?1=0 OR account=?1) ORDER BY made DESC",
	    "i", account);

	for (; rc == REGISTRY_OK; rc = reg_next(r, st)) {
		take_secret(st, &row);
		if (!fn(arg, &row)) {
			reg_done(st);
			return REGISTRY_OK;
		}
	}
	return rc == REGISTRY_NONE ? REGISTRY_OK : rc;
}

static enum registry_result revoke_secret(struct registry *r, const struct registry_by *by, const uint8_t *id)
{
	struct registry_secret s;
	sqlite3_stmt *st;
	/* a range, so that the index is used */
	enum registry_result rc = reg_row(r, &st, "SELECT mac,account,device,profile,purpose,made,ends,used FROM secrets WHERE mac>=?1 AND substr(mac,1,8)=?1"
	    " ORDER BY mac LIMIT 1", "b", (const void *)id, (size_t)REGISTRY_SECRET_ID);

	if (rc != REGISTRY_OK)
		return rc;
	take_secret(st, &s);
	reg_done(st);
	if (s.used != 0 || s.ends <= by->at)
		return reg_fail(r, REGISTRY_STATE, "the secret was used, or has ended");
	rc = reg_run(r, "UPDATE secrets SET ends=? WHERE mac=?", "ib", by->at, (const void *)s.mac, (size_t)SHA256_SIZE);
	return rc == REGISTRY_OK ? secret_audit(r, by, "secret-revoked", s.account, s.device) : rc;
}

enum registry_result registry_secret_revoke(struct registry *r, const struct registry_by *by, const uint8_t id[REGISTRY_SECRET_ID])
{
	enum registry_result rc = reg_begin(r);

	return rc == REGISTRY_OK ? reg_end(r, revoke_secret(r, by, id)) : rc;
}

enum registry_result registry_secret_tidy(struct registry *r, int64_t before)
{
	return reg_run(r, "DELETE FROM secrets WHERE ends<?", "i", before);
}
