/*
 * redis: commands to the Redis master on the loop: many pending at once, a deadline each, reconnect with back-off,
 * Sentinel, ACL user, unix sockets, TLS (by OpenSSL directly, whatever hiredis has). The protocol is read by hiredis' reader with bounds of ours: a hostile server
 * costs a closed connection, never memory without end.
 *
 * While there is no master that answers, commands are refused at once: nothing waits for a connection.
 */
#ifndef EASGATE_REDIS_H
#define EASGATE_REDIS_H

#include <hiredis/hiredis.h>

#include "common/config.h"
#include "common/loop.h"

#define REDIS_REPLY_BYTES_MAX	 (4u << 20)	/* of one reply, as it stands on the wire */
#define REDIS_REPLY_ELEMENTS_MAX 65536u		/* of all arrays of one reply together */
#define REDIS_PENDING_MAX	 4096u		/* commands without an answer, timed-out ones included */
#define REDIS_ARGS_MAX		 64

enum redis_status {
	REDIS_DOWN = 0,		/* the connection ended before the answer; the command may or may not have been done */
	REDIS_TIMEOUT,		/* likewise */
	REDIS_ERROR,		/* an error reply: reply->str, reply->len */
	REDIS_ANSWER,
};

struct redis;
struct evdns_base;

/* Numbers of the program's metrics (common/metrics.h). */
struct redis_metrics {
	unsigned commands;	/* counter; sub: enum redis_status, REDIS_NOT_SENT */
	unsigned connections;	/* counter; sub: enum redis_connection_end */
};
enum { REDIS_NOT_SENT = REDIS_ANSWER + 1 };	/* there was no master, or too many commands were under way */
enum redis_connection_end { REDIS_FOUND = 0, REDIS_LOST, REDIS_FAILED };	/* lost: it had been up */

/*
 * From the loop, exactly once for each command that got a number, never from redis_command(). `reply` is borrowed for the call;
 * NULL for DOWN and TIMEOUT. Its type and every length are what the server liked: check them. Must not call redis_free().
 */
typedef void redis_done_fn(void *arg, enum redis_status status, const redisReply *reply);

struct redis_config {
	struct loop *loop;
	const struct config_redis *settings;	/* borrowed until redis_free() */
	struct strv password;			/* n == 0: no AUTH. Copied. */
	struct strv ca_pem;			/* for settings->tls. Not kept. */
	const char *name;			/* for logs; a literal */
	struct evdns_base *dns;			/* borrowed; NULL: one of its own when first needed, where /etc/resolv.conf must still be readable */
	unsigned patience_ms;			/* added to every time limit: as long as a command here may BLOCK the others */
	/* The master was found, or lost. From the loop. Optional. */
	void (*state)(void *arg, bool up);
	void *arg;
};

/* Begins to connect; nothing is answered yet. NULL: `why` says what in the settings cannot be used. */
struct redis *redis_new(const struct redis_config *config, char *why, size_t why_size);
/* Pending commands are dropped, their `done` never runs. Accepts NULL. */
void redis_free(struct redis *r);
/* From now on commands and connections are counted there. `metrics` is borrowed for ever. Harmless with r == NULL. */
void redis_count(struct redis *r, const struct redis_metrics *metrics);
bool redis_is_up(const struct redis *r);
/* Why it is not up: "" while it is. */
const char *redis_problem(const struct redis *r);

/* The command's number, or 0 (done will not run): not connected, too many pending, out of memory. lens NULL: C strings. */
MUST_CHECK uint64_t redis_command(struct redis *r, redis_done_fn *done, void *arg, int argc, const char *const *argv,
    const size_t *lens);
/* With another deadline than settings->timeout_ms (patience_ms is added). */
MUST_CHECK uint64_t redis_command_within(struct redis *r, unsigned timeout_ms, redis_done_fn *done, void *arg, int argc,
    const char *const *argv, const size_t *lens);
/* done will not run any more. Harmless for unknown numbers and r == NULL. */
void redis_cancel(struct redis *r, uint64_t number);

/* --- reading replies: length-safe --- */
/* A string or status; false for all else. */
bool redis_text(const redisReply *reply, struct strv *out);
/* The value of `field` in a flat array name, value, name, value ... False: not there, twice, or no such array. */
bool redis_field(const redisReply *reply, struct strv field, struct strv *out);

#endif
