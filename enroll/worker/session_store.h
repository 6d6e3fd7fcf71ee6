/*
 * session_store: who has signed in on the portal. A session's id is 256 random bits that only the browser keeps: here it is hashed. Its
 * CSRF token follows from the id and a key of this process. Memory is bounded; the clock is an argument. Worker process.
 */
#ifndef EASGATE_ENROLL_SESSION_STORE_H
#define EASGATE_ENROLL_SESSION_STORE_H

#include "common/directory/ask.h"

#define SESSION_COOKIE	  "__Host-easgate"
#define SESSION_ID_SIZE	  65 /* 64 hex digits and NUL */
#define SESSION_CSRF_SIZE 65

struct session {
	struct session *next, *newer, *older; /* the store's */
	uint8_t hash[SHA256_SIZE];
	struct account account;	      /* as the directory said last */
	int64_t began, used, checked; /* checked: when the account was */
	bool doubt;		      /* the account may have changed since */
	char client[64];	      /* who began it, for the audit trail */
};

struct session_limits {
	unsigned sessions, per_account; /* more: the oldest (of that account) ends */
	uint32_t idle_seconds, whole_seconds;
};

struct session_store;

/* NULL: out of memory, or no random bytes. */
struct session_store *session_store_new(const struct session_limits *limits);
void session_store_free(struct session_store *s);
/* A new session with a new id, always: never an id that the browser came with. NULL: no memory or no random bytes. Borrowed from s. */
struct session *session_begin(struct session_store *s, const struct account *account,
    const char *client, int64_t now, char id[SESSION_ID_SIZE]);
/* The session of that id, marked as used; NULL: none, or over. Borrowed until the next call that changes anything. */
struct session *session_find(struct session_store *s, struct strv id, int64_t now);
void session_end(struct session_store *s, struct session *session);
/* All of an account. */
void session_end_account(struct session_store *s, const char *sid);
/* Token for this id (64 hex digits). */
void session_csrf(const struct session_store *s, struct strv id, char out[SESSION_CSRF_SIZE]);
/* In constant time. */
bool session_csrf_is(const struct session_store *s, struct strv id, struct strv token);
/* The account may have changed; "": all may. */
void session_doubt(struct session_store *s, const char *sid);
/* The oldest in doubt, else the oldest whose account was checked before `before`; NULL: none. session_checked() follows. */
struct session *session_to_check(struct session_store *s, int64_t before);
/*
 * The account's facts as of facts_at, to every session of it; one that is younger than they keeps its own. Where they tell another pwdLastSet, the
 * password was changed since the session began, perhaps because somebody else knows it: the session ends. How many ended.
 */
unsigned session_checked(struct session_store *s, const struct account *account, int64_t now, int64_t facts_at);
/* Ends what is over. */
void session_tidy(struct session_store *s, int64_t now);
unsigned session_count(const struct session_store *s);

#endif
