/*
 * floor: what an EST enrolment's unavoidable steps cost through the libraries that easenroll uses, with nothing of easenroll around them: the server's half
 * of a TLS 1.3 handshake in memory, a TCP connection, the verification of a request's signature, the certificate's signature, and one row that is durable. Beside the
 * operations alone (`openssl speed`) they tell how much of a ratio is the product's own.
 *
 *   bench-floor FOLDER    one JSON line: microseconds, the median of many (durable: all by their number). A file is made in FOLDER and taken away.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/self_signed.h"

#define TIMES	  3000
#define ROWS	  6400
#define GROUP	  64	/* rows of one commit, as many as bench/enroll has in flight */
#define ROW_BYTES 700	/* a certificate */
#define REQUEST	  200	/* bytes of a request that are signed, and of a certificate */

/* Without one of them there is nothing to measure. */
static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench-floor: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *us, size_t n)
{
	qsort(us, n, sizeof(*us), compare);
	return us[n / 2];
}

/* --- the handshake --- */

/* The cheapest that TLS 1.3 has: no ticket, no client certificate asked for, one certificate and no chain. */
static SSL_CTX *server_new(EVP_PKEY *key)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	X509 *x = self_signed(key, "enroll");

	need(ctx != NULL && x != NULL && SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
		SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 && SSL_CTX_set1_groups_list(ctx, "X25519") == 1 &&
		SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") == 1,
	    "no server");
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
	X509_free(x);
	return ctx;
}

/* One handshake; the time that the server's side took, with its objects. */
static double handshake(SSL_CTX *server_ctx, SSL_CTX *client_ctx)
{
	BIO *client_bio = NULL, *server_bio = NULL;
	SSL *client = SSL_new(client_ctx), *server;
	int c = 0, s = 0;
	double us = 0, from;

	need(client != NULL && BIO_new_bio_pair(&client_bio, 16384, &server_bio, 16384) == 1, "no connection");
	SSL_set_bio(client, client_bio, client_bio);
	from = now_us();
	server = SSL_new(server_ctx);
	need(server != NULL, "no connection");
	SSL_set_bio(server, server_bio, server_bio);
	us += now_us() - from;
	for (int turn = 0; turn < 8 && (c != 1 || s != 1); turn++) {
		if (c != 1)
			c = SSL_connect(client);
		from = now_us();
		if (s != 1)
			s = SSL_accept(server);
		us += now_us() - from;
	}
	need(c == 1 && s == 1, "no handshake");
	from = now_us();
	SSL_free(server);
	us += now_us() - from;
	SSL_free(client);
	return us;
}

static double handshakes(EVP_PKEY *key)
{
	static double us[TIMES];
	SSL_CTX *server = server_new(key), *client = SSL_CTX_new(TLS_client_method());

	need(client != NULL && SSL_CTX_set1_groups_list(client, "X25519") == 1, "no client");
	for (int i = -TIMES / 10; i < TIMES; i++) {
		double one = handshake(server, client);

		if (i >= 0)
			us[i] = one;
	}
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	return median(us, TIMES);
}

/* --- the connection --- */

/* us[0] and us[1] grow by what sending and receiving took. */
static void move(int from, int to, size_t n, double us[2])
{
	static char bytes[2048];
	double at = now_us();

	need(send(from, bytes, n, 0) == (ssize_t)n, "cannot send");
	us[0] += now_us() - at;
	at = now_us();
	need(recv(to, bytes, n, MSG_WAITALL) == (ssize_t)n, "cannot receive");
	us[1] += now_us() - at;
}

/* One by TCP over loopback with as many bytes as an enrolment has; the time that the server's calls took. */
static double connection(int listener, const struct sockaddr_in *address)
{
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;
	double in[2] = { 0, 0 }, out[2] = { 0, 0 }, us = 0, from;

	need(client >= 0 && connect(client, (const struct sockaddr *)address, sizeof(*address)) == 0, "cannot connect");
	from = now_us();
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	us += now_us() - from;
	need(server >= 0, "cannot accept");
	move(client, server, 300, in);		/* ClientHello */
	move(server, client, 800, out);		/* up to the server's Finished */
	move(client, server, 900, in);		/* the client's, and the request */
	move(server, client, 1400, out);	/* the answer */
	close(client);
	from = now_us();
	close(server);
	return us + in[1] + out[0] + now_us() - from;
}

static double connections(void)
{
	static double us[TIMES];
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(listener >= 0 && bind(listener, (struct sockaddr *)&address, n) == 0 && listen(listener, 8) == 0 &&
		getsockname(listener, (struct sockaddr *)&address, &n) == 0,
	    "cannot listen");
	for (int i = -TIMES / 10; i < TIMES; i++) {
		double one = connection(listener, &address);

		if (i >= 0)
			us[i] = one;
	}
	close(listener);
	return median(us, TIMES);
}

/* --- signatures --- */

static double signatures(EVP_PKEY *key, bool verify)
{
	static double us[TIMES];
	unsigned char data[REQUEST] = { 1 }, sig[100];
	size_t n = sizeof(sig);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	need(ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 && EVP_DigestSign(ctx, sig, &n, data, sizeof(data)) == 1, "no signature");
	for (int i = -TIMES / 10; i < TIMES; i++) {
		double from = now_us();

		n = verify ? n : sizeof(sig);
		need((verify ? EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) : EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key)) == 1 &&
			(verify ? EVP_DigestVerify(ctx, sig, n, data, sizeof(data)) : EVP_DigestSign(ctx, sig, &n, data, sizeof(data))) == 1,
		    "no signature");
		if (i >= 0)
			us[i] = now_us() - from;
	}
	EVP_MD_CTX_free(ctx);
	return median(us, TIMES);
}

/* --- a row --- */

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* A row with a random serial that is found again, and nothing else: no device, no secret, no trail. */
static double rows(const char *folder)
{
	unsigned char key[16], der[ROW_BYTES];
	char path[512], more[520];
	sqlite3 *db;
	sqlite3_stmt *insert;
	double from;
	int log;

	snprintf(path, sizeof(path), "%s/floor-%ld.db", folder, (long)getpid());
	snprintf(more, sizeof(more), "%s-wal", path);
	need(sqlite3_open(path, &db) == SQLITE_OK && sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
		"CREATE TABLE rows(n INTEGER PRIMARY KEY, serial BLOB NOT NULL UNIQUE, der BLOB NOT NULL)", NULL, NULL, NULL) == SQLITE_OK &&
		sqlite3_prepare_v2(db, "INSERT INTO rows(serial, der) VALUES(?, ?)", -1, &insert, NULL) == SQLITE_OK,
	    "no database");
	log = open(more, O_RDONLY | O_CLOEXEC);
	need(log >= 0 && RAND_bytes(der, sizeof(der)) == 1, "no log");
	from = cpu_us();
	for (int i = 0; i < ROWS; i++) {
		need((i % GROUP != 0 || sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK) && RAND_bytes(key, sizeof(key)) == 1 &&
			sqlite3_bind_blob(insert, 1, key, sizeof(key), SQLITE_STATIC) == SQLITE_OK &&
			sqlite3_bind_blob(insert, 2, der, sizeof(der), SQLITE_STATIC) == SQLITE_OK && sqlite3_step(insert) == SQLITE_DONE &&
			sqlite3_reset(insert) == SQLITE_OK,
		    "no row");
		if (i % GROUP == GROUP - 1)
			need(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK && fdatasync(log) == 0, "no commit");
	}
	from = cpu_us() - from;
	close(log);
	sqlite3_finalize(insert);
	sqlite3_close(db);
	unlink(path);
	return from / ROWS;
}

int main(int argc, char **argv)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	double shake, connect, verify, sign;

	need(argc == 2 && key != NULL, "one argument: a folder");
	shake = handshakes(key);
	connect = connections();
	verify = signatures(key, true);
	sign = signatures(key, false);
	printf("{\"handshake\": %.1f, \"connection\": %.1f, \"verify\": %.1f, \"sign\": %.1f, \"durable_row\": %.1f}\n", shake, connect, verify, sign,
	    rows(argv[1]));
	EVP_PKEY_free(key);
	return 0;
}
