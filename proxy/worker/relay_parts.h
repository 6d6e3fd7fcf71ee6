/*
 * relay_parts: what the two halves of the relay share. For relay.c (towards the mail server) and relay_answer.c (towards the
 * device) alone.
 */
#ifndef EASGATE_RELAY_PARTS_H
#define EASGATE_RELAY_PARTS_H

#include "proxy/worker/session_state.h"

#define HIGH	    (64u << 10)	/* more than this unsent, and the source is paused */
#define COALESCE    (16u << 10)	/* a body this small goes out with its head, in one record */

enum pump { PUMP_WAIT = 0, PUMP_GONE };	/* PUMP_GONE: the session is closed or answered; touch it no more */

/* --- relay.c --- */
/* The entry of proxy.upstreams that this session's host uses now. */
const struct upstream_settings *relay_settings(const struct session *s);
/* Something moved: from now on the next thing has its full time again. */
void relay_rearm(struct session *s);
/* The device takes longer than its bytes allow; `n`: bytes moved so far, `waiting`: we wait for it now. */
bool relay_too_slow(struct session *s, struct pace *p, bool waiting, uint64_t n);
/* Counts, or counts no more, a Ping or Sync that waits. */
void relay_hold(struct session *s, bool held);
/* The mail server broke off or spoke no HTTP: 502, or a cut when the answer had begun. Always PUMP_GONE. */
enum pump relay_upstream_failed(struct session *s, const char *what);

/* --- relay_answer.c --- */
/* Reads from the mail server and passes on what there is. */
enum pump relay_pump_answer(struct session *s);
/* Passes on what was read before and the device did not take yet. */
enum pump relay_send_answer(struct session *s);

#endif
