/*
 * follow_parts: what follow*.c share. Private to them.
 */
#ifndef EASGATE_REVOCATION_FOLLOW_PARTS_H
#define EASGATE_REVOCATION_FOLLOW_PARTS_H

#include "common/redis.h"
#include "proxy/revocation/event.h"
#include "proxy/revocation/follow.h"
#include "proxy/revocation/serials.h"

#define FOLLOW_BLOCK_MS 1000	/* how long XREAD waits; the other commands wait behind it */

enum follow_stage {
	FOLLOW_DOWN = 0,
	FOLLOW_LOOKING,		/* where does the stream begin and end? */
	FOLLOW_CATCHING_UP,	/* events since this node's position */
	FOLLOW_LOADING,		/* the hashes */
	FOLLOW_FOLLOWING,
};

struct stream_id {
	uint64_t ms, number;
};

/* When crl:<issuer> says that it was written, by this machine's clock. */
enum follow_written { WRITTEN_NOW = 0, WRITTEN_LONG_AGO, WRITTEN_AHEAD };

struct follow_issuer {
	uint8_t key[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1];
	bool loaded;		/* in this run */
	bool replace;		/* an authentic reload named it: the next load is the whole truth */
	int published;		/* crl:<issuer> was there in the last round: 1, -1: it was not, 0: not asked yet */
	enum follow_written written;
};

struct follow {
	struct follow_config c;
	struct redis *redis;
	enum follow_stage stage;
	struct stream_id position;
	struct stream_id checked, looked_from;	/* the position at the last look, and at the one under way */
	struct stream_id first, last;	/* of the stream, as last looked at; 0-0: empty */
	bool load_all;			/* after catching up */
	struct follow_issuer *issuers;
	unsigned issuers_count;
	uint64_t chain, look;		/* commands under way: XREAD or HSCAN; XRANGE. A failure cancels both */
	unsigned loading;		/* which one */
	char cursor[24];
	struct serials list;
	unsigned bad_fields;
	struct event_guard guard;
	struct deadline retry, round;
	bool batch_changed;
	unsigned asked, answered;	/* crl:<issuer> of this round, in the order of issuers */
	char problem[256];
};

/* --- follow.c --- */
/* Sends and keeps the number in *slot (chain or look); on failure sees to a retry. */
void follow_ask(struct follow *f, uint64_t *slot, unsigned timeout_ms, redis_done_fn *done, int argc, const char *const *argv);
void follow_key(const struct follow *f, char *out, size_t size, const char *what, const char *issuer_hex);
/* Says what went wrong (once) and begins anew in a second. status: what the callback got. */
void follow_failed(struct follow *f, const char *what, enum redis_status status, const redisReply *reply);
void follow_begin(struct follow *f);

/* --- follow_load.c --- */
/* Loads the hashes that are due, then follow_read(). */
void follow_load(struct follow *f);
/* Asks for crl:<issuer> of all, and confirms. */
void follow_confirm(struct follow *f);

/* --- follow_events.c --- */
/* Reads the next events: without waiting while catching up. */
void follow_read(struct follow *f);
/* "ms-number". 0 or -1. */
MUST_CHECK int stream_id_read(struct strv text, struct stream_id *out);
int stream_id_compare(struct stream_id a, struct stream_id b);

#endif
