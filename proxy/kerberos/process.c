/*
 * process: the *kerberos* role: takes keytab and vouchers' key, closes the doors behind itself,
 * serves the workers' wires. No listener, no device's byte, and of a worker's bytes only two fixed
 * structures. Blocks on the KDC, with deadlines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/process.h"
#include "common/wire.h"
#include "proxy/kerberos/answer.h"
#include "proxy/kerberos/ask.h"
#include "proxy/kerberos/environment.h"
#include "proxy/settings.h"

#define READY_EVERY_MS 10000
#define DRAIN_MS 30000 /* workers let go of their wires long before */

struct kerberos;

/* A worker at the other end of a wire. */
struct peer {
	struct peer *next;
	struct kerberos *k;
	struct wire *wire;
	char name[32];
};

struct kerberos {
	struct child *child;
	struct answerer answerer;
	struct peer *peers;
	struct deadline ready, drain;
	bool draining;
};

static void serve_token(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *peer = arg;
	struct kerberos_token head;
	struct kerberos_ask ask;
	struct token token;

	(void)n;
	if (number == 0)
		return; /* a question told, not asked: nobody waits */
	memcpy(&ask, body, sizeof(ask));
	answerer_ask(
	    &peer->k->answerer, &ask, loop_wall(child_loop(peer->k->child)), &head, &token);
	wire_answer_secret(w, number, (struct strv){ (const char *)&head, sizeof(head) },
	    (struct strv){ (const char *)token.bytes, token.n });
	token_clear(&token);
}

/* Answers that are ready do not wait with us for a KDC. */
static void on_wait(void *arg)
{
	struct kerberos *k = arg;

	for (struct peer *p = k->peers; p != NULL; p = p->next)
		wire_flush(p->wire);
}

static void serve_forget(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *peer = arg;
	struct kerberos_forget forget;

	(void)n;
	memcpy(&forget, body, sizeof(forget));
	answerer_forget(&peer->k->answerer, &forget);
	if (number != 0)
		wire_answer(w, number, NULL, 0);
}

static const struct wire_verb verbs[] = {
	{ KERBEROS_TOKEN, "token", sizeof(struct kerberos_ask), sizeof(struct kerberos_ask),
	    serve_token },
	{ KERBEROS_FORGET, "forget", sizeof(struct kerberos_forget), sizeof(struct kerberos_forget),
	    serve_forget },
	{ 0, NULL, 0, 0, NULL },
};

static void end_when_alone(struct kerberos *k)
{
	if (k->draining && k->peers == NULL)
		loop_stop(child_loop(k->child));
}

static void on_closed(struct wire *w, void *arg)
{
	struct peer *peer = arg;
	struct kerberos *k = peer->k;
	struct peer **at = &k->peers;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	wire_free(w);
	free(peer);
	end_when_alone(k);
}

/* An older wire to the same worker stays until that process has closed it: it may still wait for an
 * answer. */
static void on_link(struct child *child, enum role role, unsigned index, int fd, void *arg)
{
	struct kerberos *k = arg;
	struct peer *peer = calloc(1, sizeof(*peer));
	struct wire_config config = { .verbs = verbs, .arg = peer, .closed = on_closed, .gather = true };

	if (peer == NULL || role != ROLE_WORKER) {
		log_say(LOG_ERROR, "link_failed", "no wire to %s %u: %s", role_name(role), index,
		    peer == NULL ? "out of memory" : "only workers ask for tokens");
		free(peer);
		close(fd);
		return;
	}
	peer->k = k;
	snprintf(peer->name, sizeof(peer->name), "%s %u", role_name(role), index);
	config.name = peer->name;
	peer->wire = wire_new(child_loop(child), fd, &config);
	if (peer->wire == NULL) {
		log_say(LOG_ERROR, "link_failed", "no wire to %s: out of memory", peer->name);
		free(peer);
		return;
	}
	peer->next = k->peers;
	k->peers = peer;
}

static void on_drain_over(struct deadline *d)
{
	struct kerberos *k = CONTAINER_OF(d, struct kerberos, drain);

	loop_stop(child_loop(k->child));
}

/* Serves on until the workers have let go: they may have requests under way that need a token. */
static void on_drain(struct child *child, void *arg)
{
	struct kerberos *k = arg;

	if (k->draining)
		return;
	k->draining = true;
	deadline_arm(child_loop(child), &k->drain, DRAIN_MS, on_drain_over);
	end_when_alone(k);
}

static void on_ready(struct deadline *d)
{
	struct kerberos *k = CONTAINER_OF(d, struct kerberos, ready);

	answerer_keep_ready(&k->answerer);
	deadline_arm(child_loop(k->child), d, READY_EVERY_MS, on_ready);
}

static int take_files(
    struct child *child, const struct kerberos_settings *s, struct strv *keytab, struct strv *key)
{
	struct bundle *b = child_bundle(child);

	if (!bundle_get(b, s->keytab, keytab)) {
		log_say(LOG_ERROR, "kerberos_unusable",
		    "proxy.kerberos.keytab: %s was not handed to this process", s->keytab);
		return -1;
	}
	if (!bundle_get(b, VOUCH_KEY_NAME, key) || key->n != VOUCH_KEY_SIZE) {
		log_say(LOG_ERROR, "kerberos_unusable",
		    "the key of the directory's vouchers was not handed to this process");
		return -1;
	}
	return 0;
}

static int start(struct kerberos *k, const struct settings *settings)
{
	struct strv keytab, key;

	/* A slow DNS must not hold the start up for its usual 10 s a name. */
	setenv("RES_OPTIONS", "timeout:1 attempts:2", 0);
	if (take_files(k->child, settings->proxy.kerberos, &keytab, &key) < 0)
		return -1;
	if (answerer_init(&k->answerer, settings, keytab, (const uint8_t *)key.p) < 0)
		return -1;
	k->answerer.wait = on_wait;
	k->answerer.wait_arg = k;
	/* Names are resolved, the keytab is in memory: from here on no file is opened. */
	if (child_confine(k->child, NULL, NULL) < 0) {
		answerer_clear(&k->answerer);
		return -1;
	}
	return 0;
}

static void stop(struct kerberos *k)
{
	deadline_disarm(&k->ready);
	deadline_disarm(&k->drain);
	while (k->peers != NULL) {
		struct peer *peer = k->peers;
		k->peers = peer->next;
		wire_free(peer->wire);
		free(peer);
	}
	answerer_clear(&k->answerer);
}

int kerberos_process(struct child *child)
{
	static const struct child_handlers handlers = { .link = on_link, .drain = on_drain };
	const struct settings *settings = child_settings(child);
	struct kerberos k = { .child = child };
	struct krb_name own;
	int fd, rc = 1;

	if (settings->proxy.kerberos == NULL ||
	    krb_name_parse(&own, settings->proxy.kerberos->principal) < 0) {
		log_say(LOG_ERROR, "kerberos_unusable",
		    "proxy.kerberos.principal: expected sAMAccountName@REALM");
		return 1;
	}
	child_let_askers_finish();
	fd = environment_enter(own.realm);
	if (fd < 0) {
		log_say(LOG_ERROR, "kerberos_unusable", "cannot set the Kerberos library up: %s",
		    strerror(-fd));
		return 1;
	}
	child_handle(child, &handlers, &k);
	if (start(&k, settings) == 0) {
		answerer_keep_ready(&k.answerer);
		deadline_arm(child_loop(child), &k.ready, READY_EVERY_MS, on_ready);
		child_ready(child);
		rc = loop_run(child_loop(child)) < 0;
		stop(&k);
	}
	environment_leave(fd);
	return rc;
}
