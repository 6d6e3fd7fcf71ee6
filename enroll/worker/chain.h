/*
 * chain: the certificates of our CA as the signer told them: issuing CAs of now, before and next, roots, SCEP RAs. Learned at each
 * link with the signer; what was learned stays until something else comes. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_CHAIN_H
#define EASGATE_ENROLL_CHAIN_H

#include <openssl/x509.h>

#include "common/asker.h"
#include "common/loop.h"
#include "enroll/signer/ask.h"

struct chain_entry {
	enum signer_chain_kind kind;
	X509 *certificate;
	struct strv der;
	char name[65];			/* hex SHA-256 of its SubjectPublicKeyInfo: the issuer's name everywhere */
	uint8_t spki_sha256[SHA256_SIZE], sha256[SHA256_SIZE];
};

struct chain;

/* changed runs after each answer that brought something else, and never before the loop runs. NULL: out of memory. */
struct chain *chain_new(struct loop *loop, struct asker *signer, void (*changed)(void *arg), void *arg);
void chain_free(struct chain *c);	/* accepts NULL */
/* There is a (new) link with the signer: ask. Asks again by itself every few seconds until there is an answer. */
void chain_ask(struct chain *c);
bool chain_is_known(const struct chain *c);

/* Entry number i of all, in the signer's order; NULL behind the last. Valid until `changed` runs the next time. */
const struct chain_entry *chain_at(const struct chain *c, size_t i);
/* The first of that kind, NULL: none. */
const struct chain_entry *chain_first(const struct chain *c, enum signer_chain_kind kind);
/* An issuing CA of any age by its name, NULL: none of ours. */
const struct chain_entry *chain_issuer(const struct chain *c, struct strv name);

#endif
