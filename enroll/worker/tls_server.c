/*
 * tls_server: contexts of our TLS listeners. A client certificate that we do not know is no reason to end the connection: a
 * browser may send any; it just counts for nothing. Worker of easenroll.
 */
#include "enroll/worker/tls_server.h"

#include <stdio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "common/text.h"
#include "common/tls.h"

#define GROUPS	      "X25519:P-256:P-384"
#define CIPHERS_1_3   "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_1_2   "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
#define CERT_LIST_MAX 32768

/* Remembers on the connection that something was wrong: a later good step must not cover it. */
static int bad_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index;
}

static int on_verify(int good, X509_STORE_CTX *store)
{
	static char bad;
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

	if (!good && (ssl == NULL || SSL_set_ex_data(ssl, bad_index(), &bad) != 1))
		return 0;
	return 1;
}

static bool set_rules(SSL_CTX *ctx)
{
	tls_common_modes(ctx);
	/* the chain is what stands in the file: without this each handshake looks for issuers among our own CA's certificates */
	SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
	/* an end without close_notify ends the connection as any other: HTTP says itself how long a request is (RFC 9112 section 8), so that no alert is owed */
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_RENEGOTIATION |
	    SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
	SSL_CTX_set_verify_depth(ctx, 4);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	    SSL_CTX_set_num_tickets(ctx, 0) == 1 && SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
	    SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 && SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) == 1 &&
	    SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) == 1 && bad_index() >= 0;
}

/* Leaf, key and the chain behind the leaf. */
static int use_files(SSL_CTX *ctx, const struct enroll_listener *l, struct bundle *files, char *why, size_t size)
{
	STACK_OF(X509) *certs = NULL;
	EVP_PKEY *key = NULL;
	struct strv pem = { NULL, 0 };
	char reason[TLS_WHY_MAX] = "is not among the files that this process may read";
	const char *file = l->certificate;
	int rc = -1;

	if (!bundle_get(files, file, &pem) || (certs = tls_certificates(pem, reason, sizeof(reason))) == NULL)
		goto out;
	file = l->key;
	if (!bundle_get(files, file, &pem) || (key = tls_private_key(pem, reason, sizeof(reason))) == NULL)
		goto out;
	if (!tls_key_fits(sk_X509_value(certs, 0), key, l->certificate, reason, sizeof(reason)))
		goto out;
	if (SSL_CTX_use_certificate(ctx, sk_X509_value(certs, 0)) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1) {
		tls_error_text(reason, sizeof(reason));
		goto out;
	}
	X509_free(sk_X509_shift(certs));
	if (sk_X509_num(certs) > 0 && SSL_CTX_set1_chain(ctx, certs) != 1) {
		tls_error_text(reason, sizeof(reason));
		goto out;
	}
	rc = 0;
out:
	if (rc < 0)
		snprintf(why, size, "%s: %s", file, reason);
	EVP_PKEY_free(key);
	sk_X509_pop_free(certs, X509_free);
	return rc;
}

SSL_CTX *tls_server_new(const struct enroll_listener *l, struct bundle *files, char *why, size_t size)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	ERR_clear_error();
	if (ctx == NULL || !set_rules(ctx)) {
		tls_error_text(why, size);
		SSL_CTX_free(ctx);
		return NULL;
	}
	if (use_files(ctx, l, files, why, size) < 0) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

int tls_server_trust(SSL_CTX *ctx, const STACK_OF(X509) *anchors)
{
	X509_STORE *store = X509_STORE_new();
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
	int rc = store != NULL && names != NULL ? 0 : -1;

	for (int i = 0; rc == 0 && i < sk_X509_num(anchors); i++) {
		X509 *anchor = sk_X509_value(anchors, i);
		X509_NAME *name = X509_NAME_dup(X509_get_subject_name(anchor));
		if (X509_STORE_add_cert(store, anchor) != 1 || name == NULL || sk_X509_NAME_push(names, name) <= 0) {
			X509_NAME_free(name);
			rc = -1;
		}
	}
	if (rc == 0) {
		X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
		SSL_CTX_set_cert_store(ctx, store);
		SSL_CTX_set_client_CA_list(ctx, names);
		return 0;
	}
	X509_STORE_free(store);
	sk_X509_NAME_pop_free(names, X509_NAME_free);
	ERR_clear_error();
	return -1;
}

X509 *tls_server_peer(SSL *ssl)
{
	if (SSL_get_ex_data(ssl, bad_index()) != NULL || SSL_get_verify_result(ssl) != X509_V_OK)
		return NULL;
	return SSL_get0_peer_certificate(ssl);
}

void tls_binding_take(SSL *ssl, struct tls_binding *out)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	bool old = SSL_version(ssl) < TLS1_3_VERSION;

	memset(out, 0, sizeof(*out));
	if (old && SSL_get_extms_support(ssl) != 1)
		return;
	/* no context and an empty one differ with TLS 1.2 only (RFC 8446 section 7.5), and clients take the one or the other for what RFC 9266 means */
	for (int context = 0; context < (old ? 2 : 1); context++) {
		if (SSL_export_keying_material(ssl, out->exported[context], sizeof(out->exported[0]), label, sizeof(label) - 1, NULL, 0, context) != 1)
			return;
	}
	if (!old)
		memcpy(out->exported[1], out->exported[0], sizeof(out->exported[1]));
	out->is_tls_1_2 = old && SSL_get_peer_finished(ssl, out->unique, sizeof(out->unique)) == sizeof(out->unique);
	out->known = true;
}

bool tls_binding_is(const struct tls_binding *b, struct strv base64)
{
	uint8_t given[64];
	long n = text_base64_decode(given, sizeof(given), base64);

	if (!b->known)
		return false;
	if (n == (long)sizeof(b->exported[0]))
		return CRYPTO_memcmp(given, b->exported[0], sizeof(b->exported[0])) == 0 ||
		    CRYPTO_memcmp(given, b->exported[1], sizeof(b->exported[1])) == 0;
	return b->is_tls_1_2 && n == (long)sizeof(b->unique) && CRYPTO_memcmp(given, b->unique, sizeof(b->unique)) == 0;
}
