/*
 * redis_parts: what redis*.c share. Private to them.
 */
#ifndef EASGATE_REDIS_PARTS_H
#define EASGATE_REDIS_PARTS_H

#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <openssl/ssl.h>

#include "common/redis.h"

struct redis_pending {
	struct redis_pending *next;
	struct deadline deadline;
	struct redis *owner;
	uint64_t number, heard;	/* replies that had come when it was sent */
	bool counted;
	redis_done_fn *done;		/* NULL: cancelled or timed out; the answer is awaited all the same */
	void *arg;
};

enum redis_stage {
	REDIS_WAITING = 0,		/* for the back-off timer */
	REDIS_CONNECTING,
	REDIS_INTRODUCING,		/* AUTH, SENTINEL, ROLE */
	REDIS_READY,
};

struct redis {
	struct redis_config c;
	char *password;
	size_t password_n;
	SSL_CTX *tls;
	struct evdns_base *dns;		/* made when the first name is to be resolved */
	enum redis_stage stage;
	struct bufferevent *bev;
	redisReader *reader;
	redisReplyObjectFunctions fn;	/* the reader's, with bounds */
	redisReplyObjectFunctions *plain;
	size_t elements;		/* of the reply that is being read */
	struct redis_pending *first, **last;
	unsigned pending;
	uint64_t next_number, heard;
	struct deadline retry, limit, health;
	unsigned server;		/* of settings->servers */
	unsigned tried;			/* servers in this round */
	unsigned backoff_ms;
	bool on_sentinel, named_by_sentinel;
	char master_host[256];
	uint16_t master_port;
	bool dropping;
	char problem[256];
	bool said;			/* that it is down */
	const struct redis_metrics *metrics;	/* NULL: none are kept */
};

/* --- redis_reply.c --- */
/* A reader whose arrays are bounded. -1: out of memory. */
MUST_CHECK int redis_reader_new(struct redis *r);
void redis_reader_free(struct redis *r);

/* --- redis_connect.c --- */
/* Starts with the next server, or waits. */
void redis_connect(struct redis *r);
/* Ends the connection, answers what is pending with DOWN, and sees to the next try. Safe when there is none. */
PRINTF(2, 3) void redis_drop(struct redis *r, const char *fmt, ...);

/* --- redis.c --- */
/* Without regard to the stage. 0: too many, or out of memory. */
uint64_t redis_send(struct redis *r, unsigned timeout_ms, redis_done_fn *done, void *arg, int argc,
    const char *const *argv, const size_t *lens);
void redis_on_read(struct bufferevent *bev, void *arg);
void redis_answer_all_down(struct redis *r);
void redis_count_connection(const struct redis *r, enum redis_connection_end end);

#endif
