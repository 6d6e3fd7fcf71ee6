/*
 * upstream: verified, health-checked, pooled connections to mail servers. A connection belongs to one account for its
 * whole life: mail servers may bind an authentication to it, so two users never share one.
 */
#ifndef EASGATE_UPSTREAM_H
#define EASGATE_UPSTREAM_H

#include <event2/dns.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "common/buffer.h"
#include "common/loop.h"
#include "proxy/settings.h"

struct bundle;
struct upstreams;
struct upstream_op;

struct upstream_conn;
/* What a connection in use tells its user, from the loop. None may free the connection but by upstream_release(). */
struct upstream_user {
	void (*readable)(struct upstream_conn *c, void *arg);	/* call upstream_read() */
	void (*writable)(struct upstream_conn *c, void *arg);	/* an upstream_write() that fell short may go on */
};

struct upstream_conn {
	/* --- for the user --- */
	struct buffer in;		/* bytes from the mail server, not yet consumed */
	struct buffer out;		/* bytes for it, not yet written */
	bool reused;			/* it served another exchange before */
	bool ended;			/* the other side has closed: nothing more will come */
	bool cut;			/* ... and TLS says that somebody cut it off */
	bool last;			/* the user's: never use it again after this exchange */
	const struct upstream_user *user;
	void *arg;
	/* --- private --- */
	struct upstreams *owner;
	unsigned group, server;
	uint8_t account[SHA256_SIZE];
	int fd;
	SSL *ssl;			/* NULL: plain */
	struct event on_read, on_write;
	bool want_write, paused;
	struct deadline deadline;
	struct upstream_conn *next, *prev;	/* idle: newest first */
	struct upstream_conn *hash_next;
};

/* conn: in use by the callee; NULL: no server of the group can be had. Once, from the loop. */
typedef void upstream_done_fn(void *arg, struct upstream_conn *conn);

/* Resolves, and starts checking health at once. NULL with why (file, reason, cure). One reference is the caller's. */
struct upstreams *upstreams_new(struct loop *loop, struct evdns_base *dns, const struct settings *settings, struct bundle *files,
    char *why, size_t why_size);
/* Idle connections and health checks end; connections in use end when released. */
void upstreams_retire(struct upstreams *u);

/*
 * A connection of `group` for this account. 1: *conn is one that was idle. 0: `done` will run; *op cancels.
 * -1: no healthy server.
 */
MUST_CHECK int upstream_get(struct upstreams *u, unsigned group, const uint8_t account[SHA256_SIZE], upstream_done_fn *done, void *arg,
    struct upstream_conn **conn, struct upstream_op **op);
void upstream_cancel(struct upstream_op *op);	/* accepts NULL */
/* `reusable`: an exchange ended cleanly and nothing is left to read or write; else it is closed. Accepts NULL. */
void upstream_release(struct upstream_conn *c, bool reusable);

/* Reads what there is into c->in, at most its ceiling. > 0: bytes; 0: nothing now; -1: closed or failed (c->ended). */
long upstream_read(struct upstream_conn *c);
/* True: bytes wait inside TLS that no event will announce: read again. */
static inline bool upstream_has_more(const struct upstream_conn *c)
{
	return c->ssl != NULL && SSL_has_pending(c->ssl) == 1;
}
/* Writes; returns how many bytes went (then `writable` will tell when more may), or -1: failed. */
long upstream_write(struct upstream_conn *c, const char *p, size_t n);
/* Stops and resumes `readable`: back-pressure. */
void upstream_pause(struct upstream_conn *c, bool paused);
/* "https://ex1.corp.example" for logs; the name for Host. */
const char *upstream_server_name(const struct upstream_conn *c);
/* The host names of all servers of its group, and server_name: what a Location of theirs may name. Borrowed. */
const struct strv *upstream_names(const struct upstream_conn *c, size_t *n);
const char *upstream_host_field(const struct upstream_conn *c);

/* For metrics and /readyz: servers in order over all groups; false: no such. */
bool upstream_health(const struct upstreams *u, unsigned index, const char **group, const char **server, bool *healthy);
bool upstream_group_is_healthy(const struct upstreams *u, unsigned group);

#endif
