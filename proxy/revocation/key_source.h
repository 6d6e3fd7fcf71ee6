/*
 * key_source: proxy.bearer.keys_url: keeps the issuer's JWK Set in state_dir at what its server says. It is fetched at the start, every
 * keys_refresh_seconds, sooner after a failure, and once more between two rounds when a token names a key that is not in it. A set that
 * cannot be had or is none changes nothing: the old one stays, and one error line says why. The file's time is when the server last
 * confirmed it: workers take it no longer than keys_max_age_seconds.
 */
#ifndef EASGATE_REVOCATION_KEY_SOURCE_H
#define EASGATE_REVOCATION_KEY_SOURCE_H

#include "proxy/revocation/fetch.h"
#include "proxy/settings.h"

struct key_source;

struct key_source_config {
	struct loop *loop;
	struct curl_loop *fetcher;		/* borrowed */
	int state_dir;				/* borrowed */
	const struct bearer_settings *settings;	/* with a keys_url; borrowed */
	struct strv ca;				/* PEM; n == 0: the system's CAs. Borrowed */
	void (*changed)(void *arg);		/* the file is another, or was confirmed */
	void *arg;
};

struct key_source *key_source_new(const struct key_source_config *config);	/* begins to fetch. NULL: out of memory */
void key_source_free(struct key_source *s);		/* accepts NULL */
/* A token names a key that is not there. At most one round more before the next regular one. Accepts NULL. */
void key_source_wanted(struct key_source *s);

#endif
