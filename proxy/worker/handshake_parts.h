/*
 * handshake_parts: what the files of the handshake share. Only for handshake*.c.
 *
 * handshake_hosts.c    the virtual hosts: an SSL_CTX each, names, what their sessions are bound to
 * handshake_chain.c    is this chain one of ours, and what does it say
 * handshake_hooks.c    what OpenSSL calls back: ClientHello, ALPN, certificate, new and old
 * sessions handshake.c          one step, and the peer that comes out of it
 */
#ifndef EASGATE_HANDSHAKE_PARTS_H
#define EASGATE_HANDSHAKE_PARTS_H

#include "proxy/worker/handshake.h"

/* --- trust --- */

/* One certificate of client_ca: an anchor, whoever signed it. */
struct anchor {
	X509 *cert;
	uint8_t spki[SHA256_SIZE];
	int parent; /* index of the anchor that signed it, -1: none here */
};

/* The CA set of one host and the order in which claims are looked for. */
struct trust {
	X509_STORE *store;
	struct anchor *anchors;
	unsigned anchors_count;
	enum claim_kind order[CLAIM_KINDS];
	unsigned order_count;
	uint8_t scope[SHA256_SIZE]; /* hash of all of the above */
};

/* From the client_ca files. 0, or -1 with why; then trust_clear() is still due. */
MUST_CHECK int trust_init(struct trust *trust, const struct proxy_settings *proxy,
    const struct host_settings *host, struct bundle *files, char *why, size_t size);
void trust_clear(struct trust *trust);
/* Subjects of the anchors, for the CertificateRequest. Owned by the caller; NULL: out of memory. */
STACK_OF(X509_NAME) *trust_names(const struct trust *trust);
/* The key under which this presented chain (leaf first) is remembered for this trust. 0 or -1. */
MUST_CHECK int chain_key(
    const struct trust *trust, STACK_OF(X509) *chain, uint8_t key[SHA256_SIZE]);
/*
 * Verifies it and reads what it says. X509_V_OK with *out filled, or the error (X509_V_ERR_...)
 * with why for the log.
 */
MUST_CHECK int chain_verify(const struct trust *trust, STACK_OF(X509) *chain,
    struct chain_facts *out, char *why, size_t size);

/* --- hosts --- */

struct tls_host {
	SSL_CTX *ctx;
	char **names; /* lower case; "*.example.com" stands for one label */
	unsigned names_count;
	bool required, asks;
	struct trust trust;
	uint8_t context[SHA256_SIZE]; /* what sessions of this host are bound to */
	int64_t expiry;		      /* of its own certificate */
};

struct tls_hosts {
	unsigned references;
	struct tls_host *hosts;
	unsigned count;
	uint32_t session_seconds;
	struct session_records *records;
};

int tls_host_verify_mode(const struct tls_host *host);
/* The host that has this name; -1: none. */
int tls_hosts_find(const struct tls_hosts *h, struct strv name);

/* --- one handshake --- */

/* Hangs on the SSL while it lasts, and is freed by peer_from_ssl() or with the SSL. */
struct handshake {
	struct tls_hosts *hosts; /* a reference */
	unsigned host;		 /* chosen; 0 until the ClientHello is there */
	/* FACTS_REFUSED: the certificate was not accepted, on a host that does not demand one */
	enum { FACTS_NONE = 0, FACTS_VERIFIED, FACTS_RESUMED, FACTS_REFUSED } facts_from;
	int refused;		    /* X509_V_ERR_..., with FACTS_REFUSED */
	int64_t authenticated;	    /* of the session offered last */
	uint8_t chain[SHA256_SIZE]; /* its key */
	struct chain_facts facts;
	/* noted by a hook; HANDSHAKE_NONE: OpenSSL's own words count */
	enum handshake_failure failure;
	char why[TLS_WHY_MAX];
};

/* NULL once the handshake is over. */
struct handshake *handshake_of(const SSL *ssl);
/* 0 or -1. Once at start: the place on the SSL. */
int handshake_index(void);
/* Sets all hooks on a host's context. */
void handshake_hooks(SSL_CTX *ctx);

#endif
