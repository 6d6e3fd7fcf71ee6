/*
 * handshake: one TLS handshake with a device, step by step, and the peer that comes out of it.
 * Must not decide what the peer may do. Runs in the workers.
 */
#include "proxy/worker/handshake_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/err.h>

#define HANDSHAKE_BYTES_MAX                                                                        \
	(80 * 1024) /* read before it is done; a device's whole handshake is 2 to 10 kB */

const char *const handshake_failure_names[] = {
	[HANDSHAKE_NONE] = "none",
	[HANDSHAKE_CLOSED] = "closed",
	[HANDSHAKE_PROTOCOL] = "protocol",
	[HANDSHAKE_NAME] = "name",
	[HANDSHAKE_NO_CERTIFICATE] = "no_certificate",
	[HANDSHAKE_CERTIFICATE] = "certificate",
	[HANDSHAKE_TOO_BIG] = "too_big",
	[HANDSHAKE_INTERNAL] = "internal",
	[HANDSHAKE_FAILURES] = NULL,
};

SSL *handshake_new(struct tls_hosts *h)
{
	SSL *ssl = SSL_new(h->hosts[0].ctx);
	struct handshake *hs = calloc(1, sizeof(*hs));

	if (ssl == NULL || hs == NULL || SSL_set_ex_data(ssl, handshake_index(), hs) != 1) {
		SSL_free(ssl);
		free(hs);
		ERR_clear_error();
		return NULL;
	}
	hs->hosts = tls_hosts_ref(h);
	SSL_set_accept_state(ssl);
	return ssl;
}

/* --- failing --- */

/* Before the error queue is drained: what its oldest entry means to whoever counts failures. */
static enum handshake_failure failure_of(SSL *ssl, int rc)
{
	unsigned long code = ERR_peek_error();

	if (code == 0)
		return SSL_get_error(ssl, rc) == SSL_ERROR_SYSCALL ? HANDSHAKE_CLOSED
								   : HANDSHAKE_PROTOCOL;
	if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ||
	    ERR_GET_REASON(code) == ERR_R_INTERNAL_ERROR)
		return HANDSHAKE_INTERNAL;
	if (ERR_GET_LIB(code) != ERR_LIB_SSL)
		return HANDSHAKE_PROTOCOL;
	switch (ERR_GET_REASON(code)) {
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		return HANDSHAKE_CLOSED;
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return HANDSHAKE_NO_CERTIFICATE;
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		return HANDSHAKE_CERTIFICATE;
	case SSL_R_EXCESSIVE_MESSAGE_SIZE:
	case SSL_R_LENGTH_TOO_LONG:
		return HANDSHAKE_TOO_BIG;
	default:
		return HANDSHAKE_PROTOCOL;
	}
}

static enum tls_step report_failure(
    struct handshake_report *report, enum handshake_failure failure, const char *why)
{
	report->failure = failure;
	if (why != report->why)
		snprintf(report->why, sizeof(report->why), "%s", why);
	ERR_clear_error();
	return TLS_STEP_FAILED;
}

enum tls_step handshake_step(SSL *ssl, struct handshake_report *report)
{
	struct handshake *hs = handshake_of(ssl);
	enum handshake_failure failure = HANDSHAKE_NONE;
	enum tls_step step;
	int rc;

	memset(report, 0, sizeof(*report));
	if (hs == NULL)
		return report_failure(report, HANDSHAKE_INTERNAL, "no handshake under way");
	ERR_clear_error();
	rc = SSL_do_handshake(ssl);
	if (rc != 1)
		failure = failure_of(ssl, rc);
	step = tls_step_result(ssl, rc, report->why, sizeof(report->why));
	if (step == TLS_STEP_DONE)
		return step;
	if (step == TLS_STEP_CLOSED)
		return report_failure(report, HANDSHAKE_CLOSED, "the client closed the connection");
	if (step == TLS_STEP_FAILED && hs->failure != HANDSHAKE_NONE)
		return report_failure(report, hs->failure, hs->why);
	if (step == TLS_STEP_FAILED)
		return report_failure(report, failure, report->why);
	if (BIO_number_read(SSL_get_rbio(ssl)) > HANDSHAKE_BYTES_MAX)
		return report_failure(
		    report, HANDSHAKE_TOO_BIG, "more handshake bytes than are taken");
	return step;
}

/* --- the peer --- */

/* Texts and links behind the struct, in one piece. */
static struct peer *peer_new(
    const struct chain_facts *facts, const char *host_name, const char *why)
{
	size_t links_n = facts != NULL ? facts->links_count * sizeof(struct chain_link) : 0;
	size_t claim_n = facts != NULL ? strlen(facts->claim.value) + 1 : 1;
	size_t sid_n = facts != NULL ? strlen(facts->claim.sid) + 1 : 1;
	size_t name_n = strlen(host_name) + 1;
	size_t why_n = strlen(why) + 1;
	struct peer *p = calloc(1, sizeof(*p) + links_n + claim_n + sid_n + name_n + why_n);
	char *at;

	if (p == NULL)
		return NULL;
	at = (char *)(p + 1);
	p->links = (const struct chain_link *)(const void *)at;
	p->claim = at + links_n;
	p->sid = at + links_n + claim_n;
	p->host_name = at + links_n + claim_n + sid_n;
	memcpy(at + links_n + claim_n + sid_n, host_name, name_n);
	p->why = at + links_n + claim_n + sid_n + name_n;
	memcpy(at + links_n + claim_n + sid_n + name_n, why, why_n);
	if (facts == NULL)
		return p;
	memcpy(at, facts->links, links_n);
	memcpy(at + links_n, facts->claim.value, claim_n);
	memcpy(at + links_n + claim_n, facts->claim.sid, sid_n);
	p->has_certificate = true;
	p->links_count = (uint8_t)facts->links_count;
	p->kind = (uint8_t)facts->claim.kind;
	p->bad_kind = (uint8_t)facts->bad_kind;
	p->claim_result = (int16_t)facts->claim_result;
	p->not_after = facts->not_after;
	memcpy(p->fingerprint, facts->fingerprint, SHA256_SIZE);
	memcpy(p->anchor, facts->anchor, SHA256_SIZE);
	return p;
}

_Static_assert(_Alignof(struct chain_link) == 1, "links lie behind struct peer without padding");

/*
 * The facts that this handshake proved: a resumed one those of its record, a full one those of the
 * chain whose key was just shown. *none: no certificate. NULL without it: they do not go together,
 * which must not be.
 */
static const struct chain_facts *facts_proved(SSL *ssl, const struct handshake *hs, bool *none)
{
	*none = false;
	if (SSL_session_reused(ssl) == 1)
		return hs->facts_from == FACTS_RESUMED ? &hs->facts : NULL;
	if (SSL_get0_peer_certificate(ssl) != NULL)
		return hs->facts_from == FACTS_VERIFIED || hs->facts_from == FACTS_REFUSED
			   ? &hs->facts
			   : NULL;
	*none = !hs->hosts->hosts[hs->host].required;
	return NULL;
}

struct peer *peer_from_ssl(SSL *ssl)
{
	struct handshake *hs = handshake_of(ssl);
	const struct chain_facts *facts;
	struct peer *p = NULL;
	bool none, refused;

	if (hs == NULL || !SSL_is_init_finished(ssl))
		return NULL;
	facts = facts_proved(ssl, hs, &none);
	refused = facts != NULL && hs->facts_from == FACTS_REFUSED;
	if (facts != NULL || none)
		p = peer_new(facts, hs->hosts->hosts[hs->host].names[0], refused ? hs->why : "");
	if (p != NULL && refused)
		p->refused = hs->refused > 0 && hs->refused <= UINT8_MAX ? (uint8_t)hs->refused
									: UINT8_MAX;
	if (p != NULL) {
		p->resumed = SSL_session_reused(ssl) == 1;
		p->host = (uint16_t)hs->host;
		p->version = SSL_get_version(ssl);
		p->cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(ssl));
	}
	SSL_set_ex_data(ssl, handshake_index(), NULL);
	tls_hosts_unref(hs->hosts);
	free(hs);
	tls_forget_peer(ssl);
	return p;
}

void peer_free(struct peer *p)
{
	free(p);
}
