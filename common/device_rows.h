/*
 * device_rows: records of devices in Redis, read for people. What Redis holds is anybody's: values are cut there, by the script that reads them, before they
 * are sent, so that no record, whatever is in it, is more than some kilobytes here, and one of another type is no record. Judges nothing, checks no mac.
 */
#ifndef EASGATE_DEVICE_ROWS_H
#define EASGATE_DEVICE_ROWS_H

#include "common/device.h"
#include "common/redis.h"

/* One record. Texts are clean UTF-8; what was not, or was too long, is "?". */
struct device_row {
	char key[DEVICE_KEY_HEX];
	char sid[DEVICE_SID_MAX], upn[DEVICE_UPN_MAX], device[DEVICE_ID_MAX], state[16], method[16], command[32];
	char device_type[DEVICE_TYPE_MAX], user_agent[DEVICE_AGENT_MAX], client[64];
	int64_t first_seen, last_seen;	/* 0: never, or not known; at most DEVICE_TIME_MAX */
};
#define DEVICE_TIME_MAX 253402300799	/* the last second of the year 9999 */

#define DEVICE_ROWS_MAX 48	/* of one question */
/* Lower-case hex of a SHA-256. */
bool device_is_key(const char *hex);
/* What stands behind `before` ("easgate:device:"; "" : nothing) is a key: copied to out. */
bool device_key_of(const redisReply *name, const char *before, char out[DEVICE_KEY_HEX]);

/* row NULL: the end; ok: Redis answered. A key without a record gives no row. From the loop. */
typedef void device_rows_fn(void *arg, const struct device_row *row, bool ok);
/* One question; the caller's, until `each` has had the end or the connection is freed. */
struct device_rows {
	device_rows_fn *each;
	void *arg;
	unsigned n;
	char keys[DEVICE_ROWS_MAX][DEVICE_KEY_HEX];
};
/* Copies the keys. -1: not sent. */
MUST_CHECK int device_rows_ask(struct device_rows *q, struct redis *redis, const char *prefix, const char (*keys)[DEVICE_KEY_HEX], unsigned n, device_rows_fn *each,
    void *arg);

#define DEVICE_ROW_FIELDS 11
/* Pure. False: no record. values: what the script gives for one key. row->key is left alone. */
bool device_row_read(const redisReply *values, struct device_row *row);

/* A number of a reply that counts something: 0 where there is none, at most `max`. */
uint64_t device_figure(const redisReply *value, uint64_t max);

#endif
