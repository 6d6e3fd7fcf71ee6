/*
 * ldap_sign_in: a name and a password to an account, or why not. Finds the account and looks at its badPwdCount on the
 * very server where it then binds, since that number is each domain controller's own; one attempt at a time for one
 * account, or two would both see the number before. Never tries a second server with a password that one has seen.
 * Runs in the *directory* process.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ldap_parts.h"
#include "common/log.h"

#define SIGN_INS_MAX 256 /* the *lockout* processes have fewer under way, all together */

enum sign_in_step { SIGN_IN_FINDING, SIGN_IN_WAITING, SIGN_IN_BINDING, SIGN_IN_OVER };

struct ldap_sign_in {
	struct ldap_sign_in *next; /* the youngest first */
	struct directory_ldap *pool;
	struct directory_sign_in ask;
	enum sign_in_step step;
	bool asked[LDAP_SERVERS_MAX];
	struct ldap_conn *conn;
	struct ldap_finding *finding;
	struct ldap_user_bind *bind;
	struct deadline limit, soon;
	struct directory_signed_in answer;
	directory_ldap_signed_in_fn *done;
	void *arg;
};

static void find(struct ldap_sign_in *s);

/* The oldest that waits for the same account goes on, and looks at the number again. */
static void wake_next(struct directory_ldap *d, const char *sid)
{
	struct ldap_sign_in *oldest = NULL;

	for (struct ldap_sign_in *s = d->sign_ins; s != NULL; s = s->next) {
		if (s->step == SIGN_IN_WAITING && strcmp(s->answer.account.sid, sid) == 0)
			oldest = s;
	}
	if (oldest != NULL) {
		memset(oldest->asked, 0, sizeof(oldest->asked));
		find(oldest);
	}
}

/* Takes it out; what was asked of it is overwritten. Who waits behind it is woken by the caller. */
static void leave(struct ldap_sign_in *s)
{
	struct ldap_sign_in **at = &s->pool->sign_ins;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	deadline_disarm(&s->limit);
	deadline_disarm(&s->soon);
	ldap_finding_cancel(s->finding);
	ldap_user_bind_cancel(s->bind);
	OPENSSL_cleanse(&s->ask, sizeof(s->ask));
}

static void on_over(struct deadline *d)
{
	struct ldap_sign_in *s = CONTAINER_OF(d, struct ldap_sign_in, soon);
	struct directory_ldap *pool = s->pool;

	leave(s);
	wake_next(pool, s->answer.account.sid);
	s->done(s->arg, &s->answer);
	free(s);
}

/* From the loop, so that `done` never runs inside directory_ldap_sign_in(). */
static void end(struct ldap_sign_in *s, enum sign_in_result result)
{
	s->step = SIGN_IN_OVER;
	s->answer.result = result;
	OPENSSL_cleanse(&s->ask, sizeof(s->ask));
	deadline_arm(s->pool->loop, &s->soon, 0, on_over);
}

static void on_limit(struct deadline *d)
{
	struct ldap_sign_in *s = CONTAINER_OF(d, struct ldap_sign_in, limit);

	if (s->step == SIGN_IN_OVER)
		return;
	s->answer.tried = s->step == SIGN_IN_BINDING;
	ldap_finding_cancel(s->finding);
	ldap_user_bind_cancel(s->bind);
	s->finding = NULL;
	s->bind = NULL;
	end(s, SIGN_IN_UNAVAILABLE);
}

/* --- the password --- */

static void on_bound(void *arg, enum sign_in_result result, const char *why)
{
	struct ldap_sign_in *s = arg;

	s->bind = NULL;
	s->answer.tried = result != SIGN_IN_UNAVAILABLE;
	if (result == SIGN_IN_UNAVAILABLE)
		log_say(LOG_ERROR, "sign_in_unavailable",
		    "%s: no password could be tried: %s; see that the server "
		    "takes more connections and binds by TLS",
		    s->conn->url, why);
	end(s, result);
}

static bool is_being_tried(const struct ldap_sign_in *s)
{
	for (const struct ldap_sign_in *other = s->pool->sign_ins; other != NULL;
	     other = other->next) {
		if (other != s && other->step == SIGN_IN_BINDING &&
		    strcmp(other->answer.account.sid, s->answer.account.sid) == 0)
			return true;
	}
	return false;
}

/* SIGNED_IN: nothing stands against trying. */
static enum sign_in_result look(const struct ldap_sign_in *s)
{
	const struct account *a = &s->answer.account;
	uint32_t margin = s->ask.right_at != 0 && s->ask.right_at == a->pwd_last_set && s->ask.margin != DIRECTORY_NO_MARGIN ? 0 : s->ask.margin;

	if ((a->flags & ACCOUNT_ENABLED) == 0)
		return SIGN_IN_DISABLED;
	if ((a->flags & ACCOUNT_LOCKED) != 0)
		return SIGN_IN_LOCKED;
	if ((a->flags & ACCOUNT_EXPIRED) != 0)
		return SIGN_IN_EXPIRED;
	/* One more wrong password must leave it below the threshold less margin. */
	if (margin != DIRECTORY_NO_MARGIN &&
	    a->bad_password_count >= facts_wrong_passwords(a->lockout_known, a->lockout_threshold, margin))
		return SIGN_IN_GUARDED;
	return SIGNED_IN;
}

static void try_password(struct ldap_sign_in *s, struct ldap_conn *c, const char *dn)
{
	enum sign_in_result result = look(s);

	if (result != SIGNED_IN) {
		end(s, result);
		return;
	}
	s->conn = c;
	s->step = SIGN_IN_BINDING;
	s->bind = ldap_user_bind_start(c, dn, s->ask.password, s->ask.password_n, on_bound, s);
	if (s->bind == NULL)
		end(s, SIGN_IN_UNAVAILABLE);
}

/* --- the account --- */

static void on_found(void *arg, struct ldap_conn *c, bool good, enum account_result result,
    const struct account *account, const char *dn)
{
	struct ldap_sign_in *s = arg;

	s->finding = NULL;
	if (!good) {
		find(s);
		return;
	}
	if (result != ACCOUNT_FOUND) {
		end(s, SIGN_IN_UNKNOWN);
		return;
	}
	s->answer.account = *account;
	s->answer.account.flags = facts_flags_now(account, loop_wall(s->pool->loop));
	if (is_being_tried(s))
		s->step = SIGN_IN_WAITING;
	else
		try_password(s, c, dn);
}

static struct ldap_conn *choose(const struct ldap_sign_in *s)
{
	struct ldap_conn *slow = NULL;

	for (unsigned i = 0; i < s->pool->conns; i++) {
		struct ldap_conn *c = &s->pool->conn[i];
		if (c->state != CONN_READY || s->asked[i])
			continue;
		if (!ldap_conn_is_slow(c))
			return c;
		if (slow == NULL)
			slow = c;
	}
	return slow;
}

/* Asks the next server that is well; without one it is over. */
static void find(struct ldap_sign_in *s)
{
	struct ldap_conn *c;
	int rc;

	s->step = SIGN_IN_FINDING;
	while ((c = choose(s)) != NULL) {
		s->asked[c->index] = true;
		rc = ldap_finding_start(c, CLAIM_USER, s->ask.name, on_found, s, &s->finding);
		if (rc == 0)
			return;
		if (rc > 0) {
			end(s, SIGN_IN_UNKNOWN);
			return;
		}
	}
	end(s, SIGN_IN_UNAVAILABLE);
}

/* --- from outside --- */

struct ldap_sign_in *directory_ldap_sign_in(struct directory_ldap *d,
    const struct directory_sign_in *ask, directory_ldap_signed_in_fn *done, void *arg)
{
	struct ldap_sign_in *s;
	unsigned n = 0;

	for (s = d->sign_ins; s != NULL; s = s->next)
		n++;
	if (n >= SIGN_INS_MAX || ask->password_n == 0 || ask->password_n > sizeof(ask->password))
		return NULL;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	s->pool = d;
	s->ask = *ask;
	s->done = done;
	s->arg = arg;
	s->next = d->sign_ins;
	d->sign_ins = s;
	deadline_arm(d->loop, &s->limit, 2ull * d->setup.config->timeout_ms, on_limit);
	find(s);
	return s;
}

void directory_ldap_sign_in_cancel(struct ldap_sign_in *s)
{
	struct directory_ldap *d;
	char sid[ACCOUNT_SID_MAX];
	bool wake;

	if (s == NULL)
		return;
	d = s->pool;
	wake = s->step == SIGN_IN_BINDING || s->step == SIGN_IN_OVER;
	memcpy(sid, s->answer.account.sid, sizeof(sid));
	leave(s);
	free(s);
	if (wake)
		wake_next(d, sid);
}

void ldap_sign_ins_close(struct directory_ldap *d)
{
	struct ldap_sign_in *s;

	while ((s = d->sign_ins) != NULL) {
		leave(s);
		free(s);
	}
}
