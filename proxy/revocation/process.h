/*
 * process: the *revocation* role: fetches, verifies and indexes CRLs, follows Redis, keeps the index on disk, tells the workers.
 */
#ifndef EASGATE_REVOCATION_PROCESS_H
#define EASGATE_REVOCATION_PROCESS_H

#include "common/process.h"
#include "common/directory/ask.h"

enum revocation_verb {
	/* revocation -> worker, tell. The index was replaced: open it again. Or only its change table moved: look again. */
	REVOCATION_CHANGED = 1,
	/* worker -> revocation, ask, empty body; answer: struct revocation_state (for /readyz). */
	REVOCATION_STATE,
	/* revocation -> worker, tell: struct directory_changed: an event in Redis named an account. */
	REVOCATION_ACCOUNT,
	/* revocation -> worker, tell: struct device_changed: an event named a device. */
	REVOCATION_DEVICE,
	/* revocation -> worker, tell: asked by an authentic `reload` event. */
	REVOCATION_RELOAD,
	/* revocation -> worker, tell: an event said that groups were switched: the switches are read again. */
	REVOCATION_SWITCHED,
	/* revocation -> worker, tell, empty: the issuer's keys in state_dir are others, or were confirmed. */
	REVOCATION_KEYS,
	/* worker -> revocation, tell, empty: a token names a key that is not there. */
	REVOCATION_KEYS_WANTED,
};

struct revocation_changed {
	uint32_t replaced;	/* 1: a new file; open it again */
	uint32_t reserved;
};

struct revocation_state {
	int64_t oldest;		/* as revocation_oldest() */
	uint64_t serials;
	uint32_t redis_up;	/* 0: not configured or down; 1: following */
	uint32_t problem;	/* 1: `text` says which source fails */
	char text[256];
};

struct device_changed {
	char certificate[65];	/* lower-case hex SHA-256; "" : all */
};

int revocation_process(struct child *child);

#endif
