/*
 * tls_socket: the socket beneath a TLS connection, gathering the records of one large write into one system call.
 *
 * OpenSSL writes each record of 16 KiB by itself; four at a time cost the kernel half as much. While a write is
 * gathered its records stand in one buffer of the process; what the socket does not take at the end is kept with the
 * connection and goes first next time.
 */
#ifndef EASGATE_TLS_SOCKET_H
#define EASGATE_TLS_SOCKET_H

#include <openssl/ssl.h>

#include "common/base.h"

/* As SSL_set_fd(), for a non-blocking socket, which stays the caller's. 0 or -1 (out of memory). */
MUST_CHECK int tls_socket_set(SSL *ssl, int fd);
/*
 * Begins gathering: SSL_write() calls until tls_socket_send() reach the socket together. Until then a socket that gave less
 * than OpenSSL asked for is taken for empty, without asking again: what comes meanwhile makes it readable in the next turn.
 */
void tls_socket_gather(SSL *ssl);
/*
 * Keeps what was gathered back until the next write, which takes it along in the same packet (a session ticket with the
 * first answer). The caller calls tls_socket_send() when that write does not come soon. 0 or -1 (out of memory).
 */
MUST_CHECK int tls_socket_hold(SSL *ssl);
/* Sends what was gathered or left. 1: all has gone; 0: the rest waits for the socket to be writable; -1: the connection failed. */
MUST_CHECK int tls_socket_send(SSL *ssl);

#endif
