/*
 * device_admin: what an administrator does with the records of devices: look, let in, block, forget. For both programs: in Redis with the
 * fleet's secret, and in the table of a single machine. Each change in Redis is one atomic act, with the event that tells the nodes.
 *
 * Only a record with a right mac can be let in: whoever can write to Redis cannot have one signed by letting an administrator look at it.
 */
#ifndef EASGATE_DEVICE_ADMIN_H
#define EASGATE_DEVICE_ADMIN_H

#include "common/device_rows.h"

enum device_act {
	DEVICE_RELEASE = 1,	/* becomes registered: a waiting or blocked one is let in, for good */
	DEVICE_BLOCK,		/* 403 from now on; it counts no more */
	DEVICE_FORGET,		/* the record goes: a pin is free, and the device new again */
};
enum device_act_result {
	DEVICE_ACT_DOWN = 0,	/* Redis did not answer, or answered what cannot be */
	DEVICE_ACT_DONE,
	DEVICE_ACT_NOBODY,	/* no such record */
	DEVICE_ACT_FOREIGN,	/* its mac is not the fleet's: it can be blocked or forgotten, not let in */
	DEVICE_ACT_CHANGED,	/* it became another one meanwhile: look again */
};
const char *device_act_result_text(enum device_act_result result);

/* --- in Redis; all of it borrowed until the last callback --- */
struct device_admin {
	struct redis *redis;
	const char *prefix;
	struct strv secret;
};
typedef void device_act_fn(void *arg, enum device_act_result result);
/* `done` once from the loop. -1: not a key, or not sent. now: seconds since the epoch. */
MUST_CHECK int device_admin_act(const struct device_admin *a, const char *key_hex, enum device_act act, int64_t now, device_act_fn *done,
    void *arg);

enum device_list { DEVICE_LIST_ALL = 0, DEVICE_LIST_WAITING };
#define DEVICE_LIST_MAX 100000	/* records of one list */
/* row NULL: the end; ok: all was read. From the loop. */
typedef device_rows_fn device_list_fn;
/*
 * One record after the other, by SCAN or the set of those that wait: never KEYS. Of those that wait, who waits longest first: `skip` are left out, and at
 * most `limit` come. -1: not sent.
 */
MUST_CHECK int device_admin_list(const struct device_admin *a, enum device_list what, unsigned skip, unsigned limit, device_list_fn *each, void *arg);

/* --- in the table --- */
enum device_act_result device_table_act(struct shared_table *table, const char *key_hex, enum device_act act);
void device_table_list(struct shared_table *table, enum device_list what, device_list_fn *each, void *arg);

#endif
