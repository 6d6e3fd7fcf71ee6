/*
 * process: the *revocation* role: owns the index, runs the CRL sources and the follower of Redis, tells the workers.
 * Talks to no device; reads only what the issuers and Redis say. May write state_dir and nothing else.
 */
#include "proxy/revocation/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/log.h"
#include "common/wire.h"
#include "proxy/revocation/confine.h"
#include "proxy/revocation/crl_source.h"
#include "proxy/revocation/follow.h"
#include "proxy/revocation/issuers.h"
#include "proxy/revocation/key_source.h"
#include "proxy/revocation/local.h"
#include "proxy/settings.h"

#define READY_WITHIN_MS 1000	/* a source that is away must not keep the others from serving */
#define LOCK_FILE     "revocation.lock"
#define LOCK_AGAIN_MS 50
#define LINKS_MS      1000

struct link {
	struct link *next;
	struct wire *wire;
	struct revocation *owner;
	enum role peer;
	unsigned index;
};

struct revocation {
	struct child *child;
	const struct settings *settings;
	struct loop *loop;
	int state_dir, lock;
	struct issuers *issuers;
	struct index_writer *index;
	struct curl_loop *fetcher;
	struct crl_source **sources;
	unsigned sources_count;
	struct key_source *keys;	/* NULL without proxy.bearer.keys_url */
	struct follow *follow;
	struct local *local;
	struct link *links;
	struct deadline lock_again, ready_again, links_again;
	uint64_t ready_by_ms;
	bool lock_said;
	uint64_t told_generation, told_replacements;
};

/* --- telling --- */

static void tell(struct revocation *r, enum role peer, uint16_t verb, const void *body, size_t n)
{
	struct link *l;

	for (l = r->links; l != NULL; l = l->next)
		if (l->peer == peer && wire_is_open(l->wire) && wire_tell(l->wire, verb, body, n) < 0)
			log_say(LOG_WARNING, "tell_failed", "%s %u does not take its messages", role_name(peer), l->index);
}

/* At once, and only when an answer may have changed. */
static void on_changed(void *arg)
{
	struct revocation *r = arg;
	struct revocation_changed body = { .replaced = 0 };
	uint64_t generation, replacements;

	local_settle(r->local);
	generation = revocation_generation(index_writer_view(r->index));
	replacements = index_writer_replacements(r->index);
	body.replaced = replacements != r->told_replacements;
	if (generation == r->told_generation && !body.replaced)
		return;
	r->told_generation = generation;
	r->told_replacements = replacements;
	tell(r, ROLE_WORKER, REVOCATION_CHANGED, &body, sizeof(body));
}

static void on_account(void *arg, const char *sid)
{
	struct directory_changed body = { .sid = "" };

	snprintf(body.sid, sizeof(body.sid), "%s", sid);
	/* The directory first: a worker that asks anew must not get what it had. */
	tell(arg, ROLE_DIRECTORY, DIRECTORY_FORGET, &body, sizeof(body));
	tell(arg, ROLE_WORKER, REVOCATION_ACCOUNT, &body, sizeof(body));
}

static void on_device(void *arg, const char *certificate)
{
	struct device_changed body = { .certificate = "" };

	snprintf(body.certificate, sizeof(body.certificate), "%s", certificate);
	tell(arg, ROLE_WORKER, REVOCATION_DEVICE, &body, sizeof(body));
}

static void on_reload(void *arg)
{
	tell(arg, ROLE_WORKER, REVOCATION_RELOAD, NULL, 0);
}

static void on_switched(void *arg)
{
	tell(arg, ROLE_WORKER, REVOCATION_SWITCHED, NULL, 0);
}

static void on_keys(void *arg)
{
	tell(arg, ROLE_WORKER, REVOCATION_KEYS, NULL, 0);
}

/* --- answering --- */

static void serve_state(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct revocation_state state = { .text = "" };
	struct revocation *r = ((struct link *)arg)->owner;
	const char *problem = "";
	unsigned i;

	(void)body;
	(void)n;
	if (number == 0)
		return;
	if (r->index == NULL) {
		problem = "another revocation process still holds the index";
	} else {
		state.oldest = revocation_oldest(index_writer_view(r->index));
		state.serials = revocation_count(index_writer_view(r->index));
		state.redis_up = follow_is_up(r->follow);
		problem = follow_problem(r->follow);
	}
	for (i = 0; i < r->sources_count && problem[0] == '\0'; i++)
		problem = crl_source_problem(r->sources[i]);
	state.problem = problem[0] != '\0';
	snprintf(state.text, sizeof(state.text), "%s", problem);
	wire_answer(w, number, &state, sizeof(state));
}

static void serve_keys_wanted(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	(void)w;
	(void)number;
	(void)body;
	(void)n;
	key_source_wanted(((struct link *)arg)->owner->keys);
}

static const struct wire_verb verbs[] = {
	{ REVOCATION_STATE, "state", 0, 0, serve_state },
	{ REVOCATION_KEYS_WANTED, "keys wanted", 0, 0, serve_keys_wanted },
	{ 0, NULL, 0, 0, NULL },
};

/* --- links --- */

static void drop_link(struct link *l)
{
	struct link **at;

	for (at = &l->owner->links; *at != NULL && *at != l; at = &(*at)->next)
		;
	if (*at == l)
		*at = l->next;
	wire_free(l->wire);
	free(l);
}

static void on_closed(struct wire *w, void *arg)
{
	(void)w;
	drop_link(arg);
}

static void on_link(struct child *c, enum role peer, unsigned index, int fd, void *arg)
{
	struct link *l = calloc(1, sizeof(*l));
	struct wire_config config = { .verbs = verbs, .arg = l, .closed = on_closed, .name = role_name(peer) };
	struct revocation *r = arg;

	(void)c;
	if (l == NULL) {
		close(fd);
		return;
	}
	*l = (struct link){ .next = r->links, .owner = r, .peer = peer, .index = index };
	l->wire = wire_new(r->loop, fd, &config);
	if (l->wire == NULL) {
		free(l);
		return;
	}
	/* A replaced process' link goes when that process closes it. */
	r->links = l;
	/* What it mapped before it was linked may be older than what stands now. */
	if (peer == ROLE_WORKER)
		wire_tell(l->wire, REVOCATION_CHANGED, &(struct revocation_changed){ .replaced = 1 }, sizeof(struct revocation_changed));
}

/* A wire that could not be made, or broke, while both processes live on. Workers see to theirs. */
static void on_links_due(struct deadline *d)
{
	struct revocation *r = CONTAINER_OF(d, struct revocation, links_again);
	struct link *l;

	for (l = r->links; l != NULL && !(l->peer == ROLE_DIRECTORY && wire_is_open(l->wire)); l = l->next)
		;
	if (l == NULL)
		child_ask_link(r->child, ROLE_DIRECTORY, 0);
	deadline_arm(r->loop, &r->links_again, LINKS_MS, on_links_due);
}

/* --- start and end --- */

static bool nothing_to_load(const struct revocation *r)
{
	return r->settings->proxy.revocation.crls_count == 0 && !r->settings->proxy.revocation.redis;
}

static void say_start(const struct revocation *r)
{
	const struct revocation_view *view = index_writer_view(r->index);
	int64_t oldest = revocation_oldest(view), now = loop_wall(r->loop);
	struct log_line l;

	log_begin(&l, LOG_INFO, "index_opened");
	log_int(&l, "serials", (int64_t)revocation_count(view));
	log_int(&l, "issuers", r->issuers->count);
	if (oldest > 0)
		log_int(&l, "age_seconds", now - oldest);
	else
		log_cstr(&l, "age_seconds", "unknown: an issuer was never loaded");
	log_end(&l);
	if (r->issuers->without > 0)
		log_say(LOG_WARNING, "issuers_without_source", "%u of the CAs in client_ca have neither a CRL nor Redis: certificates "
		    "that they issued are unknown", r->issuers->without);
}

static int start_sources(struct revocation *r)
{
	const struct revocation_settings *s = &r->settings->proxy.revocation;
	struct crl_source_config config = { .loop = r->loop, .fetcher = r->fetcher, .state_dir = r->state_dir, .index = r->index,
		.known = r->issuers->known, .refresh_seconds = s->refresh_seconds, .changed = on_changed, .arg = r };
	unsigned i;

	r->sources = calloc(s->crls_count + 1u, sizeof(*r->sources));
	if (r->sources == NULL)
		return -1;
	for (i = 0; i < s->crls_count; i++) {
		config.settings = &s->crls[i];
		config.ca = r->issuers->ca[i];
		r->sources[i] = crl_source_new(&config);
		if (r->sources[i] == NULL)
			return -1;
		r->sources_count++;
	}
	for (i = 0; i < s->crls_count; i++)
		crl_source_start(r->sources[i]);
	for (i = 0; i < s->crls_count; i++)
		crl_source_retry(r->sources[i]);
	return 0;
}

static int start_follow(struct revocation *r)
{
	const struct config_redis *redis = r->settings->common.redis;
	struct follow_config config = { .loop = r->loop, .redis = redis, .index = r->index, .issuers = r->issuers->list,
		.issuers_count = r->issuers->count, .changed = on_changed, .account = on_account, .device = on_device,
		.reload = on_reload, .switched = on_switched, .arg = r };
	struct bundle *bundle = child_bundle(r->child);
	char why[512];

	/* Also where revocations come from CRLs only: events about devices and accounts still count. */
	if (redis == NULL)
		return 0;
	if ((redis->password_file[0] != '\0' && !bundle_get_secret(bundle, redis->password_file, &config.password)) ||
	    (redis->fleet_secret_file[0] != '\0' && !bundle_get_secret(bundle, redis->fleet_secret_file, &config.secret)) ||
	    (redis->ca[0] != '\0' && !bundle_get(bundle, redis->ca, &config.ca_pem))) {
		log_say(LOG_ERROR, "redis_files", "redis.password_file, fleet_secret_file or ca: missing or empty");
		return -1;
	}
	r->follow = follow_new(&config, why, sizeof(why));
	if (r->follow == NULL)
		log_say(LOG_ERROR, "redis_unusable", "redis: %s", why);
	return r->follow != NULL ? 0 : -1;
}

static void look_at_issuer(void *arg, const uint8_t issuer[SHA256_SIZE])
{
	struct revocation *r = arg;

	for (unsigned i = 0; i < r->sources_count; i++)
		if (memcmp(crl_source_issuer(r->sources[i]), issuer, SHA256_SIZE) == 0)
			crl_source_look(r->sources[i]);
}

static int start_local(struct revocation *r)
{
	struct local_config config = { .loop = r->loop, .fd = -1, .index = r->index, .issuers = r->issuers->list, .issuers_count = r->issuers->count,
		.changed = on_changed, .look = look_at_issuer, .arg = r };
	const struct child_socket *sockets;
	size_t n;

	sockets = child_sockets(r->child, &n);
	if (!r->settings->proxy.revocation.local || n == 0)
		return 0;
	config.fd = sockets[0].fd;
	r->local = local_new(&config);
	return r->local != NULL ? 0 : -1;
}

static int start_keys(struct revocation *r)
{
	const struct bearer_settings *b = r->settings->proxy.bearer;
	struct key_source_config config = { .loop = r->loop, .fetcher = r->fetcher, .state_dir = r->state_dir, .settings = b, .changed = on_keys,
		.arg = r };

	if (b == NULL || b->keys_url[0] == '\0')
		return 0;
	if (b->keys_ca[0] != '\0' && !bundle_get(child_bundle(r->child), b->keys_ca, &config.ca)) {
		log_say(LOG_ERROR, "config_refused", "proxy.bearer.keys_ca: %s is not among the files that this process may read", b->keys_ca);
		return -1;
	}
	r->keys = key_source_new(&config);
	return r->keys != NULL ? 0 : -1;
}

/* Everything that writes state_dir. Only under the lock. */
static int serve(struct revocation *r)
{
	r->index = index_writer_open(r->state_dir, r->issuers->list, r->issuers->count,
	    r->settings->proxy.revocation.max_age_seconds);
	if (r->index == NULL) {
		log_say(LOG_ERROR, "index_unwritable", "%s/%s: %s: make the directory writable for user %s", r->settings->common.state_dir,
		    INDEX_FILE, strerror(errno), r->settings->common.user);
		return -1;
	}
	say_start(r);
	r->told_replacements = UINT64_MAX;	/* workers open the file that this process has made or taken up */
	on_changed(r);
	if (start_sources(r) < 0 || start_follow(r) < 0 || start_local(r) < 0 || start_keys(r) < 0)
		return -1;
	on_changed(r);
	return 0;
}

static void on_lock_again(struct deadline *d);

/* At a reload the process that is replaced ends within moments: two writers would spoil the change table. */
static int take_lock(struct revocation *r)
{
	if (flock(r->lock, LOCK_EX | LOCK_NB) == 0)
		return serve(r);
	if (errno != EWOULDBLOCK) {
		log_say(LOG_ERROR, "index_unwritable", "%s/%s: %s", r->settings->common.state_dir, LOCK_FILE, strerror(errno));
		return -1;
	}
	if (!r->lock_said)
		log_say(LOG_INFO, "index_held", "another revocation process holds the index: waiting for it to end");
	r->lock_said = true;
	deadline_arm(r->loop, &r->lock_again, LOCK_AGAIN_MS, on_lock_again);
	return 0;
}

static void on_lock_again(struct deadline *d)
{
	struct revocation *r = CONTAINER_OF(d, struct revocation, lock_again);

	if (take_lock(r) < 0)
		loop_stop(r->loop);
}

static void on_drain(struct child *c, void *arg)
{
	(void)arg;
	loop_stop(child_loop(c));
}

static int open_all(struct revocation *r)
{
	const char *dir = r->settings->common.state_dir;
	char why[512];

	r->issuers = issuers_new(&r->settings->proxy, child_bundle(r->child), why, sizeof(why));
	if (r->issuers == NULL) {
		log_say(LOG_ERROR, "issuers_unusable", "%s", why);
		return -1;
	}
	r->fetcher = curl_loop_new(r->loop);
	if (r->fetcher == NULL)
		return -1;
	r->state_dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->state_dir >= 0)
		r->lock = openat(r->state_dir, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (r->state_dir < 0 || r->lock < 0) {
		log_say(LOG_ERROR, "index_unwritable", "state_dir %s: %s: create it for user %s", dir, strerror(errno),
		    r->settings->common.user);
		return -1;
	}
	return 0;
}

static void close_all(struct revocation *r)
{
	unsigned i;

	deadline_disarm(&r->lock_again);
	deadline_disarm(&r->ready_again);
	deadline_disarm(&r->links_again);
	follow_free(r->follow);
	local_free(r->local);
	for (i = 0; i < r->sources_count; i++)
		crl_source_free(r->sources[i]);
	free(r->sources);
	key_source_free(r->keys);
	curl_loop_free(r->fetcher);
	while (r->links != NULL)
		drop_link(r->links);
	index_writer_free(r->index);
	issuers_free(r->issuers);
	if (r->lock >= 0)
		close(r->lock);
	if (r->state_dir >= 0)
		close(r->state_dir);
}

/* Ready means that devices can be let in: all sources have been loaded, or they had their time. */
static void on_ready_again(struct deadline *d)
{
	struct revocation *r = CONTAINER_OF(d, struct revocation, ready_again);
	bool loaded = r->index != NULL && (revocation_oldest(index_writer_view(r->index)) != 0 || nothing_to_load(r));

	if (loaded || loop_now_ms(r->loop) >= r->ready_by_ms)
		child_ready(r->child);
	else
		deadline_arm(r->loop, &r->ready_again, 0, on_ready_again);
}

int revocation_process(struct child *child)
{
	static const struct child_handlers handlers = { .link = on_link, .drain = on_drain };
	struct revocation r = { .child = child, .settings = child_settings(child), .loop = child_loop(child), .state_dir = -1,
		.lock = -1 };
	int rc = 1;

	child_handle(child, &handlers, &r);
	/* After confine(): what is opened must be the user's own. */
	if (revocation_confine(child, r.settings) < 0 || open_all(&r) < 0 || take_lock(&r) < 0)
		goto out;
	r.ready_by_ms = loop_now_ms(r.loop) + READY_WITHIN_MS;
	deadline_arm(r.loop, &r.ready_again, 0, on_ready_again);
	deadline_arm(r.loop, &r.links_again, LINKS_MS, on_links_due);
	rc = loop_run(r.loop) < 0 ? 1 : 0;
out:
	close_all(&r);
	return rc;
}
