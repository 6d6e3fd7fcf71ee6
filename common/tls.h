/*
 * tls: what every TLS connection of ours shares: the library's minimum, error text, reading PEM,
 * outgoing connections. Runs in every process that speaks TLS; opens no file and blocks on nothing.
 */
#ifndef EASGATE_TLS_H
#define EASGATE_TLS_H

#include <openssl/ssl.h>

#include "common/base.h"

#define TLS_WHY_MAX 320 /* room enough for every reason text given here */

/*
 * 0, or -1 with the reason and the cure: the OpenSSL found at run time lacks fixes that we rely on.
 * Call at start.
 */
MUST_CHECK int tls_library_check(char *why, size_t size);

/*
 * Text of the oldest error of this thread's OpenSSL queue, and the queue is empty afterwards. ""
 * gives no text: "unknown error". Call it at the call that failed; call ERR_clear_error() before
 * calls whose failure is read.
 */
void tls_error_text(char *out, size_t size);

enum tls_step {
	/* why says what; the connection is over: free it without SSL_shutdown() */
	TLS_STEP_FAILED = 0,
	TLS_STEP_DONE,
	TLS_STEP_WANT_READ,
	TLS_STEP_WANT_WRITE,
	/* close_notify came, or (handshake) the other side just went away */
	TLS_STEP_CLOSED,
};
/*
 * What the result `rc` of SSL_do_handshake, SSL_read, SSL_write or SSL_shutdown means; drains the
 * error queue. A connection that ends without close_notify is TLS_STEP_FAILED ("cut"): a body that
 * ends with it was cut. The caller has called ERR_clear_error() before the SSL call.
 */
enum tls_step tls_step_result(SSL *ssl, int rc, char *why, size_t size);

/*
 * Certificates of a PEM file's bytes, in order, at least one, at most 1000. Owned by the caller.
 * NULL with why.
 */
STACK_OF(X509) *tls_certificates(struct strv pem, char *why, size_t size);
/* The first private key of a PEM file's bytes, not encrypted. NULL with why. */
EVP_PKEY *tls_private_key(struct strv pem, char *why, size_t size);
/* Whether that key is this certificate's; false with why, which names the certificate's file. */
MUST_CHECK bool tls_key_fits(X509 *certificate, EVP_PKEY *key, const char *file, char *why, size_t size);
/*
 * Whether a client that calls `name` takes the certificate for it: a DNS name, where a first "*" stands for any label, or an IP address without
 * brackets. Only what stands in subjectAltName counts (RFC 9525).
 */
MUST_CHECK bool tls_certificate_is_for(X509 *certificate, const char *name);
/* Whether it is valid at this moment; false with why, which names the certificate's file and the cure. */
MUST_CHECK bool tls_certificate_is_valid(X509 *certificate, const char *file, char *why, size_t size);

/*
 * For outgoing connections: TLS 1.2 and 1.3, the server's chain verified up to one of the
 * certificates in ca_pem (each of them is an anchor). Security level 2. No session cache. The
 * caller frees it; SSLs made from it keep their own reference.
 */
SSL_CTX *tls_client_ctx_new(struct strv ca_pem, char *why, size_t size);
/*
 * A connection that must prove `server_name`: a DNS name (also sent as SNI) or an IP address (no
 * brackets). The caller sets the descriptor (SSL_set_fd) and drives it by SSL_do_handshake. NULL:
 * out of memory, bad name.
 */
SSL *tls_client_new(SSL_CTX *ctx, const char *server_name);

/*
 * After the handshake: drops the other side's parsed certificates from the connection (several kB
 * each) and the session's secret. SSL_get_peer_certificate() gives NULL afterwards and the session
 * resumes nowhere.
 */
void tls_forget_peer(SSL *ssl);

/*
 * Modes, options and buffers that every connection of ours has: small while idle, writes from
 * moving buffers.
 */
void tls_common_modes(SSL_CTX *ctx);

#endif
