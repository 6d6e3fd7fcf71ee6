/*
 * server: HTTP around the commands: who asks, which command, which answer to the rest.
 * evhttp serves here because only a proxy and tests stand before it: not for the open network.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_SERVER_H
#define MAIL_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>
#include <openssl/ssl.h>

struct server_options {
	const char *address;            /* without brackets */
	uint16_t port;                  /* 0: the kernel chooses */
	const char *user_header;        /* trusted; NULL: none */
	bool basic;                     /* Basic names the user, with any password */
	const char *domain;
	bool log;
	SSL_CTX *tls;                   /* borrowed; NULL: plain HTTP */
};

struct server;

/* Listens. `o` is borrowed for the server's life. NULL: see errno. */
struct server *server_new(struct event_base *base, const struct server_options *o);

/* The port that it listens on. */
uint16_t server_port(const struct server *s);

/* Takes no more connections and answers what waits. server_free() may follow when that is sent. */
void server_stop(struct server *s);
void server_free(struct server *s);

#endif
