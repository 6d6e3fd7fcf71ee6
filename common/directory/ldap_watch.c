/*
 * ldap_watch: what changed in the domain, as one server sees it.
 *
 * A change notification (control 1.2.840.113556.1.4.528, MS-ADTS 3.1.1.3.4.1.9) on the domain's
 * head, and every watch_seconds a look for objects whose uSNChanged is beyond the last one seen:
 * for servers that do not notify, for changes that Samba notifies late, and for what happened while
 * the connection was away (change numbers belong to one server, so each has its own memory;
 * invocationId tells whether they still mean the same). A changed user is told by SID; a changed
 * group as a change of every account; a watch that begins, or lost track, as changes that may have
 * been missed. Decides nothing. *directory* process.
 */
#include <inttypes.h>
#include <stdio.h>

#include "common/directory/ldap_parts.h"
#include "common/log.h"

#define NOTIFY_CONTROL	     "1.2.840.113556.1.4.528"
#define SHOW_DELETED_CONTROL "1.2.840.113556.1.4.417"
#define POLL_MAX	     1000

static const char *const watched[] = { "objectClass", "objectSid", "uSNChanged", NULL };

/* True when this very change was told before. */
static bool seen_before(struct ldap_watch *w, const struct sid *sid, uint64_t usn)
{
	for (size_t i = 0; i < LDAP_SEEN_MAX; i++) {
		if (w->seen[i].usn == usn && sid_eq(&w->seen[i].sid, sid))
			return true;
	}
	w->seen[w->seen_next].sid = *sid;
	w->seen[w->seen_next].usn = usn;
	w->seen_next = (w->seen_next + 1) % LDAP_SEEN_MAX;
	return false;
}

static void on_changed(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	char text[ACCOUNT_SID_MAX];
	struct sid sid;
	int64_t usn;

	(void)arg;
	if (!ldap_entry_sid(c->ld, e, "objectSid", &sid) ||
	    sid_to_text(&sid, text, sizeof(text)) < 0)
		return; /* no principal */
	if (ldap_entry_has_text(c->ld, e, "objectClass", "computer"))
		return;
	if (ldap_entry_number(c->ld, e, "uSNChanged", &usn) &&
	    seen_before(&c->watch, &sid, (uint64_t)usn))
		return;
	if (ldap_entry_has_text(c->ld, e, "objectClass", "group"))
		ldap_pool_groups_changed(c->pool);
	else if (ldap_entry_has_text(c->ld, e, "objectClass", "user"))
		c->pool->setup.changed(c->pool->setup.arg, CHANGE_SEEN, text);
}

/* --- notification --- */

static void notify_ended(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	(void)arg;
	(void)result;
	if (code == LDAP_SERVER_DOWN)
		return;
	log_say(LOG_WARNING, "directory_no_notification",
	    "%s does not notify of changes (%s %s): they are looked for every %u s "
	    "instead",
	    c->url, ldap_err2string(code), diagnostic, c->pool->setup.config->watch_seconds);
}

static void notify_start(struct ldap_conn *c)
{
	LDAPControl notify = { (char *)NOTIFY_CONTROL, { 0, NULL }, 1 },
		    deleted = { (char *)SHOW_DELETED_CONTROL, { 0, NULL }, 0 };
	LDAPControl *controls[] = { &notify, &deleted, NULL };
	struct ldap_query q = { .base = c->domain.naming_context,
		.scope = LDAP_SCOPE_SUBTREE,
		.attributes = watched,
		.controls = controls,
		.lasting = true,
		.entry = on_changed,
		.done = notify_ended };

	(void)ldap_conn_search(c, &q); /* a failure to send ends the connection by itself */
}

/* --- looking --- */

static void on_poll_due(struct deadline *d);

static void poll_later(struct ldap_conn *c)
{
	deadline_arm(c->pool->loop, &c->watch.next, c->pool->setup.config->watch_seconds * 1000ull,
	    on_poll_due);
}

/* Changes may have been missed, none was seen: to forget what is known would only lock known phones out,
 * should this server be gone again before all of them could be asked for. */
static void lost_track(struct ldap_conn *c, const char *why)
{
	log_say(
	    LOG_INFO, "directory_doubts", "%s: %s: every account is asked for again", c->url, why);
	c->pool->setup.changed(c->pool->setup.arg, CHANGE_MISSED, "");
}

static void poll_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	(void)arg;
	(void)result;
	if (code == LDAP_SERVER_DOWN)
		return;
	if (code == LDAP_SIZELIMIT_EXCEEDED) {
		lost_track(c, "more changes than can be followed one by one");
	} else if (code != LDAP_SUCCESS) {
		log_say(LOG_WARNING, "directory_watch_failed", "%s: looking for changes: %s %s",
		    c->url, ldap_err2string(code), diagnostic);
		poll_later(c);
		return;
	}
	c->watch.usn = c->watch.highest + 1;
	poll_later(c);
}

static void poll_changes(struct ldap_conn *c)
{
	LDAPControl deleted = { (char *)SHOW_DELETED_CONTROL, { 0, NULL }, 0 },
		    *controls[] = { &deleted, NULL };
	char filter[64];
	struct ldap_query q = { .base = c->domain.naming_context,
		.scope = LDAP_SCOPE_SUBTREE,
		.filter = filter,
		.attributes = watched,
		.size_limit = POLL_MAX,
		.controls = controls,
		.entry = on_changed,
		.done = poll_done };

	snprintf(filter, sizeof(filter), "(uSNChanged>=%" PRIu64 ")", c->watch.usn);
	(void)ldap_conn_search(c, &q);
}

static void take_highest(void *arg, struct ldap_conn *c, LDAPMessage *e)
{
	int64_t usn;

	(void)arg;
	if (ldap_entry_number(c->ld, e, "highestCommittedUSN", &usn) && usn > 0)
		c->watch.highest = (uint64_t)usn;
}

static void highest_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	struct ldap_watch *w = &c->watch;

	(void)arg;
	(void)result;
	(void)diagnostic;
	if (code == LDAP_SERVER_DOWN)
		return;
	if (code != LDAP_SUCCESS || w->highest == 0) {
		poll_later(c);
	} else if (w->highest + 1 < w->usn) {
		lost_track(c, "its change numbers went back");
		w->usn = w->highest + 1;
		poll_later(c);
	} else if (w->highest >= w->usn) {
		poll_changes(c);
	} else {
		poll_later(c);
	}
}

/* Also the sign of life that finds a silent server while nobody asks for anything. */
static void on_poll_due(struct deadline *d)
{
	static const char *const attributes[] = { "highestCommittedUSN", NULL };
	struct ldap_conn *c = CONTAINER_OF(d, struct ldap_conn, watch.next);
	struct ldap_query q = { .base = "",
		.scope = LDAP_SCOPE_BASE,
		.attributes = attributes,
		.entry = take_highest,
		.done = highest_done };

	c->watch.highest = 0;
	(void)ldap_conn_search(c, &q);
}

/* --- life --- */

void ldap_watch_start(struct ldap_conn *c)
{
	struct ldap_watch *w = &c->watch;
	const struct ldap_domain *d = &c->domain;
	bool follows = w->known && d->has_invocation &&
		       memcmp(w->invocation, d->invocation, sizeof(w->invocation)) == 0;

	w->running = true;
	notify_start(c);
	if (!follows) {
		/* What this server did before now is not known. Another one that watched all along
		 * has told it. */
		if (!ldap_pool_other_watches(c))
			lost_track(
			    c, w->known ? "it is not the server that it was" : "watching begins");
		memset(w->seen, 0, sizeof(w->seen));
		w->usn = d->usn + 1;
		memcpy(w->invocation, d->invocation, sizeof(w->invocation));
		w->known = d->has_invocation;
	}
	/* At once: what happened since the connection was lost, or between reading the number and
	 * the notification. */
	on_poll_due(&w->next);
}

void ldap_watch_stop(struct ldap_conn *c)
{
	deadline_disarm(&c->watch.next);
	c->watch.running = false;
}
