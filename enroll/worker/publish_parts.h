/*
 * publish_parts: what the files of publish share. Worker process.
 */
#ifndef EASGATE_ENROLL_PUBLISH_PARTS_H
#define EASGATE_ENROLL_PUBLISH_PARTS_H

#include "common/redis.h"
#include "enroll/worker/proxy_link.h"
#include "enroll/worker/publish.h"

#define SECRET_MAX	512
#define KEY_MAX		400
#define OPS_MAX		512
#define WHOLE_MAX	16
#define STREAM_LENGTH	"100000"
#define ENTRIES_MS	10000

struct publish_op {
	struct publish_op *next, *prev;
	struct publish *p;
	unsigned waiting;
	bool ok;
	char issuer[REGISTRY_HEX];	/* of a list */
	publish_done_fn *done;
	publish_seen_fn *seen;
	void *arg;
};

#define PUBLISH_SAID 64

/*
 * How many changes of an issuer this process has sent. Redis holds the number beside them (field `told` of crl:<issuer>), so a server that came back
 * with an older copy, or a replica that took over before it had all, says another one.
 */
struct publish_told {
	char issuer[REGISTRY_HEX];	/* "": nobody's */
	uint64_t n;
};

struct publish {
	struct redis *redis;		/* NULL: none */
	struct proxy_link *link;	/* NULL: none */
	bool proxy_is_new;
	char *prefix;
	void (*up)(void *arg);
	void *arg;
	struct publish_op head;
	unsigned ops;
	char token[33];			/* of this process: who else wrote crl:<issuer> does not have it */
	char whole[WHOLE_MAX][REGISTRY_HEX], lost[WHOLE_MAX][REGISTRY_HEX];
	struct publish_told told[WHOLE_MAX];
	size_t secret_n;
	char secret[SECRET_MAX];
	uint8_t said[PUBLISH_SAID][SHA256_SIZE];	/* MACs of the newest events: none is said twice */
	unsigned said_next;
};

/* NULL: too many, no memory, or nobody is there. */
struct publish_op *publish_op_new(struct publish *p, publish_done_fn *done, void *arg);
void publish_op_drop(struct publish_op *op);
/* Drops it and tells. */
void publish_op_end(struct publish_op *op);
/* One more command of it. */
void publish_put(struct publish_op *op, int argc, const char *const *argv);
/* 0: under way. -1: nothing was sent, the op is gone. */
MUST_CHECK int publish_op_sent(struct publish_op *op);
/* After all other commands of a change of this issuer: one more was told. */
void publish_tell(struct publish_op *op, const char *issuer);
/* How many were, in decimal. */
void publish_told_text(struct publish *p, const char *issuer, char out[24]);
/* There is nobody to tell: done. */
MUST_CHECK int publish_to_nobody(publish_done_fn *done, void *arg);
/* Without leading zeros, as DESIGN §6 has it. out: 2 * REGISTRY_SERIAL + 1. */
void publish_serial_text(const uint8_t serial[REGISTRY_SERIAL], char *out);

#endif
