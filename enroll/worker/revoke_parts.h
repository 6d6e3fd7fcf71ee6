/*
 * revoke_parts: what the files of revoke share. Worker process.
 */
#ifndef EASGATE_ENROLL_REVOKE_PARTS_H
#define EASGATE_ENROLL_REVOKE_PARTS_H

#include <stdio.h>

#include "enroll/worker/revoke.h"
#include "enroll/worker/stop_at.h"

#define REVOKE_TELLING	64		/* acts that are being published at one time */
#define REVOKE_ISSUERS	8
#define REVOKE_PATH	512

struct revoke;

struct revoke_telling {
	struct revoke *revoke;
	int64_t id;			/* 0: free */
};

struct revoke_issuer {
	char name[REGISTRY_HEX];
	struct registry_crl full;	/* the newest; number 0: none */
	uint64_t full_entries;
	uint64_t newest;		/* number of the newest list, full or delta; 0: none */
	int64_t delta_made;
	bool compared;			/* the list on the disk is not from a newer registry than this one */
	bool wanted;			/* an act waits for a list */
	uint64_t not_before_ms;		/* after a failure */
	unsigned failures;		/* in a row */
	bool syncing;			/* all entries are being written to Redis */
	uint8_t after[REGISTRY_SERIAL];
};

/* The list that is being made: one at a time. */
struct revoke_list {
	bool busy;
	struct revoke_issuer *issuer;
	struct registry_crl crl;
	FILE *file;
	char path[REVOKE_PATH];
	uint64_t entries;
	uint8_t after[REGISTRY_SERIAL];
	struct event *next;
	struct deadline again;		/* after a failure */
};

struct revoke {
	struct revoke_config c;
	char list_dir[REVOKE_PATH - 64];
	struct deadline tick;
	struct event *pump;
	struct revoke_telling telling[REVOKE_TELLING];
	int64_t tried;			/* every act up to this one was told once at least */
	int64_t retry_after;		/* where the round through those that failed is */
	uint64_t retry_at_ms;		/* not before */
	unsigned retry_wait_ms;
	bool retry_helped;		/* something was taken in this round */
	int64_t replay_after;		/* acts that the proxy of this machine is told again; -1: none */
	unsigned replaying;
	struct revoke_issuer issuer[REVOKE_ISSUERS];
	unsigned issuers;
	struct revoke_list list;
	int64_t said_fresh;
	uint64_t tidied;
	char problem[200];
};

/* revoke_list.c */
MUST_CHECK int revoke_list_init(struct revoke *v);
void revoke_list_clear(struct revoke *v);
/* The row of this issuer, made when it is new; NULL: too many. */
struct revoke_issuer *revoke_issuer(struct revoke *v, const char *name);
/* Starts a list if one is due or wanted and none is being made. */
void revoke_list_look(struct revoke *v);

/* revoke_older.c: once for each issuer: what its list on the disk says, and an older copy of the registry does not, becomes acts. */
void revoke_older_look(struct revoke *v, struct revoke_issuer *i);

/* revoke_fleet.c: publishing acts */
void revoke_fleet_acts(struct revoke *v);
/* What failed is tried again at once. */
void revoke_fleet_retry(struct revoke *v);
/* What is published of a certificate, without its owner. 0 or -1: registry_problem(). */
MUST_CHECK int revoke_published(struct revoke *v, const struct registry_certificate *c, struct publish_certificate *p);
/* revoke_fresh.c: freshness, and everything anew when Redis or the proxy of this machine has lost it */
void revoke_fleet_fresh(struct revoke *v);

/* revoke.c: there may be something to do; from the loop, soon. */
void revoke_soon(struct revoke *v);

#endif
