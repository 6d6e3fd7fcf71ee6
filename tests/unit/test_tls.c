/*
 * test_tls: outgoing connections prove the server's name, errors have words, PEM is read or
 * refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/err.h>

#include "common/tls.h"
#include "tests/unit/pki.h"

struct world {
	struct pki_pair ca, server;
	SSL_CTX *listening;
};

static char pem_text[65536];

static struct strv pem_of(X509 *cert, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p;
	long n;

	if (cert != NULL)
		MUST(PEM_write_bio_X509(bio, cert) == 1);
	if (key != NULL)
		MUST(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
	n = BIO_get_mem_data(bio, &p);
	MUST(n > 0 && (size_t)n < sizeof(pem_text));
	memcpy(pem_text, p, (size_t)n);
	BIO_free(bio);
	return (struct strv){ pem_text, (size_t)n };
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct pki ca = { .cn = "CA", .ca = true };
	struct pki server = { .cn = "not.this.name",
		.eku = "serverAuth",
		.san = "DNS:ex1.corp.example,DNS:*.wild.example,IP:192.0.2.7" };

	w->ca = pki_make(&ca);
	server.issuer = &w->ca;
	w->server = pki_make(&server);
	w->listening = SSL_CTX_new(TLS_server_method());
	MUST(SSL_CTX_use_certificate(w->listening, w->server.cert) == 1);
	MUST(SSL_CTX_use_PrivateKey(w->listening, w->server.key) == 1);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	SSL_CTX_free(w->listening);
	pki_free(&w->ca);
	pki_free(&w->server);
	free(w);
	return 0;
}

/* Connects to the server by this name; the reason is left in `why`. */
static enum tls_step connects(
    struct world *w, X509 *anchor, const char *name, char why[TLS_WHY_MAX])
{
	SSL_CTX *ctx = tls_client_ctx_new(pem_of(anchor, NULL), why, TLS_WHY_MAX);
	SSL *client = tls_client_new(ctx, name), *server = SSL_new(w->listening);
	enum tls_step step = TLS_STEP_WANT_READ;
	BIO *a = NULL, *b = NULL;
	char byte;

	MUST(client != NULL && BIO_new_bio_pair(&a, 0, &b, 0) == 1);
	SSL_set_bio(client, a, a);
	SSL_set_bio(server, b, b);
	SSL_set_accept_state(server);
	for (int i = 0; i < 20 && step == TLS_STEP_WANT_READ; i++) {
		ERR_clear_error();
		step = tls_step_result(client, SSL_do_handshake(client), why, TLS_WHY_MAX);
		ERR_clear_error();
		(void)SSL_do_handshake(server);
	}
	assert_int_equal(ERR_peek_error() == 0 || step == TLS_STEP_FAILED, 1);
	if (step == TLS_STEP_DONE) {
		tls_forget_peer(client);
		assert_null(SSL_get0_peer_certificate(client));
		assert_int_equal(SSL_write(client, "x", 1), 1);
		assert_int_equal(SSL_read(server, &byte, 1), 1);
		assert_int_equal(SSL_write(server, "y", 1), 1);
		assert_int_equal(SSL_read(client, &byte, 1), 1);
		assert_int_equal(byte, 'y');
	}
	ERR_clear_error();
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(ctx);
	return step;
}

static void test_the_library_has_the_fixes(void **state UNUSED)
{
	char why[TLS_WHY_MAX] = "";

	if (tls_library_check(why, sizeof(why)) != 0)
		fail_msg("%s", why);
}

static void test_a_server_must_have_the_name_that_was_asked_for(void **state)
{
	struct world *w = *state;
	static const char *const good[] = { "ex1.corp.example", "EX1.corp.example",
		"a.wild.example", "192.0.2.7" };
	static const char *const bad[] = { "ex2.corp.example", "not.this.name", "a.b.wild.example",
		"wild.example", "192.0.2.8", "ex1.corp.example.evil" };
	char why[TLS_WHY_MAX];

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(connects(w, w->ca.cert, good[i], why), TLS_STEP_DONE);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(connects(w, w->ca.cert, bad[i], why), TLS_STEP_FAILED);
		assert_non_null(strstr(why, "certificate verify failed"));
	}
}

static void test_a_server_of_another_ca_is_refused_and_a_pinned_one_is_good(void **state)
{
	struct world *w = *state;
	struct pki other = { .cn = "CA", .ca = true };
	struct pki_pair stranger = pki_make(&other);
	char why[TLS_WHY_MAX];

	assert_int_equal(connects(w, stranger.cert, "ex1.corp.example", why), TLS_STEP_FAILED);
	assert_int_equal(connects(w, w->server.cert, "ex1.corp.example", why), TLS_STEP_DONE);
	pki_free(&stranger);
}

static void test_a_connection_without_a_name_is_not_made(void **state)
{
	struct world *w = *state;
	char why[TLS_WHY_MAX], name[300];
	SSL_CTX *ctx = tls_client_ctx_new(pem_of(w->ca.cert, NULL), why, sizeof(why));

	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_null(tls_client_new(ctx, NULL));
	assert_null(tls_client_new(ctx, ""));
	assert_null(tls_client_new(ctx, name));
	SSL_CTX_free(ctx);
}

static void test_pem_is_read_whole_or_refused(void **state)
{
	struct world *w = *state;
	char why[TLS_WHY_MAX], broken[8192];
	struct strv pem = pem_of(w->ca.cert, NULL);
	STACK_OF(X509) *certs = tls_certificates(pem, why, sizeof(why));
	EVP_PKEY *key;
	int n;

	assert_int_equal(sk_X509_num(certs), 1);
	sk_X509_pop_free(certs, X509_free);
	/* A good one and then a broken one is not "one certificate". */
	n = snprintf(broken, sizeof(broken),
	    "%.*s-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", STRV_FMT(pem));
	assert_null(tls_certificates((struct strv){ broken, (size_t)n }, why, sizeof(why)));
	assert_non_null(strstr(why, "certificate 2"));
	assert_null(tls_certificates(STRV("no PEM at all"), why, sizeof(why)));
	assert_non_null(strstr(why, "no certificate"));
	assert_null(tls_certificates((struct strv){ NULL, 0 }, why, sizeof(why)));
	assert_non_null(strstr(why, "empty"));
	assert_null(tls_client_ctx_new(STRV("no PEM"), why, sizeof(why)));
	assert_null(tls_private_key(pem_of(w->ca.cert, NULL), why, sizeof(why)));
	assert_non_null(strstr(why, "no private key"));
	key = tls_private_key(pem_of(w->server.cert, w->server.key), why, sizeof(why));
	assert_non_null(key);
	EVP_PKEY_free(key);
}

static void test_the_error_queue_is_told_once_and_emptied(void **state UNUSED)
{
	char text[TLS_WHY_MAX];

	ERR_raise(ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER);
	ERR_raise(ERR_LIB_SSL, SSL_R_UNSUPPORTED_PROTOCOL);
	tls_error_text(text, sizeof(text));
	assert_string_equal(text, "no shared cipher");
	assert_int_equal(ERR_peek_error(), 0);
	tls_error_text(text, sizeof(text));
	assert_string_equal(text, "unknown error");
}

static void test_a_connection_cut_without_close_notify_is_told_from_one_that_was_closed(
    void **state)
{
	struct world *w = *state;

	for (int notify = 0; notify <= 1; notify++) {
		char why[TLS_WHY_MAX], byte;
		SSL_CTX *ctx = tls_client_ctx_new(pem_of(w->ca.cert, NULL), why, sizeof(why));
		SSL *client = tls_client_new(ctx, "ex1.corp.example"),
		    *server = SSL_new(w->listening);
		BIO *a, *b;

		MUST(BIO_new_bio_pair(&a, 0, &b, 0) == 1);
		SSL_set_bio(client, a, a);
		SSL_set_bio(server, b, b);
		SSL_set_accept_state(server);
		for (int i = 0; i < 5; i++) {
			(void)SSL_do_handshake(client);
			(void)SSL_do_handshake(server);
		}
		if (notify)
			(void)SSL_shutdown(server);
		BIO_shutdown_wr(b);
		ERR_clear_error();
		assert_int_equal(
		    tls_step_result(client, SSL_read(client, &byte, 1), why, sizeof(why)),
		    notify ? TLS_STEP_CLOSED : TLS_STEP_FAILED);
		if (!notify)
			assert_memory_equal(why, "cut", 3);
		SSL_free(client);
		SSL_free(server);
		SSL_CTX_free(ctx);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_library_has_the_fixes),
		TEST(test_a_server_must_have_the_name_that_was_asked_for),
		TEST(test_a_server_of_another_ca_is_refused_and_a_pinned_one_is_good),
		TEST(test_a_connection_without_a_name_is_not_made),
		TEST(test_pem_is_read_whole_or_refused),
		cmocka_unit_test(test_the_error_queue_is_told_once_and_emptied),
		TEST(test_a_connection_cut_without_close_notify_is_told_from_one_that_was_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
