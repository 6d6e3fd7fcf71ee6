/*
 * store: where records are kept: Redis, so that all nodes know, or the table that the processes of one node share. A record is read,
 * changed by decide.h and written back only if nobody else has written it meanwhile: of ten nodes that race, one script in Redis (or
 * the table's lock) decides who was first, and the others read again.
 *
 * Redis: hash `lockout:<sid>` with `state` (common/lockout/record.h) and, for people, `absorbed`, `prevented`, `last_bad`; a counter
 * `lockout-address:<tag>`; the hash `daily:<YYYYMMDD>` with `stale_absorbed`, `lockouts_prevented`, `binds_wrong`, `binds_right`.
 * Log events: lockout_store_up, lockout_store_down, lockout_record_refused. *lockout* process.
 */
#ifndef EASGATE_LOCKOUT_STORE_H
#define EASGATE_LOCKOUT_STORE_H

#include "common/bundle.h"
#include "common/config.h"
#include "common/directory/ask.h"
#include "common/lockout/share.h"
#include "common/lockout/record.h"
#include "common/loop.h"
#include "common/redis.h"
#include "common/shared_table.h"

struct lockout_store;

/* The value of the table that the master makes: its config's value_size. */
struct lockout_slot {
	uint32_t n;
	uint8_t bytes[RECORD_BYTES_MAX];
};

struct lockout_store_setup {
	struct loop *loop;
	struct evdns_base *dns;
	const struct config_redis *redis;	/* NULL: the table */
	struct shared_table *table;
	struct bundle *bundle;			/* the files that `redis` names */
	const uint8_t *key;			/* LOCKOUT_KEY bytes, borrowed */
	struct share *share;			/* addresses, with the table */
	const struct redis_metrics *metrics;	/* NULL: none */
};

/* NULL: logged. Borrows all it is given but the bundle. */
struct lockout_store *lockout_store_new(const struct lockout_store_setup *setup);
/* Questions under way end without their callback. Accepts NULL. */
void lockout_store_free(struct lockout_store *s);

enum store_status {
	STORE_FAILED = 0,	/* not to be had, or what is there is no record: nothing may be concluded */
	STORE_DONE,
	STORE_BEATEN,		/* written by somebody else since it was read: read again */
	STORE_ADDRESS,		/* nothing was written: the address has no try left */
};

/* One record on its way: the caller's storage, zeroed, alive until `done` ran or store_cancel(). */
struct store_item {
	char sid[ACCOUNT_SID_MAX];	/* or "?" and a hash: of a name that nobody has */
	uint8_t address[LOCKOUT_TAG];
	uint32_t address_window;	/* seconds from its first try */
	uint32_t window;		/* the record is kept for longer than this */
	/* --- as read --- */
	struct lockout_record record;	/* change it, then write */
	int64_t now, late;		/* see struct lockout_try */
	uint32_t address_tries;
	int64_t address_until;
	/* --- private --- */
	uint8_t bytes[RECORD_BYTES_MAX];
	size_t n;			/* as it stood */
	struct lockout_store *store;
	struct store_item *next;	/* waits for its answer to be delivered */
	uint64_t command;
	enum store_status status;
	void (*done)(void *arg, enum store_status status);
	void *arg;
};
typedef void store_done_fn(void *arg, enum store_status status);

/* What is written beside the record. */
struct store_effects {
	int address;			/* +1, -1, 0: tries of the address */
	uint32_t address_limit;
	bool absorbed, prevented;
	int64_t last_bad;		/* seconds since the epoch; 0: leave */
	const char *daily;		/* a field of `daily:`; NULL: none */
	uint32_t daily_n;
};

/* Both: `done` runs exactly once, from the loop, never within the call. */
void store_read(struct lockout_store *s, struct store_item *item, store_done_fn *done, void *arg);
void store_write(struct lockout_store *s, struct store_item *item, const struct store_effects *effects, store_done_fn *done, void *arg);
void store_cancel(struct store_item *item);	/* harmless when nothing is under way */

#endif
