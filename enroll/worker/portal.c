/*
 * portal: its life, and who may come in: session cookie, CSRF token, groups; and sessions' accounts, looked at again while they last. Knows no path.
 * Worker of easenroll.
 */
#include "enroll/worker/portal.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/directory/claim_kind.h"
#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/portal_parts.h"

#define SESSIONS_MAX	10000
#define SESSIONS_OF_ONE 20
#define CHECK_SECONDS	30 /* so often is a session's account looked at again */
_Static_assert(sizeof(((struct http_request *)0)->whom) >= ACCOUNT_SID_MAX, "a SID fits");

#define LATE_SECONDS	60 /* what that may take, beside directory.stale_seconds */
#define CHECK_MS	1000
#define FLOOR_MS	700 /* every refused sign-in takes so long at least */

/* --- who asks --- */

bool portal_has_group(const char *group, unsigned bit, const struct account *account)
{
	return group[0] == '\0' || (bit < 64 && (account->groups & (1ull << bit)) != 0);
}

bool portal_is_admin(const struct enroll_worker *w, const struct account *account)
{
	const struct enroll_portal *config = &w->settings->enroll.portal;

	return config->admin_group[0] != '\0' &&
	    portal_has_group(config->admin_group, config->admin_bit, account);
}

struct registry_by portal_by(const struct enroll_worker *w, const struct http_request *r,
    bool admin, const char *detail, char *text)
{
	/* not by the session, which may have ended while Redis or the directory was asked */
	if (r->whom[0] == '\0')
		snprintf(text, REGISTRY_ACTOR_MAX, "cli %s", r->uid == 0 ? "root" : "service");
	else
		snprintf(text, REGISTRY_ACTOR_MAX, "%s %s", admin ? "admin" : "user", r->whom);
	return (struct registry_by){ .actor = text, .detail = detail, .at = loop_wall(w->loop) };
}

static bool is_reading(const struct http_request *r)
{
	return strv_eq(r->method, STRV("GET")) || strv_eq(r->method, STRV("HEAD"));
}

bool portal_admit(struct enroll_worker *w, struct http_request *r, enum route_need need)
{
	struct portal *p = portal_of(w);
	struct session *session = NULL;
	struct strv id;

	if (http_request_cookie(r, SESSION_COOKIE, &id))
		session = session_find(p->sessions, id, loop_wall(w->loop));
	if (session == NULL) {
		api_error(r, 401, "sign-in", "Sign in first.");
		return false;
	}
	/* the directory has not answered for longer than what it said is worth */
	if (loop_wall(w->loop) - session->checked >
	    (int64_t)w->settings->common.directory.stale_seconds + LATE_SECONDS) {
		http_reply_field(r, "Retry-After", "10");
		api_error(r, 503, "unavailable",
		    "The directory does not answer: come again in a moment.");
		return false;
	}
	if (!is_reading(r) &&
	    !session_csrf_is(p->sessions, id, http_request_field(r, "X-Easgate-Csrf"))) {
		log_say(LOG_WARNING, "portal_csrf",
		    "a request of %s came without its session's token: refused",
		    session->account.sid);
		api_error(r, 403, "csrf", "The request does not come from the portal's page.");
		return false;
	}
	if (need == ROUTE_ADMIN && !portal_is_admin(w, &session->account)) {
		api_error(
		    r, 403, "not-admin", "Only members of the administrators' group may do that.");
		return false;
	}
	r->who = session;
	memcpy(r->whom, session->account.sid, sizeof(session->account.sid));
	return true;
}

/* --- sessions' accounts, looked at again --- */

static bool may_stay(const struct enroll_worker *w, const struct account *a)
{
	const struct enroll_portal *config = &w->settings->enroll.portal;

	return (a->flags & ACCOUNT_ENABLED) != 0 &&
	    (a->flags & (ACCOUNT_EXPIRED | ACCOUNT_LOCKED)) == 0 &&
	    (portal_has_group(config->required_group, config->required_bit, a) ||
		portal_is_admin(w, a));
}

static void on_check(struct deadline *d);

static void on_checked(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct portal *p = arg;
	struct directory_found found;
	int64_t now = loop_wall(p->worker->loop);

	p->check_number = 0;
	if (status == WIRE_OK && n == sizeof(found)) {
		memcpy(&found, body, sizeof(found));
		if (found.result == ACCOUNT_FOUND && strcmp(found.account.sid, p->checking) == 0 &&
		    may_stay(p->worker, &found.account)) {
			if (session_checked(p->sessions, &found.account, now, now - found.age_seconds) > 0)
				log_say(LOG_INFO, "portal_session_ended",
				    "the password of %s was changed: sessions from before end", p->checking);
			if (p->check_changed) /* perhaps what was before */
				session_doubt(p->sessions, p->checking);
			deadline_arm(p->worker->loop, &p->check, 0, on_check);
			return;
		}
		if (found.result != ACCOUNT_UNAVAILABLE) {
			log_say(LOG_INFO, "portal_session_ended",
			    "%s may sign in no more: its sessions end", p->checking);
			session_end_account(p->sessions, p->checking);
			deadline_arm(p->worker->loop, &p->check, 0, on_check);
		}
	}
}

static void on_check(struct deadline *d)
{
	struct portal *p = CONTAINER_OF(d, struct portal, check);
	struct enroll_worker *w = p->worker;
	struct directory_find find;
	struct session *session;
	int64_t now = loop_wall(w->loop);

	session_tidy(p->sessions, now);
	session = p->check_number == 0 ? session_to_check(p->sessions, now - CHECK_SECONDS) : NULL;
	if (session != NULL) {
		p->check_changed = false;
		memset(&find, 0, sizeof(find));
		find.kind = CLAIM_SID;
		snprintf(find.value, sizeof(find.value), "%s", session->account.sid);
		snprintf(p->checking, sizeof(p->checking), "%s", session->account.sid);
		p->check_number = asker_ask(w->directory, DIRECTORY_FIND, &find, sizeof(find),
		    DIRECTORY_TIMEOUT_MS, on_checked, p);
	}
	deadline_arm(w->loop, &p->check, CHECK_MS, on_check);
}

void portal_directory_changed(struct portal *p, const char *sid)
{
	if (p == NULL)
		return;
	session_doubt(p->sessions, sid);
	p->check_changed = true;
	deadline_arm(p->worker->loop, &p->check, 0, on_check);
}

/* --- life --- */

struct portal *portal_new(struct enroll_worker *w)
{
	const struct enroll_section *e = &w->settings->enroll;
	struct session_limits sessions = { SESSIONS_MAX, SESSIONS_OF_ONE, e->portal.idle_seconds,
		e->portal.session_seconds };
	struct sign_in_config sign_in = { .loop = w->loop,
		.lockout = w->lockout,
		.timeout_ms = LOCKOUT_TIMEOUT_MS,
		.floor_ms = FLOOR_MS };
	struct portal *p = calloc(1, sizeof(*p));

	api_json_wipe();
	if (p == NULL)
		goto fail;
	p->worker = w;
	p->sessions = session_store_new(&sessions);
	p->sign_in = sign_in_new(&sign_in);
	p->delivery = delivery_new(w);
	if (p->sessions == NULL || p->sign_in == NULL || p->delivery == NULL)
		goto fail;
	deadline_arm(w->loop, &p->check, CHECK_MS, on_check);
	return p;
fail:
	log_say(LOG_ERROR, "portal_unusable", "out of memory, or no random bytes");
	portal_free(p);
	return NULL;
}

struct sign_in *portal_sign_in(const struct enroll_worker *w)
{
	return w->portal ? portal_of(w)->sign_in : NULL;
}

void portal_free(struct portal *p)
{
	if (p == NULL)
		return;
	deadline_disarm(&p->check);
	asker_cancel(p->worker->directory, p->check_number);
	sign_in_free(p->sign_in);
	delivery_free(p->delivery);
	session_store_free(p->sessions);
	free(p);
}
