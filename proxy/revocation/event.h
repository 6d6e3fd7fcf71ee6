/*
 * event: one entry of the `events` stream: its fields, whether it is authentic, and whether what would let somebody in may be
 * believed. Pure.
 *
 * mac = lower-case hex HMAC-SHA256 with the fleet's secret over type, issuer, serial, sid, certificate, time joined by '\n'
 * (a field that is not there counts as empty). `time` is in seconds since the epoch.
 *
 * Replay: whoever can write to Redis can write an old authentic event again. So what lets in (unrevoked, device, reload) must
 * stand in the stream where its time says (five minutes for clocks that differ: ids only grow, so an old event cannot be
 * put where it was), must be newer than the newest such event that was believed (less those minutes), and its mac
 * must not have been seen. The newest time outlives restarts in the index.
 */
#ifndef EASGATE_REVOCATION_EVENT_H
#define EASGATE_REVOCATION_EVENT_H

#include <hiredis/hiredis.h>

#include "common/certificate.h"
#include "proxy/metric_table.h"

enum event_type { EVENT_UNKNOWN = 0, EVENT_REVOKED, EVENT_UNREVOKED, EVENT_DEVICE, EVENT_ACCOUNT, EVENT_RELOAD, EVENT_SWITCH };
const char *event_type_name(enum event_type type);

struct event_entry {
	enum event_type type;
	bool has_issuer, has_serial;
	uint8_t issuer[SHA256_SIZE];
	struct serial serial;
	char sid[CERT_SID_MAX];
	char certificate[2 * SHA256_SIZE + 1];	/* "" : none */
	int64_t time;				/* 0: none */
	bool authentic;
	uint8_t mac[SHA256_SIZE];		/* only when authentic */
};

/*
 * fields: the flat array name, value, name, value of one stream entry. secret.n == 0: nothing is authentic. 0, or -1 with `why`:
 * malformed, a doubled or overlong field, an unknown type, or a field the type needs is missing.
 */
MUST_CHECK int event_read(const redisReply *fields, struct strv secret, struct event_entry *out, const char **why);
/* The MAC as it must be, for whoever writes events. */
MUST_CHECK int event_mac(struct strv secret, const struct strv part[6], uint8_t out[SHA256_SIZE]);

/* Lower-case hex without leading zeros (odd lengths too), as the fields of revoked:<issuer> are. 0 or -1. */
MUST_CHECK int event_serial(struct strv hex, struct serial *out);

/* For logs. NULL for EVENT_TAKEN. */
const char *event_verdict_text(enum event_verdict verdict);

#define EVENT_SEEN 256

/* Which let-in events were believed. Zero-initialise, then set floor. */
struct event_guard {
	int64_t floor;		/* newest time that a run before this one believed: nothing up to it is believed again */
	int64_t newest;
	struct { int64_t time; uint8_t mac[SHA256_SIZE]; } seen[EVENT_SEEN];
	unsigned count;
};
/* EVENT_TAKEN once for each: authentic, neither old nor from the future nor seen before. added: seconds, from the entry's id. */
MUST_CHECK enum event_verdict event_may_let_in(struct event_guard *g, const struct event_entry *e, int64_t added, time_t now);

#endif
