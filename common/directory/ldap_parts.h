/*
 * ldap_parts: what the files ldap*.c share: the pool of servers, one connection, one request on it.
 * Nobody else includes this.
 *
 *   ldap.c          the pool: which server is asked, failover
 *   ldap_conn.c     one connection's life: dial, TLS, bind, prepare, ready, down, back-off
 *   ldap_op.c       requests on it and their answers
 *   ldap_bind.c     simple and GSS-SPNEGO
 *   ldap_ticket.c   tickets for it (kdc.c: bytes to a KDC and back)
 *   ldap_prepare.c  what must be known of a server and its domain before the first search
 *   ldap_find.c     one account by one claim
 *   ldap_entry.c    values of an entry
 *   ldap_members.c  who is in a group
 *   ldap_watch.c    what changed
 *   ldap_sign_in.c  one password against one account
 *   ldap_user_bind.c  the connection on which it is tried
 */
#ifndef EASGATE_DIRECTORY_LDAP_PARTS_H
#define EASGATE_DIRECTORY_LDAP_PARTS_H

#include <ldap.h>

#include "common/directory/claim_search.h"
#include "common/directory/dial.h"
#include "common/directory/ldap.h"
#include "common/directory/ldap_stream.h"

#define LDAP_SERVERS_MAX 16
#define LDAP_GROUPS_MAX	 64
#define LDAP_DN_MAX	 1024
#define LDAP_PSO_MAX	 8
#define LDAP_SEEN_MAX	 64
#define LDAP_SLOW_MS                                                                           \
	250 /* a server that owes an answer for so long is passed over, and its work asked for \
	       elsewhere too */

struct ldap_conn;

/* --- requests (ldap_op.c) --- */

/* One entry of a search; the message is the connection's. */
typedef void ldap_entry_fn(void *arg, struct ldap_conn *c, LDAPMessage *entry);
/* The end: an LDAP result code, LDAP_SERVER_DOWN when the connection went away. `result` may be
 * NULL. */
typedef void ldap_done_fn(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result);

struct ldap_op {
	struct ldap_op *next; /* of the slot by message id */
	int id;
	bool lasting;	      /* a notification: its end is not awaited */
	ldap_entry_fn *entry; /* NULL as `done`: cancelled, or of no interest */
	ldap_done_fn *done;
	void *arg;
};

struct ldap_query {
	const char *base;
	int scope;
	const char *filter;	       /* NULL: (objectClass=*) */
	const char *const *attributes; /* NULL-terminated */
	int size_limit;		       /* 0: the server's */
	LDAPControl **controls;
	bool lasting;
	ldap_entry_fn *entry;
	ldap_done_fn *done;
	void *arg;
};

/* --- one server --- */

enum ldap_conn_state {
	CONN_DOWN = 0, /* waits for its next try */
	CONN_DIALLING,
	CONN_STARTING_TLS, /* in clear, StartTLS asked for */
	CONN_SECURING,
	CONN_QUEUED, /* for the one place where a bind may be tried */
	CONN_BINDING,
	CONN_PREPARING,
	CONN_READY,
	CONN_REFUSED, /* the credential was refused: no more tries */
};

/* What is known of the server's domain; read anew on each connection. */
struct ldap_domain {
	char naming_context[LDAP_DN_MAX], configuration[LDAP_DN_MAX], service[LDAP_DN_MAX];
	char dns[ACCOUNT_NAME_MAX], netbios[32];
	bool lockout_known;
	uint32_t lockout_threshold;
	uint32_t lockout_window; /* lockOutObservationWindow in seconds; 0: not known */
	uint64_t policy_ms;	 /* when these and the clock were read */
	int64_t clock_ms;	 /* the server's clock less our monotonic one; 0: not known */
	uint8_t invocation[16];
	bool has_invocation;
	uint64_t usn; /* highestCommittedUSN when the connection was prepared */
	struct sid group[LDAP_GROUPS_MAX]; /* n == 0: not found */
	struct {
		char dn[256];
		uint32_t lockout_threshold, lockout_window;
	} pso[LDAP_PSO_MAX];
	unsigned pso_count, pso_next;
};

/* Outlives connections: where the watch of this server stood. */
struct ldap_watch {
	struct deadline next;
	bool running;
	bool known; /* invocation and usn are of a watch that ran */
	uint8_t invocation[16];
	uint64_t usn;	  /* the first one not yet looked at */
	uint64_t highest; /* of the poll under way */
	struct {
		struct sid sid;
		uint64_t usn;
	} seen[LDAP_SEEN_MAX]; /* told already: notification and poll find the same change */
	unsigned seen_next;
};

struct ldap_conn {
	struct directory_ldap *pool;
	unsigned index;
	const char *url; /* as configured */
	char host[256];
	uint16_t port;
	bool ldaps;
	enum ldap_conn_state state;
	struct dial *dial;
	struct ldap_stream stream;
	LDAP *ld;
	struct ldap_op *ops[64];
	unsigned waiting;	 /* answers that are owed */
	uint64_t since_ms;	 /* since when nothing came though something is owed */
	struct deadline limit;	 /* of the state, while not ready */
	struct deadline silence; /* of an owed answer */
	struct deadline retry;
	unsigned failures; /* in a row */
	uint64_t opened_ms, ready_ms;
	bool was_ready; /* since it was opened */
	char told[512]; /* the last reason logged; "" after directory_up */
	int told_code;	/* the last search failure logged */
	struct ldap_domain domain;
	unsigned preparing; /* answers that prepare waits for */
	char prepare_why[256];
	struct ldap_watch watch;
	struct ldap_bind *bind; /* while binding */
};

/* --- the pool --- */

struct directory_ldap {
	struct loop *loop;
	struct directory_ldap_setup setup;
	struct evdns_base *dns;
	SSL_CTX *tls;
	struct ldap_conn conn[LDAP_SERVERS_MAX];
	unsigned conns, well;
	struct ldap_conn *binding; /* who holds the place where a bind is tried */
	struct deadline bind_limit, groups_due;
	char refused[512]; /* why the credential was refused; "": it was not */
	char *password;	   /* simple */
	size_t password_n;
	struct ldap_tickets *tickets;	   /* gssapi */
	const char *kdc[LDAP_SERVERS_MAX]; /* the servers' hosts, where no KDCs are configured */
	struct ldap_lookup *lookups;
	struct ldap_sign_in *sign_ins;
	bool closing;
};

/* ldap_conn.c */
MUST_CHECK int ldap_conn_init(
    struct ldap_conn *c, struct directory_ldap *pool, unsigned index, const char *url);
void ldap_conn_open(struct ldap_conn *c);
void ldap_conn_close(struct ldap_conn *c); /* for good: no callbacks, no retry */
/* Of no use: tells, closes, ends its requests with LDAP_SERVER_DOWN, tries again after a while. */
PRINTF(2, 3) void ldap_conn_fail(struct ldap_conn *c, const char *fmt, ...);
void ldap_conn_bind(struct ldap_conn *c);     /* by ldap.c: its turn has come */
void ldap_conn_bound(struct ldap_conn *c);    /* by ldap_bind.c */
void ldap_conn_prepared(struct ldap_conn *c); /* by ldap_prepare.c */

/* ldap_op.c */
/* NULL: could not be sent (the connection then fails from the loop). Borrows q for the call. */
struct ldap_op *ldap_conn_search(struct ldap_conn *c, const struct ldap_query *q);
MUST_CHECK int ldap_conn_sasl_bind(struct ldap_conn *c, const char *name, const char *mechanism,
    struct berval *credential, ldap_done_fn *done, void *arg);
MUST_CHECK int ldap_conn_ask_tls(struct ldap_conn *c, ldap_done_fn *done);
void ldap_op_cancel(struct ldap_op *op); /* accepts NULL; the answer is dropped when it comes */
struct ldap_op *ldap_ops_take(struct ldap_conn *c); /* all that are under way, as a list */
void ldap_conn_received(void *c);		    /* from the stream */
/* It owes an answer and has said nothing for LDAP_SLOW_MS. */
bool ldap_conn_is_slow(const struct ldap_conn *c);

/* ldap_bind.c */
/* Ends with ldap_conn_bound(), ldap_conn_fail() or ldap_pool_refuse(). */
void ldap_bind_start(struct ldap_conn *c);
void ldap_bind_stop(struct ldap_conn *c);

/* ldap_prepare.c */
void ldap_prepare(struct ldap_conn *c); /* ends with ldap_conn_prepared() or ldap_conn_fail() */
void ldap_prepare_groups(struct ldap_conn *c); /* again, on a ready connection */
/* On a ready connection: reads the lock-out policy and the server's clock again where they are older than a minute; what was known
 * counts until the answer is there. */
void ldap_prepare_policy(struct ldap_conn *c);
/* Seconds since the epoch by the server's clock, which no jump of ours moves; by ours where it did not say. */
time_t ldap_conn_clock(const struct ldap_conn *c);

/* ldap_find.c */
struct ldap_finding;
/* good: the server answered; then `result` is what it says. Else the next server may be asked. */
typedef void ldap_found_fn(void *arg, struct ldap_conn *c, bool good, enum account_result result,
    const struct account *account, const char *dn); /* dn: "" unless ACCOUNT_FOUND */
/* 0: `done` will run. 1: the claim can name nobody. -1: could not be sent. */
MUST_CHECK int ldap_finding_start(struct ldap_conn *c, uint32_t kind, const char *value,
    ldap_found_fn *done, void *arg, struct ldap_finding **out);
void ldap_finding_cancel(struct ldap_finding *f);

/* ldap_sign_in.c */
void ldap_sign_ins_close(struct directory_ldap *d); /* no callback runs */

/* ldap_user_bind.c */
struct ldap_user_bind;
typedef void ldap_user_bound_fn(void *arg, enum sign_in_result result, const char *why);
/*
 * A connection of its own to the same server as `c`, TLS, one simple bind as `dn`, and the end. Borrows the
 * password, which must not be empty, until `done` ran (once, from the loop). NULL: it could not be begun.
 */
struct ldap_user_bind *ldap_user_bind_start(const struct ldap_conn *c, const char *dn, const char *password,
    size_t password_n, ldap_user_bound_fn *done, void *arg);
void ldap_user_bind_cancel(struct ldap_user_bind *b); /* accepts NULL */
/* What an LDAP result of that bind means. */
enum sign_in_result ldap_user_bind_judge(int code, const char *diagnostic);

/* ldap_watch.c */
void ldap_watch_start(struct ldap_conn *c);
void ldap_watch_stop(struct ldap_conn *c);

/* ldap.c */
void ldap_pool_well(struct directory_ldap *d); /* some connection became ready or ceased to be */
void ldap_pool_bind_next(
    struct directory_ldap *d); /* the place is free, or somebody new waits for it */
void ldap_pool_bind_leave(struct ldap_conn *c);
PRINTF(2, 3) void ldap_pool_refuse(struct ldap_conn *c, const char *fmt, ...);
void ldap_pool_groups_changed(struct directory_ldap *d);
bool ldap_pool_other_watches(const struct ldap_conn *c);

/* ldap_entry.c: values of an entry. False: not there, or not usable as that. */
bool ldap_entry_text(LDAP *ld, LDAPMessage *e, const char *attribute, char *out, size_t size);
bool ldap_entry_number(LDAP *ld, LDAPMessage *e, const char *attribute, int64_t *out);
/* An observation window as AD writes it: 100 ns, negative. "Never" is INT32_MAX, 68 years; 0: not known. */
uint32_t ldap_window_seconds(int64_t window);
/* GeneralizedTime as AD writes it, "20261129123000.0Z": seconds since the epoch. */
bool ldap_entry_time(LDAP *ld, LDAPMessage *e, const char *attribute, int64_t *out);
bool ldap_entry_sid(LDAP *ld, LDAPMessage *e, const char *attribute, struct sid *out);
bool ldap_entry_has(LDAP *ld, LDAPMessage *e, const struct claim_search *search);
bool ldap_entry_has_text(LDAP *ld, LDAPMessage *e, const char *attribute, const char *value);
bool ldap_entry_dn(LDAP *ld, LDAPMessage *e, char *out, size_t size);
/* "corp.example" from the DC parts of a DN. False: it has none, or they hold what no host name
 * does. */
bool ldap_dn_domain(const char *dn, char *out, size_t size);

#endif
