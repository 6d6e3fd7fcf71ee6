/*
 * ldap_stream: the bytes under one LDAP connection: a non-blocking socket, TLS on it when asked
 * for, and two buffers that libldap reads from and writes to as if they were the socket (a
 * Sockbuf_IO). So libldap is a codec here: it never opens, never waits and never sees the network.
 */
#ifndef EASGATE_DIRECTORY_LDAP_STREAM_H
#define EASGATE_DIRECTORY_LDAP_STREAM_H

#include <event2/buffer.h>
#include <lber.h>
#include <openssl/ssl.h>

#include "common/loop.h"

#define LDAP_STREAM_IN_MAX  (4u << 20) /* received and not yet taken by libldap */
#define LDAP_STREAM_OUT_MAX (4u << 20) /* written by libldap and not yet sent */

struct ldap_stream {
	struct loop *loop;
	int fd;	  /* -1: closed */
	SSL *ssl; /* NULL: in clear */
	bool handshaking;
	bool broken; /* `failed` is on its way */
	unsigned
	    generation; /* of the socket: a callback that finds another one has lost its stream */
	struct evbuffer *in, *out;
	struct event *readable, *writable;
	/* From the loop. Each may close the stream. `why` is valid for the call. */
	void (*received)(void *arg);
	void (*secured)(void *arg);
	void (*failed)(void *arg, const char *why);
	void *arg;
	char why[256];
};

/* The layer for ber_sockbuf_add_io(); its argument is the stream. */
extern Sockbuf_IO ldap_stream_io;

/* Zeroed storage with the callbacks set. Takes fd, also on failure. 0 or -1: out of memory. */
MUST_CHECK int ldap_stream_open(struct ldap_stream *s, struct loop *loop, int fd);
/* Closes; the storage may be opened again. Harmless when closed. */
void ldap_stream_close(struct ldap_stream *s);
/*
 * Begins TLS; `secured` or `failed` follows. The certificate must be valid for `host`, a name or an
 * address. What came in before the handshake must have been read: bytes that wait are an attack,
 * and a failure. 0, or -1 with s->why.
 */
MUST_CHECK int ldap_stream_secure(struct ldap_stream *s, SSL_CTX *tls, const char *host);
/* Sends what libldap has written; the rest follows when the socket takes it. A failure is told from
 * the loop. */
void ldap_stream_flush(struct ldap_stream *s);
/* Nothing more is read; `failed` is told from the loop. */
void ldap_stream_break(struct ldap_stream *s, const char *why);

/* The context for it: TLS 1.2 or later, server certificates verified. `ca` NULL: the system's. NULL
 * with why. */
SSL_CTX *ldap_tls_new(const struct strv *ca, char *why, size_t why_size);

#endif
