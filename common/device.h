/*
 * device: which device a certificate is bound to. One contract for both programs: in Redis the hash `device:<certificate
 * sha256>` (DESIGN §6), on a single machine a file-backed shared table. Runs in workers; asks on the loop, never blocks.
 *
 * Fields in Redis: sid, upn, device (the ActiveSync device id; "" until the first use of a registered certificate), state
 * (pinned: bound by its first use; registered: bound by enrolment; blocked), first_seen, last_seen (seconds), last_client,
 * last_method, mac. mac = lower-case hex HMAC-SHA256 with the fleet's secret over
 *     device-record \n certificate \n sid \n device \n state
 * A record that would let somebody in without a right mac is not believed; "blocked" needs none. Without a fleet secret no
 * record can be believed: every answer is then DEVICE_UNAVAILABLE, said once in the log.
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
#define DEVICE_ASKS_MAX	 1024	/* questions under way per worker */

enum device_answer {
	DEVICE_UNAVAILABLE = 0,	/* nobody could say, or the record cannot be believed: 503 */
	DEVICE_ALLOWED,
	DEVICE_PINNED,		/* allowed: this very question bound it */
	DEVICE_OTHER,		/* the certificate is another device's, or another account's: 403 */
	DEVICE_UNREGISTERED,	/* enrolment did not bind it, and that is demanded: 403 */
	DEVICE_BLOCKED,		/* 403 */
};
const char *device_answer_text(enum device_answer answer);

struct device_ask {
	const uint8_t *certificate;	/* SHA256_SIZE bytes */
	const char *sid, *upn;		/* of the account; sid must not be "" */
	const char *device_id;		/* of the request; not "" */
	const char *client, *method;	/* for the record: address and command; may be NULL */
	bool registered_only;		/* true: only what enrolment bound; false: the first use binds */
};

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
/* An authentic event named this certificate (lower-case hex; "": all): what is remembered of it is forgotten. */
void devices_changed(struct devices *d, const char *certificate_hex);
/* Commands to Redis and its connections are counted there; borrowed for ever. */
void devices_count(struct devices *d, const struct redis_metrics *metrics);
/* The store answers (always true for the table). */
bool devices_are_up(const struct devices *d);

/* --- the table of a single machine --- */
enum device_state { DEVICE_STATE_NONE = 0, DEVICE_STATE_PINNED, DEVICE_STATE_REGISTERED, DEVICE_STATE_BLOCKED };

struct device_record {			/* the table's value, by certificate */
	char sid[DEVICE_SID_MAX], device[DEVICE_ID_MAX];
	char upn[DEVICE_UPN_MAX], client[64], method[32];
	int64_t first_seen, last_seen;
	uint32_t state, reserved;	/* enum device_state */
};
#define DEVICE_TABLE_FILE   "devices.tab"	/* in state_dir */
#define DEVICE_TABLE_VALUE  sizeof(struct device_record)
#define DEVICE_TABLE_LAYOUT 1
#define DEVICE_TABLE_ENTRIES 65536

/* --- the record in Redis, for whoever writes it --- */
/* out: hex and NUL. state: "pinned", "registered". 0 or -1. */
MUST_CHECK int device_record_mac(struct strv secret, const char *certificate_hex, struct strv sid, struct strv device,
    struct strv state, char out[2 * SHA256_SIZE + 1]);

#endif
