/*
 * session_record: what all workers of the node remember of TLS: resumable sessions and verified
 * client chains.
 *
 * Bounded tables in anonymous shared memory, made by the master before it forks and never on
 * disk, since session secrets stand in them. A session record names the chain it was made for; it
 * is good only while that chain is remembered, and no chain is remembered beyond its first
 * notAfter.
 *
 * Records are multi-use: a phone opens several connections at once with the ticket it has. They end
 * with session_seconds after the full handshake (resuming does not prolong it), with the chain, by
 * eviction, or when their chain has got RECORDS_PER_CHAIN newer ones on the same virtual host: a
 * phone asks for its last tickets, and one device alone can neither fill the table nor push
 * everybody else's sessions out of it.
 */
#ifndef EASGATE_SESSION_RECORD_H
#define EASGATE_SESSION_RECORD_H

#include "proxy/revocation/point.h"
#include "proxy/worker/identity.h"

#define CHAIN_LINKS_MAX	   6 /* certificates of a chain, the anchor not counted */
#define SESSION_SECRET_MAX 48
#define SESSION_ID_SIZE	   32 /* of TLS 1.3 stateful tickets */
#define RECORDS_PER_CHAIN  4  /* on one virtual host; a phone holds one to three connections */

/* One certificate, as revocation names it. */
struct chain_link {
	uint8_t issuer[SHA256_SIZE]; /* of its issuer's SubjectPublicKeyInfo */
	struct serial serial;
	struct point point; /* its CRL distribution point: a list may cover that one alone */
};

/* What is known of a chain that was verified. Flat. */
struct chain_facts {
	/* CA set and claim order that it was verified and read by */
	uint8_t scope[SHA256_SIZE];
	uint8_t fingerprint[SHA256_SIZE]; /* SHA-256 of the leaf */
	uint8_t anchor[SHA256_SIZE];	  /* SHA-256 of the anchor's SubjectPublicKeyInfo */
	/* the first in the chain, anchor included; seconds since the epoch */
	int64_t not_after;
	/* enum cert_result: CERT_OK, or why there is no usable claim */
	int32_t claim_result;
	uint32_t bad_kind; /* enum claim_kind that failed; CLAIM_NONE */
	uint32_t links_count;
	struct chain_link links[CHAIN_LINKS_MAX]; /* leaf first */
	struct claim claim;			  /* zeroed unless claim_result is CERT_OK */
};

/* A resumable TLS 1.3 session. Flat; its id is the key. */
struct session_record {
	uint8_t secret[SESSION_SECRET_MAX];
	uint8_t chain[SHA256_SIZE];   /* key of the chain it was authenticated by */
	uint8_t context[SHA256_SIZE]; /* the virtual host's rules it was made under */
	int64_t authenticated;	      /* when the full handshake proved the device's key */
	uint16_t cipher, version;     /* as on the wire */
	uint8_t secret_n;
};

struct session_records;

/*
 * Room for `records` sessions and as many chains; memory is taken as it is used. NULL with errno.
 */
struct session_records *session_record_setup(size_t records);
/* Unmaps in this process only. Accepts NULL. */
void session_record_free(struct session_records *r);

/* False: not remembered, of another scope, or past its end (then it is taken away). */
MUST_CHECK bool session_record_chain(struct session_records *r, const uint8_t key[SHA256_SIZE],
    const uint8_t scope[SHA256_SIZE], time_t now, struct chain_facts *out);
/*
 * Texts too long for the table's values are not remembered (false): such a chain is verified each
 * time.
 */
bool session_record_chain_put(
    struct session_records *r, const uint8_t key[SHA256_SIZE], const struct chain_facts *facts);

/*
 * The record, when it is one that may resume: made under `context`, at most max_age seconds after
 * its full handshake, its chain still remembered under `scope` (copied to *facts). One that never
 * can again is taken away.
 */
MUST_CHECK bool session_record_find(struct session_records *r, const uint8_t *id, size_t id_n,
    const uint8_t context[SHA256_SIZE], const uint8_t scope[SHA256_SIZE], uint32_t max_age,
    time_t now, struct session_record *out, struct chain_facts *facts);
/* Takes away the oldest of the same chain and context when there are more than RECORDS_PER_CHAIN. */
bool session_record_put(struct session_records *r, const uint8_t id[SESSION_ID_SIZE],
    const struct session_record *record);

/* Held now, and evicted so far, for metrics. */
struct session_record_counts {
	uint64_t sessions, chains, sessions_evicted, chains_evicted;
};
void session_record_counts(struct session_records *r, struct session_record_counts *out);
/* Forgets all sessions and chains. */
void session_record_clear(struct session_records *r);

#endif
