/*
 * tls: the library's minimum, error text, PEM from bytes, outgoing connections, small idle
 * connections. Must not open files, block, or ask for passwords. Runs in every process that speaks
 * TLS.
 */
#include "common/tls.h"

#include <errno.h>
#include <stdio.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define CERTIFICATES_MAX 1000

/* --- the library --- */

/*
 * The first release of each maintained series with the fix of CVE-2026-45447, the last one that a
 * program like this could be hit by. A series that is not listed and older than the newest here
 * gets no fixes any more.
 */
static const struct {
	unsigned major, minor, patch;
} first_good[] = { { 3, 0, 21 }, { 3, 4, 6 }, { 3, 5, 7 }, { 3, 6, 3 }, { 4, 0, 1 } };

static bool library_good(unsigned major, unsigned minor, unsigned patch)
{
	size_t last = ARRAY_LEN(first_good) - 1;

	for (size_t i = 0; i <= last; i++) {
		if (first_good[i].major == major && first_good[i].minor == minor)
			return patch >= first_good[i].patch;
	}
	return major > first_good[last].major ||
	    (major == first_good[last].major && minor > first_good[last].minor);
}

int tls_library_check(char *why, size_t size)
{
	if (library_good(OPENSSL_version_major(), OPENSSL_version_minor(), OPENSSL_version_patch()))
		return 0;
	snprintf(why, size,
	    "OpenSSL %s lacks security fixes that are relied on here: install 3.0.21, 3.4.6, "
	    "3.5.7, 3.6.3, 4.0.1 or later",
	    OpenSSL_version(OPENSSL_VERSION_STRING));
	return -1;
}

/* --- errors --- */

void tls_error_text(char *out, size_t size)
{
	const char *data = NULL, *reason = NULL;
	int flags = 0;
	unsigned long code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);

	if (code != 0 && ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
	else if (code != 0)
		reason = ERR_reason_error_string(code);
	if (reason == NULL)
		reason = "unknown error";
	if (data != NULL && (flags & ERR_TXT_STRING) != 0 && data[0] != '\0')
		snprintf(out, size, "%s (%s)", reason, data);
	else
		snprintf(out, size, "%s", reason);
	ERR_clear_error();
}

static enum tls_step step_failed(int error, int saved_errno, char *why, size_t size)
{
	unsigned long code = ERR_peek_error();

	if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
	    ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		snprintf(why, size, "cut: the connection ended without close_notify");
	} else if (code != 0) {
		tls_error_text(why, size);
	} else if (error == SSL_ERROR_SYSCALL && saved_errno != 0) {
		snprintf(why, size, "%s", strerror(saved_errno));
	} else {
		snprintf(why, size, "cut: the connection ended without close_notify");
	}
	return TLS_STEP_FAILED;
}

enum tls_step tls_step_result(SSL *ssl, int rc, char *why, size_t size)
{
	int saved_errno = errno;
	int error;

	if (size > 0)
		why[0] = '\0';
	if (rc > 0)
		return TLS_STEP_DONE;
	error = SSL_get_error(ssl, rc);
	switch (error) {
	case SSL_ERROR_WANT_READ:
		return TLS_STEP_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_STEP_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		ERR_clear_error();
		return TLS_STEP_CLOSED;
	default:
		return step_failed(error, saved_errno, why, size);
	}
}

/* --- PEM --- */

static BIO *bytes_bio(struct strv bytes)
{
	if (bytes.n == 0 || bytes.n > INT32_MAX)
		return NULL;
	return BIO_new_mem_buf(bytes.p, (int)bytes.n);
}

/*
 * True when the last failure only says that no further PEM block follows; the queue is then empty.
 */
static bool pem_ended(void)
{
	unsigned long code = ERR_peek_last_error();

	if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
		return false;
	ERR_clear_error();
	return true;
}

STACK_OF(X509) *tls_certificates(struct strv pem, char *why, size_t size)
{
	STACK_OF(X509) *certs = sk_X509_new_null();
	BIO *bio = bytes_bio(pem);
	X509 *cert = NULL;
	char reason[160];

	ERR_clear_error();
	if (certs == NULL || bio == NULL) {
		snprintf(why, size, pem.n == 0 ? "is empty" : "out of memory");
		goto fail;
	}
	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (sk_X509_num(certs) >= CERTIFICATES_MAX || sk_X509_push(certs, cert) <= 0) {
			snprintf(why, size, "holds more than %d certificates", CERTIFICATES_MAX);
			X509_free(cert);
			goto fail;
		}
	}
	if (!pem_ended()) {
		tls_error_text(reason, sizeof(reason));
		snprintf(why, size, "certificate %d in it is malformed: %s", sk_X509_num(certs) + 1,
		    reason);
		goto fail;
	}
	if (sk_X509_num(certs) == 0) {
		snprintf(why, size, "holds no certificate in PEM");
		goto fail;
	}
	BIO_free(bio);
	return certs;
fail:
	BIO_free(bio);
	sk_X509_pop_free(certs, X509_free);
	ERR_clear_error();
	return NULL;
}

/* Instead of OpenSSL's own, which would ask at the terminal. */
static int no_password(char *buf UNUSED, int size UNUSED, int writing UNUSED, void *arg UNUSED)
{
	return -1;
}

EVP_PKEY *tls_private_key(struct strv pem, char *why, size_t size)
{
	BIO *bio = bytes_bio(pem);
	EVP_PKEY *key = NULL;
	char reason[160];

	ERR_clear_error();
	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	BIO_free(bio);
	if (key == NULL) {
		tls_error_text(reason, sizeof(reason));
		snprintf(why, size, "holds no private key in PEM without a password: %s", reason);
	}
	return key;
}

bool tls_key_fits(X509 *certificate, EVP_PKEY *key, const char *file, char *why, size_t size)
{
	bool fits = X509_check_private_key(certificate, key) == 1;

	ERR_clear_error();
	if (!fits)
		snprintf(why, size, "is not the key of certificate %s: name the one that it was made for", file);
	return fits;
}

bool tls_certificate_is_for(X509 *certificate, const char *name)
{
	char any[300];

	if (X509_check_ip_asc(certificate, name, 0) == 1)
		return true;
	/* what a client would ask for below a name with a star */
	if (name[0] == '*')
		snprintf(any, sizeof(any), "any%s", name + 1);
	return X509_check_host(certificate, name[0] == '*' ? any : name, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

bool tls_certificate_is_valid(X509 *certificate, const char *file, char *why, size_t size)
{
	time_t now = time(NULL);

	if (X509_cmp_time(X509_get0_notAfter(certificate), &now) <= 0) {
		snprintf(why, size, "certificate %s has ended: devices refuse it: renew it", file);
		return false;
	}
	if (X509_cmp_time(X509_get0_notBefore(certificate), &now) >= 0) {
		snprintf(why, size, "certificate %s is not valid yet: devices refuse it: see the clock, or wait", file);
		return false;
	}
	return true;
}

/* --- connections --- */

void tls_common_modes(SSL_CTX *ctx)
{
	SSL_CTX_set_mode(ctx,
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_security_level(ctx, 2);
}

SSL_CTX *tls_client_ctx_new(struct strv ca_pem, char *why, size_t size)
{
	STACK_OF(X509) *anchors = tls_certificates(ca_pem, why, size);
	SSL_CTX *ctx = NULL;
	X509_STORE *store;

	if (anchors == NULL)
		return NULL;
	ctx = SSL_CTX_new(TLS_client_method());
	if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
		goto fail;
	store = SSL_CTX_get_cert_store(ctx);
	for (int i = 0; i < sk_X509_num(anchors); i++) {
		if (X509_STORE_add_cert(store, sk_X509_value(anchors, i)) != 1)
			goto fail;
	}
	if (X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) != 1)
		goto fail;
	tls_common_modes(ctx);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	sk_X509_pop_free(anchors, X509_free);
	return ctx;
fail:
	tls_error_text(why, size);
	SSL_CTX_free(ctx);
	sk_X509_pop_free(anchors, X509_free);
	return NULL;
}

SSL *tls_client_new(SSL_CTX *ctx, const char *server_name)
{
	SSL *ssl;
	X509_VERIFY_PARAM *param;

	/* OpenSSL takes an empty name for "any name". */
	if (server_name == NULL || server_name[0] == '\0' || strlen(server_name) > 253)
		return NULL;
	ssl = SSL_new(ctx);
	if (ssl == NULL)
		goto fail;
	param = SSL_get0_param(ssl);
	X509_VERIFY_PARAM_set_hostflags(
	    param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, server_name) != 1) {
		ERR_clear_error();
		if (X509_VERIFY_PARAM_set1_host(param, server_name, 0) != 1 ||
		    SSL_set_tlsext_host_name(ssl, (uintptr_t)server_name) != 1)
			goto fail;
	}
	SSL_set_connect_state(ssl);
	return ssl;
fail:
	SSL_free(ssl);
	ERR_clear_error();
	return NULL;
}

/* --- small idle connections --- */

static const unsigned char no_secret[48];

/*
 * What must stay of a session while its connection lives: cipher and version; for TLS 1.2 also the
 * id context.
 */
static SSL_SESSION *bare_session(const SSL_SESSION *s)
{
	SSL_SESSION *bare = SSL_SESSION_new();

	if (bare == NULL)
		return NULL;
	if (SSL_SESSION_set_cipher(bare, SSL_SESSION_get0_cipher(s)) != 1 ||
	    SSL_SESSION_set_protocol_version(bare, SSL_SESSION_get_protocol_version(s)) != 1 ||
	    SSL_SESSION_set1_master_key(bare, no_secret, sizeof(no_secret)) != 1) {
		SSL_SESSION_free(bare);
		return NULL;
	}
	return bare;
}

/*
 * There is no setter that takes the certificate out of a session. Decoding into an existing object
 * replaces its fields, so a bare session's encoding is decoded into the live one. On any failure
 * the session stays as it was, only bigger.
 */
static void empty_session(SSL_SESSION *live)
{
	unsigned char der[512];
	unsigned char *to = der;
	const unsigned char *from = der;
	SSL_SESSION *bare = bare_session(live);
	int n = bare != NULL ? i2d_SSL_SESSION(bare, NULL) : -1;

	if (n > 0 && (size_t)n <= sizeof(der) && i2d_SSL_SESSION(bare, &to) == n)
		(void)d2i_SSL_SESSION(&live, &from, n);
	SSL_SESSION_free(bare);
	ERR_clear_error();
}

void tls_forget_peer(SSL *ssl)
{
	SSL_SESSION *session = SSL_get_session(ssl);
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);

	/* The list stays the session's; its members go, leaf first on the client's side. */
	while (chain != NULL && sk_X509_num(chain) > 0)
		X509_free(sk_X509_pop(chain));
	if (session == NULL || SSL_SESSION_get0_cipher(session) == NULL)
		return;
	/* One that was resumed here was built bare: only its secret must go. */
	if (SSL_is_server(ssl) && SSL_session_reused(ssl)) {
		(void)SSL_SESSION_set1_master_key(session, no_secret, SSL_SESSION_get_master_key(session, NULL, 0));
		return;
	}
	/*
	 * A peer that asked for short records must go on getting them, and that is noted in the
	 * session.
	 */
	if (SSL_SESSION_get_max_fragment_length(session) == 0)
		empty_session(session);
}
