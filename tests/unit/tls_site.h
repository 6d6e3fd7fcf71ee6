/*
 * tls_site: CAs, devices and virtual hosts made at run time, and a client that shakes hands with
 * them over memory. For tests of the handshake only.
 */
#ifndef EASGATE_TESTS_TLS_SITE_H
#define EASGATE_TESTS_TLS_SITE_H

#include <time.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/bundle.h"
#include "proxy/worker/handshake_parts.h"
#include "tests/unit/pki.h"

#define SITE_HOSTS 4

/*
 * Host 0: mail.example and autodiscover.example, required, device CA. Host 1: other.example, the
 * same but another policy. Host 2: migrate.example, optional. Host 3: partner.example, required,
 * the partner's CA.
 */
struct site {
	char dir[64], server_pem[96], server_key[96], device_ca[96], partner_ca[96];
	struct pki_pair ca, partner, server, device;
	struct host_settings host[SITE_HOSTS];
	char *names[SITE_HOSTS][2];
	char *device_cas[2], *partner_cas[1];
	struct settings settings;
	struct session_records *records;
	struct tls_hosts *hosts;
};

static inline char *site_path(struct site *s, char out[96], const char *name)
{
	snprintf(out, 96, "%s/%s", s->dir, name);
	return out;
}

#define SITE_TEXT(literal) ((char *)(uintptr_t)(literal))

static inline void site_host(struct site *s, unsigned i, const char *name, const char *second,
    bool required, const char *policy)
{
	struct host_settings *h = &s->host[i];

	s->names[i][0] = SITE_TEXT(name);
	s->names[i][1] = SITE_TEXT(second);
	h->names = s->names[i];
	h->names_count = second != NULL ? 2 : 1;
	h->certificate = s->server_pem;
	h->key = s->server_key;
	h->client_ca = s->device_cas;
	h->client_ca_count = 1;
	h->required = required;
	h->asks = true;
	h->policy = SITE_TEXT(policy);
	h->upstream = SITE_TEXT("exchange");
}

static inline struct tls_hosts *site_load(struct site *s)
{
	struct bundle *files = bundle_from_disk();
	char why[400] = "";
	struct tls_hosts *hosts = tls_hosts_new(&s->settings, files, s->records, why, sizeof(why));

	if (hosts == NULL)
		fprintf(stderr, "tls_hosts_new: %s\n", why);
	bundle_free(files);
	return hosts;
}

static inline struct pki_pair site_device(struct site *s, const char *upn)
{
	char san[200];
	struct pki spec = { .cn = "alice", .issuer = &s->ca, .san = san };

	snprintf(san, sizeof(san), "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:%s", upn);
	return pki_make(&spec);
}

static inline struct site *site_new(void)
{
	struct site *s = calloc(1, sizeof(*s));
	struct pki ca = { .cn = "Device CA", .ca = true },
		   partner = { .cn = "Partner CA", .ca = true };
	struct pki server = { .cn = "mail.example", .eku = "serverAuth" };

	MUST(s != NULL);
	snprintf(s->dir, sizeof(s->dir), "/tmp/easgate-tls-XXXXXX");
	MUST(mkdtemp(s->dir) != NULL);
	s->ca = pki_make(&ca);
	s->partner = pki_make(&partner);
	server.issuer = &s->ca;
	s->server = pki_make(&server);
	s->device = site_device(s, "alice@corp.example");
	pki_write(site_path(s, s->server_pem, "server.pem"), &s->server.cert, 1, NULL);
	pki_write(site_path(s, s->server_key, "server.key"), NULL, 0, s->server.key);
	pki_write(site_path(s, s->device_ca, "device-ca.pem"), &s->ca.cert, 1, NULL);
	pki_write(site_path(s, s->partner_ca, "partner-ca.pem"), &s->partner.cert, 1, NULL);
	s->device_cas[0] = s->device_ca;
	s->partner_cas[0] = s->partner_ca;
	site_host(s, 0, "mail.example", "autodiscover.example", true, "default");
	site_host(s, 1, "other.example", NULL, true, "strict");
	site_host(s, 2, "migrate.example", NULL, false, "default");
	site_host(s, 3, "partner.example", NULL, true, "default");
	s->host[3].client_ca = s->partner_cas;
	s->settings.proxy.hosts = s->host;
	s->settings.proxy.hosts_count = SITE_HOSTS;
	s->settings.proxy.claim_order[0] = CLAIM_SID;
	s->settings.proxy.claim_order[1] = CLAIM_UPN;
	s->settings.proxy.claim_count = 2;
	s->settings.proxy.limits.session_seconds = 3600;
	s->records = session_record_setup(256);
	MUST(s->records != NULL);
	s->hosts = site_load(s);
	MUST(s->hosts != NULL);
	return s;
}

static inline void site_free(struct site *s)
{
	tls_hosts_unref(s->hosts);
	session_record_free(s->records);
	pki_free(&s->ca);
	pki_free(&s->partner);
	pki_free(&s->server);
	pki_free(&s->device);
	unlink(s->server_pem);
	unlink(s->server_key);
	unlink(s->device_ca);
	unlink(s->partner_ca);
	rmdir(s->dir);
	free(s);
}

/* --- a client --- */

struct client {
	const char *sni;	       /* NULL: none */
	const struct pki_pair *device; /* NULL: no certificate */
	X509 *const *extra;	       /* further certificates that are sent */
	size_t extra_count;
	SSL_SESSION *session; /* to resume; borrowed */
	int version;	      /* 0: 1.3 */
	const char *alpn;     /* with its length byte; NULL: no extension */
};

/* One handshake and what came out of it. */
struct talk {
	SSL_CTX *ctx;
	SSL *client, *server;
	struct peer *peer;
	SSL_SESSION *session; /* the last ticket the client got, or NULL */
	unsigned tickets;
	struct handshake_report report;
	enum tls_step step;
	bool client_done;
	double server_us; /* CPU in handshake_step and peer_from_ssl */
};

static inline int talk_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct talk *t = SSL_get_app_data(ssl);

	SSL_SESSION_free(t->session);
	t->session = session;
	t->tickets++;
	return 1;
}

static inline void talk_client(struct talk *t, const struct client *c)
{
	int version = c->version != 0 ? c->version : TLS1_3_VERSION;

	t->ctx = SSL_CTX_new(TLS_client_method());
	MUST(t->ctx != NULL);
	SSL_CTX_set_security_level(t->ctx, 0);
	SSL_CTX_set_min_proto_version(t->ctx, version);
	SSL_CTX_set_max_proto_version(t->ctx, version);
	if (c->device != NULL) {
		MUST(SSL_CTX_use_certificate(t->ctx, c->device->cert) == 1);
		MUST(SSL_CTX_use_PrivateKey(t->ctx, c->device->key) == 1);
	}
	for (size_t i = 0; i < c->extra_count; i++)
		MUST(SSL_CTX_add1_chain_cert(t->ctx, c->extra[i]) == 1);
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(t->ctx, talk_new_session);
	t->client = SSL_new(t->ctx);
	MUST(t->client != NULL);
	SSL_set_app_data(t->client, t);
	if (c->sni != NULL)
		SSL_set_tlsext_host_name(t->client, (uintptr_t)c->sni);
	if (c->alpn != NULL)
		SSL_set_alpn_protos(
		    t->client, (const unsigned char *)c->alpn, (unsigned)strlen(c->alpn));
	if (c->session != NULL) {
		/* A copy: OpenSSL's client will not use one twice. */
		SSL_SESSION *copy = SSL_SESSION_dup(c->session);

		MUST(copy != NULL && SSL_set_session(t->client, copy) == 1);
		SSL_SESSION_free(copy);
	}
	SSL_set_connect_state(t->client);
}

static inline double talk_cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Both sides over a pair of memory BIOs, until both are done or the server has failed. */
static inline void talk_run(struct talk *t, struct tls_hosts *hosts, const struct client *c)
{
	BIO *a, *b;
	double began;

	memset(t, 0, sizeof(*t));
	talk_client(t, c);
	MUST(BIO_new_bio_pair(&a, 1 << 18, &b, 1 << 18) == 1);
	SSL_set_bio(t->client, b, b);
	began = talk_cpu();
	t->server = handshake_new(hosts);
	MUST(t->server != NULL);
	SSL_set_bio(t->server, a, a);
	t->server_us = talk_cpu() - began;
	t->step = TLS_STEP_WANT_READ;
	for (int i = 0; i < 30 && !(t->client_done && t->step == TLS_STEP_DONE); i++) {
		ERR_clear_error();
		t->client_done = SSL_do_handshake(t->client) == 1;
		ERR_clear_error();
		if (t->step == TLS_STEP_DONE || t->step == TLS_STEP_FAILED)
			break;
		began = talk_cpu();
		t->step = handshake_step(t->server, &t->report);
		if (t->step == TLS_STEP_DONE)
			t->peer = peer_from_ssl(t->server);
		t->server_us += talk_cpu() - began;
	}
	if (t->step == TLS_STEP_DONE) {
		char byte;

		/* Takes in the tickets that follow the handshake. */
		(void)SSL_read(t->client, &byte, 1);
		ERR_clear_error();
	}
}

static inline void talk_end(struct talk *t)
{
	if (t->client != NULL)
		SSL_set_shutdown(t->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->client);
	SSL_free(t->server);
	SSL_CTX_free(t->ctx);
	SSL_SESSION_free(t->session);
	peer_free(t->peer);
	ERR_clear_error();
	memset(t, 0, sizeof(*t));
}

/* A request and a response still pass both ways. */
static inline bool talk_exchange(struct talk *t)
{
	char buf[8] = "";

	return SSL_write(t->client, "ping", 4) == 4 && SSL_read(t->server, buf, 4) == 4 &&
	    memcmp(buf, "ping", 4) == 0 && SSL_write(t->server, "pong", 4) == 4 &&
	    SSL_read(t->client, buf, 4) == 4 && memcmp(buf, "pong", 4) == 0;
}

#endif
