/*
 * device_parts: what device*.c share. Private to them.
 */
#ifndef EASGATE_DEVICE_PARTS_H
#define EASGATE_DEVICE_PARTS_H

#include "common/device.h"
#include "common/redis.h"

#define CERT_HEX (2 * SHA256_SIZE + 1)

/* One question. */
struct device_op {
	struct device_op *next;
	struct devices *owner;
	uint64_t number, command;	/* ours; Redis' (0: none under way) */
	const struct device_store *asked;	/* by `command` */
	device_done_fn *done;
	void *arg;
	bool answered;			/* waits for the loop to deliver `answer` */
	enum device_answer answer;
	bool registered_only, second;	/* second: the pin of a registered record was tried */
	uint8_t certificate[SHA256_SIZE];
	char hex[CERT_HEX];
	char sid[DEVICE_SID_MAX], upn[DEVICE_UPN_MAX], device[DEVICE_ID_MAX], client[64], method[32];
};

/* What is remembered of a certificate: small, since there are thousands. */
struct device_memory {
	uint8_t certificate[SHA256_SIZE];
	uint8_t bound[16];		/* of sid and device: device_bound_hash() */
	uint64_t checked_ms;		/* 0: free */
	uint64_t written_ms;		/* last_seen in the store */
	uint8_t state;			/* enum device_state */
};

/* A Redis as one configuration names it. */
struct device_store {
	struct config_redis config;	/* a copy of its own, without names of files */
	struct redis *redis;
	char *secret;
	size_t secret_n;
	uint8_t truth[SHA256_SIZE];	/* of servers, sentinel, prefix and secret */
	uint8_t whole[SHA256_SIZE];	/* of everything */
};

#define DEVICE_SETS 2048
#define DEVICE_WAYS 4

struct devices {
	struct loop *loop;
	struct evdns_base *dns;
	struct shared_table *table;	/* NULL: Redis */
	struct device_store *store, *leaving;	/* leaving: replaced, serves until `store` answers or switch_over */
	struct deadline switch_over;
	const struct redis_metrics *metrics;
	struct device_op *ops;
	unsigned ops_count;
	uint64_t next_number;
	struct event *deliver;
	struct device_memory (*memory)[DEVICE_WAYS];	/* DEVICE_SETS of them */
	uint64_t believed_from_ms;	/* what was checked before is of records or a secret that count no more */
	uint64_t said_unbelievable_ms;
};

/* A record as the store gave it; texts are borrowed. */
struct device_view {
	struct strv sid, device, state, mac;
};

/* --- device_record.c: pure --- */
enum device_judgement {
	DEVICE_JUDGE_FINAL = 0,		/* *answer */
	DEVICE_JUDGE_BIND,		/* registered without a device yet: bind it to this one, if nobody else was faster */
	DEVICE_JUDGE_UNBELIEVABLE,	/* the mac is wrong */
};
enum device_judgement device_judge(struct strv secret, const struct device_op *op, const struct device_view *view,
    enum device_answer *answer);
enum device_state device_state_from(struct strv text);
void device_bound_hash(struct strv sid, struct strv device, uint8_t out[16]);

/* --- device_store.c --- */
/* The one to ask now. Not with the table. */
struct device_store *device_store(const struct devices *d);
MUST_CHECK int device_store_open(struct devices *d, const struct config_redis *redis, struct bundle *bundle);
void device_store_close(struct devices *d);

/* --- device_redis.c --- */
/* Asks; answers by device_answer_op() at once or later. */
void device_ask_redis(struct devices *d, struct device_op *op);
void device_write_seen(struct devices *d, const struct device_op *op);

/* --- device.c --- */
/* The answer is delivered from the loop. state: what the record says (for memory), NONE: remember nothing. bound: by record. */
void device_answer_op(struct device_op *op, enum device_answer answer);
void device_remember(struct devices *d, const struct device_op *op, enum device_state state, struct strv sid,
    struct strv device);
struct device_memory *device_recall(struct devices *d, const uint8_t certificate[SHA256_SIZE]);

#endif
