/*
 * session_state: a session's inside, for the files session*.c, relay.c and audit.c. Nobody else includes it.
 */
#ifndef EASGATE_SESSION_STATE_H
#define EASGATE_SESSION_STATE_H

#include <event2/event_struct.h>

#include "common/address.h"
#include "common/buffer.h"
#include "common/crowd.h"
#include "common/http_chunk.h"
#include "proxy/worker/request.h"
#include "proxy/worker/session.h"
#include "proxy/worker/user_name.h"

/* Exactly one at a time; the table in session.c says which may follow and how long each may last. */
enum session_state {
	SESSION_PROXY = 0,	/* awaits the PROXY header */
	SESSION_HANDSHAKE,
	SESSION_REQUEST,	/* awaits a request head */
	SESSION_ACCOUNT,	/* asked *directory* */
	SESSION_PASSWORD,	/* asked *lockout* */
	SESSION_DEVICE,		/* asked for the device's state */
	SESSION_CREDENTIAL,	/* asked *kerberos* */
	SESSION_UPSTREAM,	/* awaits a connection to a mail server */
	SESSION_RELAY,
	SESSION_COLLECT,	/* reads a small body that the proxy answers itself */
	SESSION_ANSWER,		/* writes an answer of the proxy's own */
	SESSION_LINGER,		/* has said all; reads what the device still sends, so that it sees the answer */
	SESSION_STATES
};

/* The device that last came by this connection and was let in. */
struct device_memo {
	uint8_t key[SHA256_SIZE];	/* of its record */
	char id[80], sid[192];
	uint64_t until_ms;		/* so long it need not be asked about again */
	bool noted;			/* false: it was looked at only, by somebody whose user is not proven */
};

/* How long the device has been waited for, in one direction; not the mail server. */
struct pace {
	uint64_t since_ms;		/* 0: not waiting for it now */
	uint64_t waited_ms;
};

struct session;
/* A step's end. FACT_NONE: go on. s may be gone afterwards. */
typedef void session_step_fn(struct session *s, enum fact fact, const char *detail);

/* One request and its response. */
struct exchange {
	struct eas_request request;
	uint64_t number;
	uint64_t started_us;
	size_t head_n;			/* bytes of the head at the front of session.in; 0: eaten */
	/* towards the mail server */
	struct http_chunk decode;
	uint64_t body_left;
	bool body_done;
	bool body_refused;		/* the mail server takes no more of it; the rest is thrown away */
	uint64_t body_n;		/* bytes of body read from the device */
	struct pace body_pace;
	/* towards the device */
	struct pace answer_pace;
	struct http_chunk answer_decode;
	enum http_body answer_body;
	uint64_t answer_left;
	bool answer_started, answer_done, answer_chunked;
	unsigned interims;
	unsigned status;
	uint64_t answer_n;		/* bytes of body sent to the device */
	bool close_after;
	bool held;			/* counted as a waiting Ping or Sync */
	/* by what it may come in: method_decide() */
	unsigned checks, challenges;
	bool names_user;		/* by Basic, without a certificate */
	bool proven;			/* its password was found to be right */
	bool unverified;		/* its token was read only: the mail server verifies it, and its account is a claim until then */
	bool noting;			/* the mail server has accepted it; before the device hears so, its record is made */
	bool noted;			/* it was */
	unsigned wait_seconds;		/* for Retry-After; 0: as configured */
	/* for the log */
	enum fact fact;
	const char *detail;
	char text[256];			/* detail that is no static text */
	char server[96];
	bool ticket;			/* a credential was asked of kerberos */
	char *user_name;		/* session_user.c: of which the directory is asked whose it is; heap */
	enum user_name user_asked;
	session_step_fn *step_done;
	unsigned asked_under;		/* when that was, or a mail server's connection: worker->configuration */
	struct buffer collected;	/* SESSION_COLLECT */
};

/* The password that was last found to be right on this connection, as a keyed hash; never the password. */
struct password_memo {
	uint8_t binding[SHA256_SIZE];	/* session_hash() of its Authorization */
	uint64_t until_ms;
	struct account_entry *account;	/* as *lockout* found it, with the voucher */
	char user[];			/* as Basic named it */
};

/* The token that was last found to be good on this connection; never the token. */
struct bearer_memo {
	uint8_t binding[SHA256_SIZE];	/* session_hash() of its Authorization */
	int64_t until;			/* seconds since the epoch */
	unsigned configuration, keys;	/* that it was checked under: worker->configuration, keys_number */
	bool unverified;		/* read, not checked: proxy.bearer.mode is pass */
	char name[];			/* of the account, as the token has it */
};

struct session {
	struct worker *worker;
	struct session *next, *prev;
	struct crowd_member crowd;	/* in nowhere: its address is not limited, or not known yet */
	uint64_t id;
	enum session_state state;
	int fd;
	SSL *ssl;
	struct event on_read, on_write;
	bool want_write, paused, closing;
	size_t discarded;		/* SESSION_LINGER */
	struct deadline deadline;
	struct deadline ticket;		/* a session ticket that waits for an answer to go with */
	struct buffer in, out;		/* plain bytes from and for the device */
	struct http_scan scan;
	struct peer *peer;
	const char *host_name;		/* first name of the virtual host; heap */
	struct account_entry *account;	/* of the last request */
	struct account_op *account_op;
	uint64_t account_changed_ms;	/* since when it is known to be another than `account` says; 0: it is not */
	struct password_op *password_op;
	struct password_memo *password;	/* NULL: none was found to be right; heap */
	struct bearer_memo *bearer;	/* NULL: none was found to be good; heap */
	char *claimed_sid;		/* of the account that unverified tokens on this connection name; heap; NULL: none came */
	struct credential_op *credential_op;
	struct credential credential;
	struct upstream_op *upstream_op;
	struct upstream_conn *upstream;
	uint64_t device_op;
	struct revocation_memo revocation;
	struct device_memo *device;	/* heap; NULL: none yet */
	struct exchange *x;		/* NULL between requests */
	uint64_t exchanges;
	char client[ADDRESS_TEXT_MAX];
};

/* --- session.c --- */
/* The only writer of s->state. Arms the state's deadline. */
void session_go(struct session *s, enum session_state to);
/* The one close. s is gone afterwards. */
void session_close(struct session *s, const char *why);
/* An answer of our own to the request under way; logs it. s may be gone afterwards. */
void session_refuse(struct session *s, enum fact fact, const char *detail);
/* The exchange is over and was answered completely: logs it, and awaits the next or closes. s may be gone afterwards. */
void session_exchange_done(struct session *s);
void session_free_exchange(struct session *s);
/* Flushes s->out, then goes on as the state wants (next request, linger, close). */
void session_answer(struct session *s);

/* Between requests: a kept connection may be idle; once a head has begun it must come whole in time. */
void session_await_request(struct session *s);

/* --- session_crowd.c --- */
/* s comes from there, and is counted there; another of that address may have been closed for it. False: there is no room, and s is to be closed. */
MUST_CHECK bool session_crowd(struct session *s, const struct sockaddr *from);

/* --- session_handshake.c --- */
/* Bytes have come in those states. s may be gone afterwards. */
void session_proxy_header(struct session *s);
void session_handshake(struct session *s);

/* --- session_io.c --- */
enum io { IO_AGAIN = 0, IO_OK, IO_ENDED };
enum io session_read(struct session *s);	/* into s->in; IO_OK: bytes came */
/* Writes p; *sent how much went. IO_AGAIN: not all; `writable` comes. */
enum io session_write(struct session *s, const char *p, size_t n, size_t *sent);
enum io session_flush(struct session *s);	/* s->out */
void session_pause(struct session *s, bool paused);
void session_watch(struct session *s, event_callback_fn on_read, event_callback_fn on_write);
/* Runs the read handler again from the loop: bytes may wait inside TLS or s->in that no event will announce. */
void session_again(struct session *s);

/* --- session_steps.c --- */
/* Bytes have come while a request is awaited. s may be gone afterwards. */
void session_read_request(struct session *s);
/* The head of the request under way, parsed again if need be. */
const struct http_head *session_head(struct session *s);
/* 1 if what is known says refuse now; called when something changed. s may be gone afterwards. */
enum fact session_standing(struct session *s, const char **detail);

const struct host_settings *session_host(const struct session *s);
const struct policy_settings *session_policy(const struct session *s);
const struct upstream_settings *session_upstream(const struct session *s);
/* The account is known, and may come in by what the request brings: policy, then its password. s may be gone afterwards. */
void session_admitted(struct session *s);
/* What was to be checked is right: the rest of the way. s may be gone afterwards. */
void session_checked(struct session *s);

/* --- session_account.c --- */
/* The head and the certificate are good so far: who is it, and may that account come in by this? s may be gone afterwards. */
void session_identify(struct session *s);
/* FACT_NONE for an account that was found; NULL: the directory is not to be had. */
enum fact session_account_fact(const struct account_entry *e);
/* Takes the reference; the one before is given back. */
void session_use_account(struct session *s, struct account_entry *e);

/* FACT_NONE: the account as it is now may come in by what this connection came by. *detail: for the log, or NULL. */
enum fact session_method_fact(struct session *s, const struct account_view *account, const char **detail);

/* --- session_password.c --- */
#define ACCOUNT_NAME_LIMIT 320
/* Keyed with this worker's secret: from what leaves the worker nobody can guess what went in. 0, or -1: no memory. */
MUST_CHECK int session_hash(struct session *s, const char *prefix, struct strv text, uint8_t out[SHA256_SIZE]);
/* Whether the Basic of this request must be right before it goes on. */
bool session_password_counts(struct session *s);
/* Asks whether it is, then session_checked(), or a refusal. s may be gone afterwards. */
void session_check_password(struct session *s);
/* Nobody answers for that password any more. */
void session_forget_password(struct session *s);
/* What an Authorization is. The scheme alone counts: only Basic is looked into. */
enum authorization { AUTHORIZATION_NONE = 0, AUTHORIZATION_BASIC, AUTHORIZATION_BEARER, AUTHORIZATION_OTHER, AUTHORIZATION_MALFORMED };
/* With AUTHORIZATION_BASIC (RFC 7617) user is filled. */
enum authorization session_authorization(struct session *s, char user[ACCOUNT_NAME_LIMIT]);

/* --- session_bearer.c --- */
/*
 * FACT_NONE: the token of this request is good, and s->bearer says whose it is; with proxy.bearer.mode pass (x->unverified) it says so
 * itself. *detail: for the log, or NULL.
 */
MUST_CHECK enum fact session_check_bearer(struct session *s, const char **detail);
/* After that: whom to look up, and whether that is this account. */
void session_bearer_who(const struct session *s, struct account_who *who);
bool session_bearer_names(const struct session *s, const struct account_view *account);
/* After that, for an unverified one: whether the connection has brought tokens of s->account alone. */
bool session_bearer_keeps(struct session *s);
void session_forget_bearer(struct session *s);

/* --- session_user.c --- */
/*
 * Whether `user` (copied) is the account's name; the directory is asked where only it can say. `done` runs once, before this returns
 * or later (SESSION_ACCOUNT meanwhile), and not when the session ends first. s may be gone afterwards.
 */
void session_check_user(struct session *s, const char *user, session_step_fn *done);

/* --- session_device.c --- */
/* The user is who he says: by the certificate, or by a password or token that was checked here. Not where a token is to be verified yet. */
bool session_is_proven(const struct session *s);
/* By what this request came in. */
enum method session_method(const struct session *s);
/*
 * Whether the request's device may in, as the policy says; it is noted and bound. `done` as with session_check_user(), SESSION_DEVICE
 * meanwhile.
 */
void session_check_device(struct session *s, session_step_fn *done);
/* The mail server has answered the exchange under way: counted for the day. */
void session_note_use(struct session *s);
/*
 * Who the user is is known by the mail server's answer alone, it has accepted him (status), and his device is not noted yet: that comes
 * before the answer, so that quarantine and limits hold from the first one on. session_note_device(): `done` runs later, SESSION_RELAY
 * stays; -1: too many questions, it will not run.
 */
bool session_must_note(const struct session *s, unsigned status);
MUST_CHECK int session_note_device(struct session *s, session_step_fn *done);
/* The connection is of the device with that record. */
bool session_is_device(const struct session *s, const uint8_t key[SHA256_SIZE]);

/* --- session_changes.c --- */
/* Sets peer->host by the name that the connection came by: hosts may stand in another order now. False: no host has it any more. */
bool session_find_host(struct session *s);

/* --- session_collect.c --- */
/* Bytes of a body that the proxy answers itself. s may be gone afterwards. */
void session_collect(struct session *s);

/* --- relay.c --- */
void relay_start(struct session *s);
void relay_from_device(struct session *s);
void relay_device_writable(struct session *s);

/* --- audit.c --- */
void audit_access(const struct session *s);
/* What pin: log lets in and pin: enforce would refuse. */
void audit_would_refuse(const struct session *s, enum fact fact);
void audit_refusal(const struct session *s, enum fact fact, const char *detail);
void audit_handshake(const struct session *s, const struct handshake_report *report);
void audit_ended(const struct session *s, enum fact fact, const char *detail);
uint64_t now_us(void);

#endif
