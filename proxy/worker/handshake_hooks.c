/*
 * handshake_hooks: what OpenSSL asks during a handshake: which host, ALPN, is this certificate
 * good, is this session known. Runs in the workers. Must not block, and must not say yes when it
 * does not know.
 *
 * In TLS 1.3 OpenSSL looks sessions up before its servername callback runs, so the host is chosen
 * in the ClientHello callback, the first of all: a session is then held against the host that was
 * chosen.
 */
#include "proxy/worker/handshake_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/err.h>

#include "common/text.h"

static int hook_index = -1; /* of SSL ex_data; set once, the same in every process */

static void fail(struct handshake *hs, enum handshake_failure failure, const char *why)
{
	hs->failure = failure;
	snprintf(hs->why, sizeof(hs->why), "%s", why);
}

static void on_ssl_free(void *parent UNUSED, void *p, CRYPTO_EX_DATA *ad UNUSED, int index UNUSED,
    long argl UNUSED, void *argp UNUSED)
{
	struct handshake *hs = p;

	if (hs != NULL)
		tls_hosts_unref(hs->hosts);
	free(hs);
}

int handshake_index(void)
{
	if (hook_index < 0)
		hook_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);
	return hook_index;
}

struct handshake *handshake_of(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, handshake_index());
}

/* --- ClientHello --- */

/*
 * The one host_name of the extension (RFC 6066 §3). False: the extension is not what the RFC says.
 */
static bool server_name(const unsigned char *p, size_t n, struct strv *name)
{
	size_t list_n, name_n;

	if (n < 5)
		return false;
	list_n = (size_t)p[0] << 8 | p[1];
	name_n = (size_t)p[3] << 8 | p[4];
	if (list_n != n - 2 || p[2] != TLSEXT_NAMETYPE_host_name || name_n != n - 5 || name_n == 0)
		return false;
	*name = (struct strv){ (const char *)p + 5, name_n };
	return true;
}

static bool use_host(SSL *ssl, struct handshake *hs, unsigned index)
{
	const struct tls_host *host = &hs->hosts->hosts[index];

	hs->host = index;
	SSL_set_verify(ssl, tls_host_verify_mode(host), NULL);
	return SSL_set_SSL_CTX(ssl, host->ctx) != NULL &&
	    SSL_set_session_id_context(ssl, host->context, SHA256_SIZE) == 1;
}

static int on_hello(SSL *ssl, int *alert, void *arg UNUSED)
{
	struct handshake *hs = handshake_of(ssl);
	const unsigned char *p;
	struct strv name = { NULL, 0 };
	size_t n;
	int found = 0;

	*alert = SSL_AD_INTERNAL_ERROR;
	if (hs == NULL)
		return SSL_CLIENT_HELLO_ERROR;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) == 1) {
		if (!server_name(p, n, &name)) {
			fail(hs, HANDSHAKE_PROTOCOL, "malformed server_name extension");
			*alert = SSL_AD_DECODE_ERROR;
			return SSL_CLIENT_HELLO_ERROR;
		}
		found = tls_hosts_find(hs->hosts, name);
	}
	if (found < 0) {
		hs->failure = HANDSHAKE_NAME;
		snprintf(hs->why, sizeof(hs->why), "no host is named '%.*s'", STRV_FMT(name));
		*alert = SSL_AD_UNRECOGNIZED_NAME;
		return SSL_CLIENT_HELLO_ERROR;
	}
	return use_host(ssl, hs, (unsigned)found) ? SSL_CLIENT_HELLO_SUCCESS
						  : SSL_CLIENT_HELLO_ERROR;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
    const unsigned char *in, unsigned in_n, void *arg UNUSED)
{
	struct handshake *hs = handshake_of(ssl);
	struct strv want = STRV("http/1.1");

	/* OpenSSL has checked that the lengths add up. */
	for (unsigned at = 0; at < in_n; at += 1u + in[at]) {
		struct strv one = { (const char *)in + at + 1, in[at] };

		if (in_n - at > in[at] && strv_eq(one, want)) {
			*out = in + at + 1;
			*out_n = in[at];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	if (hs != NULL)
		fail(hs, HANDSHAKE_PROTOCOL, "the client's ALPN list has no http/1.1");
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* --- certificate --- */

static int check_chain(struct handshake *hs, STACK_OF(X509) *chain)
{
	const struct trust *trust = &hs->hosts->hosts[hs->host].trust;
	struct session_records *records = hs->hosts->records;
	int error;

	if (chain_key(trust, chain, hs->chain) != 0)
		return X509_V_ERR_OUT_OF_MEM;
	if (session_record_chain(records, hs->chain, trust->scope, time(NULL), &hs->facts))
		return X509_V_OK;
	error = chain_verify(trust, chain, &hs->facts, hs->why, sizeof(hs->why));
	if (error == X509_V_OK)
		(void)session_record_chain_put(records, hs->chain, &hs->facts);
	return error;
}

/*
 * Where no certificate is demanded, one that is not accepted is no reason for an alert, which some
 * devices answer by asking forever: the handshake goes on, and each request gets 403. Only who shows
 * a certificate with its key comes so far; what is noted says nothing of it but its fingerprint. A
 * key that is too costly to be believed is not tried.
 */
static int refuse_later(struct handshake *hs, X509 *leaf, int error)
{
	if (error == X509_V_ERR_EE_KEY_TOO_SMALL || error == X509_V_ERR_CERT_CHAIN_TOO_LONG ||
	    error == X509_V_ERR_INVALID_PURPOSE || error == X509_V_ERR_OUT_OF_MEM ||
	    error == X509_V_ERR_UNSPECIFIED)
		return error;
	memset(&hs->facts, 0, sizeof(hs->facts));
	hs->facts.claim_result = CERT_ABSENT;
	if (leaf == NULL || cert_sha256(leaf, hs->facts.fingerprint) != 0)
		return error;
	hs->facts_from = FACTS_REFUSED;
	hs->refused = error;
	return X509_V_OK;
}

static int on_certificate(X509_STORE_CTX *ctx, void *arg UNUSED)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct handshake *hs = handshake_of(ssl);
	/* as presented, leaf first */
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(ctx);
	int error = X509_V_ERR_UNSPECIFIED;

	if (hs != NULL && chain != NULL) {
		hs->facts_from = FACTS_NONE;
		error = check_chain(hs, chain);
		if (error == X509_V_OK) {
			hs->facts_from = FACTS_VERIFIED;
			SSL_set_num_tickets(ssl, 1);
		} else if (!hs->hosts->hosts[hs->host].required) {
			error = refuse_later(hs, sk_X509_value(chain, 0), error);
		}
		if (error != X509_V_OK)
			hs->failure = HANDSHAKE_CERTIFICATE;
	}
	X509_STORE_CTX_set_error(ctx, error);
	return error == X509_V_OK;
}

/* --- sessions --- */

static int on_new(SSL *ssl, SSL_SESSION *session)
{
	struct handshake *hs = handshake_of(ssl);
	struct session_record record;
	const unsigned char *id;
	bool reused = SSL_session_reused(ssl) == 1;
	unsigned id_n = 0;

	/*
	 * TLS 1.2 clients and clients without a certificate do full handshakes: for the former
	 * OpenSSL has no setter that says "extended master secret", for the latter a session would
	 * go on hiding a certificate that the device has got since.
	 */
	if (hs == NULL || SSL_version(ssl) != TLS1_3_VERSION ||
	    hs->facts_from != (reused ? FACTS_RESUMED : FACTS_VERIFIED))
		return 0;
	id = SSL_SESSION_get_id(session, &id_n);
	if (id_n != SESSION_ID_SIZE)
		return 0;
	memset(&record, 0, sizeof(record));
	record.secret_n = (uint8_t)SSL_SESSION_get_master_key(
	    session, record.secret, sizeof(record.secret));
	record.cipher = SSL_CIPHER_get_protocol_id(SSL_SESSION_get0_cipher(session));
	record.version = (uint16_t)SSL_SESSION_get_protocol_version(session);
	record.authenticated = reused ? hs->authenticated : time(NULL);
	memcpy(record.chain, hs->chain, SHA256_SIZE);
	memcpy(record.context, hs->hosts->hosts[hs->host].context, SHA256_SIZE);
	(void)session_record_put(hs->hosts->records, id, &record);
	OPENSSL_cleanse(&record, sizeof(record));
	return 0; /* no reference kept */
}

static SSL_SESSION *session_build(
    SSL *ssl, const unsigned char *id, const struct session_record *record, uint32_t seconds)
{
	unsigned char cipher[2] = { (unsigned char)(record->cipher >> 8),
		(unsigned char)record->cipher };
	const SSL_CIPHER *c = SSL_CIPHER_find(ssl, cipher);
	SSL_SESSION *s = c != NULL ? SSL_SESSION_new() : NULL;

	if (s == NULL)
		return NULL;
	if (SSL_SESSION_set1_id(s, id, SESSION_ID_SIZE) != 1 ||
	    SSL_SESSION_set1_id_context(s, record->context, SHA256_SIZE) != 1 ||
	    SSL_SESSION_set1_master_key(s, record->secret, record->secret_n) != 1 ||
	    SSL_SESSION_set_cipher(s, c) != 1 ||
	    SSL_SESSION_set_protocol_version(s, record->version) != 1) {
		SSL_SESSION_free(s);
		return NULL;
	}
	/* Its age was judged by session_record_find(); to OpenSSL it was made just now. */
	SSL_SESSION_set_timeout(s, (long)seconds);
	return s;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int id_n, int *copy)
{
	struct handshake *hs = handshake_of(ssl);
	const struct tls_host *host;
	struct session_record record;
	struct chain_facts facts;
	SSL_SESSION *session;

	*copy = 0; /* the reference becomes OpenSSL's */
	if (hs == NULL || id_n < 0 || SSL_version(ssl) != TLS1_3_VERSION)
		return NULL;
	host = &hs->hosts->hosts[hs->host];
	if (!session_record_find(hs->hosts->records, id, (size_t)id_n, host->context,
		host->trust.scope, hs->hosts->session_seconds, time(NULL), &record, &facts))
		return NULL;
	session = session_build(ssl, id, &record, hs->hosts->session_seconds);
	/*
	 * OpenSSL may still decide for a full handshake, or (several PSKs) ask for another one:
	 * only what SSL_session_reused() says at the end makes these facts count.
	 */
	if (session != NULL) {
		hs->facts = facts;
		hs->facts_from = FACTS_RESUMED;
		hs->authenticated = record.authenticated;
		memcpy(hs->chain, record.chain, SHA256_SIZE);
		SSL_set_num_tickets(ssl, 1);
	}
	OPENSSL_cleanse(&record, sizeof(record));
	return session;
}

void handshake_hooks(SSL_CTX *ctx)
{
	SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, on_certificate, NULL);
	SSL_CTX_sess_set_new_cb(ctx, on_new);
	SSL_CTX_sess_set_get_cb(ctx, on_get);
}
