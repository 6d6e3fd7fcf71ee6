/*
 * ldap_stream: socket and TLS to buffers, buffers to libldap. Knows no LDAP message.
 * Must never block, and never hand a byte on from a server whose certificate was not verified.
 * Runs in the *directory* process.
 */
#include "common/directory/ldap_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_STEP 16384

/* --- the layer under libldap --- */

static int io_setup(Sockbuf_IO_Desc *d, void *arg)
{
	d->sbiod_pvt = arg;
	return 0;
}

static int io_remove(Sockbuf_IO_Desc *d)
{
	d->sbiod_pvt = NULL;
	return 0;
}

static int io_ctrl(Sockbuf_IO_Desc *d, int opt, void *arg)
{
	const struct ldap_stream *s = d->sbiod_pvt;

	(void)arg;
	return opt == LBER_SB_OPT_DATA_READY && s->in != NULL && evbuffer_get_length(s->in) > 0;
}

static ber_slen_t io_read(Sockbuf_IO_Desc *d, void *buf, ber_len_t len)
{
	const struct ldap_stream *s = d->sbiod_pvt;
	int n = s->in != NULL ? evbuffer_remove(s->in, buf, len) : -1;

	if (n > 0)
		return n;
	errno = EWOULDBLOCK;
	return -1;
}

static ber_slen_t io_write(Sockbuf_IO_Desc *d, void *buf, ber_len_t len)
{
	const struct ldap_stream *s = d->sbiod_pvt;

	if (s->out == NULL || s->broken ||
	    evbuffer_get_length(s->out) + len > LDAP_STREAM_OUT_MAX ||
	    evbuffer_add(s->out, buf, len) < 0) {
		errno = EPIPE;
		return -1;
	}
	return (ber_slen_t)len;
}

static int io_close(Sockbuf_IO_Desc *d)
{
	(void)d; /* the socket is not libldap's to close */
	return 0;
}

Sockbuf_IO ldap_stream_io = {
	.sbi_setup = io_setup,
	.sbi_remove = io_remove,
	.sbi_ctrl = io_ctrl,
	.sbi_read = io_read,
	.sbi_write = io_write,
	.sbi_close = io_close,
};

/* --- failures --- */

/* Remembers why, and has the loop tell it: nobody is called back from inside his own call. */
static void fail_later(struct ldap_stream *s)
{
	if (s->broken)
		return;
	s->broken = true;
	event_del(s->readable);
	event_active(s->writable, EV_WRITE, 0);
}

void ldap_stream_break(struct ldap_stream *s, const char *why)
{
	if (s->fd < 0 || s->broken)
		return;
	snprintf(s->why, sizeof(s->why), "%s", why);
	fail_later(s);
}

static void tls_reason(struct ldap_stream *s, const char *what)
{
	unsigned long e = ERR_peek_last_error();
	long verified = SSL_get_verify_result(s->ssl);
	const char *reason = e != 0 ? ERR_reason_error_string(e) : "the connection was cut";

	if (verified != X509_V_OK)
		reason = X509_verify_cert_error_string(verified);
	snprintf(s->why, sizeof(s->why), "%s: %s", what, reason != NULL ? reason : "unknown error");
	ERR_clear_error();
}

/* --- moving bytes --- */

/* Returns 1: go on; 0: wait for the socket; -1: broken, s->why is set. */
static int tls_verdict(struct ldap_stream *s, int rc, const char *what)
{
	switch (SSL_get_error(s->ssl, rc)) {
	case SSL_ERROR_WANT_WRITE:
		event_add(s->writable, NULL);
		return 0;
	case SSL_ERROR_WANT_READ:
		return 0;
	case SSL_ERROR_ZERO_RETURN:
		snprintf(s->why, sizeof(s->why), "the server closed the connection");
		return -1;
	case SSL_ERROR_SYSCALL:
		if (ERR_peek_error() == 0) {
			snprintf(s->why, sizeof(s->why), "%s: %s", what,
			    errno != 0 ? strerror(errno) : "cut off");
			return -1;
		}
		/* fall through */
	default:
		tls_reason(s, what);
		return -1;
	}
}

static int read_some(struct ldap_stream *s, char *p, size_t n)
{
	ssize_t r;

	errno = 0;
	if (s->ssl != NULL) {
		int rc;
		ERR_clear_error();
		rc = SSL_read(s->ssl, p, (int)n);
		return rc > 0 ? rc : tls_verdict(s, rc, "reading");
	}
	do
		r = recv(s->fd, p, n, 0);
	while (r < 0 && errno == EINTR);
	if (r > 0)
		return (int)r;
	if (r < 0 && errno == EAGAIN)
		return 0;
	snprintf(s->why, sizeof(s->why), "%s",
	    r == 0 ? "the server closed the connection" : strerror(errno));
	return -1;
}

/* Reads until the socket has no more, hands it on, and only then tells of an end. */
static void read_all(struct ldap_stream *s)
{
	char bytes[READ_STEP];
	unsigned generation = s->generation;
	int n;

	while ((n = read_some(s, bytes, sizeof(bytes))) > 0) {
		if (evbuffer_get_length(s->in) + (size_t)n > LDAP_STREAM_IN_MAX ||
		    evbuffer_add(s->in, bytes, (size_t)n) < 0) {
			snprintf(
			    s->why, sizeof(s->why), "the server sent more than anybody asked for");
			n = -1;
			break;
		}
		if (n < (int)sizeof(bytes) && s->ssl == NULL)
			break;
		if (evbuffer_get_length(s->in) < 64 * 1024)
			continue;
		s->received(s->arg); /* a long answer is taken in pieces */
		if (s->generation != generation)
			return;
	}
	if (evbuffer_get_length(s->in) > 0)
		s->received(s->arg);
	if (n < 0 && s->generation == generation)
		fail_later(s);
}

static void handshake(struct ldap_stream *s)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_do_handshake(s->ssl);
	if (rc != 1) {
		if (tls_verdict(s, rc, "TLS") < 0)
			fail_later(s);
		return;
	}
	if (SSL_get_verify_result(s->ssl) != X509_V_OK) {
		tls_reason(s, "TLS");
		fail_later(s);
		return;
	}
	s->handshaking = false;
	s->secured(s->arg);
}

void ldap_stream_flush(struct ldap_stream *s)
{
	size_t n;

	if (s->fd < 0 || s->broken || s->handshaking)
		return;
	while ((n = evbuffer_get_contiguous_space(s->out)) > 0) {
		const unsigned char *p = evbuffer_pullup(s->out, (ev_ssize_t)n);
		ssize_t sent;
		errno = 0;
		if (s->ssl != NULL) {
			ERR_clear_error();
			sent = SSL_write(s->ssl, p, (int)n);
			if (sent <= 0 && tls_verdict(s, (int)sent, "writing") < 0)
				fail_later(s);
		} else {
			sent = send(s->fd, p, n, MSG_NOSIGNAL);
			if (sent < 0 && errno != EAGAIN && errno != EINTR) {
				snprintf(s->why, sizeof(s->why), "writing: %s", strerror(errno));
				fail_later(s);
			}
		}
		if (sent <= 0)
			break;
		(void)evbuffer_drain(s->out, (size_t)sent);
	}
	if (!s->broken && evbuffer_get_length(s->out) > 0)
		event_add(s->writable, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ldap_stream *s = arg;

	(void)fd;
	(void)what;
	if (s->broken)
		return;
	if (s->handshaking)
		handshake(s);
	else
		read_all(s);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct ldap_stream *s = arg;
	unsigned generation = s->generation;

	(void)fd;
	(void)what;
	if (s->broken) {
		s->failed(s->arg, s->why);
		return;
	}
	if (s->handshaking) {
		handshake(s);
		return;
	}
	ldap_stream_flush(s);
	/* TLS may have wanted to write in order to read. */
	if (s->ssl != NULL && s->generation == generation && !s->broken)
		read_all(s);
}

/* --- life --- */

int ldap_stream_open(struct ldap_stream *s, struct loop *loop, int fd)
{
	s->loop = loop;
	s->fd = fd;
	s->broken = s->handshaking = false;
	s->in = evbuffer_new();
	s->out = evbuffer_new();
	s->readable = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, s);
	s->writable = event_new(loop_base(loop), fd, EV_WRITE, on_writable, s);
	if (s->in != NULL && s->out != NULL && s->readable != NULL && s->writable != NULL &&
	    event_add(s->readable, NULL) == 0)
		return 0;
	ldap_stream_close(s);
	return -1;
}

void ldap_stream_close(struct ldap_stream *s)
{
	s->generation++;
	if (s->readable != NULL)
		event_free(s->readable);
	if (s->writable != NULL)
		event_free(s->writable);
	if (s->ssl != NULL) {
		if (!s->handshaking && !s->broken)
			(void)SSL_shutdown(s->ssl);
		ERR_clear_error();
		SSL_free(s->ssl);
	}
	if (s->fd >= 0)
		close(s->fd);
	if (s->in != NULL)
		evbuffer_free(s->in);
	if (s->out != NULL)
		evbuffer_free(s->out);
	s->readable = s->writable = NULL;
	s->ssl = NULL;
	s->in = s->out = NULL;
	s->fd = -1;
	s->broken = s->handshaking = false;
}

/* Server name and the check of it: an address is compared with the certificate's addresses only. */
static int expect_host(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	uint8_t address[16];

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, host);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
	       SSL_set_tlsext_host_name(ssl, (char *)(uintptr_t)host) == 1;
}

int ldap_stream_secure(struct ldap_stream *s, SSL_CTX *tls, const char *host)
{
	if (evbuffer_get_length(s->in) > 0) {
		snprintf(
		    s->why, sizeof(s->why), "bytes came in clear behind the answer to StartTLS");
		return -1;
	}
	s->ssl = SSL_new(tls);
	if (s->ssl == NULL || expect_host(s->ssl, host) != 1 || SSL_set_fd(s->ssl, s->fd) != 1) {
		snprintf(s->why, sizeof(s->why), "TLS cannot be set up for the name %s", host);
		ERR_clear_error();
		return -1;
	}
	SSL_set_connect_state(s->ssl);
	s->handshaking = true;
	event_active(s->readable, EV_READ, 0); /* the first step, from the loop */
	return 0;
}

/* --- the context --- */

#define SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"

static int add_authorities(SSL_CTX *tls, const struct strv *ca)
{
	X509_STORE *store = SSL_CTX_get_cert_store(tls);
	BIO *bio = BIO_new_mem_buf(ca->p, (int)ca->n);
	X509 *cert;
	int added = 0;

	while (bio != NULL && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		added += X509_STORE_add_cert(store, cert) == 1;
		X509_free(cert);
	}
	BIO_free(bio);
	ERR_clear_error(); /* the end of the text is an error there */
	return added;
}

SSL_CTX *ldap_tls_new(const struct strv *ca, char *why, size_t why_size)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) {
		snprintf(why, why_size, "TLS cannot be set up");
		goto failed;
	}
	SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				  SSL_MODE_RELEASE_BUFFERS);
	if (ca != NULL && add_authorities(tls, ca) == 0) {
		snprintf(why, why_size, "no certificate (PEM) in it");
		goto failed;
	}
	if (ca == NULL && X509_STORE_load_file(SSL_CTX_get_cert_store(tls), SYSTEM_CA) != 1) {
		snprintf(why, why_size,
		    "no certificate can be read from " SYSTEM_CA
		    ": install ca-certificates, or set directory.ldap.ca");
		goto failed;
	}
	ERR_clear_error();
	return tls;
failed:
	ERR_clear_error();
	SSL_CTX_free(tls);
	return NULL;
}
