/*
 * metric_table: every metric of easproxy by name. The enum and the rows in metric_table.c stand in the same order.
 */
#ifndef EASGATE_METRIC_TABLE_H
#define EASGATE_METRIC_TABLE_H

#include "common/metrics.h"

enum metric {
	M_SESSIONS,		/* gauge */
	M_SESSIONS_HELD,	/* gauge: Ping or Sync waiting at the mail server */
	M_ACCEPTED,
	M_ACCEPT_REFUSED,	/* enum accept_refusal */
	M_HANDSHAKES,		/* result x version */
	M_REQUESTS,		/* command x status */
	M_REQUEST_SECONDS,	/* histogram */
	M_REFUSALS,		/* enum fact */
	M_BYTES,		/* direction */
	M_REVOCATION_LOOKUPS,	/* answer */
	M_ACCOUNT_CACHE,	/* hit, miss */
	M_DIRECTORY_CALLS,	/* result */
	M_DIRECTORY_SECONDS,
	M_DIRECTORY_CACHE,	/* hit, miss, stale: in the directory process */
	M_DIRECTORY_QUESTIONS,	/* result: in the directory process */
	M_DIRECTORY_SEARCHES,	/* histogram, result */
	M_DIRECTORY_SERVERS,	/* gauge */
	M_DIRECTORY_ENTRIES,	/* gauge */
	M_KERBEROS_CALLS,	/* result */
	M_KERBEROS_CACHE,	/* hit, miss */
	M_KERBEROS_SECONDS,
	M_DEVICE_CHECKS,	/* result */
	M_LOCKOUT_CHECKS,	/* enum lockout_result */
	M_LOCKOUT_BINDS,	/* enum lockout_bind */
	M_LOCKOUT_REMEMBERED,	/* enum lockout_memory */
	M_LOCKOUT_WOULD_REFUSE,	/* enum lockout_result: mode log */
	M_LOCKOUT_STRETCH,	/* histogram */
	M_LOCKOUT_STRETCHERS,	/* gauge */
	M_LOCKOUT_WAITING,	/* gauge */
	M_UPSTREAM_CONNECTIONS, /* state */
	M_UPSTREAM_FAILURES,	/* kind */
	M_REDIS_COMMANDS,	/* result: workers (device state) and the revocation process */
	M_REDIS_CONNECTIONS,	/* found, lost, failed */
	M_REVOCATION_EVENTS,	/* enum event_type x enum event_verdict */
	M_LOCAL_MESSAGES,	/* taken, not taken, refused */
	M_CRL_LOADS,		/* enum crl_look */
	M_KEY_FETCHES,		/* enum key_fetch */
	M_BEARER_UNVERIFIED,	/* enum unverified_answer */
	M_SESSIONS_ENDED,	/* why a live session was ended */
	M_PROCESS_RESTARTS,
	M_RELOADS,		/* good, failed */
	M_COUNT
};
extern const struct metric_row metric_rows[M_COUNT];

/* Why a connection was not taken, or not kept. */
enum accept_refusal { ACCEPT_FULL = 0, ACCEPT_NO_HEADER, ACCEPT_DESCRIPTORS, ACCEPT_MEMORY, ACCEPT_ADDRESS };
enum { HANDSHAKE_FULL = 0, HANDSHAKE_RESUMED, HANDSHAKE_FAILED, HANDSHAKE_TIMEOUT };
enum { TLS_OTHER = 0, TLS_12, TLS_13 };
#define HANDSHAKE_SUB(result, version) ((unsigned)(result) * 3 + (unsigned)(version))
/* command: enum eas_command */
unsigned metric_request_sub(unsigned command, unsigned status);
enum { BYTES_FROM_DEVICE = 0, BYTES_TO_DEVICE };
enum { CACHE_HIT = 0, CACHE_MISS, CACHE_STALE };
enum { CONNECTIONS_ACTIVE = 0, CONNECTIONS_IDLE };
enum { UPSTREAM_CONNECT = 0, UPSTREAM_TLS, UPSTREAM_ANSWER, UPSTREAM_TIMEOUT, UPSTREAM_AUTH };
/* What becomes of an entry of the events stream. */
enum event_verdict {
	EVENT_TAKEN = 0,
	EVENT_TAKEN_UNPROVEN,	/* without a right mac: what only refuses, or asks anew, is believed from anybody */
	EVENT_FOREIGN,		/* of an issuer that this node does not follow */
	EVENT_NOT_STORED,	/* the index could not take it */
	EVENT_MALFORMED,
	EVENT_NO_MAC,
	EVENT_WRONG_TIME,	/* missing, or in the future */
	EVENT_MISPLACED,	/* not of the time when it was added to the stream */
	EVENT_OLD,		/* older than one that was believed */
	EVENT_REPLAYED,		/* believed before */
};
#define EVENT_VERDICTS (EVENT_REPLAYED + 1u)
/* type: enum event_type (revocation/event.h), EVENT_TYPES of them */
#define EVENT_TYPES 7u
#define EVENT_SUB(type, verdict) ((unsigned)(type) * EVENT_VERDICTS + (unsigned)(verdict))
/* What a look at a CRL came to. */
enum crl_look {
	LOOK_LOADED = 0,
	LOOK_UNCHANGED,
	LOOK_EXPIRED,		/* known or taken, but beyond its nextUpdate */
	LOOK_UNREADABLE,	/* file, disk or memory */
	LOOK_NOT_FETCHED,
	LOOK_MALFORMED,
	LOOK_WRONG_ISSUER,
	LOOK_SIGNATURE,
	LOOK_NOT_YET_VALID,
	LOOK_ROLLBACK,
	LOOK_SCOPE,		/* a part only, entries of others, a delta that does not fit */
};
/* What a round for the issuer's keys came to. */
enum key_fetch { KEYS_LOADED = 0, KEYS_UNCHANGED, KEYS_NOT_FETCHED, KEYS_REFUSED };
/* What the mail server said to a token that the proxy had read only. */
enum unverified_answer { UNVERIFIED_ACCEPTED = 0, UNVERIFIED_REFUSED, UNVERIFIED_OTHER };
unsigned metric_unverified_sub(unsigned status);
enum { LOCAL_COUNTED_TAKEN = 0, LOCAL_COUNTED_NOT_TAKEN, LOCAL_COUNTED_REFUSED };
enum { ENDED_REVOKED = 0, ENDED_ACCOUNT, ENDED_DEVICE, ENDED_CERTIFICATE, ENDED_TRUST };

#endif
