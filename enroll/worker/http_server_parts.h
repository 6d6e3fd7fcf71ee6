/*
 * http_server_parts: what the files of the HTTP server share: listeners, connections, requests. For http_server.c, http_room.c,
 * http_connection.c, http_connection_io.c and http_request.c only. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_HTTP_SERVER_PARTS_H
#define EASGATE_ENROLL_HTTP_SERVER_PARTS_H

#include <event2/event_struct.h>

#include "common/address.h"
#include "common/crowd.h"
#include "common/descriptors.h"
#include "common/http_chunk.h"
#include "enroll/metric_table.h"
#include "enroll/worker/http_server.h"
#include "enroll/worker/tls_server.h"

struct http_listener {
	struct http_listener *next;
	struct http_server *server;
	enum http_way way;
	int fd;			/* borrowed */
	struct event *readable;	/* NULL: draining */
	SSL_CTX *tls;
	unsigned index;
};

enum connection_state {
	CONNECTION_HANDSHAKE = 0,
	CONNECTION_IDLE,	/* between requests: not a byte of the next one is there */
	CONNECTION_HEAD,
	CONNECTION_BODY,
	CONNECTION_SERVING,	/* the handler has it; nothing is read */
	CONNECTION_HELD,	/* the answer is there, and waits for http_server_release() */
	CONNECTION_WRITING,
	CONNECTION_LINGER,	/* all was said: what still comes is dropped, so that the answer is not lost to a reset */
};

struct pending;

struct http_connection {
	struct http_connection *next, *prev;
	struct crowd_member crowd;	/* in nowhere: an operator's, by the local socket or the admin listener */
	struct http_connection *held_next, *held_prev;	/* CONNECTION_HELD: in the server's queue */
	uint64_t held_for;
	struct http_server *server;
	struct http_listener *listener;
	int fd;
	SSL *ssl;		/* NULL: clear text */
	struct event on_read, on_write;
	bool reading, writing;	/* events added */
	bool busy;		/* inside connection_run(): replies only queue */
	bool close;		/* after the answer */
	enum connection_state state;
	struct deadline deadline;
	uint64_t body_until_ms;
	struct buffer in, body, out;
	struct http_shared *shared;	/* what `rest` is of; a reference. NULL: the whole answer is in `out` */
	struct strv rest;		/* goes out behind `out` */
	struct http_scan scan;
	struct http_chunk chunk;
	uint64_t left;		/* bytes of a body with a length */
	size_t dropped;		/* while lingering */
	size_t body_counted;	/* in the server's `bodies` */
	struct pending *pending;
	char client[ADDRESS_TEXT_MAX];
	uid_t uid;
	unsigned char *certificate;
	size_t certificate_n;
	struct tls_binding binding;
};

/* A request and what belongs to it. */
struct pending {
	struct http_request r;			/* first: http_reply() is given its address */
	struct pending *next, *prev;		/* all of the server */
	struct http_server *server;
	struct http_connection *connection;	/* NULL: gone */
	struct http_head head;
	char *head_bytes;
	size_t head_n;
	char client[ADDRESS_TEXT_MAX];
	unsigned char *certificate;
	struct buffer body, fields;
	bool close, broken;
};

struct http_server {
	struct loop *loop;
	struct http_server_config config;
	struct http_listener *listeners;
	unsigned listeners_n;
	struct http_connection *first, *last;	/* whose last answer (or whose beginning) is longest ago stands last */
	unsigned connections, operators;	/* all; those of operators */
	struct crowd *crowd;			/* those of the others, by address */
	size_t bodies;				/* bytes of bodies that came and are not answered */
	struct { uint64_t next_ms; unsigned n; } shed[SHED_KINDS];	/* when it may be said again; how many since */
	int spare;				/* descriptors.h */
	struct http_connection *held, *held_last;	/* oldest first: their numbers only grow */
	struct pending *requests;
	struct deadline pause;
	bool draining;
	void (*drained)(void *arg);
	void *drained_arg;
};

enum io { IO_OK, IO_AGAIN, IO_ENDED, IO_LEFT /* gone, or lingering: nothing more to do */ };
#define READ_AT_ONCE 16384

/* http_connection_io.c: what is there into `in` (IO_AGAIN: nothing is there now), and what is in `out` to the kernel (IO_OK: all of it). */
enum io connection_fill(struct http_connection *c);
enum io connection_flush(struct http_connection *c);
void connection_drop_shared(struct http_connection *c);
/* http_connection.c */
void connection_limit(struct http_connection *c, uint64_t ms);	/* the state's deadline, anew */
void connection_start(struct http_listener *l, int fd, const struct sockaddr *from);
void connection_free(struct http_connection *c);
/* The answer stands in c->out. hold: 0, or what it waits for. */
void connection_answer(struct http_connection *c, bool close_after, uint64_t hold);
/* http_server.c: one less. */
void server_connection_gone(struct http_server *s);

/*
 * http_room.c: how many connections there may be, and who goes when there are too many: whoever keeps us waiting longest for a whole request,
 * or with taking its answer. Nobody whose request is being served.
 */
/* Whether somebody on this listener may come in; others may have been closed for that. */
MUST_CHECK bool room_for(struct http_listener *l, const struct sockaddr *from);
/* Closes the one that waits longest. False: there is none. */
MUST_CHECK bool room_make(struct http_server *s, enum enroll_shed why);
/* Counts one that was closed, or not taken, for that reason, and says so once a minute. */
void room_shed(struct http_server *s, enum enroll_shed why, const char *client);
/* c has its name, is in the list and counted with its address; -1: out of memory. */
MUST_CHECK int room_enter(struct http_connection *c, const struct sockaddr *from);
void room_leave(struct http_connection *c);
/* It has its answer: now others wait longer. */
void room_answered(struct http_connection *c);
/* So many more bytes of c's body are there. -1: c itself is the one that has to make room. */
MUST_CHECK int room_body(struct http_connection *c, size_t more);
void room_body_over(struct http_connection *c);
/* http_request.c */
struct pending *pending_new(struct http_connection *c, const struct http_head *head, size_t used);
/* The body has come whole: hands the request to the server's function. */
void pending_serve(struct pending *p);
void pending_free(struct pending *p);
/* An answer without a request: what could not be read. Fills c->out. */
void pending_refuse(struct http_connection *c, unsigned status, const char *text);

#endif
