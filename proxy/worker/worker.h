/*
 * worker: the process that devices talk to. This header is what its stages share: the configuration in force, the tables,
 * the ways to other processes. One worker is one event loop; nothing in it blocks.
 */
#ifndef EASGATE_WORKER_H
#define EASGATE_WORKER_H

#include <event2/dns.h>

#include "common/http_head.h"
#include "common/process.h"
#include "proxy/kerberos/ask.h"
#include "proxy/settings.h"
#include "proxy/worker/account.h"
#include "proxy/worker/credential.h"
#include "proxy/worker/handshake.h"
#include "proxy/worker/password.h"
#include "proxy/worker/revocation.h"
#include "proxy/worker/upstream.h"

#define WORKER_KERBEROS_MAX 16

struct crowd;
struct devices;
struct switches;
struct jwt_keys;
struct session;
struct listener;
struct admin;

/* One configuration with all that was built from it. Sessions look at worker->now per request; the old one goes when swapped. */
struct worker_config {
	struct settings *settings;
	struct tls_hosts *hosts;
	struct upstreams *upstreams;
	struct jwt_keys *keys;		/* NULL without proxy.bearer, and while nobody could fetch them */
	int64_t keys_until;		/* so long they count, seconds since the epoch */
	uint8_t keys_sum[SHA256_SIZE];	/* of what they were read from */
};

struct worker {
	struct child *child;
	struct loop *loop;
	struct evdns_base *dns;
	struct worker_config *now;
	unsigned keys_number;		/* counts sets of keys that *revocation* has fetched: tokens are checked anew under each */
	uint64_t keys_asked_ms;		/* when it was last asked for more */
	unsigned configuration;		/* counts reloads: what was asked before one is asked anew where it may mean something else */
	struct asker *directory;
	struct asker *lockout;
	struct asker *revocation_asker;
	struct asker *kerberos[WORKER_KERBEROS_MAX];
	unsigned kerberos_n;
	struct account_cache *accounts;
	struct credentials *credentials;
	struct revocation *revocation;
	struct devices *devices;
	struct switches *switches;
	uint64_t daily[METHODS];	/* requests by enum method that no daily figure holds yet */
	struct listener *listeners;	/* accept.c */
	struct admin *admin;		/* admin.c */
	char directory_down[256];	/* what *directory* last said it misses; "": nothing */
	struct crowd *crowd;		/* sessions by their address, where that is limited; room.c */
	uint64_t crowd_next_ms;		/* when a crowd may be said again */
	unsigned crowd_unsaid;
	struct session *newest;		/* all sessions of this worker */
	unsigned sessions, most_sessions;	/* now; since memory was given back last */
	uint64_t next_session;
	bool draining;
	struct deadline drain_end, sweep, calm, links;
	uint8_t secret[SHA256_SIZE];	/* keys session_hash(); this process's own */
	struct http_head head;		/* scratch: the head parsed last; see head_owner */
	const struct session *head_owner;
};

/* Builds everything that `settings` (taken, also on failure) needs from `files` (borrowed). NULL with why. loop == NULL: a trial, nothing starts. */
struct worker_config *worker_config_new(struct loop *loop, struct evdns_base *dns, struct settings *settings, struct bundle *files,
    struct session_records *records, char *why, size_t why_size);
void worker_config_free(struct worker_config *c);
/* Takes the keys that *revocation* has put into state_dir. True: they are others than before. What is there and cannot be read changes nothing. */
bool worker_config_fetched_keys(struct worker_config *c);

struct shared_table;
/* Set by the master's prepare() before any fork: the node's tables. devices: NULL where Redis keeps that state. */
void worker_use_tables(struct session_records *records, struct shared_table *devices);
struct session_records *worker_session_records(void);
struct shared_table *worker_device_table(void);
/* In every other role, first thing: the secrets of TLS sessions and devices' records are the workers' alone, and fork has mapped them here too. */
void worker_forget_tables(void);

/* The role's life. Returns the exit status. */
int worker_process(struct child *child);

/* A session has gone: accepting may go on, draining may be over. */
void worker_session_gone(struct worker *w);

#endif
