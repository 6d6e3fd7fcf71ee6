/*
 * The second load generator of `make bench`: HTTP requests that were made before, sent as they are. What its files share.
 * A client only; CPU and memory of easenroll are read from outside. One process, one thread, one epoll loop.
 */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLAY_HEAD_MAX 4096
#define REPLAY_BODY_MAX (64u << 20)

struct replay_options {
	struct sockaddr_in target;
	const char *requests;	/* file: length (4 bytes, network order) and bytes of one request after the other */
	const char *ca;		/* PEM of the server's issuer: TLS; NULL: clear text */
	char *host;		/* SNI and name in the certificate; not const because OpenSSL's macro casts it */
	const char *type;	/* what Content-Type of each answer must be */
	const char *save;	/* bodies of the answers go there, in the requests' order, in the requests' form; NULL: nowhere */
	unsigned ops;		/* more than there are requests: they are sent again from the first */
	unsigned connections;	/* in flight at once */
	bool kept;		/* connections are opened before the figures begin and stay; else one for each request */
	double pace;		/* seconds between two requests of a connection; 0: at once */
	double deadline;	/* seconds; what is left then has failed */
};

struct strand {
	const char *p;
	size_t n;
};

enum stage { STAGE_CLOSED, STAGE_CONNECT, STAGE_HANDSHAKE, STAGE_IDLE, STAGE_SEND, STAGE_RECEIVE };

struct conn {
	SSL *ssl;		/* NULL: clear text or closed */
	int fd;
	enum stage stage;
	bool close;		/* the answer said so */
	bool asked;		/* it has an operation */
	unsigned op;		/* its number */
	size_t sent, head_n, body_n, body_size;
	bool head_done;
	double since, next;	/* when the operation began; when the next may */
	char head[REPLAY_HEAD_MAX + 1];
	char *body;		/* body_size bytes, owned */
};

struct replay {
	struct replay_options opt;
	SSL_CTX *ctx;
	int epoll;
	struct strand *requests;
	size_t request_n;
	struct conn *conns;
	struct strand *answers;	/* ops places where answers are saved; p owned */
	float *took;		/* seconds of each operation */
	unsigned begun, ended, failures, handshakes;
	char first_failure[160];
};

/* replay_conn.c. What is done with an operation ends in replay_ended(). */
void conn_open(struct replay *r, struct conn *c);
void conn_begin(struct replay *r, struct conn *c, unsigned op);
void conn_drive(struct replay *r, struct conn *c);
void conn_close(struct conn *c);
/* replay.c: why NULL: it went well. */
void replay_ended(struct replay *r, struct conn *c, const char *why);
double replay_now(void);

#endif
