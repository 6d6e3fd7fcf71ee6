/*
 * issuers: which CA keys this node must know revocations of, from the configuration: every CA in the hosts' client_ca and in
 * crls.issuer_ca, by the hash of its key, with the sources that are configured for it.
 */
#ifndef EASGATE_REVOCATION_ISSUERS_H
#define EASGATE_REVOCATION_ISSUERS_H

#include <openssl/x509.h>

#include "common/bundle.h"
#include "proxy/revocation/index_write.h"
#include "proxy/settings.h"

struct issuers {
	struct index_issuer list[INDEX_ISSUERS_MAX];	/* those with a source, each once */
	unsigned count;
	unsigned without;				/* CAs of client_ca without any source: unknown for ever */
	STACK_OF(X509) **ca;				/* of crls[i].issuer_ca, the issuer first; owned */
	unsigned ca_count;
	STACK_OF(X509) *known;				/* every CA certificate in all those files; owned */
};

/* NULL: why names the file, the reason and the cure. */
struct issuers *issuers_new(const struct proxy_settings *settings, struct bundle *bundle, char *why, size_t why_size);
void issuers_free(struct issuers *i);

#endif
