/*
 * session: one device connection, from accept to close. The conductor: it alone knows the order of the stages
 * and hands each one's result to the next.
 */
#ifndef EASGATE_SESSION_H
#define EASGATE_SESSION_H

#include "common/network.h"
#include "proxy/worker/worker.h"

/*
 * A connection was accepted (takes fd). `believed`: networks whose PROXY header counts; when the address lies in one
 * of them, the header must come first.
 */
void session_start(struct worker *w, int fd, const struct sockaddr *from, bool proxy_header);

/* Something that may concern live sessions has changed; each looks only at what it names. */
void sessions_check_revocation(struct worker *w);		/* the index moved */
void sessions_check_account(struct worker *w, const struct directory_changed *change);
void sessions_forget_passwords(struct worker *w, const char *sid);	/* "": all; they are asked about again, nobody is ended */
void sessions_check_device(struct worker *w, const char *certificate_hex);	/* "" : all */
void sessions_check_trust(struct worker *w);			/* a new configuration */
void sessions_check_methods(struct worker *w);
/* The issuer of tokens has other keys: whoever waits by a token comes again, and is checked under them. */
void sessions_check_keys(struct worker *w);			/* a group was switched */
/* From time to time: certificates that have ended, accounts whose answer is old, revocation data that went stale. */
void sessions_sweep(struct worker *w);
/* No more requests: idle sessions end now, the others after their exchange. */
void sessions_drain(struct worker *w);
void sessions_end_all(struct worker *w);

#endif
