/*
 * upstream_group: what the files upstream*.c share of servers and groups. Nobody else includes it.
 */
#ifndef EASGATE_UPSTREAM_GROUP_H
#define EASGATE_UPSTREAM_GROUP_H

#include "common/address.h"
#include "proxy/worker/upstream.h"

#define SERVER_ADDRESSES 8
#define POOL_SLOTS	 1024

struct health_check;

struct upstream_server {
	struct upstreams *owner;
	unsigned group, index;
	char *text;			/* as configured */
	struct server_url url;
	char *tls_name, *host_field;
	struct address addresses[SERVER_ADDRESSES];
	unsigned addresses_n, next_address;
	bool healthy, known;		/* known: a check has ended */
	struct evdns_getaddrinfo_request *resolving;
	struct health_check *check;
	struct deadline again;		/* next look-up and check */
};

struct upstream_group {
	struct upstream_server *servers;
	unsigned servers_n, turn;
	SSL_CTX *tls;			/* NULL: all plain */
	/* copied from the settings, which end with their configuration */
	uint32_t connect_ms, health_ms, idle_ms, pool;
	unsigned health_status;
	struct strv *names;		/* of the servers, and server_name; borrowed from them */
	size_t names_n;
	char *health_path;
	char *name;
};

struct upstreams {
	struct loop *loop;
	struct evdns_base *dns;
	struct upstream_group *groups;
	unsigned groups_n;
	unsigned users;			/* connections, attempts, look-ups; freed when retired and 0 */
	bool retired;
	struct upstream_conn *slot[POOL_SLOTS];	/* idle by account */
	struct upstream_conn *newest, *oldest;	/* idle by age */
	unsigned idle;
};

void upstreams_maybe_free(struct upstreams *u);
struct upstream_server *upstream_pick(struct upstreams *u, unsigned group, uint32_t tried);
/* Begins a connection to that server; done runs from the loop with NULL on failure (logged, server marked). */
struct upstream_attempt;
typedef void upstream_attempt_fn(void *arg, struct upstream_conn *conn);
struct upstream_attempt *upstream_connect(struct upstream_server *s, upstream_attempt_fn *done, void *arg);
void upstream_connect_cancel(struct upstream_attempt *a);
void upstream_close(struct upstream_conn *c);
/* Marks and says it once when it changes. */
void upstream_mark(struct upstream_server *s, bool healthy, const char *why);
void upstream_health_start(struct upstream_server *s);
void upstream_health_stop(struct upstream_server *s);

#endif
