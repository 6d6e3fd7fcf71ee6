/*
 * handshake: TLS with devices: which virtual host, whose certificate, what may resume. Runs in the
 * workers. Says who the device is by certificate; revocation, account and policy come later and are
 * not its business.
 */
#ifndef EASGATE_HANDSHAKE_H
#define EASGATE_HANDSHAKE_H

#include "common/tls.h"
#include "proxy/worker/session_record.h"

struct bundle;
struct tls_hosts;

/* --- the virtual hosts of one configuration --- */

/*
 * Builds an SSL_CTX for each entry of settings->proxy.hosts. Borrows nothing after return but
 * `records`, which must outlive it. One reference is the caller's. NULL with why: file, reason,
 * cure.
 */
struct tls_hosts *tls_hosts_new(const struct settings *settings, struct bundle *files,
    struct session_records *records, char *why, size_t size);
struct tls_hosts *tls_hosts_ref(struct tls_hosts *h);
/* Accepts NULL. Connections under way keep what they need. */
void tls_hosts_unref(struct tls_hosts *h);
unsigned tls_hosts_count(const struct tls_hosts *h);
/*
 * notAfter of the host's own certificate, seconds since the epoch, and its first name (lives as
 * long as h). 0 and "" for a host that is not there.
 */
int64_t tls_hosts_expiry(const struct tls_hosts *h, unsigned host, const char **name);

/* --- who is at the other end --- */

/* One malloc(); texts and links lie behind it. */
struct peer {
	bool has_certificate; /* false: the fields below up to `version` are zero */
	bool resumed;
	/*
	 * 0, or X509_V_ERR_...: the certificate that it showed is not accepted, on a host that does not
	 * demand one. Then claim_result is CERT_ABSENT, there are no links, and only the fingerprint is
	 * known: every request is refused with 403.
	 */
	uint8_t refused;
	uint8_t links_count;
	/* enum claim_kind; CLAIM_NONE unless claim_result is CERT_OK */
	uint8_t kind;
	uint8_t bad_kind; /* enum claim_kind that was unusable */
	/* index into settings->proxy.hosts of the configuration it began with */
	uint16_t host;
	/* enum cert_result; CERT_OK: `claim` is usable; anything else: refuse with 403 */
	int16_t claim_result;
	/* first end in the chain, seconds since the epoch: the session must not outlive it */
	int64_t not_after;
	const char *claim;		  /* "" when there is none */
	const char *sid;		  /* of the SID extension, "" when there is none */
	const struct chain_link *links;	  /* what revocation is to be asked about, leaf first */
	const char *host_name;		  /* first name of the host it chose */
	const char *why;		  /* with `refused`: for the log; else "" */
	const char *version, *cipher;	  /* "TLSv1.3", "TLS_AES_128_GCM_SHA256": static */
	uint8_t fingerprint[SHA256_SIZE]; /* SHA-256 of the device's certificate */
	uint8_t anchor[SHA256_SIZE];	  /* SHA-256 of the trust anchor's SubjectPublicKeyInfo */
};
/* Accepts NULL. */
void peer_free(struct peer *p);

/*
 * After a reload: is a certificate under this anchor still accepted for the name that peer came by?
 * `host_name` is the first name of the host it began with (tls_hosts_expiry). False too when no
 * host has that name any more, when the peer has no certificate and the host now requires one.
 */
MUST_CHECK bool tls_hosts_trust(
    const struct tls_hosts *h, const char *host_name, const struct peer *peer);
/*
 * The host that serves `name` (Host field without port, any case) is the one the connection chose;
 * false: 421.
 */
MUST_CHECK bool tls_hosts_serves(const struct tls_hosts *h, unsigned host, struct strv name);

/* --- one handshake --- */

/*
 * A server connection that awaits its ClientHello. The caller sets the descriptor (SSL_set_fd) and
 * frees it.
 */
SSL *handshake_new(struct tls_hosts *h);

enum handshake_failure { /* for metrics; names in handshake_failure_names[] */
	HANDSHAKE_NONE = 0,
	HANDSHAKE_CLOSED, /* the client went away */
	/* not TLS, no common version, cipher, group or ALPN; broken messages */
	HANDSHAKE_PROTOCOL,
	HANDSHAKE_NAME,		  /* SNI names no host of ours */
	HANDSHAKE_NO_CERTIFICATE, /* required and not given */
	HANDSHAKE_CERTIFICATE,	  /* given and not accepted */
	HANDSHAKE_TOO_BIG,	  /* more handshake bytes than any device needs */
	HANDSHAKE_INTERNAL,	  /* out of memory */
	HANDSHAKE_FAILURES
};
extern const char *const handshake_failure_names[]; /* ends with NULL; metrics' label set */

struct handshake_report {
	enum handshake_failure failure;
	/* for the log: certificates are named by subject and issuer */
	char why[TLS_WHY_MAX];
};
/*
 * Goes on with the handshake: DONE, WANT_READ, WANT_WRITE, or FAILED with *report filled (the alert
 * has been written to the BIO as far as it takes it). Deadlines are the caller's.
 */
enum tls_step handshake_step(SSL *ssl, struct handshake_report *report);
/*
 * Who it is; once, after DONE. Afterwards the connection holds neither certificates nor what the
 * handshake needed. NULL: out of memory, close it.
 */
struct peer *peer_from_ssl(SSL *ssl);

#endif
