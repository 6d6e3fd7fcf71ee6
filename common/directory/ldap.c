/*
 * ldap: which server is asked for an account, and for how long. Knows no byte of LDAP.
 * A lookup asks the first server that is well, the next one too if that is slow, and ends with the
 * first answer. Only one bind is tried at a time, and none after a refusal: a wrong password must
 * not be tried once for each server. Runs in the *directory* process.
 */
#include "common/directory/ldap.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ldap_parts.h"
#include "common/directory/ldap_ticket.h"
#include "common/log.h"

#define GROUPS_AGAIN_MS 1000
#define BIND_ALONE_MS	1000 /* a server that does not answer a bind for so long lets others try */

struct ldap_lookup {
	struct ldap_lookup *next, **at;
	struct directory_ldap *pool;
	uint32_t kind;
	char value[DIRECTORY_CLAIM_MAX];
	struct ldap_finding *finding[LDAP_SERVERS_MAX];
	bool asked[LDAP_SERVERS_MAX];
	unsigned running;
	uint64_t started_us;
	struct deadline deadline, hedge;
	bool impatient; /* the hedge has fired: one more server may be asked */
	unsigned in_line; /* how often the time was over */
	bool nobody;	/* the claim can name nobody in the servers' domain */
	directory_ldap_done_fn *done;
	void *arg;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- lookups --- */

static void lookup_free(struct ldap_lookup *l)
{
	deadline_disarm(&l->deadline);
	deadline_disarm(&l->hedge);
	for (size_t i = 0; i < LDAP_SERVERS_MAX; i++)
		ldap_finding_cancel(l->finding[i]);
	*l->at = l->next;
	if (l->next != NULL)
		l->next->at = l->at;
	free(l);
}

void directory_ldap_cancel(struct ldap_lookup *l)
{
	if (l != NULL)
		lookup_free(l);
}

static void lookup_end(
    struct ldap_lookup *l, enum account_result result, const struct account *account)
{
	static const struct account none;
	directory_ldap_done_fn *done = l->done;
	void *arg = l->arg;
	const struct directory_ldap_setup *setup = &l->pool->setup;

	if (setup->searched != NULL)
		setup->searched(setup->arg, result, now_us() - l->started_us);
	lookup_free(l);
	done(arg, result, account != NULL ? account : &none);
}

static void lookup_go_on(struct ldap_lookup *l);

static void on_found(void *arg, struct ldap_conn *c, bool good, enum account_result result,
    const struct account *account, const char *dn)
{
	struct ldap_lookup *l = arg;

	(void)dn;
	l->finding[c->index] = NULL;
	l->running--;
	if (good)
		lookup_end(l, result, account);
	else
		lookup_go_on(l);
}

/* The first server that is well, answers in time and was not asked yet; failing that, one that is
 * slow. */
static struct ldap_conn *choose(const struct ldap_lookup *l)
{
	struct ldap_conn *slow = NULL;

	for (unsigned i = 0; i < l->pool->conns; i++) {
		struct ldap_conn *c = &l->pool->conn[i];
		if (c->state != CONN_READY || l->asked[i])
			continue;
		if (!ldap_conn_is_slow(c))
			return c;
		if (slow == NULL)
			slow = c;
	}
	return slow;
}

/* Is there a server that may be well in a moment? One that failed before is not waited for. */
static bool may_come(const struct directory_ldap *d)
{
	for (unsigned i = 0; i < d->conns; i++) {
		const struct ldap_conn *c = &d->conn[i];
		if (c->state != CONN_DOWN && c->state != CONN_REFUSED && c->state != CONN_READY &&
		    c->failures == 0)
			return true;
		if (c->state != CONN_READY && c->state != CONN_REFUSED && c->failures == 1)
			return true; /* its connection ended just now */
	}
	return false;
}

/* Asks one more server if none is asked or the one asked is slow. True: the lookup lives on. */
static bool lookup_ask(struct ldap_lookup *l)
{
	struct ldap_conn *c;

	while ((l->running == 0 || l->impatient) && (c = choose(l)) != NULL) {
		int rc = ldap_finding_start(
		    c, l->kind, l->value, on_found, l, &l->finding[c->index]);
		l->asked[c->index] = true;
		if (rc > 0) {
			l->nobody = true;
			return false;
		}
		if (rc == 0) {
			l->running++;
			l->impatient = false;
		}
	}
	return l->running > 0 || may_come(l->pool);
}

static void on_hedge(struct deadline *d)
{
	struct ldap_lookup *l = CONTAINER_OF(d, struct ldap_lookup, hedge);

	l->impatient = true;
	deadline_arm(l->pool->loop, &l->hedge, LDAP_SLOW_MS, on_hedge);
	lookup_go_on(l);
}

static void lookup_go_on(struct ldap_lookup *l)
{
	if (l->nobody || !lookup_ask(l))
		lookup_end(l, l->nobody ? ACCOUNT_UNKNOWN : ACCOUNT_UNAVAILABLE, NULL);
}

/* A server that was asked answers others meanwhile: it is busy, not gone, and comes to this one. */
static bool is_in_line(const struct ldap_lookup *l)
{
	for (unsigned i = 0; i < l->pool->conns; i++) {
		if (l->finding[i] != NULL && l->pool->conn[i].state == CONN_READY && !ldap_conn_is_slow(&l->pool->conn[i]))
			return true;
	}
	return false;
}

static void on_deadline(struct deadline *d)
{
	struct ldap_lookup *l = CONTAINER_OF(d, struct ldap_lookup, deadline);

	if (l->in_line++ == 0 && is_in_line(l))
		deadline_arm(l->pool->loop, d, l->pool->setup.config->timeout_ms, on_deadline);
	else
		lookup_end(l, ACCOUNT_UNAVAILABLE, NULL);
}

/* The first step, from the loop: a claim that can name nobody is answered there too. */
static void on_first(struct deadline *d)
{
	lookup_go_on(CONTAINER_OF(d, struct ldap_lookup, hedge));
}

struct ldap_lookup *directory_ldap_find(struct directory_ldap *d, uint32_t kind, const char *value,
    directory_ldap_done_fn *done, void *arg)
{
	struct ldap_lookup *l;

	if (strlen(value) >= sizeof(l->value) || (d->well == 0 && !may_come(d)))
		return NULL;
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return NULL;
	l->pool = d;
	l->kind = kind;
	memcpy(l->value, value, strlen(value) + 1);
	l->done = done;
	l->arg = arg;
	l->started_us = now_us();
	l->next = d->lookups;
	if (l->next != NULL)
		l->next->at = &l->next;
	l->at = &d->lookups;
	d->lookups = l;
	deadline_arm(d->loop, &l->deadline, d->setup.config->timeout_ms, on_deadline);
	if (lookup_ask(l))
		deadline_arm(d->loop, &l->hedge, LDAP_SLOW_MS, on_hedge);
	else
		deadline_arm(d->loop, &l->hedge, 0, on_first);
	return l;
}

/* --- the servers --- */

void ldap_pool_well(struct directory_ldap *d)
{
	struct ldap_lookup *l, *next;

	if (d->closing)
		return;
	if (d->setup.servers_well != NULL)
		d->setup.servers_well(d->setup.arg, d->well);
	for (l = d->lookups; l != NULL; l = next) {
		next = l->next;
		for (unsigned i = 0; i < d->conns; i++) {
			/* A server that came back may be asked again. */
			if (d->conn[i].state == CONN_READY && l->finding[i] == NULL)
				l->asked[i] = false;
		}
		if (l->running == 0)
			lookup_go_on(l);
	}
}

bool ldap_pool_other_watches(const struct ldap_conn *c)
{
	for (unsigned i = 0; i < c->pool->conns; i++) {
		if (&c->pool->conn[i] != c && c->pool->conn[i].watch.running)
			return true;
	}
	return false;
}

static void on_groups_due(struct deadline *deadline)
{
	struct directory_ldap *d = CONTAINER_OF(deadline, struct directory_ldap, groups_due);

	for (unsigned i = 0; i < d->conns; i++) {
		if (d->conn[i].state == CONN_READY)
			ldap_prepare_groups(&d->conn[i]);
	}
}

void ldap_pool_groups_changed(struct directory_ldap *d)
{
	/* Members may be others now: at once. Whether our groups are still the same objects: once
	 * for a burst of changes. */
	d->setup.changed(d->setup.arg, CHANGE_SEEN, "");
	if (d->groups_due.next == NULL)
		deadline_arm(d->loop, &d->groups_due, GROUPS_AGAIN_MS, on_groups_due);
}

/* --- binding, one at a time --- */

static void on_bind_alone_over(struct deadline *deadline)
{
	struct directory_ldap *d = CONTAINER_OF(deadline, struct directory_ldap, bind_limit);

	d->binding = NULL;
	ldap_pool_bind_next(d);
}

void ldap_pool_bind_next(struct directory_ldap *d)
{
	if (d->closing)
		return;
	for (unsigned i = 0; i < d->conns; i++) {
		struct ldap_conn *c = &d->conn[i];
		if (c->state != CONN_QUEUED)
			continue;
		if (d->refused[0] != '\0') {
			ldap_conn_fail(c, "the bind is refused: %s", d->refused);
			continue;
		}
		if (d->binding != NULL)
			return;
		d->binding = c;
		if (d->tickets == NULL)
			deadline_arm(d->loop, &d->bind_limit, BIND_ALONE_MS, on_bind_alone_over);
		ldap_conn_bind(c);
		return;
	}
}

void ldap_pool_bind_leave(struct ldap_conn *c)
{
	struct directory_ldap *d = c->pool;

	if (d->binding != c)
		return;
	d->binding = NULL;
	deadline_disarm(&d->bind_limit);
	ldap_pool_bind_next(d);
}

void ldap_pool_refuse(struct ldap_conn *c, const char *fmt, ...)
{
	struct directory_ldap *d = c->pool;
	struct log_line l;
	va_list args;

	va_start(args, fmt);
	vsnprintf(d->refused, sizeof(d->refused), fmt, args);
	va_end(args);
	if (d->refused[0] == '\0')
		snprintf(d->refused, sizeof(d->refused), "no reason was given");
	log_begin(&l, LOG_ERROR, "directory_refused");
	log_cstr(&l, "server", c->url);
	log_cstr(&l, "bind_name", d->setup.config->bind_name);
	log_cstr(&l, "reason", d->refused);
	log_cstr(&l, "cure",
	    "correct it, then reload with the changed file or restart: until then no server is "
	    "tried again, so "
	    "that the account is not locked");
	log_end(&l);
	/* Those that wait for their turn end with it: ldap_pool_bind_next(). */
	ldap_conn_fail(c, "the bind is refused: %s", d->refused);
}

/* --- life --- */

static int read_credential(struct directory_ldap *d, struct bundle *bundle)
{
	const struct config_ldap *config = d->setup.config;
	struct ldap_tickets_setup setup = { .principal = config->bind_name,
		.kdcs = { .hosts = d->setup.kdcs,
		    .count = d->setup.kdcs_count,
		    .timeout_ms = config->timeout_ms / 2 } };
	struct strv secret;
	char why[512];

	if (strcmp(config->bind, "gssapi") == 0) {
		for (unsigned i = 0; i < d->conns; i++)
			d->kdc[i] = d->conn[i].host;
		if (setup.kdcs.count == 0) {
			setup.kdcs.hosts = d->kdc;
			setup.kdcs.count = d->conns;
		}
		if (!bundle_get(bundle, config->keytab, &setup.keytab)) {
			log_say(LOG_ERROR, "directory_unusable",
			    "directory.ldap.keytab: %s is not there", config->keytab);
			return -1;
		}
		d->tickets = ldap_tickets_new(d->loop, d->dns, &setup, why, sizeof(why));
		if (d->tickets == NULL)
			log_say(LOG_ERROR, "directory_unusable", "directory.ldap.keytab: %s: %s",
			    config->keytab, why);
		return d->tickets != NULL ? 0 : -1;
	}
	if (!bundle_get_secret(bundle, config->bind_password_file, &secret) ||
	    memchr(secret.p, '\0', secret.n) != NULL) {
		log_say(LOG_ERROR, "directory_unusable",
		    "directory.ldap.bind_password_file: %s: expected the password in the first "
		    "line; an empty one is never used",
		    config->bind_password_file);
		return -1;
	}
	d->password = malloc(secret.n);
	if (d->password == NULL)
		return -1;
	memcpy(d->password, secret.p, secret.n);
	d->password_n = secret.n;
	return 0;
}

static int read_ca(struct directory_ldap *d, struct bundle *bundle)
{
	const char *file = d->setup.config->ca;
	struct strv ca;
	char why[256];

	if (file[0] != '\0' && !bundle_get(bundle, file, &ca)) {
		log_say(
		    LOG_ERROR, "directory_unusable", "directory.ldap.ca: %s is not there", file);
		return -1;
	}
	d->tls = ldap_tls_new(file[0] != '\0' ? &ca : NULL, why, sizeof(why));
	if (d->tls == NULL)
		log_say(LOG_ERROR, "directory_unusable", "directory.ldap.ca: %s: %s", file, why);
	return d->tls != NULL ? 0 : -1;
}

static int set_up(struct directory_ldap *d, struct bundle *bundle)
{
	const struct config_ldap *config = d->setup.config;

	if (config->servers_count == 0 || config->servers_count > LDAP_SERVERS_MAX ||
	    d->setup.groups_count > LDAP_GROUPS_MAX) {
		log_say(LOG_ERROR, "directory_unusable",
		    "directory.ldap: expected 1 to %d servers and at most %d groups",
		    LDAP_SERVERS_MAX, LDAP_GROUPS_MAX);
		return -1;
	}
	for (unsigned i = 0; i < config->servers_count; i++) {
		if (ldap_conn_init(&d->conn[i], d, i, config->servers[i]) < 0)
			return -1;
		d->conns++;
	}
	d->dns = dial_dns_new(d->loop);
	if (d->dns == NULL) {
		log_say(LOG_ERROR, "directory_unusable",
		    "names cannot be resolved: see /etc/resolv.conf and /etc/hosts");
		return -1;
	}
	return read_ca(d, bundle) < 0 || read_credential(d, bundle) < 0 ? -1 : 0;
}

struct directory_ldap *directory_ldap_new(
    struct loop *loop, const struct directory_ldap_setup *setup, struct bundle *bundle)
{
	struct directory_ldap *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->loop = loop;
	d->setup = *setup;
	/* libldap must not take settings from ldap.conf, ~/.ldaprc or the environment. */
	(void)setenv("LDAPNOINIT", "1", 1);
	if (set_up(d, bundle) < 0) {
		directory_ldap_free(d);
		return NULL;
	}
	for (unsigned i = 0; i < d->conns; i++)
		ldap_conn_open(&d->conn[i]);
	return d;
}

void directory_ldap_free(struct directory_ldap *d)
{
	if (d == NULL)
		return;
	d->closing = true;
	while (d->lookups != NULL)
		lookup_free(d->lookups);
	ldap_sign_ins_close(d);
	for (unsigned i = 0; i < d->conns; i++)
		ldap_conn_close(&d->conn[i]);
	deadline_disarm(&d->bind_limit);
	deadline_disarm(&d->groups_due);
	ldap_tickets_free(d->tickets);
	if (d->dns != NULL)
		evdns_base_free(d->dns, 0);
	SSL_CTX_free(d->tls);
	if (d->password != NULL)
		OPENSSL_cleanse(d->password, d->password_n);
	free(d->password);
	free(d);
}
