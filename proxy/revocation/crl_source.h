/*
 * crl_source: one entry of proxy.revocation.crls: keeps the index at what the issuer's CRL (and delta) says. Files are looked
 * at and URLs fetched every refresh_seconds; what was fetched stays in state_dir for the next start. A list that is wrong
 * changes nothing: the old one stays, one error line says which file and why, and the source grows old.
 */
#ifndef EASGATE_REVOCATION_CRL_SOURCE_H
#define EASGATE_REVOCATION_CRL_SOURCE_H

#include <openssl/x509.h>

#include "proxy/revocation/fetch.h"
#include "proxy/revocation/index_write.h"
#include "proxy/settings.h"

struct crl_source;

struct crl_source_config {
	struct loop *loop;
	struct curl_loop *fetcher;	/* borrowed; may be NULL where no URL is configured */
	int state_dir;			/* borrowed */
	struct index_writer *index;	/* borrowed */
	const struct crl_settings *settings;	/* borrowed until crl_source_free() */
	/* The certificates of settings->issuer_ca; borrowed likewise. The first is the issuer; further ones of the same name are other
	 * keys with which it signs lists. */
	STACK_OF(X509) *ca;
	STACK_OF(X509) *known;			/* CAs that may have certified such a key; borrowed; NULL: none */
	uint32_t refresh_seconds;
	/* Something about the source's index or freshness changed, or it failed. */
	void (*changed)(void *arg);
	void *arg;
};

/* NULL: out of memory or a CA certificate without a usable key. Nothing is read before crl_source_start(). */
struct crl_source *crl_source_new(const struct crl_source_config *config);
void crl_source_free(struct crl_source *s);
/* Looks at what is on disk now (before returning) and starts refreshing. */
void crl_source_start(struct crl_source *s);
/* Looks once more if it waits for what another source may have said since. */
void crl_source_retry(struct crl_source *s);
/* Somebody says that there is a new list: looks now (a URL: begins to fetch). */
void crl_source_look(struct crl_source *s);
const uint8_t *crl_source_issuer(const struct crl_source *s);
/* "" while all is well, else file or URL and reason. */
const char *crl_source_problem(const struct crl_source *s);

#endif
