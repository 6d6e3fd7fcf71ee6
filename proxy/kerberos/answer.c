/*
 * answer: who gets a token. The order is the argument: form, voucher, name, service, cache, KDC,
 * groups. Runs in the *kerberos* process. Never logs a token, a ticket or a key.
 */
#include "proxy/kerberos/answer.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/text.h"
#include "proxy/settings.h"

#define TICKET_LEFT_SECONDS \
	30 /* a ticket with less left is none: the mail server's clock may be ahead */
#define SAY_EVERY_MS 1000

_Static_assert(KERBEROS_SPN_MAX == SETTINGS_SPN_MAX, "settings refuse the names that a question cannot hold");

static void drop_ticket(struct s4u_ticket *t, void *arg)
{
	struct answerer *a = arg;

	s4u_ticket_clear(&a->service, t);
}

static int take_services(struct answerer *a, const struct proxy_settings *p)
{
	if (p->upstreams_count > ANSWER_SERVICES_MAX) {
		log_say(
		    LOG_ERROR, "kerberos_unusable", "more than %d upstreams", ANSWER_SERVICES_MAX);
		return -1;
	}
	for (unsigned i = 0; i < p->upstreams_count; i++) {
		const struct upstream_settings *u = &p->upstreams[i];

		if (u->credential_kind == CREDENTIAL_KERBEROS && u->spn[0] != '\0' &&
		    answerer_service(a, u->spn) < 0)
			a->spn[a->services++] = u->spn;
	}
	return 0;
}

static int take_groups(struct answerer *a, const struct kerberos_settings *k)
{
	for (unsigned i = 0; i < k->refused_groups_count; i++) {
		if (refused_groups_add(&a->refused, k->refused_groups[i]) < 0) {
			log_say(LOG_ERROR, "kerberos_unusable",
			    "proxy.kerberos.refused_groups: \"%s\": expected a SID (S-1-...) or a "
			    "RID, at most %d of them",
			    k->refused_groups[i], FACTS_REFUSED_MAX);
			return -1;
		}
	}
	return 0;
}

int answerer_init(struct answerer *a, const struct settings *settings, struct strv keytab,
    const uint8_t key[VOUCH_KEY_SIZE])
{
	const struct kerberos_settings *k = settings->proxy.kerberos;
	char why[256];

	memset(a, 0, sizeof(*a));
	a->timeout_ms = k->timeout_ms;
	if (take_services(a, &settings->proxy) < 0 || take_groups(a, k) < 0)
		goto failed;
	a->vouch = vouch_new(key);
	a->scratch = malloc(sizeof(*a->scratch));
	a->cache = ticket_cache_new(k->cache_entries, drop_ticket, a);
	if (a->vouch == NULL || a->scratch == NULL || a->cache == NULL) {
		log_say(LOG_ERROR, "kerberos_unusable", "out of memory for a cache of %u tickets",
		    k->cache_entries);
		goto failed;
	}
	a->transport = transport_new(
	    (const char *const *)k->kdcs, k->kdcs_count, k->timeout_ms, why, sizeof(why));
	if (a->transport == NULL) {
		log_say(LOG_ERROR, "kerberos_unusable", "%s", why);
		goto failed;
	}
	a->has_service = service_init(&a->service, a->transport, k->principal, keytab,
			     k->timeout_ms, &a->broken) == 0;
	if (!a->has_service)
		log_say(LOG_ERROR, "kerberos_broken", "%s", a->broken.text);
	return 0;
failed:
	answerer_clear(a);
	return -1;
}

void answerer_clear(struct answerer *a)
{
	ticket_cache_free(a->cache);
	if (a->has_service)
		service_clear(&a->service);
	transport_free(a->transport);
	free(a->scratch);
	vouch_free(a->vouch);
	OPENSSL_cleanse(a, sizeof(*a));
}

void answerer_keep_ready(struct answerer *a)
{
	struct krb_fault fault;

	if (!a->has_service)
		return;
	transport_budget(a->transport, a->timeout_ms);
	if (service_ready(&a->service, &fault) < 0)
		log_say(LOG_DEBUG, "kerberos_not_ready", "%s", fault.text);
}

/* --- one question --- */

/* One line a second; the next one tells how many were left out. Hostile text is escaped by the
 * logger. */
static bool may_say(struct answerer *a)
{
	uint64_t now = loop_now_fresh();

	if (now < a->say_again_ms) {
		a->unsaid++;
		return false;
	}
	a->say_again_ms = now + SAY_EVERY_MS;
	return true;
}

static void end_line(struct answerer *a, struct log_line *l, const char *text)
{
	log_cstr(l, "message", text);
	if (a->unsaid > 0)
		log_int(l, "more", a->unsaid);
	log_end(l);
	a->unsaid = 0;
}

static void say_refused(
    struct answerer *a, enum log_level level, const char *event, const char *sam, const char *text)
{
	struct log_line l;

	if (!may_say(a))
		return;
	log_begin(&l, level, event);
	log_cstr(&l, "account", sam);
	end_line(a, &l, text);
}

/* Somebody wants a ticket to a service that no configuration of ours names: a captured worker, or one whose reload is a
 * moment behind. */
static void audit_service(struct answerer *a, const struct kerberos_ask *ask, const char *text)
{
	struct log_line l;

	if (!may_say(a))
		return;
	log_begin_audit(&l, "kerberos_refused");
	log_cstr(&l, "account", ask->sam);
	log_cstr(&l, "service", ask->spn);
	end_line(a, &l, text);
}

static bool is_terminated(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* NULL: the asker may have it. */
static const char *why_not(struct answerer *a, const struct kerberos_ask *ask, time_t now)
{
	if (!is_terminated(ask->sam, sizeof(ask->sam)) ||
	    !is_terminated(ask->realm, sizeof(ask->realm)) ||
	    !is_terminated(ask->spn, sizeof(ask->spn)))
		return "the question is malformed";
	if (!vouch_check(a->vouch, ask->sam, ask->realm, ask->certificate, now, ask->voucher))
		return "the directory has not vouched for this account, or too long ago";
	return a->has_service ? krb_name_refused(ask->sam, ask->realm, &a->service.name) : NULL;
}

/* True when the ticket is good for a token now; *renew: and it is time for a new one. */
static bool usable(struct answerer *a, const struct ticket_entry *e, bool *renew)
{
	int64_t now;

	*renew = false;
	if (e == NULL || e->ticket.end == 0)
		return false;
	now = service_time(&a->service);
	*renew = now >= e->ticket.renew;
	return now + TICKET_LEFT_SECONDS < e->ticket.end;
}

/* The KDC says no: remembered, so that a phone that asks again at once does not cost a round each
 * time. */
static void learn_denial(struct answerer *a, const struct kerberos_ask *ask, unsigned service,
    const struct krb_fault *fault)
{
	if (fault->result != KERBEROS_DENIED && fault->result != KERBEROS_REFUSED)
		return;
	ticket_cache_deny(
	    a->cache, ask->sam, service, fault, loop_now_fresh() + ANSWER_DENIED_MS);
	say_refused(a, LOG_WARNING, "kerberos_denied", ask->sam, fault->text);
}

/* The account's ticket, from the cache or the KDC. NULL with *fault. */
static struct ticket_entry *ticket_for(struct answerer *a, const struct kerberos_ask *ask,
    unsigned service, bool *cached, struct krb_fault *fault)
{
	struct ticket_entry *e = ticket_cache_find(a->cache, ask->sam, service);
	struct s4u s4u = { &a->service, &a->refused, a->scratch };
	struct s4u_ticket fresh;
	bool renew, good = usable(a, e, &renew);

	*cached = true;
	if (good && !renew)
		return e;
	if (e != NULL && e->denied != NULL && loop_now_fresh() < e->denied_until_ms) {
		*fault = *e->denied;
		return NULL;
	}
	if (a->wait != NULL)
		a->wait(a->wait_arg);
	transport_budget(a->transport, a->timeout_ms * ANSWER_TIMEOUTS);
	if (s4u_ticket_get(&s4u, ask->sam, a->spn[service], &fresh, fault) == 0) {
		*cached = false;
		e = ticket_cache_put(a->cache, ask->sam, service, &fresh);
		if (e == NULL)
			krb_fault_say(fault, KERBEROS_DENIED, REMEDY_NONE, "out of memory");
		return e;
	}
	/* No KDC, or our own trouble: what we hold is still good. A denial is not to be argued
	 * with. */
	if (good && (fault->result == KERBEROS_NO_KDC || fault->result == KERBEROS_BROKEN))
		return e;
	learn_denial(a, ask, service, fault);
	return NULL;
}

static void put_fault(struct kerberos_token *out, const struct krb_fault *fault)
{
	out->result = (uint32_t)fault->result;
	if (text_copy(out->text, sizeof(out->text), strv_from(fault->text)) < 0)
		snprintf(out->text, sizeof(out->text), "the reason cannot be shown");
}

int answerer_service(const struct answerer *a, const char *spn)
{
	for (unsigned i = 0; i < a->services; i++) {
		if (strcmp(a->spn[i], spn) == 0)
			return (int)i;
	}
	return -1;
}

void answerer_ask(struct answerer *a, const struct kerberos_ask *ask, time_t now,
    struct kerberos_token *out, struct token *token)
{
	const char *reason = why_not(a, ask, now);
	struct ticket_entry *e;
	struct krb_fault fault = { .result = KERBEROS_REFUSED };
	bool cached = false;
	int service;

	memset(out, 0, sizeof(*out));
	*token = (struct token){ NULL, 0 };
	if (reason != NULL) {
		snprintf(out->text, sizeof(out->text), "%s", reason);
		say_refused(a, LOG_WARNING, "kerberos_refused",
		    is_terminated(ask->sam, sizeof(ask->sam)) ? ask->sam : "", reason);
		return;
	}
	service = answerer_service(a, ask->spn);
	if (service < 0) {
		krb_fault_say(&fault, KERBEROS_DENIED, REMEDY_NONE,
		    "no upstream with credential kerberos has this spn in the configuration in force");
		put_fault(out, &fault);
		audit_service(a, ask, fault.text);
		return;
	}
	if (!a->has_service) {
		put_fault(out, &a->broken);
		return;
	}
	e = ticket_for(a, ask, (unsigned)service, &cached, &fault);
	if (e == NULL || s4u_token(&a->service, &e->ticket, token, &fault) < 0) {
		put_fault(out, &fault);
		return;
	}
	out->result = KERBEROS_OK;
	out->cached = cached;
	out->token_n = (uint32_t)token->n;
}

void answerer_forget(struct answerer *a, const struct kerberos_forget *forget)
{
	size_t n;

	if (!is_terminated(forget->sam, sizeof(forget->sam)) ||
	    !is_terminated(forget->realm, sizeof(forget->realm)))
		return;
	if (!a->has_service || strcmp(forget->realm, a->service.name.realm) != 0)
		return;
	n = ticket_cache_forget(a->cache, forget->sam);
	if (n > 0)
		log_say(
		    LOG_DEBUG, "kerberos_forgot", "the account changed: %zu entries dropped", n);
}
