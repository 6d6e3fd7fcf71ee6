/*
 * device_parts: what device*.c share. Private to them.
 */
#ifndef EASGATE_DEVICE_PARTS_H
#define EASGATE_DEVICE_PARTS_H

#include "common/device.h"
#include "common/redis.h"

/* One question. */
struct device_op {
	struct device_op *next;
	struct devices *owner;
	uint64_t number, command_number;	/* ours; Redis' (0: none under way) */
	const struct device_store *asked;	/* by it */
	device_done_fn *done;
	void *arg;
	bool answered;			/* waits for the loop to deliver `answer` */
	enum device_answer answer;
	bool second;			/* the binding of a record was tried */
	bool binds, registered_only, note, quarantine, look_only;
	enum device_method method;
	unsigned limit, days;
	uint8_t key[SHA256_SIZE];
	char hex[DEVICE_KEY_HEX];
	char sid[DEVICE_SID_MAX], upn[DEVICE_UPN_MAX], device[DEVICE_ID_MAX], client[64], command[32];
	char device_type[DEVICE_TYPE_MAX], user_agent[DEVICE_AGENT_MAX];
};

/* What is remembered of a key: small, since there are thousands. */
struct device_memory {
	uint8_t key[SHA256_SIZE];
	uint8_t bound[16];		/* of sid and device: device_bound_hash() */
	uint8_t owner[16];		/* of sid alone */
	uint64_t checked_ms;		/* 0: free */
	uint64_t written_ms;		/* last_* in the store */
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
#define DEVICE_SEEN_MS 60000	/* last_* are written no more often */

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
	DEVICE_JUDGE_BIND,		/* bound to no device yet: bind it to this one, if nobody else was faster; the state becomes device_bound_state() */
	DEVICE_JUDGE_UNBELIEVABLE,	/* the mac is wrong */
};
/* A record that is believed. */
enum device_judgement device_judge_state(const struct device_op *op, enum device_state state, struct strv sid, struct strv device,
    enum device_answer *answer);
/* The same with its mac. */
enum device_judgement device_judge(struct strv secret, const struct device_op *op, const struct device_view *view,
    enum device_answer *answer);
/* What a new device becomes by this question; NONE: nothing is made. */
enum device_state device_new_state(const struct device_op *op);
/* What the question is answered when that was made. */
enum device_answer device_new_answer(const struct device_op *op, enum device_state made);
/* What a record becomes that is bound by this question. */
enum device_state device_bound_state(enum device_state before);
/* A record that ends some time after its last use. */
bool device_state_ends(enum device_state state);
void device_bound_hash(struct strv sid, struct strv device, uint8_t out[16]);

/* --- device_table.c --- */
enum device_answer device_ask_table(struct devices *d, const struct device_op *op);

/* Of an account: it counts no more. */
void device_table_uncount(struct shared_table *table, const char *sid, const uint8_t key[SHA256_SIZE]);

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
/* The answer is delivered from the loop. */
void device_answer_op(struct device_op *op, enum device_answer answer);
/* state: what the record says (for memory), NONE: that there is none. sid and device: by the record. */
void device_remember(struct devices *d, const struct device_op *op, enum device_state state, struct strv sid,
    struct strv device);
/* What the store says of its last use is due: written, at most once in DEVICE_SEEN_MS. Of what is remembered. */
void device_used(struct devices *d, const struct device_op *op);
struct device_memory *device_recall(struct devices *d, const uint8_t key[SHA256_SIZE]);

#endif
