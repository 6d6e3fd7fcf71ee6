/*
 * worker: brings the parts of easenroll's worker together: sockets, wires to the signer and the directory, the registry, the tables
 * of routes. Decides nothing itself. Worker process.
 */
#include "enroll/worker/worker.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/lockout/ask.h"
#include "common/log.h"
#include "common/tls.h"
#include "enroll/listen.h"
#include "enroll/metric_table.h"
#include "enroll/worker/chain.h"
#include "enroll/worker/crl.h"
#include "enroll/worker/durable.h"
#include "enroll/worker/issue.h"
#include "enroll/worker/ocsp.h"
#include "enroll/worker/parts.h"
#include "enroll/worker/revoke.h"
#include "enroll/worker/tls_server.h"

#define SWEEP_MS 60000
#define LINKS_MS 1000
#define REST_MS 200	/* without a change: nobody is likely to wait now */

const struct profile_rule *worker_rule(const struct enroll_worker *w, const char *profile)
{
	for (unsigned i = 0; i < w->settings->enroll.profiles_count; i++) {
		if (strcmp(w->rules[i].name, profile) == 0)
			return &w->rules[i];
	}
	return NULL;
}

/* --- the log of requests --- */

static unsigned way_index(enum http_way way)
{
	return way == HTTP_WAY_TLS ? WAY_TLS : way == HTTP_WAY_PLAIN ? WAY_PLAIN : way == HTTP_WAY_LOCAL ? WAY_LOCAL : WAY_ADMIN;
}

/* Never the query nor what follows a path that carries a secret: links for one download end in one. */
static struct strv loggable(struct strv path)
{
	if (path.n > 3 && memcmp(path.p, "/d/", 3) == 0)
		path.n = 3;
	return path.n > 200 ? (struct strv){ path.p, 200 } : path;
}

static void on_answered(const struct http_request *r, unsigned status, size_t bytes, void *arg)
{
	const struct enroll_worker *w = arg;
	struct log_line l;

	metrics_add(EM_REQUESTS, EM_REQUEST_SUB(way_index(r->way), status), 1);
	if (!w->settings->common.log.access || r->way == HTTP_WAY_ADMIN)
		return;
	log_begin(&l, LOG_INFO, "request");
	log_text(&l, "method", r->method);
	log_text(&l, "path", loggable(r->path));
	log_int(&l, "status", status);
	log_int(&l, "bytes", (int64_t)bytes);
	log_cstr(&l, "client", r->client);
	log_end(&l);
}

/* --- nothing is answered before it would survive a power cut --- */

static void on_change(void *arg)
{
	struct enroll_worker *w = arg;

	deadline_disarm(&w->rest);
	durable_note(w->durable);
}

static void on_rest(struct deadline *d)
{
	registry_rest(CONTAINER_OF(d, struct enroll_worker, rest)->registry);
}

static int commit(void *arg)
{
	struct enroll_worker *w = arg;

	return registry_settle(w->registry);
}

static uint64_t hold(const struct http_request *r, void *arg)
{
	const struct enroll_worker *w = arg;

	return r->cached ? 0 : durable_wait_for(w->durable);
}

static void on_durable(void *arg, uint64_t upto)
{
	struct enroll_worker *w = arg;

	if (w->http != NULL)
		http_server_release(w->http, upto);
	audit_head_reached(&w->audit_head, upto);
	registry_synced(w->registry);
	if (durable_wait_for(w->durable) == 0)
		deadline_arm(w->loop, &w->rest, REST_MS, on_rest);
}

/* Another process begins with what the disk really has. */
static void on_not_durable(void *arg)
{
	struct enroll_worker *w = arg;

	w->failed = true;
	loop_stop(w->loop);
}

/* --- what other processes tell --- */

static void serve_directory_changed(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct enroll_worker *w = asker_owner(arg);
	struct directory_changed change;

	(void)wire;
	(void)number;
	(void)n;
	memcpy(&change, body, sizeof(change));
	if (memchr(change.sid, '\0', sizeof(change.sid)) != NULL)
		parts_directory_changed(w, change.sid);
}

static void serve_directory_state(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct enroll_worker *w = asker_owner(arg);
	struct directory_state state;

	(void)wire;
	(void)number;
	(void)n;
	memcpy(&state, body, sizeof(state));
	state.text[sizeof(state.text) - 1] = '\0';
	snprintf(w->directory_down, sizeof(w->directory_down), "%s", state.up == 1 ? "" : state.text[0] != '\0' ? state.text : "down");
}

static const struct wire_verb directory_verbs[] = {
	{ DIRECTORY_CHANGED, "account changed", sizeof(struct directory_changed), sizeof(struct directory_changed), serve_directory_changed },
	{ DIRECTORY_STATE, "directory state", sizeof(struct directory_state), sizeof(struct directory_state), serve_directory_state },
	{ 0, NULL, 0, 0, NULL },
};

/* The same word by another way: whoever was let in by that account's password is looked at again. */
static void serve_lockout_forget(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct enroll_worker *w = asker_owner(arg);
	struct lockout_forget forget;

	(void)wire;
	(void)number;
	(void)n;
	memcpy(&forget, body, sizeof(forget));
	if (memchr(forget.sid, '\0', sizeof(forget.sid)) != NULL)
		parts_directory_changed(w, forget.sid);
}

static const struct wire_verb lockout_verbs[] = {
	{ LOCKOUT_FORGET, "forget", sizeof(struct lockout_forget), sizeof(struct lockout_forget), serve_lockout_forget },
	{ 0, NULL, 0, 0, NULL },
};

/* Client certificates of these CAs count on our TLS listeners. */
static void trust_chain(struct enroll_worker *w)
{
	STACK_OF(X509) *anchors = sk_X509_new_null();
	const struct chain_entry *e;

	for (size_t i = 0; anchors != NULL && (e = chain_at(w->chain, i)) != NULL; i++) {
		if ((e->kind == SIGNER_CHAIN_ISSUING || e->kind == SIGNER_CHAIN_OLD_ISSUING) && sk_X509_push(anchors, e->certificate) <= 0)
			break;
	}
	for (unsigned i = 0; i < w->tls_n; i++) {
		if (anchors == NULL || tls_server_trust(w->tls[i], anchors) < 0)
			log_say(LOG_ERROR, "memory", "client certificates cannot be checked: out of memory");
	}
	sk_X509_free(anchors);
}

static void on_chain(void *arg)
{
	struct enroll_worker *w = arg;
	const struct chain_entry *ca = chain_first(w->chain, SIGNER_CHAIN_ISSUING);

	trust_chain(w);
	ocsp_forget(w->ocsp);
	if (ca == NULL)
		return;
	issuer_embedded_set_name(w->issuer, ca->name);
	revoke_kick(w->revoke);
}

static void on_published(void *arg)
{
	struct enroll_worker *w = arg;

	if (w->revoke != NULL)
		revoke_kick(w->revoke);
}

static void on_link(struct child *child, enum role peer, unsigned index, int fd, void *arg)
{
	struct enroll_worker *w = arg;

	(void)child;
	(void)index;
	switch (peer) {
	case ROLE_DIRECTORY:
		asker_link(w->directory, fd);
		return;
	case ROLE_LOCKOUT:
		asker_link(w->lockout, fd);
		return;
	case ROLE_SIGNER:
		asker_link(w->signer, fd);
		chain_ask(w->chain);
		return;
	default:
		close(fd);
	}
}

/* A wire that could not be made, or broke, while both processes live on: nobody else would notice. */
static void on_links_due(struct deadline *d)
{
	struct enroll_worker *w = CONTAINER_OF(d, struct enroll_worker, links);

	if (!asker_is_up(w->directory))
		child_ask_link(w->child, ROLE_DIRECTORY, 0);
	if (!asker_is_up(w->lockout))
		child_ask_link(w->child, ROLE_LOCKOUT, 0);
	if (!asker_is_up(w->signer))
		child_ask_link(w->child, ROLE_SIGNER, 0);
	deadline_arm(w->loop, &w->links, LINKS_MS, on_links_due);
}

static void on_sweep(struct deadline *d)
{
	struct enroll_worker *w = CONTAINER_OF(d, struct enroll_worker, sweep);
	int64_t now = loop_wall(w->loop);

	if (registry_expire(w->registry, now) != REGISTRY_OK || registry_secret_tidy(w->registry, now - 86400) != REGISTRY_OK)
		log_say(LOG_WARNING, "registry", "sweeping: %s", registry_problem(w->registry));
	audit_head_look(&w->audit_head, w->registry, durable_wait_for(w->durable));
	chain_ask(w->chain);
	parts_tidy(w);
	deadline_arm(w->loop, &w->sweep, SWEEP_MS, on_sweep);
}

/* --- the end --- */

static void on_drained(void *arg)
{
	struct enroll_worker *w = arg;

	loop_stop(w->loop);
}

static void on_drain_end(struct deadline *d)
{
	on_drained(CONTAINER_OF(d, struct enroll_worker, drain_end));
}

static void on_drain(struct child *child, void *arg)
{
	struct enroll_worker *w = arg;

	(void)child;
	if (w->draining)
		return;
	w->draining = true;
	deadline_arm(w->loop, &w->drain_end, (uint64_t)w->settings->enroll.limits.drain_seconds * 1000, on_drain_end);
	http_server_drain(w->http, on_drained, w);
}

/* Closing syncs what was committed last: only then is the trail's end told. */
static void close_registry(struct enroll_worker *w)
{
	bool good = w->registry != NULL && registry_settle(w->registry) == 0;

	if (w->registry != NULL && !good)
		log_say(LOG_ERROR, "registry_unusable", "%s", registry_problem(w->registry));
	if (good && w->durable != NULL && !w->failed)
		audit_head_look(&w->audit_head, w->registry, UINT64_MAX);
	durable_free(w->durable);
	registry_close(w->registry);
	if (good && !w->failed)
		audit_head_reached(&w->audit_head, UINT64_MAX);
}

static void tear_down(struct enroll_worker *w)
{
	deadline_disarm(&w->sweep);
	deadline_disarm(&w->links);
	deadline_disarm(&w->drain_end);
	deadline_disarm(&w->rest);
	parts_free(w);
	ocsp_free(w->ocsp);
	issue_free(w->issue);
	revoke_free(w->revoke);
	publish_free(w->publish);
	if (w->issuer != NULL)
		w->issuer->free(w->issuer);
	chain_free(w->chain);
	crl_keeper_free(w->crl);
	http_server_free(w->http);
	for (unsigned i = 0; i < w->tls_n; i++)
		SSL_CTX_free(w->tls[i]);
	asker_free(w->directory);
	asker_free(w->lockout);
	asker_free(w->signer);
	close_registry(w);
	OPENSSL_cleanse(&w->secret_key, sizeof(w->secret_key));
	free(w->rules);
	free(w);
}

/* --- the beginning --- */

static int make_rules(struct enroll_worker *w)
{
	const struct enroll_section *e = &w->settings->enroll;

	w->rules = calloc(e->profiles_count, sizeof(*w->rules));
	for (unsigned i = 0; w->rules != NULL && i < e->profiles_count; i++) {
		const struct enroll_profile *p = &e->profiles[i];
		w->rules[i] = (struct profile_rule){ .name = p->name, .days = p->days, .upn = p->upn, .mail = p->mail, .sid = p->sid,
			.key = p->key_kind == ENROLL_KEY_RSA ? PROFILE_KEY_RSA : p->key_kind == ENROLL_KEY_EC ? PROFILE_KEY_EC : PROFILE_KEY_ANY,
			.group = p->required_group[0] != '\0' ? (int)p->group_bit : -1 };
	}
	return w->rules != NULL ? 0 : -1;
}

static int listen_one(struct enroll_worker *w, const struct child_socket *socket)
{
	const struct enroll_section *e = &w->settings->enroll;
	char why[TLS_WHY_MAX + 4096];

	if (socket->tag == ENROLL_TAG_ADMIN)
		return http_server_listen(w->http, socket->fd, HTTP_WAY_ADMIN, NULL);
	if (socket->tag == ENROLL_TAG_LOCAL)
		return http_server_listen(w->http, socket->fd, HTTP_WAY_LOCAL, NULL);
	if (socket->tag >= e->listeners_count)
		return 0;
	if (e->listeners[socket->tag].plain)
		return http_server_listen(w->http, socket->fd, HTTP_WAY_PLAIN, NULL);
	if (w->tls_n == ARRAY_LEN(w->tls)) {
		log_say(LOG_ERROR, "listen_failed", "more than %zu TLS listeners", ARRAY_LEN(w->tls));
		return -1;
	}
	w->tls[w->tls_n] = tls_server_new(&e->listeners[socket->tag], w->files, why, sizeof(why));
	if (w->tls[w->tls_n] == NULL) {
		log_say(LOG_ERROR, "config_refused", "enroll.listeners[%u]: %s", socket->tag, why);
		return -1;
	}
	return http_server_listen(w->http, socket->fd, HTTP_WAY_TLS, w->tls[w->tls_n++]);
}

static int start_server(struct enroll_worker *w)
{
	const struct enroll_limits *l = &w->settings->enroll.limits;
	struct http_server_config config = { .head_bytes = l->head_bytes, .headers = l->headers, .body_bytes = l->body_bytes,
		.connections = l->connections, .connections_per_address = l->connections_per_address, .bodies_bytes = l->bodies_bytes,
		.handshake_seconds = l->handshake_seconds, .head_seconds = l->head_seconds,
		.body_seconds = l->body_idle_seconds, .idle_seconds = l->idle_seconds, .serve = route_serve, .answered = on_answered, .hold = hold, .arg = w };
	const struct child_socket *sockets;
	size_t n;

	parts_routes(w, w->routes, ARRAY_LEN(w->routes));
	w->http = http_server_new(w->loop, &config);
	if (w->http == NULL)
		return -1;
	sockets = child_sockets(w->child, &n);
	for (size_t i = 0; i < n; i++) {
		if (listen_one(w, &sockets[i]) < 0)
			return -1;
	}
	return 0;
}

/* What needs no file of the user's: while we may still read what root may. */
static int set_up_parts(struct enroll_worker *w)
{
	const struct enroll_settings *s = w->settings;
	const struct publish_config publish = { .loop = w->loop, .redis = s->common.redis, .bundle = w->files,
		.proxy_run_dir = s->enroll.local_proxy ? s->common.run_dir : NULL, .up = on_published, .arg = w };
	char why[512] = "out of memory";

	w->directory = asker_new(w->loop, "directory", directory_verbs, w);
	w->lockout = asker_new(w->loop, "lockout", lockout_verbs, w);
	w->signer = asker_new(w->loop, "signer", NULL, w);
	w->chain = w->signer != NULL ? chain_new(w->loop, w->signer, on_chain, w) : NULL;
	w->issuer = w->signer != NULL ? issuer_embedded_new(w->signer) : NULL;
	w->ocsp = ocsp_new(w);
	w->crl = crl_keeper_new(w);
	if (w->directory == NULL || w->lockout == NULL || w->chain == NULL || w->issuer == NULL || w->ocsp == NULL || w->crl == NULL || make_rules(w) < 0 ||
	    secret_key_load(s->common.state_dir, &w->secret_key, why, sizeof(why)) < 0 ||
	    (w->publish = publish_new(&publish, why, sizeof(why))) == NULL) {
		log_say(LOG_ERROR, "start_failed", "%s", why);
		return -1;
	}
	return parts_new(w);
}

/* As the user, with what is in the registry's folder and the lists' only. */
static int open_registry(struct enroll_worker *w)
{
	const struct enroll_ca *ca = &w->settings->enroll.ca;
	char why[512] = "out of memory", lists[4400], log[4400];
	const struct durable_config durable = { .loop = w->loop, .log = log, .commit = commit, .reached = on_durable, .failed = on_not_durable, .arg = w };
	struct issue_config issue = { .loop = w->loop };
	struct revoke_config revoke = { .loop = w->loop, .list_dir = lists, .crl_seconds = ca->crl_seconds,
		.crl_overlap_seconds = ca->crl_overlap_seconds, .delta_seconds = ca->delta_seconds };

	snprintf(lists, sizeof(lists), "%s/crl", w->settings->common.state_dir);
	w->registry = registry_open(w->settings->enroll.registry, why, sizeof(why));
	if (w->registry == NULL)
		goto failed;
	snprintf(log, sizeof(log), "%s-wal", w->settings->enroll.registry);
	w->durable = durable_new(&durable);
	if (w->durable == NULL || registry_group(w->registry, on_change, w) < 0)
		goto failed;
	revoke.registry = issue.registry = w->registry;
	revoke.issuer = issue.issuer = w->issuer;
	revoke.publish = w->publish;
	w->revoke = revoke_new(&revoke, why, sizeof(why));
	if (w->revoke == NULL)
		goto failed;
	issue.revoke = w->revoke;
	issue.fleet = publish_registers(w->publish);
	w->issue = issue_new(&issue);
	if (w->issue == NULL)
		goto failed;
	if (issue_recover(w->issue) < 0) {
		snprintf(why, sizeof(why), "%s", registry_problem(w->registry));
		goto failed;
	}
	/* what a process before this one committed and did not sync is read here as well */
	durable_note(w->durable);
	audit_head_look(&w->audit_head, w->registry, durable_wait_for(w->durable));
	return 0;
failed:
	log_say(LOG_ERROR, "registry_unusable", "%s", why);
	return -1;
}

/* The folders that stay open to us: neither the CA's nor the configuration's is one of them. */
static int confine(struct enroll_worker *w)
{
	/* names of servers and the system's CAs, where there is a webhook to ask */
	static const char *const names[] = { "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/ssl", "/usr/lib/ssl",
		"/usr/share/ca-certificates", "/usr/local/share/ca-certificates", NULL };
	char lists[4400], *slash;
	const char *write[] = { w->data_dir, lists, NULL };

	snprintf(lists, sizeof(lists), "%s/crl", w->settings->common.state_dir);
	snprintf(w->data_dir, sizeof(w->data_dir), "%s", w->settings->enroll.registry);
	slash = strrchr(w->data_dir, '/');
	if (slash != NULL && slash != w->data_dir)
		*slash = '\0';
	return child_confine(w->child, w->settings->enroll.scep.challenge_kind == CHALLENGE_WEBHOOK ? names : NULL, write);
}

int enroll_worker_process(struct child *child)
{
	static const struct child_handlers handlers = { .link = on_link, .drain = on_drain };
	struct enroll_worker *w = calloc(1, sizeof(*w));
	int rc = 1;

	if (w == NULL)
		return 1;
	w->child = child;
	w->loop = child_loop(child);
	w->settings = child_settings(child);
	w->files = child_bundle(child);
	if (set_up_parts(w) < 0)
		goto out;
	child_handle(child, &handlers, w);
	if (confine(w) < 0 || open_registry(w) < 0 || start_server(w) < 0)
		goto out;
	deadline_arm(w->loop, &w->sweep, SWEEP_MS, on_sweep);
	deadline_arm(w->loop, &w->links, LINKS_MS, on_links_due);
	child_ready(child);
	rc = loop_run(w->loop) < 0 || w->failed ? 1 : 0;
out:
	tear_down(w);
	return rc;
}
