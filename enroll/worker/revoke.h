/*
 * revoke: the one act: registry (committed: from then on never good) -> list and fleet at once, each until it is done -> revoked. The steps stand in
 * the registry, so a restart finishes what a crash cut off. Also keeps the lists fresh and retires what was replaced. Worker process.
 */
#ifndef EASGATE_ENROLL_REVOKE_H
#define EASGATE_ENROLL_REVOKE_H

#include "common/loop.h"
#include "enroll/worker/issuer.h"
#include "enroll/worker/publish.h"
#include "enroll/worker/registry.h"

/* RFC 5280 §5.3.1 */
enum revoke_reason {
	REVOKE_UNSPECIFIED = 0, REVOKE_KEY_COMPROMISE = 1, REVOKE_AFFILIATION_CHANGED = 3, REVOKE_SUPERSEDED = 4, REVOKE_CESSATION = 5,
	REVOKE_HOLD = 6, REVOKE_PRIVILEGE_WITHDRAWN = 9,
};
/* "key-compromise", "lost" (key compromise), "affiliation-changed", "superseded", "cessation", "unspecified", "privilege-withdrawn". -1: none of these. */
MUST_CHECK int revoke_reason_parse(struct strv word, int *out);
const char *revoke_reason_text(int reason);

struct revoke;

struct revoke_config {
	struct loop *loop;
	struct registry *registry;
	struct issuer *issuer;
	struct publish *publish;
	const char *list_dir;		/* state_dir/crl; made when missing */
	uint32_t crl_seconds, crl_overlap_seconds, delta_seconds;	/* delta 0: none */
	uint32_t replace_seconds;	/* a replaced certificate is revoked after so long even if its successor was not seen; 0: 14 days */
	void (*step)(const char *name);	/* NULL but in crash tests: revoke-row, revoke-entries, revoke-signed, revoke-listed, revoke-told, revoke-published */
};

/* Starts with finishing what was not done. Borrows all of config but the strings' storage. NULL: why. */
struct revoke *revoke_new(const struct revoke_config *config, char *why, size_t why_size);
/* Accepts NULL. */
void revoke_free(struct revoke *v);
/* The signer's name is known (again), or publish came up: do what waits. Cheap. */
void revoke_kick(struct revoke *v);
/* The registry has an act that nobody began here (issue.c). Cheaper still. */
void revoke_wake(struct revoke *v);

/* OK: committed and under way. See registry_act_begin() for the rest. */
MUST_CHECK enum registry_result revoke_certificate(struct revoke *v, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL], int reason);
/* Every live or held certificate of the device; then the device is REVOKED. n: how many certificates; may be NULL. */
MUST_CHECK enum registry_result revoke_device(struct revoke *v, const struct registry_by *by, const char *device, int reason, unsigned *n);
MUST_CHECK enum registry_result revoke_hold_device(struct revoke *v, const struct registry_by *by, const char *device, unsigned *n);
MUST_CHECK enum registry_result revoke_release_device(struct revoke *v, const struct registry_by *by, const char *device, unsigned *n);
/* All devices of an account (disabled, deleted, out of the group). */
MUST_CHECK enum registry_result revoke_account(struct revoke *v, const struct registry_by *by, int64_t account, int reason, unsigned *n);
/* The certificate was used: what it replaced is retired. */
MUST_CHECK enum registry_result revoke_used(struct revoke *v, const struct registry_by *by, const uint8_t serial[REGISTRY_SERIAL]);

struct revoke_state {
	unsigned undone;		/* acts with steps left */
	int64_t list_ends;		/* nextUpdate of the newest full list; 0: there is none */
	uint64_t list_number;
	char problem[200];		/* "" while all is well */
};
void revoke_get_state(const struct revoke *v, struct revoke_state *out);

#endif
