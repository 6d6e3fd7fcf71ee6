/*
 * The load generator of `make bench`: what its three files share.
 * A client only: it measures nothing but its own operations; the CPU and memory of the proxy are
 * read by bench/run from outside. One process, one thread, one epoll loop.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_HEAD_MAX    8192   /* longest response head that is understood */
#define LOAD_REQUEST_MAX 1024   /* longest request head that is sent */
#define LOAD_NAME_MAX    64     /* a user's or a device's name, with its NUL */

enum load_mode {
	MODE_FULL,              /* connect, full handshake, one request, close */
	MODE_RESUMED,           /* the same with the session of the connection before */
	MODE_KEEPALIVE,         /* requests on connections that stay open */
	MODE_HOLD,              /* open, send a Ping, hold it unanswered, close on command */
};

struct load_options {
	enum load_mode mode;
	struct sockaddr_in target;
	char *host;             /* SNI and Host; not const because OpenSSL's macro casts it */
	const char *ca;         /* PEM: who may have signed the server's certificate */
	const char *password;   /* NULL: a device shows its certificate; else it has none and sends this, by Basic */
	const char *devices;    /* manifest: "certificate-and-key.pem user device-id" per line */
	unsigned ops;           /* operations of the measured phase */
	unsigned connections;   /* how many are in flight at once */
	size_t down;            /* bytes that the origin is asked to answer */
	size_t up;              /* bytes of the request's body */
	double deadline;        /* seconds for each phase; what is left then has failed */
};

/* One client certificate. Owned by struct load, lives as long as it. */
struct device {
	X509 *certificate;
	EVP_PKEY *key;
	char user[LOAD_NAME_MAX];
	char id[LOAD_NAME_MAX];
};

enum stage {
	STAGE_CLOSED,
	STAGE_CONNECT,
	STAGE_HANDSHAKE,
	STAGE_SEND,
	STAGE_RECEIVE,
	STAGE_IDLE,             /* open, nothing asked */
	STAGE_HELD,             /* a Ping was sent and must not be answered */
};

/* One connection slot: reopened again and again, always for the same device. */
struct conn {
	struct device *device;
	SSL_SESSION *session;   /* newest one the proxy gave; owned */
	SSL *ssl;               /* owned while not STAGE_CLOSED */
	int fd;
	enum stage stage;
	bool server_closes;     /* the answer said `Connection: close` */
	size_t sent;            /* of request and body together */
	size_t request_n;
	size_t head_n;
	bool head_done;
	uint64_t body_left;
	char request[LOAD_REQUEST_MAX];
	char head[LOAD_HEAD_MAX + 1];
};

struct load_counts {
	uint64_t ops;
	uint64_t failures;
	uint64_t handshakes;
	uint64_t resumed;       /* SSL_session_reused said so */
	uint64_t tickets;       /* sessions the proxy offered */
	uint64_t reconnects;    /* kept connections that the proxy closed in good order */
	uint64_t bytes;         /* of answered bodies */
};

struct load {
	struct load_options opt;
	SSL_CTX *ctx;
	int epoll;
	struct device *devices;
	size_t device_n;
	struct conn *conns;
	size_t conn_n;
	size_t conn_next;       /* MODE_HOLD: first slot not used yet */
	struct conn **todo;     /* slots that wait to take an operation: conn_n places */
	size_t todo_n;
	unsigned left;          /* operations of this phase not given to a slot */
	unsigned busy;          /* given and not ended */
	bool keep_session;      /* offer the session of the connection before */
	struct load_counts counts;
	char first_failure[160];
};

/* load_device.c */
int  devices_load(struct load *l);
void devices_free(struct load *l);
int  context_new(struct load *l);
int  request_format(const struct load *l, struct conn *c);

/* load_conn.c; none of these starts another slot: op_queue() leaves that to the loop of load.c */
void op_queue(struct load *l, struct conn *c);
void conn_start(struct load *l, struct conn *c);
void conn_drive(struct load *l, struct conn *c);
void conn_close(struct load *l, struct conn *c);
void conn_fail(struct load *l, struct conn *c, const char *why);

#endif
