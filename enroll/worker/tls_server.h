/*
 * tls_server: the TLS side of our own listeners: certificate and key, what clients may speak, and whose certificates prove a
 * device (EST). Opens no file: PEM comes from the bundle. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_TLS_SERVER_H
#define EASGATE_ENROLL_TLS_SERVER_H

#include <openssl/ssl.h>

#include "common/bundle.h"
#include "enroll/settings.h"

/* TLS 1.2 and 1.3, no resumption, a client certificate asked for but not demanded. NULL with why (TLS_WHY_MAX or more bytes). */
SSL_CTX *tls_server_new(const struct enroll_listener *l, struct bundle *files, char *why, size_t size);
/* Client certificates count from now on if they chain to one of these (DER certificates, each an anchor). 0 or -1. */
MUST_CHECK int tls_server_trust(SSL_CTX *ctx, const STACK_OF(X509) *anchors);
/* The client's certificate, proven by the handshake and chaining to an anchor with the purpose of a client; NULL: none. Borrowed from ssl. */
X509 *tls_server_peer(SSL *ssl);

/*
 * The names of one connection: tls-exporter (RFC 9266) and, with TLS 1.2, tls-unique (RFC 5929 §3: the client's Finished, as nothing resumes here); with TLS 1.2
 * only where both sides use the extended master secret (RFC 7627), without which another connection may have the same names. Zeroed: none.
 */
struct tls_binding {
	uint8_t exported[2][32], unique[12];
	bool is_tls_1_2, known;
};
/* After the handshake; with TLS 1.2 before tls_forget_peer() takes the secrets away. */
void tls_binding_take(SSL *ssl, struct tls_binding *out);
/* Whether this base64 text is one of them. */
bool tls_binding_is(const struct tls_binding *b, struct strv base64);

#endif
