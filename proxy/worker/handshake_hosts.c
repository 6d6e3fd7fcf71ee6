/*
 * handshake_hosts: the virtual hosts of one configuration: certificate, key, CA set and rules, by
 * name. Must not change after it was built: a reload builds another one. Runs in the workers, and
 * in `check`.
 */
#include "proxy/worker/handshake_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "common/bundle.h"
#include "common/text.h"

/*
 * X25519MLKEM768, which OpenSSL 3.5 has, is left out: OpenSSL keeps its key with the connection, 7
 * kB for each phone that waits, and a handshake costs a third more.
 */
#define GROUPS "X25519:P-256:P-384"
/* The cheapest first; a phone without AES in hardware puts ChaCha20 first and gets it. */
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_1_2                                                                                \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CERT_LIST_MAX	(48 * 1024) /* bytes of a client's Certificate message */
#define NAME_MAX_LENGTH 253

/* --- one host --- */

static int names_copy(
    struct tls_host *host, const struct host_settings *from, char *why, size_t size)
{
	host->names = calloc(from->names_count, sizeof(*host->names));
	if (host->names == NULL || from->names_count == 0) {
		snprintf(why, size, "a host without a name, or out of memory");
		return -1;
	}
	for (unsigned i = 0; i < from->names_count; i++) {
		host->names[i] = strdup(from->names[i]);
		if (host->names[i] == NULL) {
			snprintf(why, size, "out of memory");
			return -1;
		}
		host->names_count++;
		text_lower(host->names[i], strlen(host->names[i]));
	}
	return 0;
}

static int hash_text(EVP_MD_CTX *md, const char *text)
{
	/* With its NUL: no two lists of texts give the same bytes. */
	return EVP_DigestUpdate(md, text, strlen(text) + 1) == 1;
}

/* A session made under other rules than these is no session here. */
static int context_hash(struct tls_host *host, const struct host_settings *from)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t flags[2] = { from->required, from->asks };
	int ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(md, host->trust.scope, SHA256_SIZE) == 1 &&
	    EVP_DigestUpdate(md, flags, sizeof(flags)) == 1;

	for (unsigned i = 0; ok && i < host->names_count; i++)
		ok = hash_text(md, host->names[i]);
	ok = ok && hash_text(md, "") && hash_text(md, from->policy) &&
	    hash_text(md, from->upstream);
	ok = ok && EVP_DigestFinal_ex(md, host->context, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok ? 0 : -1;
}

static int expiry_of(const X509 *cert, int64_t *out)
{
	struct tm tm = { 0 };

	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
		return -1;
	*out = timegm(&tm);
	return 0;
}

/* Leaf, key and the chain behind the leaf. */
static int use_certificate(struct tls_host *host, const struct host_settings *from,
    struct bundle *files, char *why, size_t size)
{
	STACK_OF(X509) *certs = NULL;
	EVP_PKEY *key = NULL;
	const char *file = from->certificate;
	char reason[200] = "is not among the files that this process may read";
	struct strv pem;
	int rc = -1;

	if (!bundle_get(files, from->certificate, &pem))
		goto out;
	certs = tls_certificates(pem, reason, sizeof(reason));
	if (certs == NULL)
		goto out;
	file = from->key;
	if (!bundle_get(files, from->key, &pem))
		goto out;
	key = tls_private_key(pem, reason, sizeof(reason));
	if (key == NULL)
		goto out;
	file = from->certificate;
	if (SSL_CTX_use_certificate(host->ctx, sk_X509_value(certs, 0)) != 1 ||
	    expiry_of(sk_X509_value(certs, 0), &host->expiry) != 0) {
		tls_error_text(reason, sizeof(reason));
		goto out;
	}
	file = from->key;
	if (!tls_key_fits(sk_X509_value(certs, 0), key, from->certificate, reason, sizeof(reason)))
		goto out;
	if (SSL_CTX_use_PrivateKey(host->ctx, key) != 1) {
		tls_error_text(reason, sizeof(reason));
		goto out;
	}
	X509_free(sk_X509_shift(certs));
	file = from->certificate;
	if (sk_X509_num(certs) > 0 && SSL_CTX_set1_chain(host->ctx, certs) != 1) {
		tls_error_text(reason, sizeof(reason));
		goto out;
	}
	rc = 0;
out:
	if (rc != 0)
		snprintf(why, size, "%s: %s", file, reason);
	EVP_PKEY_free(key);
	sk_X509_pop_free(certs, X509_free);
	return rc;
}

static int session_rules(struct tls_host *host, uint32_t session_seconds)
{
	SSL_CTX *ctx = host->ctx;

	SSL_CTX_set_session_cache_mode(
	    ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR);
	SSL_CTX_set_timeout(ctx, (long)session_seconds);
	/* A hook asks for one ticket where there is something to resume. */
	return SSL_CTX_set_num_tickets(ctx, 0) == 1 && SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
	    SSL_CTX_set_session_id_context(ctx, host->context, SHA256_SIZE) == 1;
}

static int protocol_rules(SSL_CTX *ctx)
{
	tls_common_modes(ctx);
	SSL_CTX_set_options(ctx,
	    SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
		SSL_OP_SINGLE_ECDH_USE);
	SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	    SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 &&
	    SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) == 1 &&
	    SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) == 1;
}

static int host_init(struct tls_host *host, const struct settings *settings,
    const struct host_settings *from, struct bundle *files, char *why, size_t size)
{
	STACK_OF(X509_NAME) *names;

	host->required = from->required;
	host->asks = from->asks || from->required;
	if (names_copy(host, from, why, size) != 0)
		return -1;
	if (trust_init(&host->trust, &settings->proxy, from, files, why, size) != 0)
		return -1;
	host->ctx = SSL_CTX_new(TLS_server_method());
	if (host->ctx == NULL || context_hash(host, from) != 0 || !protocol_rules(host->ctx) ||
	    !session_rules(host, settings->proxy.limits.session_seconds)) {
		tls_error_text(why, size);
		return -1;
	}
	if (use_certificate(host, from, files, why, size) != 0)
		return -1;
	names = trust_names(&host->trust);
	if (names == NULL) {
		snprintf(why, size, "out of memory");
		return -1;
	}
	SSL_CTX_set_client_CA_list(host->ctx, names);
	SSL_CTX_set_verify(host->ctx, tls_host_verify_mode(host), NULL);
	handshake_hooks(host->ctx);
	return 0;
}

int tls_host_verify_mode(const struct tls_host *host)
{
	if (!host->asks)
		return SSL_VERIFY_NONE;
	return SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE | (host->required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
}

static void host_clear(struct tls_host *host)
{
	for (unsigned i = 0; i < host->names_count; i++)
		free(host->names[i]);
	free(host->names);
	trust_clear(&host->trust);
	SSL_CTX_free(host->ctx);
}

/* --- all of them --- */

struct tls_hosts *tls_hosts_new(const struct settings *settings, struct bundle *files,
    struct session_records *records, char *why, size_t size)
{
	struct tls_hosts *h = calloc(1, sizeof(*h));
	unsigned count = settings->proxy.hosts_count;

	if (h != NULL)
		h->hosts = calloc(count, sizeof(*h->hosts));
	if (h == NULL || h->hosts == NULL || count == 0 || handshake_index() < 0) {
		snprintf(why, size, "no host is configured, or out of memory");
		tls_hosts_unref(h);
		return NULL;
	}
	h->references = 1;
	h->records = records;
	h->session_seconds = settings->proxy.limits.session_seconds;
	for (unsigned i = 0; i < count; i++) {
		h->count++;
		if (host_init(
			&h->hosts[i], settings, &settings->proxy.hosts[i], files, why, size) != 0) {
			tls_hosts_unref(h);
			return NULL;
		}
	}
	return h;
}

struct tls_hosts *tls_hosts_ref(struct tls_hosts *h)
{
	h->references++;
	return h;
}

void tls_hosts_unref(struct tls_hosts *h)
{
	if (h == NULL || (h->references > 0 && --h->references > 0))
		return;
	for (unsigned i = 0; i < h->count; i++)
		host_clear(&h->hosts[i]);
	free(h->hosts);
	free(h);
}

unsigned tls_hosts_count(const struct tls_hosts *h)
{
	return h->count;
}

int64_t tls_hosts_expiry(const struct tls_hosts *h, unsigned host, const char **name)
{
	*name = host < h->count ? h->hosts[host].names[0] : "";
	return host < h->count ? h->hosts[host].expiry : 0;
}

/* --- by name --- */

/* "*.example.com" has one label in place of the star (RFC 9525 §6.3). */
static bool name_matches(struct strv pattern, struct strv name)
{
	struct strv rest = name;

	if (pattern.n < 2 || pattern.p[0] != '*' || pattern.p[1] != '.')
		return text_eq_nocase(pattern, name);
	if (text_split(&rest, '.').n == 0 || rest.p == NULL)
		return false;
	return text_eq_nocase((struct strv){ pattern.p + 2, pattern.n - 2 }, rest);
}

static bool host_has(const struct tls_host *host, struct strv name, bool exact)
{
	for (unsigned i = 0; i < host->names_count; i++) {
		struct strv own = strv_from(host->names[i]);

		if (exact ? text_eq_nocase(own, name) : name_matches(own, name))
			return true;
	}
	return false;
}

int tls_hosts_find(const struct tls_hosts *h, struct strv name)
{
	if (name.n == 0 || name.n > NAME_MAX_LENGTH)
		return -1;
	for (int exact = 1; exact >= 0; exact--) {
		for (unsigned i = 0; i < h->count; i++) {
			if (host_has(&h->hosts[i], name, exact != 0))
				return (int)i;
		}
	}
	return -1;
}

bool tls_hosts_serves(const struct tls_hosts *h, unsigned host, struct strv name)
{
	int found = tls_hosts_find(h, name);

	return found >= 0 && (unsigned)found == host;
}

bool tls_hosts_trust(const struct tls_hosts *h, const char *host_name, const struct peer *peer)
{
	int found = tls_hosts_find(h, strv_from(host_name));
	const struct tls_host *host;

	if (found < 0)
		return false;
	host = &h->hosts[found];
	/* one that was not accepted opens nothing, here as there */
	if (!peer->has_certificate || peer->refused != 0)
		return !host->required;
	for (unsigned i = 0; i < host->trust.anchors_count; i++) {
		if (memcmp(host->trust.anchors[i].spki, peer->anchor, SHA256_SIZE) == 0)
			return true;
	}
	return false;
}
