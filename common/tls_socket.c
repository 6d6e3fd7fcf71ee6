/*
 * tls_socket: a BIO over a socket that can gather. Holds ciphertext only. Runs in the workers, one thread.
 */
#include "common/tls_socket.h"

#include <errno.h>
#include <openssl/bio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define GATHER_MAX 73728	/* four full records and some small ones */

struct tls_socket {
	int fd;
	bool gathering;
	bool drained;		/* while gathering: the socket gave less than was asked for */
	bool held;		/* `left` waits for the next write, not for the socket */
	char *left;		/* what the socket has not taken yet */
	size_t left_n, left_at;
};

/* One write is gathered at a time: it begins and ends within one call of the caller's. */
static char gathered[GATHER_MAX];
static size_t gathered_n;

/* How much the socket takes now; -1: failed. */
static long send_some(int fd, const char *p, size_t n)
{
	size_t at = 0;

	while (at < n) {
		ssize_t sent = send(fd, p + at, n - at, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS))
			break;
		if (sent < 0)
			return -1;
		at += (size_t)sent;
	}
	return (long)at;
}

/* 1: nothing is left; 0: the socket is full; -1: failed. */
static int send_left(struct tls_socket *t)
{
	long n;

	if (t->left_n == 0)
		return 1;
	n = send_some(t->fd, t->left + t->left_at, t->left_n);
	if (n < 0)
		return -1;
	t->left_at += (size_t)n;
	t->left_n -= (size_t)n;
	if (t->left_n > 0)
		return 0;
	free(t->left);
	t->left = NULL;
	t->left_at = 0;
	return 1;
}

/* 1 or 0 as above: in either case `gathered` is empty again. */
static int send_gathered(struct tls_socket *t)
{
	long n = send_some(t->fd, gathered, gathered_n);
	size_t rest;

	if (n < 0) {
		gathered_n = 0;
		return -1;
	}
	rest = gathered_n - (size_t)n;
	gathered_n = 0;
	if (rest == 0)
		return 1;
	t->left = malloc(rest);
	if (t->left == NULL)
		return -1;
	memcpy(t->left, gathered + n, rest);
	t->left_n = rest;
	t->left_at = 0;
	return 0;
}

/* What was held back goes in front of what is written now, where both fit. */
static void take_along(struct tls_socket *t)
{
	if (!t->held)
		return;
	t->held = false;
	if (gathered_n > 0 || t->left_n > GATHER_MAX)
		return;		/* it goes by itself then */
	memcpy(gathered, t->left, t->left_n);
	gathered_n = t->left_n;
	free(t->left);
	t->left = NULL;
	t->left_n = 0;
}

static int on_write(BIO *bio, const char *p, int n)
{
	struct tls_socket *t = BIO_get_data(bio);
	long sent;
	int rc;

	BIO_clear_retry_flags(bio);
	take_along(t);
	if (!t->gathering && gathered_n > 0) {
		if ((size_t)n <= GATHER_MAX - gathered_n) {
			memcpy(gathered + gathered_n, p, (size_t)n);
			gathered_n += (size_t)n;
			return send_gathered(t) < 0 ? -1 : n;
		}
		if (send_gathered(t) < 0)
			return -1;
	}
	if (t->gathering && t->left_n == 0) {
		if ((size_t)n <= GATHER_MAX - gathered_n) {
			memcpy(gathered + gathered_n, p, (size_t)n);
			gathered_n += (size_t)n;
			return n;
		}
		if (send_gathered(t) < 0)
			return -1;
	}
	rc = send_left(t);
	if (rc <= 0) {
		if (rc == 0)
			BIO_set_retry_write(bio);
		return -1;
	}
	sent = send_some(t->fd, p, (size_t)n);
	if (sent == 0)
		BIO_set_retry_write(bio);
	return sent > 0 ? (int)sent : -1;
}

static int on_read(BIO *bio, char *p, int n)
{
	struct tls_socket *t = BIO_get_data(bio);
	ssize_t got;

	BIO_clear_retry_flags(bio);
	if (t->gathering && t->drained) {
		BIO_set_retry_read(bio);
		return -1;
	}
	do {
		got = recv(t->fd, p, (size_t)n, 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	if (got == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	t->drained = got < n;
	return (int)got;
}

static long on_ctrl(BIO *bio, int command, long number, void *p)
{
	(void)number;
	(void)p;
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	default:
		return 0;
	}
}

static int on_destroy(BIO *bio)
{
	struct tls_socket *t = BIO_get_data(bio);

	if (t != NULL)
		free(t->left);
	free(t);
	BIO_set_data(bio, NULL);
	return 1;
}

/* Made once per process and kept: a method must outlive every BIO. */
static BIO_METHOD *method(void)
{
	static BIO_METHOD *m;

	if (m != NULL)
		return m;
	m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "easgate socket");
	if (m == NULL || BIO_meth_set_write(m, on_write) != 1 || BIO_meth_set_read(m, on_read) != 1 ||
	    BIO_meth_set_ctrl(m, on_ctrl) != 1 || BIO_meth_set_destroy(m, on_destroy) != 1) {
		BIO_meth_free(m);
		m = NULL;
	}
	return m;
}

int tls_socket_set(SSL *ssl, int fd)
{
	struct tls_socket *t = calloc(1, sizeof(*t));
	BIO *bio = t != NULL && method() != NULL ? BIO_new(method()) : NULL;

	if (bio == NULL) {
		free(t);
		return -1;
	}
	t->fd = fd;
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	return 0;
}

void tls_socket_gather(SSL *ssl)
{
	struct tls_socket *t = BIO_get_data(SSL_get_wbio(ssl));

	t->gathering = true;
	t->drained = false;
}

int tls_socket_hold(SSL *ssl)
{
	struct tls_socket *t = BIO_get_data(SSL_get_wbio(ssl));
	size_t n = gathered_n;

	t->gathering = false;
	gathered_n = 0;
	if (n == 0 || t->left_n > 0)
		return n == 0 ? 0 : -1;
	t->left = malloc(n);
	if (t->left == NULL)
		return -1;
	memcpy(t->left, gathered, n);
	t->left_n = n;
	t->left_at = 0;
	t->held = true;
	return 0;
}

int tls_socket_send(SSL *ssl)
{
	struct tls_socket *t = BIO_get_data(SSL_get_wbio(ssl));
	int rc = send_left(t);

	t->held = false;
	t->gathering = false;
	if (gathered_n == 0)
		return rc;
	if (rc > 0)
		return send_gathered(t);
	gathered_n = 0;		/* cannot be: nothing is gathered behind what is left */
	return -1;
}
