/*
 * api_session: signing in and out, and who one is. Worker of easenroll.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/portal_parts.h"

struct signing_in {
	struct enroll_worker *worker;
	struct http_request *request;
	char name[DIRECTORY_CLAIM_MAX];
};

/* A form on another site cannot send JSON, and a browser says where a script's request comes from. */
static bool comes_from_us(const struct enroll_worker *w, const struct http_request *r)
{
	struct strv site = http_request_field(r, "Sec-Fetch-Site"),
		    origin = http_request_field(r, "Origin");
	const char *ours = w->settings->enroll.public_url;

	if (site.n > 0)
		return strv_eq(site, STRV("same-origin"));
	if (origin.n == 0 || text_eq_nocase(origin, strv_from(ours)))
		return true;
	/* behind another name or port than public_url: the page's own host */
	return text_starts_nocase(origin, STRV("https://")) && r->host.n > 0 &&
	    origin.n >= 8 + r->host.n &&
	    text_eq_nocase((struct strv){ origin.p + 8, r->host.n }, r->host) &&
	    (origin.n == 8 + r->host.n || origin.p[8 + r->host.n] == ':');
}

static json_t *who(const struct enroll_worker *w, const struct session *session, struct strv id)
{
	const struct enroll_section *e = &w->settings->enroll;
	char csrf[SESSION_CSRF_SIZE];

	session_csrf(portal_of(w)->sessions, id, csrf);
	return json_pack("{s:o,s:s,s:b,s:{s:o,s:o,s:o,s:I,s:I}}", "user",
	    api_account(&session->account), "csrf", csrf, "admin",
	    portal_is_admin(w, &session->account), "site", "title", api_string(e->portal.title),
	    "mail_host", api_string(e->mail.host), "mail_name", api_string(e->mail.display_name),
	    "devices_per_user", (json_int_t)e->portal.devices_per_user, "idle_seconds",
	    (json_int_t)e->portal.idle_seconds);
}

static void set_cookie(struct http_request *r, const char *id, uint32_t seconds)
{
	http_reply_field(r, "Set-Cookie",
	    "%s=%s; Path=/; Max-Age=%u; Secure; HttpOnly; SameSite=Strict", SESSION_COOKIE, id,
	    seconds);
}

static void audit(struct signing_in *s, const struct sign_in_answer *answer)
{
	char actor[REGISTRY_ACTOR_MAX], object[REGISTRY_ACTOR_MAX], detail[256];
	struct registry_by by = {
		.actor = actor, .detail = detail, .at = loop_wall(s->worker->loop)
	};
	struct log_line l;

	/* What was typed may be a password in the wrong field: only a name that somebody has is written down. */
	snprintf(object, sizeof(object), "%s",
	    answer->account != NULL ? answer->account->sid : "unknown");
	snprintf(actor, sizeof(actor), "portal");
	snprintf(detail, sizeof(detail), "%s, from %s", answer->reason, s->request->client);
	log_begin(&l, answer->verdict == SIGN_IN_OK ? LOG_INFO : LOG_WARNING, "portal_sign_in");
	log_cstr(&l, "account", object);
	log_cstr(&l, "result", answer->reason);
	log_cstr(&l, "client", s->request->client);
	log_end(&l);
	/* Refusals stay out of the trail where anybody could fill the disk with them. */
	if (answer->verdict == SIGN_IN_OK ||
	    (answer->verdict == SIGN_IN_REFUSED && answer->account != NULL)) {
		if (registry_audit(s->worker->registry, &by,
			answer->verdict == SIGN_IN_OK ? "sign-in" : "sign-in-refused",
			object) != REGISTRY_OK)
			log_say(
			    LOG_ERROR, "audit_failed", "%s", registry_problem(s->worker->registry));
	}
}

static void welcome(struct signing_in *s, const struct account *account)
{
	struct enroll_worker *w = s->worker;
	struct http_request *r = s->request;
	struct portal *p = portal_of(w);
	char id[SESSION_ID_SIZE];
	struct registry_by by = { .actor = "portal", .detail = "an administrator", .at = loop_wall(w->loop) };
	struct session *session, *before;
	struct strv old;

	if (http_request_cookie(r, SESSION_COOKIE, &old) &&
	    (before = session_find(p->sessions, old, loop_wall(w->loop))) != NULL)
		session_end(p->sessions, before);
	/* so that the audit trail can call by name who has no device but does something to others' */
	if (portal_is_admin(w, account) && registry_account_seen(w->registry, &by, account, NULL) != REGISTRY_OK)
		log_say(LOG_ERROR, "audit_failed", "%s", registry_problem(w->registry));
	session = session_begin(p->sessions, account, r->client, loop_wall(w->loop), id);
	if (session == NULL) {
		api_error(r, 503, "unavailable", "Come again in a moment.");
		return;
	}
	set_cookie(r, id, w->settings->enroll.portal.session_seconds);
	api_reply(r, 200, who(w, session, strv_from(id)));
	OPENSSL_cleanse(id, sizeof(id));
}

static bool may_enter(const struct enroll_worker *w, const struct account *account)
{
	const struct enroll_portal *config = &w->settings->enroll.portal;

	return portal_has_group(config->required_group, config->required_bit, account) || portal_is_admin(w, account);
}

static void on_signed_in(void *arg, const struct sign_in_answer *answer)
{
	struct signing_in *s = arg;
	struct http_request *r = s->request;
	struct sign_in_answer outside = *answer;

	if (answer->verdict == SIGN_IN_OK && !may_enter(s->worker, answer->account)) {
		outside.verdict = SIGN_IN_REFUSED;
		outside.reason = "not-in-group";
		audit(s, &outside);
		api_error(r, 403, "not-in-group", "This account is not in the group that may enrol devices.");
		free(s);
		return;
	}
	audit(s, answer);
	switch (answer->verdict) {
	case SIGN_IN_OK: welcome(s, answer->account); break;
	case SIGN_IN_REFUSED:
		api_error(r, 401, "refused",
		    "The name or the password is wrong, or this account cannot sign in now.");
		break;
	case SIGN_IN_CHANGE:
		api_error(r, 401, "change-password", "The password has to be changed first.");
		break;
	case SIGN_IN_WAIT:
		http_reply_field(r, "Retry-After", "%u", answer->wait_seconds);
		api_reply(r, 429,
		    json_pack("{s:s,s:s,s:I}", "error", "wait", "text",
			"Too many attempts: come again later.", "seconds",
			(json_int_t)answer->wait_seconds));
		break;
	case SIGN_IN_LATER:
		http_reply_field(r, "Retry-After", "%u", answer->wait_seconds > 0 ? answer->wait_seconds : API_RETRY_SECONDS);
		api_reply(r, 503, json_pack("{s:s,s:s}", "error", "unavailable", "text", "Passwords cannot be checked now: come again in a moment."));
		break;
	}
	free(s);
}

static void serve_sign_in(struct enroll_worker *w, struct http_request *r)
{
	struct signing_in *s;
	json_t *body;
	int rc;

	if (!comes_from_us(w, r)) {
		api_error(r, 403, "csrf", "The request does not come from the portal's page.");
		return;
	}
	body = api_body(r);
	if (body == NULL)
		return;
	s = calloc(1, sizeof(*s));
	if (s == NULL) {
		json_decref(body);
		api_error(r, 503, "unavailable", "Come again in a moment.");
		return;
	}
	s->worker = w;
	s->request = r;
	rc = sign_in_start(portal_of(w)->sign_in, api_text(body, "name"),
	    api_text(body, "password"), r->client, on_signed_in, s);
	json_decref(body);
	if (rc < 0) {
		free(s);
		api_error(r, 503, "unavailable", "Too many sign in now: come again in a moment.");
	}
}

static void serve_sign_out(struct enroll_worker *w, struct http_request *r)
{
	struct session *session = r->who;

	session_end(portal_of(w)->sessions, session);
	r->who = NULL;
	set_cookie(r, "", 0);
	http_reply(r, 204, NULL, (struct strv){ NULL, 0 });
}

static void serve_me(struct enroll_worker *w, struct http_request *r)
{
	struct strv id;

	if (!http_request_cookie(r, SESSION_COOKIE, &id)) {
		api_error(r, 401, "sign-in", "Sign in first.");
		return;
	}
	api_reply(r, 200, who(w, portal_session(r), id));
}

const struct route portal_session_routes[] = {
	{ "POST", "/api/session", HTTP_WAY_TLS, 0, ROUTE_OPEN, serve_sign_in },
	{ "DELETE", "/api/session", HTTP_WAY_TLS, 0, ROUTE_USER, serve_sign_out },
	{ "GET", "/api/me", HTTP_WAY_TLS, 0, ROUTE_USER, serve_me },
	{ .methods = NULL },
};
