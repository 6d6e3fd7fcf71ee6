/*
 * answer: one question to the *kerberos* process: may the asker have it, is there a ticket, else
 * one KDC round, then a token.
 *
 * The asker is not trusted: a captured worker sends what it likes. So nothing in a question is used
 * before the directory's voucher was checked; realm and own name come from our configuration, and a
 * service's name only chooses among those that stand there.
 */
#ifndef EASGATE_KERBEROS_ANSWER_H
#define EASGATE_KERBEROS_ANSWER_H

#include "common/directory/vouch.h"
#include "proxy/kerberos/ticket_cache.h"

#define ANSWER_DENIED_MS 5000 /* a denial is believed for so long, then the KDC is asked again */
#define ANSWER_TIMEOUTS 2     /* a question takes at most so many times kerberos.timeout_ms */
#define ANSWER_SERVICES_MAX 256

struct settings;

struct answerer {
	struct transport *transport;
	struct service service;
	bool has_service; /* false: `broken` answers everything */
	struct krb_fault broken;
	struct refused_groups refused;
	struct pac_identity *scratch;
	struct ticket_cache *cache;
	unsigned timeout_ms;
	struct vouch *vouch;
	/* The different SPNs of the upstreams that use Kerberos; borrowed. */
	const char *spn[ANSWER_SERVICES_MAX];
	unsigned services;
	/* Called before each exchange with a KDC that a question brings about; NULL: nobody is. */
	void (*wait)(void *arg);
	void *wait_arg;
	/* Refusals are logged, but a flood of them is not. */
	uint64_t say_again_ms;
	unsigned unsaid;
};

/*
 * After environment_enter(); resolves the KDCs, so before the doors close. Borrows settings; copies
 * key and keytab. A keytab that is no good leaves an answerer that says so to everybody. -1: cannot
 * work at all (logged).
 */
MUST_CHECK int answerer_init(struct answerer *a, const struct settings *settings,
    struct strv keytab, const uint8_t key[VOUCH_KEY_SIZE]);
/* Wipes and frees all; harmless on zeroed storage. */
void answerer_clear(struct answerer *a);

/* Logs on, or renews, if it is time for that. Blocks for at most one timeout. For start and a
 * timer. */
void answerer_keep_ready(struct answerer *a);

/*
 * Answers `ask`, whose text may be unterminated. `out` always says something; on KERBEROS_OK token
 * holds out->token_n bytes (token_clear() when sent), else it is empty. Blocks for
 * at most ANSWER_TIMEOUTS timeouts. now: wall clock, seconds.
 */
void answerer_ask(struct answerer *a, const struct kerberos_ask *ask, time_t now,
    struct kerberos_token *out, struct token *token);
/* The number of the service with that name in the own configuration; -1: there is none. */
MUST_CHECK int answerer_service(const struct answerer *a, const char *spn);
void answerer_forget(struct answerer *a, const struct kerberos_forget *forget);

#endif
