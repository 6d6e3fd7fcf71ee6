/*
 * publish: tells the fleet: Redis as DESIGN §6 says (revoked:, crl:, device:, events), and the proxy of this machine over its local socket, asynchronously;
 * retried by revoke.c until it is done. Where there is neither, the CRL in state_dir/crl is what proxies read. Worker process; keeps no list of its own: the registry's acts are the list.
 */
#ifndef EASGATE_ENROLL_PUBLISH_H
#define EASGATE_ENROLL_PUBLISH_H

#include "common/bundle.h"
#include "common/config.h"
#include "common/loop.h"
#include "enroll/worker/registry.h"

struct publish;

/* ok: every command was answered well. From the loop, once. */
typedef void publish_done_fn(void *arg, bool ok);

struct publish_config {
	struct loop *loop;			/* borrowed */
	const struct config_redis *redis;	/* borrowed; NULL: none */
	struct bundle *bundle;			/* password and fleet secret, copied */
	const char *proxy_run_dir;		/* where the proxy of this machine has its socket; NULL: not told */
	void (*up)(void *arg);			/* a connection is there (again): time to retry */
	void *arg;
};

/* With neither Redis nor proxy everything is done at once. NULL: why. */
struct publish *publish_new(const struct publish_config *config, char *why, size_t why_size);
void publish_free(struct publish *p);	/* no callback runs any more; accepts NULL */
bool publish_is_up(const struct publish *p);	/* Redis, where there is one */
/* Whether anybody is told of new certificates: publish_registered() does something. */
bool publish_registers(const struct publish *p);
/* True once after each time that the proxy of this machine came (back): it may not know what no list holds yet. */
bool publish_proxy_is_new(struct publish *p);

struct publish_certificate {
	char issuer[REGISTRY_HEX];
	uint8_t serial[REGISTRY_SERIAL], sha256[SHA256_SIZE];
	const char *sid, *upn;
	int reason;
	int64_t at, not_before, not_after;
	uint64_t list_number;		/* a list up to this number may not hold it */
};
/*
 * HSET revoked:<issuer>; device:<sha256> blocked unless the reason is hold; XADD revoked. And the proxy of this machine. 0: done will run; -1: no connection,
 * or too many under way.
 */
MUST_CHECK int publish_revoked(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg);
/* To the proxy of this machine alone, which was told before; nothing where there is none. As publish_revoked(). */
MUST_CHECK int publish_revoked_again(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg);
/* The newest list of this issuer, full or delta, is in its place: the proxy of this machine reads it. Nothing if it was told. */
void publish_listed(struct publish *p, const char *issuer, uint64_t number);
/* HDEL revoked:<issuer>, XADD unrevoked. The proxy of this machine believes the list alone. */
MUST_CHECK int publish_released(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg);
/* The device's record, registered for this certificate (left alone where there is one), and XADD device. */
MUST_CHECK int publish_registered(struct publish *p, const struct publish_certificate *c, publish_done_fn *done, void *arg);

#define PUBLISH_FRESH_SECONDS 20
/*
 * crl:<issuer> this_update next_update number loaded_at: revoked:<issuer> is whole as of now. Called when a list was made and every PUBLISH_FRESH_SECONDS.
 * done false with *lost of the publisher set: Redis no longer holds all that this process wrote (flushed, replaced, an older copy): write all entries first, by
 * publish_entries(), then publish_whole(), then again this.
 */
MUST_CHECK int publish_list(struct publish *p, const struct registry_crl *crl, int64_t now, publish_done_fn *done, void *arg);
bool publish_has_lost(const struct publish *p, const char *issuer);
#define PUBLISH_ENTRIES 30
MUST_CHECK int publish_entries(struct publish *p, const char *issuer, const struct registry_entry *entries, unsigned n, publish_done_fn *done, void *arg);
/* All entries of this issuer were written. */
void publish_whole(struct publish *p, const char *issuer);

/* When the device was last seen and by what, from device:<sha256> (the portal's "last sync"). NULL text fields: not known. */
struct publish_seen { int64_t first_seen, last_seen; char client[64], method[32], eas_device_id[REGISTRY_EAS_MAX]; };
typedef void publish_seen_fn(void *arg, const struct publish_seen *seen);	/* NULL: nobody knows */
MUST_CHECK int publish_ask_seen(struct publish *p, const uint8_t sha256[SHA256_SIZE], publish_seen_fn *done, void *arg);

/* --- the migration --- */
/* HSET switches <group> "certificate <at>", or HDEL; XADD switch. As publish_revoked(); -1 as well where there is no Redis. */
MUST_CHECK int publish_switch(struct publish *p, const char *group, bool certificate, int64_t at, publish_done_fn *done, void *arg);
struct device_admin;
/* For acts on records of devices. False: there is no Redis. Borrowed. */
MUST_CHECK bool publish_device_admin(struct publish *p, struct device_admin *out);

#endif
