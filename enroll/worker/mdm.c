/*
 * mdm: who may notify, which device is meant, what follows. Worker of easenroll.
 */
#include "enroll/worker/mdm.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/basic.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/mdm_event.h"
#include "enroll/worker/registry.h"
#include "enroll/worker/revoke.h"
#include "enroll/worker/stranger.h"
#include "enroll/worker/worker.h"

#define SAME_MAX 8

struct mdm {
	struct enroll_worker *w;
	struct strangers *strangers;	/* wrong secrets per address */
	uint8_t secret[SHA256_SIZE];	/* of "name:password" */
	int64_t window;			/* since when `fallen` is counted */
	unsigned fallen;
	bool stopped;			/* said for this window */
};

/* --- who may --- */

static int hash(struct strv user, struct strv password, uint8_t out[SHA256_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) && EVP_DigestUpdate(ctx, user.p, user.n) &&
	    EVP_DigestUpdate(ctx, ":", 1) && EVP_DigestUpdate(ctx, password.p, password.n) && EVP_DigestFinal_ex(ctx, out, NULL);

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : -1;
}

/*
 * True: go on. False: it has been answered. Whatever was typed is hashed first, so that the time says nothing of how much was right. Who brings
 * nothing has tried nothing: many HTTP clients ask so first, each time, and come again with what they are asked for.
 */
static bool admit(struct mdm *m, struct http_request *r)
{
	unsigned wait = strangers_wait(m->strangers, r->client);
	uint8_t given[SHA256_SIZE];
	struct basic basic;
	bool right;

	if (wait > 0) {
		http_reply_field(r, "Retry-After", "%u", wait);
		http_reply_text(r, 429, "too many wrong secrets from there\n");
		return false;
	}
	if (http_find(r->head, HTTP_AUTHORIZATION) == NULL) {
		basic_demand(r, "MDM");
		return false;
	}
	right = basic_read(r, &basic) && hash(basic.user, basic.password, given) == 0 && CRYPTO_memcmp(given, m->secret, SHA256_SIZE) == 0;
	OPENSSL_cleanse(&basic, sizeof(basic));
	if (right)
		return true;
	strangers_add(m->strangers, r->client);
	enrol_refused(m->w, "mdm", "mdm_refused", r->client, "name and password are not those of enroll.mdm.secret_file");
	basic_demand(r, "MDM");
	return false;
}

/* --- which device --- */

struct same { char id[SAME_MAX][REGISTRY_DEVICE]; unsigned n; };

static bool take_device(void *arg, const struct registry_device *d, const struct registry_account *owner)
{
	struct same *s = arg;

	(void)owner;
	if (d->state != REGISTRY_DEVICE_REVOKED)
		memcpy(s->id[s->n++], d->id, sizeof(d->id));
	return s->n < SAME_MAX;
}

struct named { const struct mdm_event *event; struct same same; };

static bool is_same(const char *a, const char *b)
{
	return a[0] != '\0' && text_eq_nocase(strv_from(a), strv_from(b));
}

static bool take_named(void *arg, const struct registry_device *d, const struct registry_account *owner)
{
	struct named *n = arg;
	const char *user = n->event->user;

	if (is_same(n->event->device_name, d->name) && (is_same(user, owner->sam) || is_same(user, owner->upn) || is_same(user, owner->mail)))
		return take_device(&n->same, d, owner);
	return true;
}

/* By what the hardware says of itself; else by owner and name. */
static enum registry_result find(struct mdm *m, const struct mdm_event *e, struct same *out)
{
	struct named named = { .event = e };
	enum registry_result rc = REGISTRY_OK;

	*out = (struct same){ .n = 0 };
	if (e->serial_number[0] != '\0' || e->udid[0] != '\0')
		rc = registry_devices_of_hardware(m->w->registry, e->serial_number, e->udid, take_device, out);
	if (rc != REGISTRY_OK || out->n > 0 || e->user[0] == '\0' || e->device_name[0] == '\0')
		return rc;
	rc = registry_devices(m->w->registry, 0, e->device_name, 0, 1000, take_named, &named);
	*out = named.same;
	return rc;
}

/* --- what follows --- */

static bool may_fall(struct mdm *m)
{
	struct registry_counts counts;
	int64_t most = MDM_LEAST, now = loop_wall(m->w->loop);

	if (now - m->window >= MDM_WINDOW_SECONDS || now < m->window) {
		m->window = now;
		m->fallen = 0;
		m->stopped = false;
	}
	if (registry_count(m->w->registry, &counts) == REGISTRY_OK && counts.devices / 20 > most)
		most = counts.devices / 20;
	if (m->fallen < most)
		return true;
	if (!m->stopped)
		log_say(LOG_ERROR, "mdm_stopped", "the device manager took %u devices within %d s: no more for now. If it is right, use `easenroll device revoke`; "
		    "if it errs, look at it, and at who has its secret", m->fallen, MDM_WINDOW_SECONDS);
	m->stopped = true;
	return false;
}

static void say(struct http_request *r, const char *result)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "{\"result\": \"%s\"}\n", result);

	http_reply(r, 200, "application/json", (struct strv){ body, (size_t)n });
}

static void later(struct http_request *r, unsigned status, unsigned seconds)
{
	http_reply_field(r, "Retry-After", "%u", seconds);
	http_reply_text(r, status, "not now\n");
}

static void act(struct mdm *m, struct http_request *r, const char *actor, const struct mdm_event *e, const char *device)
{
	bool hold = m->w->settings->enroll.mdm.hold;
	struct registry_by by = { actor, mdm_what_text(e->what), loop_wall(m->w->loop) };
	int reason = e->what == MDM_COMPROMISED ? REVOKE_KEY_COMPROMISE : REVOKE_CESSATION;
	enum registry_result rc;
	unsigned n = 0;

	rc = hold ? revoke_hold_device(m->w->revoke, &by, device, &n) : revoke_device(m->w->revoke, &by, device, reason, &n);
	if (rc != REGISTRY_OK) {
		log_say(LOG_ERROR, "mdm_failed", "device %s: %s: it stays as it is: %s", device, by.detail, registry_problem(m->w->registry));
		later(r, 503, 10);
		return;
	}
	/* Workspace ONE says "compromised" in each event of such a device: what is on hold already takes nobody else's place */
	if (!hold || n > 0)
		m->fallen++;
	log_say(LOG_WARNING, "mdm_fell", "device %s: %s: %u certificates were %s", device, by.detail, n, hold ? "put on hold" : "revoked");
	say(r, hold ? "held" : "revoked");
}

static void decide(struct mdm *m, struct http_request *r, const char *actor, const struct mdm_event *e)
{
	char detail[REGISTRY_DETAIL_MAX];
	struct same same;

	if (e->what == MDM_NOTHING) {
		say(r, "ignored");
		return;
	}
	if (find(m, e, &same) != REGISTRY_OK) {
		later(r, 503, 10);
		return;
	}
	snprintf(detail, sizeof(detail), "%s (%s): serial number %.60s, UDID %.60s, user %.60s, name %.60s: %s", mdm_what_text(e->what), e->type,
	    e->serial_number, e->udid, e->user, e->device_name, same.n == 0 ? "no such device here" : "several devices have these names");
	if (same.n != 1) {
		enrol_audit(m->w, actor, "mdm_ignored", r->client, detail);
		say(r, "unknown");
	} else if (!may_fall(m)) {
		enrol_audit(m->w, actor, "mdm_refused", same.id[0], "too many devices in ten minutes");
		later(r, 429, MDM_WINDOW_SECONDS);
	} else {
		act(m, r, actor, e, same.id[0]);
	}
}

static void serve(struct enroll_worker *w, struct http_request *r, enum mdm_vendor vendor, const char *actor)
{
	struct mdm *m = w->mdm;
	bool xml = http_request_is(r, "application/xml") || http_request_is(r, "text/xml");
	struct mdm_event event;
	const char *why = "its content type is neither JSON nor XML";

	if (!admit(m, r))
		return;
	if ((!xml && !http_request_is(r, "application/json")) || mdm_event_read(vendor, xml, r->body, &event, &why) < 0) {
		enrol_audit(w, actor, "mdm_refused", r->client, why);
		http_reply_text(r, 400, "no notification: %s\n", why);
		return;
	}
	decide(m, r, actor, &event);
}

static void serve_workspace_one(struct enroll_worker *w, struct http_request *r)
{
	serve(w, r, MDM_WORKSPACE_ONE, "mdm workspace-one");
}

static void serve_jamf(struct enroll_worker *w, struct http_request *r)
{
	serve(w, r, MDM_JAMF, "mdm jamf");
}

const struct route mdm_routes[] = {
	{ "POST", "/mdm/workspace-one", HTTP_WAY_TLS, 0, ROUTE_OPEN, serve_workspace_one },
	{ "POST", "/mdm/jamf", HTTP_WAY_TLS, 0, ROUTE_OPEN, serve_jamf },
	{ .methods = NULL },
};

/* --- life --- */

struct mdm *mdm_new(struct enroll_worker *w, char *why, size_t why_size)
{
	const struct enroll_section *e = &w->settings->enroll;
	struct mdm *m = calloc(1, sizeof(*m));
	struct strv secret, user;

	snprintf(why, why_size, "out of memory");
	if (m == NULL || (m->strangers = strangers_new(w->loop, &w->settings->common.lockout)) == NULL)
		goto failed;
	m->w = w;
	snprintf(why, why_size, "enroll.mdm.secret_file %s: expected one line, NAME:PASSWORD, with a password of at least 16 bytes", e->mdm.secret_file);
	if (!bundle_get_secret(w->files, e->mdm.secret_file, &secret))
		goto failed;
	user = text_split(&secret, ':');
	if (user.n == 0 || secret.p == NULL || secret.n < 16 || hash(user, secret, m->secret) < 0)
		goto failed;
	return m;
failed:
	mdm_free(m);
	return NULL;
}

void mdm_free(struct mdm *m)
{
	if (m == NULL)
		return;
	strangers_free(m->strangers);
	OPENSSL_cleanse(m, sizeof(*m));
	free(m);
}
