/*
 * device: what is known of each device that syncs: whose it is, what binds it, whether it may in, and when and how it was seen last. One
 * contract for both programs: in Redis the hash `device:<key>` (DESIGN §6), on a single machine a file-backed shared table. Runs in
 * workers; asks on the loop, never blocks.
 *
 * key: SHA-256 of the device's certificate; of a device without one device_key().
 * Fields in Redis: sid, upn, device (the ActiveSync device id; "" until the first use of a registered certificate), state, first_seen,
 * last_seen (seconds), last_client, last_method (certificate, password, bearer), last_command, device_type, user_agent, mac.
 * States: pinned (bound by its first use), registered (by enrolment, or let in by an administrator), seen (noted, bound to nothing:
 * policies that bind no device, and devices without a certificate), quarantined (new, waits for an administrator), blocked.
 * mac = lower-case hex HMAC-SHA256 with the fleet's secret over
 *     device-record \n key \n sid \n device \n state
 * A record that would let somebody in without a right mac is not believed; "blocked" and "quarantined" need none. Without a fleet secret
 * no record can be believed: every answer is then DEVICE_UNAVAILABLE, said once in the log.
 *
 * Bounds: `devices:<sid>` is the set of an account's keys; a new one is taken in only while fewer than the limit count (blocked ones do not),
 * decided in one act. `quarantine` is the sorted set of those that wait, by first_seen, at most DEVICE_QUARANTINE_MAX. Records that
 * neither enrolment nor an administrator wrote end so many days after they were seen last. last_* are written once a minute at most.
 */
#ifndef EASGATE_DEVICE_H
#define EASGATE_DEVICE_H

#include "common/bundle.h"
#include "common/config.h"
#include "common/loop.h"
#include "common/shared_table.h"

#define DEVICE_ID_MAX	 80	/* with the final NUL; longer ids are DEVICE_OTHER */
#define DEVICE_SID_MAX	 192
#define DEVICE_UPN_MAX	 320
#define DEVICE_TYPE_MAX	 64
#define DEVICE_AGENT_MAX 128
#define DEVICE_ASKS_MAX	 1024	/* questions under way per worker */
#define DEVICE_KEY_HEX	 (2 * SHA256_SIZE + 1)
#define DEVICE_QUARANTINE_MAX 10000

enum device_answer {
	DEVICE_UNAVAILABLE = 0,	/* nobody could say, or the record cannot be believed: 503 */
	DEVICE_ALLOWED,
	DEVICE_PINNED,		/* allowed: this very question bound it */
	DEVICE_OTHER,		/* the certificate is another device's, or another account's: 403 */
	DEVICE_UNREGISTERED,	/* enrolment did not bind it, and that is demanded: 403 */
	DEVICE_BLOCKED,		/* 403 */
	DEVICE_QUARANTINED,	/* waits for an administrator: 403 */
	DEVICE_LIMIT,		/* a new one, and the account has as many as it may: 403 */
	DEVICE_NEW,		/* look_only: there is no record, and none is demanded */
	DEVICE_ANSWERS
};
const char *device_answer_text(enum device_answer answer);

enum device_method { DEVICE_BY_CERTIFICATE = 0, DEVICE_BY_PASSWORD, DEVICE_BY_BEARER, DEVICE_METHODS };
const char *device_method_name(enum device_method method);

struct device_ask {
	const uint8_t *key;		/* SHA256_SIZE bytes */
	const char *sid, *upn;		/* of the account; sid must not be "" */
	const char *device_id;		/* of the request; "": it names none, and then only with look_only or quarantine. Compared with nothing, and binds nothing */
	/* for the record; may be NULL: */
	const char *client, *command, *device_type, *user_agent;
	enum device_method method;
	bool binds;		/* the record's device must be this one; a new one is bound by this use. Else nothing is compared */
	bool registered_only;	/* with binds: only what enrolment or an administrator let in, with look_only too */
	bool note;		/* with registered_only: a new one is noted as seen, though it is no answer to be let in by */
	bool quarantine;	/* a new one waits */
	bool look_only;		/* nothing is made or bound */
	unsigned limit;		/* devices of the account; at least 1 */
	unsigned days;		/* a record of ours ends so long after its last use; at least 1 */
};

/* Of a device without a certificate: SHA-256 over password-device \n sid \n device id. 0 or -1: out of memory, or a field with a line end. */
MUST_CHECK int device_key(const char *sid, const char *device_id, uint8_t out[SHA256_SIZE]);

struct devices;
struct redis_metrics;			/* common/redis.h */
struct evdns_base;

/* From the loop, exactly once, never from device_check() or device_cancel(). May call device_check(). */
typedef void device_done_fn(void *arg, enum device_answer answer);

/*
 * redis NULL: `table` is used (made by the master: DEVICE_TABLE_*), else Redis with password and fleet secret from the bundle, all
 * copied. dns: for the names of servers, NULL: one of its own. Borrows loop, dns and table until devices_free(). NULL: out of memory or
 * settings that cannot be used (logged).
 */
struct devices *devices_new(struct loop *loop, struct evdns_base *dns, const struct config_redis *redis, struct bundle *bundle,
    struct shared_table *table);
/*
 * A new configuration: where the section or a file that it names is another one, a new connection is made, and the old one serves until
 * the new one answers, for some seconds at most. A changed secret counts at once. -1 (logged, nothing has changed): cannot be used; or
 * from table to Redis or back, which cannot be done.
 */
MUST_CHECK int devices_reload(struct devices *d, const struct config_redis *redis, struct bundle *bundle);
/* Whether that section and its files could be used, without connecting. redis NULL: yes. -1: why. */
MUST_CHECK int devices_try(const struct config_redis *redis, struct bundle *bundle, char *why, size_t why_size);
/* Questions under way are dropped, `done` does not run. Accepts NULL. */
void devices_free(struct devices *d);
/* Copies what it needs. The question's number, or 0: too many under way, out of memory, or fields too long. */
MUST_CHECK uint64_t device_check(struct devices *d, const struct device_ask *ask, device_done_fn *done, void *arg);
void device_cancel(struct devices *d, uint64_t number);
/* An authentic event named this key (lower-case hex; "": all): what is remembered of it is forgotten. */
void devices_changed(struct devices *d, const char *key_hex);
/* Commands to Redis and its connections are counted there; borrowed for ever. */
void devices_count(struct devices *d, const struct redis_metrics *metrics);
struct redis;
/* The Redis that answers now, for another small question of the same process; NULL: the table. Good for one call: a reload may replace it. */
struct redis *devices_redis(struct devices *d);
/* The store answers (always true for the table). */
bool devices_are_up(const struct devices *d);
/* True: a table, where a question costs nothing and no event tells of changes: ask each time. */
bool devices_are_local(const struct devices *d);
/* Only of a table: the record of this key says blocked or quarantined. */
bool device_is_out(struct devices *d, const uint8_t key[SHA256_SIZE]);
/* Fire and forget: HINCRBY daily:<YYYYMMDD> of today (UTC) for each of `n` counts that is not 0, EXPIRE 400 days. False: not sent, keep them. */
bool devices_daily(struct devices *d, const char *const *fields, const uint64_t *counts, unsigned n);

/* --- states --- */
enum device_state { DEVICE_STATE_NONE = 0, DEVICE_STATE_PINNED, DEVICE_STATE_REGISTERED, DEVICE_STATE_BLOCKED, DEVICE_STATE_SEEN,
	DEVICE_STATE_QUARANTINED, DEVICE_STATES };
/* "pinned", ...; "" for NONE. */
const char *device_state_name(enum device_state state);
/* NONE for anything else. */
enum device_state device_state_from(struct strv text);

/* --- the table of a single machine --- */
#define DEVICE_KIND_RECORD 1
struct device_record {			/* the table's value, by key */
	uint32_t kind, state;		/* DEVICE_KIND_RECORD; enum device_state */
	char sid[DEVICE_SID_MAX], device[DEVICE_ID_MAX];
	char upn[DEVICE_UPN_MAX], client[64], command[32], device_type[DEVICE_TYPE_MAX], user_agent[DEVICE_AGENT_MAX];
	uint32_t method, reserved;	/* enum device_method */
	int64_t first_seen, last_seen;
};
#define DEVICE_TABLE_FILE   "devices.tab"	/* in state_dir */
#define DEVICE_TABLE_VALUE  sizeof(struct device_record)
#define DEVICE_TABLE_LAYOUT 2
#define DEVICE_TABLE_ENTRIES 65536
#define DEVICE_TABLE_LIMIT  50		/* devices of an account that the table can count */

/* --- the record in Redis, for whoever writes it --- */
/* out: hex and NUL. state: a state's name. 0 or -1. */
MUST_CHECK int device_record_mac(struct strv secret, const char *key_hex, struct strv sid, struct strv device,
    struct strv state, char out[2 * SHA256_SIZE + 1]);

#endif
