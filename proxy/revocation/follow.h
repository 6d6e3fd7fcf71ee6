/*
 * follow: keeps the index at what Redis says (DESIGN §6): reads the events since where this node stood, loads the hashes
 * revoked:<issuer> when it must, then waits for events. Runs in the revocation process.
 *
 * What Redis once said is revoked stays revoked here until an authentic `unrevoked` event (event.h): a field that
 * vanished, a flushed, evicted or replaced database takes nothing away. An authentic `reload` event that names an issuer makes
 * its hash the whole truth again (for clearing out what has expired).
 *
 * An issuer's data are fresh as of the last round in which the master answered, nothing was missing in the stream, and
 * crl:<issuer> was there (loaded_at set): without that key nobody publishes this issuer there, and an empty hash means nothing.
 */
#ifndef EASGATE_REVOCATION_FOLLOW_H
#define EASGATE_REVOCATION_FOLLOW_H

#include "common/bundle.h"
#include "common/config.h"
#include "common/loop.h"
#include "proxy/revocation/index_write.h"

struct follow;

struct follow_config {
	struct loop *loop;
	const struct config_redis *redis;	/* borrowed */
	struct strv password, ca_pem, secret;	/* secret: the fleet's; borrowed until follow_free() */
	struct index_writer *index;		/* borrowed */
	const struct index_issuer *issuers;	/* those with INDEX_REDIS are followed; copied */
	unsigned issuers_count;
	/* From the loop. The index or its freshness may have changed. */
	void (*changed)(void *arg);
	void (*account)(void *arg, const char *sid);
	void (*device)(void *arg, const char *certificate);
	void (*reload)(void *arg);
	void (*switched)(void *arg);	/* somebody says that the switches are others now */
	void *arg;
};

/* NULL: why says what. */
struct follow *follow_new(const struct follow_config *config, char *why, size_t why_size);
void follow_free(struct follow *f);
/* Connected, loaded and reading events. */
bool follow_is_up(const struct follow *f);
/* "" while all is well. */
const char *follow_problem(const struct follow *f);

#endif
