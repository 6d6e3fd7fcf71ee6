/*
 * registry: what enrolment knows: accounts, devices, certificates, one-time secrets, transactions, acts, lists, audit trail. The one place;
 * SQLite today (registry_sqlite*.c). Runs in the worker; calls block for the time of a commit (WAL, synchronous=FULL), or changes are gathered: registry_group().
 *
 * Every function that changes anything is one transaction together with its entry in the audit trail. Texts are borrowed for the call, checked (UTF-8, no
 * control characters, lengths as below) and refused (REGISTRY_BAD), never cut. Times: seconds since the epoch. Serials: SERIAL_BYTES, most significant
 * byte first. Issuers and hashes: lower-case hex of SHA-256 where `char`, bytes where uint8_t.
 */
#ifndef EASGATE_ENROLL_REGISTRY_H
#define EASGATE_ENROLL_REGISTRY_H

#include "common/base.h"
#include "common/directory/ask.h"

#define REGISTRY_SERIAL		16	/* bytes of every serial */
#define REGISTRY_HEX		65	/* hex of a SHA-256 and NUL */
#define REGISTRY_DEVICE		33	/* a device's id: 32 hex digits and NUL */
#define REGISTRY_NAME_MAX	128	/* a device's name, with NUL */
#define REGISTRY_KIND_MAX	32
#define REGISTRY_PROFILE_MAX	32
#define REGISTRY_UDID_MAX	128
#define REGISTRY_EAS_MAX	80
#define REGISTRY_ACTOR_MAX	320
#define REGISTRY_DETAIL_MAX	1024
#define REGISTRY_TRANSACTION_MAX 256	/* opaque bytes of a SCEP transaction id or another idempotency key */
#define REGISTRY_LIVE_MAX	8	/* valid certificates of one device and profile: renewals, none of which was used yet */
#define REGISTRY_DER_MAX	16384

enum registry_result {
	REGISTRY_FAILED = -1,	/* the database: registry_problem() says what and the cure; nothing was changed */
	REGISTRY_OK = 0,
	REGISTRY_NONE,		/* no such row */
	REGISTRY_BAD,		/* an input is too long, empty or no clean text: registry_problem() says which */
	REGISTRY_TAKEN,		/* it is there already (a serial, a transaction); a secret that was used */
	REGISTRY_LIMIT,		/* more than the caller's limit */
	REGISTRY_STATE,		/* the row's state does not allow it */
	REGISTRY_EXPIRED,
	REGISTRY_FOREIGN,	/* bound to another account, device, profile or purpose */
};
const char *registry_result_text(enum registry_result result);

struct registry;

/* Opens or makes the file (0600), brings its schema up to date, sets WAL and foreign keys. NULL: why says what and the cure. */
struct registry *registry_open(const char *path, char *why, size_t why_size);
/* For readers (the CLI's audit commands): never writes. */
struct registry *registry_open_read(const char *path, char *why, size_t why_size);
void registry_close(struct registry *r);	/* accepts NULL */
/*
 * From now on changes are gathered, and commits are not synced: `changed` is told of the first change of a group, inside the call that made it, and of
 * each commit; it sees to it (durable.h) that registry_settle() comes soon and the sync after it. Own reads see what is gathered, other processes what is
 * committed. Without this call each change is committed and on the disk when it returns. 0 or -1 with registry_problem().
 */
typedef void registry_changed_fn(void *arg);
MUST_CHECK int registry_group(struct registry *r, registry_changed_fn *changed, void *arg);
/*
 * Commits what was gathered, if anything was: before what was decided shows outside (a list, a word to the fleet). -1: it is lost (a full disk), though
 * the calls that made it said OK: nothing may be answered any more, and the process has to begin anew; registry_problem() says why.
 */
MUST_CHECK int registry_settle(struct registry *r);
/*
 * To be called when what was committed is on the disk and whoever waited for it has his answer: a log that has become long is moved into the file now, not
 * between a commit and its answers. What is gathered is committed before.
 */
void registry_synced(struct registry *r);
/*
 * To be called when nobody waits for the registry: what stands in its write-ahead log is moved into the file before it is long. Both take two waits for the
 * disk. Only after registry_group().
 */
void registry_rest(struct registry *r);
/* Of the last call that did not return OK or NONE. */
const char *registry_problem(const struct registry *r);
/* The database answers (readyz). */
bool registry_is_up(struct registry *r);

/* Who did it and why, for the audit trail. */
struct registry_by {
	const char *actor;	/* "user S-1-5-...", "admin S-1-5-...", "cli root", "scep", "directory", "mdm <name>", "system" */
	const char *detail;	/* free text, "" for none; user-supplied parts are already cleaned by the caller */
	int64_t at;		/* now */
};

/* An audit entry for what changes no other row (a refused request, a sign-in, a CSR that names somebody else). */
MUST_CHECK enum registry_result registry_audit(struct registry *r, const struct registry_by *by, const char *action, const char *object);

/* --- accounts --- */
struct registry_account {
	int64_t id;
	char sid[ACCOUNT_SID_MAX], sam[ACCOUNT_NAME_MAX], upn[ACCOUNT_TEXT_MAX], mail[ACCOUNT_TEXT_MAX], display_name[ACCOUNT_TEXT_MAX];
	int64_t first_seen, last_seen;
};
/* Makes or updates the row of this SID; audited only when made or when a name changed. out may be NULL. */
MUST_CHECK enum registry_result registry_account_seen(struct registry *r, const struct registry_by *by, const struct account *account,
    struct registry_account *out);
MUST_CHECK enum registry_result registry_account_by_sid(struct registry *r, const char *sid, struct registry_account *out);
MUST_CHECK enum registry_result registry_account_by_id(struct registry *r, int64_t id, struct registry_account *out);

/* Walks: return false to end. The row is borrowed for the call; nothing may be changed in the registry meanwhile. */
typedef bool registry_account_fn(void *arg, const struct registry_account *row);
/* Ordered by id, from the first one behind `after` on: a walk that goes on later where it stopped misses nobody. */
MUST_CHECK enum registry_result registry_accounts_after(struct registry *r, int64_t after, unsigned limit, registry_account_fn *fn, void *arg);
/* text: in sam, upn, mail or display_name, without case; "" all. Ordered by sam; `skip` rows are left out, at most `limit` come. */
MUST_CHECK enum registry_result registry_accounts(struct registry *r, const char *text, unsigned skip, unsigned limit,
    registry_account_fn *fn, void *arg);

/* --- devices --- */
enum registry_device_state { REGISTRY_DEVICE_WAITING = 1, REGISTRY_DEVICE_ACTIVE, REGISTRY_DEVICE_REVOKED };
const char *registry_device_state_text(enum registry_device_state state);

struct registry_device {
	char id[REGISTRY_DEVICE];
	int64_t account;
	char name[REGISTRY_NAME_MAX], kind[REGISTRY_KIND_MAX];	/* kind: "ios", "android", "windows", "other", ... */
	char udid[REGISTRY_UDID_MAX], serial_number[REGISTRY_UDID_MAX], eas_device_id[REGISTRY_EAS_MAX];	/* "" unless known */
	enum registry_device_state state;
	int64_t created, last_seen;
};
/* d->account, name, kind and state (WAITING: an admin has to approve; ACTIVE) are read; out gets the id. limit: of devices not revoked per account. */
MUST_CHECK enum registry_result registry_device_add(struct registry *r, const struct registry_by *by, const struct registry_device *d,
    unsigned limit, struct registry_device *out);
MUST_CHECK enum registry_result registry_device_get(struct registry *r, const char *id, struct registry_device *out);
/* WAITING -> ACTIVE (approve); anything -> REVOKED only by revoke.h, which calls this. */
MUST_CHECK enum registry_result registry_device_set_state(struct registry *r, const struct registry_by *by, const char *id,
    enum registry_device_state state);
/* NULL leaves a field as it is. */
MUST_CHECK enum registry_result registry_device_describe(struct registry *r, const struct registry_by *by, const char *id, const char *name,
    const char *udid, const char *serial_number, const char *eas_device_id);
typedef bool registry_device_fn(void *arg, const struct registry_device *row, const struct registry_account *owner);
/* account 0: all. text: in the device's name or its owner's names; "" all. Newest first. */
MUST_CHECK enum registry_result registry_devices(struct registry *r, int64_t account, const char *text, unsigned skip, unsigned limit,
    registry_device_fn *fn, void *arg);
/* The same of those in one state; 0: whatever it is. */
MUST_CHECK enum registry_result registry_devices_in(struct registry *r, enum registry_device_state state, int64_t account, const char *text, unsigned skip,
    unsigned limit, registry_device_fn *fn, void *arg);

/* Not revoked, with this serial number or this UDID ("": not asked for), whatever their case. */
MUST_CHECK enum registry_result registry_devices_of_hardware(struct registry *r, const char *serial_number, const char *udid, registry_device_fn *fn,
    void *arg);

/* --- certificates --- */
enum registry_state {
	REGISTRY_ISSUING = 1,	/* the serial is taken, no certificate came yet: never good */
	REGISTRY_LIVE, REGISTRY_HOLD,
	REGISTRY_REVOKING,	/* revoked, and not yet everywhere: never good */
	REGISTRY_REVOKED, REGISTRY_EXPIRED_STATE,
	REGISTRY_REPLACED,	/* revoked because a newer one is in use */
};
const char *registry_state_text(enum registry_state state);

struct registry_certificate {
	uint8_t serial[REGISTRY_SERIAL];
	char issuer[REGISTRY_HEX], device[REGISTRY_DEVICE], profile[REGISTRY_PROFILE_MAX];
	enum registry_state state;
	uint8_t spki_sha256[SHA256_SIZE], sha256[SHA256_SIZE];	/* sha256: of the DER; zero while issuing */
	int64_t not_before, not_after, issued, first_used, revoked_at;	/* issued: when its serial was taken; 0: not yet */
	int reason;		/* RFC 5280 §5.3.1; -1: not revoked */
	bool replaced;		/* a newer one of the same device and profile was issued */
};
MUST_CHECK enum registry_result registry_certificate_get(struct registry *r, const uint8_t serial[REGISTRY_SERIAL], struct registry_certificate *out);
/* DER into out; *n: its length. REGISTRY_LIMIT: does not fit. */
MUST_CHECK enum registry_result registry_certificate_der(struct registry *r, const uint8_t serial[REGISTRY_SERIAL], uint8_t *out, size_t size, size_t *n);
MUST_CHECK enum registry_result registry_certificate_by_sha256(struct registry *r, const uint8_t sha256[SHA256_SIZE], struct registry_certificate *out);
typedef bool registry_certificate_fn(void *arg, const struct registry_certificate *row);
MUST_CHECK enum registry_result registry_certificates(struct registry *r, const char *device, registry_certificate_fn *fn, void *arg);
/* The certificate was seen in use (a sync, a renewal signed with it). Sets first_used; REGISTRY_OK also when it was set before. */
MUST_CHECK enum registry_result registry_certificate_used(struct registry *r, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL]);

/* Fast and allocation-free, for OCSP: REGISTRY_NONE for a serial that was never given out (answer: unknown). */
struct registry_status { enum registry_state state; int reason; int64_t revoked_at, not_after; };
MUST_CHECK enum registry_result registry_certificate_status(struct registry *r, const char *issuer, const uint8_t serial[REGISTRY_SERIAL],
    struct registry_status *out);

/* --- issuing (issue.c only) --- */
struct registry_issue {
	const uint8_t *serial;			/* REGISTRY_SERIAL */
	const char *issuer, *device, *profile;
	const char *sid;			/* of the account that the device must belong to; NULL: not compared */
	const uint8_t *spki_sha256;
	int64_t not_before, not_after;
	struct strv transaction;		/* n == 0: none */
	const uint8_t *secret_mac;		/* NULL: none; else marked as used in the same transaction, and held against what it is bound to */
	const char *purpose;			/* of the secret; NULL without one */
};
/*
 * Takes the serial: row ISSUING. TAKEN: transaction and key are there: *there is that certificate. STATE: the device may have none. LIMIT: it has REGISTRY_LIVE_MAX. Secret: NONE, TAKEN,
 * EXPIRED, FOREIGN.
 */
MUST_CHECK enum registry_result registry_issue_begin(struct registry *r, const struct registry_by *by, const struct registry_issue *issue,
    struct registry_certificate *there);
/* ISSUING -> LIVE (HOLD where that was decided meanwhile) with its DER; the one before it (same device and profile) is marked as replaced and stays live until first_used or a period. fleet:
 * with an act to make it known. */
MUST_CHECK enum registry_result registry_issue_live(struct registry *r, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL],
    struct strv der, bool fleet);
/* ISSUING -> REVOKING, an act to publish it; the secret may be used again, the transaction repeated. */
MUST_CHECK enum registry_result registry_issue_failed(struct registry *r, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL]);
/* At start: all rows ISSUING become REVOKING (registry_issue_failed of each). *n: how many. */
MUST_CHECK enum registry_result registry_issue_recover(struct registry *r, const struct registry_by *by, unsigned *n);

/* --- SCEP transactions that wait for approval, or were answered --- */
enum registry_transaction_state { REGISTRY_PENDING = 1, REGISTRY_GRANTED, REGISTRY_DENIED /* with its device: what waited is forgotten */ };
struct registry_transaction {
	enum registry_transaction_state state;
	char device[REGISTRY_DEVICE], profile[REGISTRY_PROFILE_MAX];
	uint8_t spki_sha256[SHA256_SIZE], serial[REGISTRY_SERIAL];	/* serial: zero unless granted */
	int64_t at;
};
/* A request that an admin has to approve; csr is kept. TAKEN: it is there already (ask registry_transaction_get). */
MUST_CHECK enum registry_result registry_transaction_wait(struct registry *r, const struct registry_by *by, struct strv id, const char *device,
    const char *profile, const uint8_t spki_sha256[SHA256_SIZE], struct strv csr);
MUST_CHECK enum registry_result registry_transaction_get(struct registry *r, struct strv id, const uint8_t spki_sha256[SHA256_SIZE],
    struct registry_transaction *out);
/* The request that waits; REGISTRY_NONE: none does, or it was answered (and is kept no more). csr: room for *csr_n bytes. */
MUST_CHECK enum registry_result registry_transaction_request(struct registry *r, struct strv id, const uint8_t spki_sha256[SHA256_SIZE], uint8_t *csr,
    size_t *csr_n);

/* --- one-time secrets (secret.c makes and hashes them) --- */
struct registry_secret {
	uint8_t mac[SHA256_SIZE];
	int64_t account;
	char device[REGISTRY_DEVICE];		/* "": any of the account's, made at use */
	char profile[REGISTRY_PROFILE_MAX], purpose[REGISTRY_KIND_MAX];
	int64_t made, ends, used;		/* used 0: not yet */
};
/* limit: unused and unexpired ones of the account. */
MUST_CHECK enum registry_result registry_secret_add(struct registry *r, const struct registry_by *by, const struct registry_secret *s, unsigned limit);
/* Looks without using it up. */
MUST_CHECK enum registry_result registry_secret_get(struct registry *r, const uint8_t mac[SHA256_SIZE], struct registry_secret *out);
/* Uses it up: OK once; then TAKEN. EXPIRED, FOREIGN (account 0, device NULL, profile NULL: not compared), NONE. */
MUST_CHECK enum registry_result registry_secret_use(struct registry *r, const struct registry_by *by, const uint8_t mac[SHA256_SIZE], int64_t account,
    const char *device, const char *profile, const char *purpose);
/* Ends an unused one early. id: the first REGISTRY_SECRET_ID bytes of its mac, which tell nobody what it is. NONE: no such one; STATE: used or ended. */
#define REGISTRY_SECRET_ID 8
MUST_CHECK enum registry_result registry_secret_revoke(struct registry *r, const struct registry_by *by, const uint8_t id[REGISTRY_SECRET_ID]);
typedef bool registry_secret_fn(void *arg, const struct registry_secret *row);
/* account 0: of all. The newest first. */
MUST_CHECK enum registry_result registry_secrets(struct registry *r, int64_t account, registry_secret_fn *fn, void *arg);
/* Deletes what ended before then. */
MUST_CHECK enum registry_result registry_secret_tidy(struct registry *r, int64_t before);

/* --- revocation: acts and lists (revoke.c only) --- */
enum registry_act_kind { REGISTRY_ACT_REVOKE = 1, REGISTRY_ACT_HOLD, REGISTRY_ACT_RELEASE, REGISTRY_ACT_REGISTER };
#define REGISTRY_STEP_LIST	0x1u	/* the CRL that says so is in place */
#define REGISTRY_STEP_PUBLISHED 0x2u	/* the fleet was told */
#define REGISTRY_STEPS_ALL	0x3u

struct registry_act {
	int64_t id;		/* grows; what a list covers is told by it */
	enum registry_act_kind kind;
	uint8_t serial[REGISTRY_SERIAL];
	unsigned steps;		/* done */
	int64_t at;
};
/*
 * LIVE, HOLD or ISSUING -> REVOKING; LIVE -> HOLD; HOLD -> LIVE; one that is ISSUING comes to be as HOLD, unless released before; with an act whose steps are to be done. OK with *act of the earlier one when it is there
 * already (an idempotent repeat); STATE: cannot be (a release of what is revoked). reason: RFC 5280, not 6 nor 8 for a revocation.
 */
MUST_CHECK enum registry_result registry_act_begin(struct registry *r, const struct registry_by *by, enum registry_act_kind kind,
    const uint8_t serial[REGISTRY_SERIAL], int reason, struct registry_act *act);
/*
 * One transaction for all certificates of the device that `kind` is for: REVOKE of what is issuing, live or held, and the device is REVOKED from then on;
 * HOLD of what is live or issuing; RELEASE of what is held (STATE when the device is revoked). *n: how many.
 */
MUST_CHECK enum registry_result registry_device_act(struct registry *r, const struct registry_by *by, enum registry_act_kind kind, const char *device,
    int reason, unsigned *n);
/* One transaction: REVOKE for every device of the account that is not revoked. */
MUST_CHECK enum registry_result registry_account_revoke(struct registry *r, const struct registry_by *by, int64_t account, int reason, unsigned *n);
/* Marks steps as done; with the last one REVOKING -> REVOKED or REPLACED. */
MUST_CHECK enum registry_result registry_act_step(struct registry *r, int64_t id, unsigned steps);
/* REGISTRY_STEP_LIST of all acts of this issuer up to `id`. */
MUST_CHECK enum registry_result registry_acts_listed(struct registry *r, const char *issuer, int64_t id);
typedef bool registry_act_fn(void *arg, const struct registry_act *act);
typedef bool registry_issuer_fn(void *arg, const char *issuer);
/* The issuers with an act that no list holds. */
MUST_CHECK enum registry_result registry_acts_issuers(struct registry *r, registry_issuer_fn *fn, void *arg);
/* Acts above `after` of whose steps `missing` one is left, oldest first. */
MUST_CHECK enum registry_result registry_acts_undone(struct registry *r, unsigned missing, int64_t after, unsigned limit, registry_act_fn *fn, void *arg);
/* Acts above `after` that the newest full list of their issuer does not cover and whose certificate is revoked or held now, oldest first. */
MUST_CHECK enum registry_result registry_acts_unlisted(struct registry *r, int64_t after, unsigned limit, registry_act_fn *fn, void *arg);
/* Live ones that were replaced and whose successor is in use, or was issued before `before`: to be revoked as superseded. */
MUST_CHECK enum registry_result registry_superseded(struct registry *r, int64_t before, unsigned limit, registry_certificate_fn *fn, void *arg);
/* LIVE -> EXPIRED of what ended before now. */
MUST_CHECK enum registry_result registry_expire(struct registry *r, int64_t now);

struct registry_crl {
	char issuer[REGISTRY_HEX];
	uint64_t number, base;	/* base 0: full */
	int64_t this_update, next_update, upto;	/* upto: the last act that it covers */
	bool made;		/* false: its number was taken, nobody says that it was signed */
};
/*
 * Takes the next number of this issuer for a full list (base 0) or a delta to it; upto: the newest act. The number is at least this_update: a registry restored
 * from a copy goes on above what others saw.
 */
MUST_CHECK enum registry_result registry_crl_begin(struct registry *r, const char *issuer, bool delta, int64_t this_update, int64_t next_update,
    struct registry_crl *out);
MUST_CHECK enum registry_result registry_crl_made(struct registry *r, const struct registry_crl *crl);
/* What is revoked now is on every list of this issuer above *number: the highest number that was taken, and the clock's (now) when that is higher. */
MUST_CHECK enum registry_result registry_crl_number(struct registry *r, const char *issuer, int64_t now, uint64_t *number);
/* The newest made one. */
MUST_CHECK enum registry_result registry_crl_newest(struct registry *r, const char *issuer, bool delta, struct registry_crl *out);

struct registry_entry { uint8_t serial[REGISTRY_SERIAL]; int64_t when; uint8_t reason, pad[7]; };
typedef bool registry_entry_fn(void *arg, const struct registry_entry *entry);
/*
 * Streams, ascending by serial and in portions, what that list says: revoked (reason 6: held), and in a delta what was released since its base (reason 8).
 * after: the last serial of the portion before, NULL at the start. What is revoked between two portions may or may not be in; its act is newer than crl->upto.
 * What ended before the full list before this one is left out.
 */
MUST_CHECK enum registry_result registry_entries(struct registry *r, const struct registry_crl *crl, const uint8_t *after, unsigned limit,
    registry_entry_fn *fn, void *arg);
/* The issuers that had a list and whose certificates have not all ended. Looks through all of them only where all have ended. */
MUST_CHECK enum registry_result registry_issuers(struct registry *r, int64_t now, registry_issuer_fn *fn, void *arg);

MUST_CHECK enum registry_result registry_acts_count(struct registry *r, int64_t *undone);

/* Counts for the admin page and metrics, as the registry keeps them: as cheap with a million certificates as with one. revoked: those that a list names, without held ones. */
struct registry_counts { int64_t accounts, devices, live, held, revoked, waiting, undone_acts; };
MUST_CHECK enum registry_result registry_count(struct registry *r, struct registry_counts *out);
MUST_CHECK enum registry_result registry_accounts_count(struct registry *r, int64_t *accounts);

/* --- audit trail --- */
struct registry_audit_entry {
	int64_t n, at;
	char actor[REGISTRY_ACTOR_MAX], action[64], object[REGISTRY_ACTOR_MAX], detail[REGISTRY_DETAIL_MAX];
	uint8_t previous[SHA256_SIZE], hash[SHA256_SIZE];
};
typedef bool registry_audit_fn(void *arg, const struct registry_audit_entry *entry);
/* The newest about an object, descending, after `skip` of them. */
MUST_CHECK enum registry_result registry_audit_newest(struct registry *r, const char *object, unsigned skip, unsigned limit, registry_audit_fn *fn, void *arg);
/* Entries from number `first` on, ascending. object "": all. */
MUST_CHECK enum registry_result registry_audit_list(struct registry *r, int64_t first, unsigned limit, const char *object, registry_audit_fn *fn, void *arg);
/* The newest entry's number; 0: none. */
MUST_CHECK enum registry_result registry_audit_last(struct registry *r, int64_t *n);

#endif
