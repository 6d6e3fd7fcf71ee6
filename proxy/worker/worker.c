/*
 * worker: one event loop with all stages of a request in it. Unprivileged; opens nothing after its start but state_dir's index.
 */
#include "proxy/worker/worker.h"

#include <libxml/parser.h>
#include <malloc.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/crowd.h"
#include "common/device.h"
#include "common/log.h"
#include "common/object_memory.h"
#include "common/master.h"
#include "common/redis.h"
#include "proxy/metric_table.h"
#include "proxy/revocation/process.h"
#include "proxy/worker/accept.h"
#include "proxy/worker/admin.h"
#include "proxy/worker/session.h"
#include "proxy/worker/switches.h"

#define SWEEP_MS	   5000
#define LINKS_MS	   1000
#define DIRECTORY_EXTRA_MS 1000
#define CROWD_BUCKETS	   1024
#define MEMORY_STEP	   64	/* fewer sessions than this are not worth a trim */
#define CALM_MS		   250	/* so soon after a rush what it needed is given back */
#define POOL_KEEP	   4

/* --- configuration --- */

static struct worker_config *config_from(struct worker *w, struct bundle *files)
{
	struct config_error error = { "" };
	struct worker_config *c;
	struct settings *settings;
	struct strv text;
	char why[1024] = "";

	if (!bundle_get(files, MASTER_CONFIG_NAME, &text)) {
		log_say(LOG_ERROR, "config_refused", "the master sent no configuration");
		return NULL;
	}
	settings = settings_load("configuration", text, &error);
	if (settings == NULL) {
		log_say(LOG_ERROR, "config_refused", "%s", error.text);
		return NULL;
	}
	c = worker_config_new(w->loop, w->dns, settings, files, worker_session_records(), why, sizeof(why));
	if (c == NULL)
		log_say(LOG_ERROR, "config_refused", "%s", why);
	return c;
}

static unsigned directory_timeout(const struct settings *s)
{
	const struct config_directory *d = &s->common.directory;

	/* twice: who waits in line at a server that is busy */
	return (d->ldap != NULL ? 2 * d->ldap->timeout_ms : 3000) + DIRECTORY_EXTRA_MS;
}

static unsigned kerberos_timeout(const struct settings *s)
{
	return s->proxy.kerberos != NULL ? s->proxy.kerberos->timeout_ms * 3 + 1000 : 1000;
}

/* How long the other processes are waited for, and how much is kept of what they say. */
static void take_limits(struct worker *w)
{
	const struct settings *s = w->now->settings;

	account_cache_limit(w->accounts, s->common.directory.cache_entries, directory_timeout(s));
	credentials_set_timeout(w->credentials, kerberos_timeout(s));
}

static int on_reload(struct child *child, int bundle_fd, void *arg)
{
	struct worker *w = arg;
	struct bundle *files = bundle_open(bundle_fd);
	struct worker_config *c = files != NULL ? config_from(w, files) : NULL, *old = w->now;

	(void)child;
	if (c != NULL && devices_reload(w->devices, c->settings->common.redis, files) < 0) {
		worker_config_free(c);
		c = NULL;
	}
	bundle_free(files);
	metrics_add(M_RELOADS, c != NULL ? 0 : 1, 1);
	if (c == NULL)
		return -1;
	w->now = c;
	w->configuration++;
	take_limits(w);
	w->head_owner = NULL;
	log_set_level(c->settings->common.log.parsed_level);
	switches_use(w->switches, c->settings);
	accept_reload(w);
	/* what was found in the old configuration's terms is asked for anew */
	account_cache_reconfigured(w->accounts);
	worker_config_free(old);
	sessions_check_trust(w);
	return 0;
}

/* --- what the other processes tell --- */

/* Whatever is kept of that account by this worker and for it: answers, and tickets in its name. */
static void account_changed(struct worker *w, const struct directory_changed *change)
{
	const char *sam, *realm;

	if (change->sid[0] != '\0' && account_cache_names(w->accounts, change->sid, &sam, &realm))
		credentials_forget(w->credentials, sam, realm);
	account_cache_changed(w->accounts, change->sid);
	sessions_check_account(w, change);
}

static void serve_directory_changed(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct worker *w = asker_owner(arg);
	struct directory_changed change;

	(void)wire;
	(void)number;
	(void)n;
	memcpy(&change, body, sizeof(change));
	if (memchr(change.sid, '\0', sizeof(change.sid)) == NULL)
		return;
	account_changed(w, &change);
}

static void serve_directory_state(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct worker *w = asker_owner(arg);
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

static void serve_lockout_forget(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct worker *w = asker_owner(arg);
	struct lockout_forget forget;

	(void)wire;
	(void)number;
	(void)n;
	memcpy(&forget, body, sizeof(forget));
	if (memchr(forget.sid, '\0', sizeof(forget.sid)) != NULL)
		sessions_forget_passwords(w, forget.sid);
}

static const struct wire_verb lockout_verbs[] = {
	{ LOCKOUT_FORGET, "forget passwords", sizeof(struct lockout_forget), sizeof(struct lockout_forget), serve_lockout_forget },
	{ 0, NULL, 0, 0, NULL },
};

static void serve_revocation_changed(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct worker *w = asker_owner(arg);
	struct revocation_changed change;

	(void)wire;
	(void)number;
	(void)n;
	memcpy(&change, body, sizeof(change));
	if (change.replaced)
		revocation_remap(w->revocation);
	sessions_check_revocation(w);
}

/* An event named an account: *directory* looks again at once, and so do we. */
static void serve_account_event(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	struct worker *w = asker_owner(arg);
	struct directory_changed change;

	(void)wire;
	(void)number;
	(void)n;
	memcpy(&change, body, sizeof(change));
	if (memchr(change.sid, '\0', sizeof(change.sid)) == NULL)
		return;
	asker_tell(w->directory, DIRECTORY_FORGET, &change, sizeof(change));
	account_changed(w, &change);
}

static void serve_device_event(struct wire *wire UNUSED, uint64_t number UNUSED, const void *body, size_t n UNUSED, void *arg)
{
	struct worker *w = asker_owner(arg);
	struct device_changed change;

	memcpy(&change, body, sizeof(change));
	if (memchr(change.certificate, '\0', sizeof(change.certificate)) == NULL)
		return;
	if (w->devices != NULL)
		devices_changed(w->devices, change.certificate);
	sessions_check_device(w, change.certificate);
}

static void serve_reload_event(struct wire *wire UNUSED, uint64_t number UNUSED, const void *body UNUSED, size_t n UNUSED, void *arg)
{
	struct worker *w = asker_owner(arg);

	if (child_index(w->child) == 0)
		child_ask_reload(w->child);
}

static void serve_switch_event(struct wire *wire UNUSED, uint64_t number UNUSED, const void *body UNUSED, size_t n UNUSED, void *arg)
{
	struct worker *w = asker_owner(arg);

	if (w->switches != NULL)
		switches_look(w->switches);
}

static void take_fetched_keys(struct worker *w)
{
	if (!worker_config_fetched_keys(w->now))
		return;
	w->keys_number++;
	sessions_check_keys(w);
}

static void serve_keys_event(struct wire *wire, uint64_t number, const void *body, size_t n, void *arg)
{
	(void)wire;
	(void)number;
	(void)body;
	(void)n;
	take_fetched_keys(asker_owner(arg));
}

static const struct wire_verb revocation_verbs[] = {
	{ REVOCATION_CHANGED, "index changed", sizeof(struct revocation_changed), sizeof(struct revocation_changed), serve_revocation_changed },
	{ REVOCATION_ACCOUNT, "account event", sizeof(struct directory_changed), sizeof(struct directory_changed), serve_account_event },
	{ REVOCATION_DEVICE, "device event", sizeof(struct device_changed), sizeof(struct device_changed), serve_device_event },
	{ REVOCATION_RELOAD, "reload event", 0, 64, serve_reload_event },
	{ REVOCATION_SWITCHED, "switch event", 0, 64, serve_switch_event },
	{ REVOCATION_KEYS, "issuer's keys", 0, 0, serve_keys_event },
	{ 0, NULL, 0, 0, NULL },
};

static void on_link(struct child *child, enum role peer, unsigned index, int fd, void *arg)
{
	struct worker *w = arg;
	bool was_down;

	(void)child;
	switch (peer) {
	case ROLE_DIRECTORY:
		was_down = !asker_is_up(w->directory);
		asker_link(w->directory, fd);
		/* whatever happened while nobody told us; one that took the other's place tells us itself */
		if (was_down)
			account_changed(w, &(struct directory_changed){ .change = CHANGE_MISSED });
		return;
	case ROLE_REVOCATION:
		asker_link(w->revocation_asker, fd);
		/* whatever happened while nobody told us */
		revocation_remap(w->revocation);
		sessions_check_revocation(w);
		take_fetched_keys(w);
		return;
	case ROLE_LOCKOUT:
		asker_link(w->lockout, fd);
		/* what it told while nobody listened */
		sessions_forget_passwords(w, "");
		return;
	case ROLE_KERBEROS:
		if (index < w->kerberos_n) {
			asker_link(w->kerberos[index], fd);
			return;
		}
		break;
	default:
		break;
	}
	close(fd);
}

/* A wire that could not be made, or broke, while both processes live on: nobody else would notice. */
static void on_links_due(struct deadline *d)
{
	struct worker *w = CONTAINER_OF(d, struct worker, links);

	if (!asker_is_up(w->directory))
		child_ask_link(w->child, ROLE_DIRECTORY, 0);
	if (settings_takes_anywhere(w->now->settings, METHOD_PASSWORD) && !asker_is_up(w->lockout))
		child_ask_link(w->child, ROLE_LOCKOUT, 0);
	if (!asker_is_up(w->revocation_asker))
		child_ask_link(w->child, ROLE_REVOCATION, 0);
	for (unsigned i = 0; i < w->kerberos_n; i++) {
		if (!asker_is_up(w->kerberos[i]))
			child_ask_link(w->child, ROLE_KERBEROS, i);
	}
	deadline_arm(w->loop, &w->links, LINKS_MS, on_links_due);
}

static void on_switches(void *arg)
{
	sessions_check_methods(arg);
}

/* --- the end --- */

static void on_drain_end(struct deadline *d)
{
	struct worker *w = CONTAINER_OF(d, struct worker, drain_end);

	sessions_end_all(w);
	loop_stop(w->loop);
}

static void on_drain(struct child *child, void *arg)
{
	struct worker *w = arg;

	(void)child;
	if (w->draining)
		return;
	w->draining = true;
	accept_stop(w);
	deadline_arm(w->loop, &w->drain_end, (uint64_t)w->now->settings->proxy.limits.drain_seconds * 1000, on_drain_end);
	sessions_drain(w);
	if (w->sessions == 0)
		loop_stop(w->loop);
}

/* After a rush has gone, what it needed goes back to the system instead of staying for the next one. */
static void give_back_memory(struct worker *w)
{
	if (w->sessions > w->most_sessions)
		w->most_sessions = w->sessions;
	if (w->most_sessions < MEMORY_STEP || w->sessions > w->most_sessions / 2)
		return;
	w->most_sessions = w->sessions;
	buffer_pool_trim(POOL_KEEP);
	object_memory_trim();
	malloc_trim(0);
}

static void on_calm(struct deadline *d)
{
	give_back_memory(CONTAINER_OF(d, struct worker, calm));
}

void worker_session_gone(struct worker *w)
{
	if (w->draining && w->sessions == 0)
		loop_stop(w->loop);
	else if (w->sessions + 1 == w->now->settings->proxy.sessions)
		accept_resume(w);
	/* the sweep looks at smaller ebbs */
	if (w->most_sessions >= MEMORY_STEP && w->sessions <= w->most_sessions / 4 && w->calm.next == NULL)
		deadline_arm(w->loop, &w->calm, CALM_MS, on_calm);
}

/* What was not sent stays for the next time; what a worker that dies had not sent yet is lost. */
static void send_daily(struct worker *w)
{
	static const char *const fields[METHODS] = { "requests_certificate", "requests_password", "requests_bearer" };

	if (devices_daily(w->devices, fields, w->daily, METHODS))
		memset(w->daily, 0, sizeof(w->daily));
}

static void on_sweep(struct deadline *d)
{
	struct worker *w = CONTAINER_OF(d, struct worker, sweep);

	send_daily(w);
	sessions_sweep(w);
	give_back_memory(w);
	deadline_arm(w->loop, &w->sweep, SWEEP_MS, on_sweep);
}

/* --- the beginning --- */

static struct evdns_base *dns_new(struct loop *loop)
{
	struct evdns_base *dns = evdns_base_new(loop_base(loop), EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);

	/* without a resolv.conf literal addresses and /etc/hosts must do */
	if (dns == NULL) {
		dns = evdns_base_new(loop_base(loop), EVDNS_BASE_DISABLE_WHEN_INACTIVE);
		if (dns != NULL)
			evdns_base_load_hosts(dns, "/etc/hosts");
	}
	return dns;
}

static int set_up_ways(struct worker *w)
{
	const struct settings *s = w->now->settings;

	w->directory = asker_new(w->loop, "directory", directory_verbs, w);
	w->lockout = asker_new(w->loop, "lockout", lockout_verbs, w);
	w->revocation_asker = asker_new(w->loop, "revocation", revocation_verbs, w);
	w->kerberos_n = s->proxy.kerberos != NULL ? s->proxy.kerberos->processes : 0;
	for (unsigned i = 0; i < w->kerberos_n; i++) {
		w->kerberos[i] = asker_new(w->loop, "kerberos", NULL, w);
		if (w->kerberos[i] == NULL)
			return -1;
	}
	if (w->directory == NULL || w->lockout == NULL || w->revocation_asker == NULL || RAND_bytes(w->secret, sizeof(w->secret)) != 1)
		return -1;
	w->accounts = account_cache_new(w->loop, w->directory, s->common.directory.cache_entries, directory_timeout(s));
	w->credentials = credentials_new(w->loop, w->kerberos, w->kerberos_n, kerberos_timeout(s));
	w->revocation = revocation_new(s->common.state_dir);
	return w->accounts != NULL && w->credentials != NULL && w->revocation != NULL ? 0 : -1;
}

static void tear_down(struct worker *w)
{
	deadline_disarm(&w->sweep);
	deadline_disarm(&w->links);
	deadline_disarm(&w->drain_end);
	sessions_end_all(w);
	crowd_free(w->crowd);
	deadline_disarm(&w->calm);
	admin_free(w);
	accept_free(w);
	worker_config_free(w->now);
	account_cache_free(w->accounts);
	credentials_free(w->credentials);
	revocation_free(w->revocation);
	switches_free(w->switches);
	devices_free(w->devices);
	asker_free(w->directory);
	asker_free(w->lockout);
	asker_free(w->revocation_asker);
	for (unsigned i = 0; i < w->kerberos_n; i++)
		asker_free(w->kerberos[i]);
	if (w->dns != NULL)
		evdns_base_free(w->dns, 0);
	free(w);
	xmlCleanupParser();
}

int worker_process(struct child *child)
{
	static const struct child_handlers handlers = { .link = on_link, .reload = on_reload, .drain = on_drain };
	struct worker *w = calloc(1, sizeof(*w));
	static const struct redis_metrics redis_metrics = { M_REDIS_COMMANDS, M_REDIS_CONNECTIONS };
	const char *readable[2] = { NULL, NULL };
	int rc = 1;

	if (w == NULL)
		return 1;
	/* sessions come and go: the heap need not shrink and grow with each of them */
	mallopt(M_TRIM_THRESHOLD, 4 << 20);
	mallopt(M_TOP_PAD, 512 << 10);
	xmlInitParser();	/* while files may still be opened */
	w->child = child;
	w->loop = child_loop(child);
	w->dns = dns_new(w->loop);
	w->crowd = crowd_new(CROWD_BUCKETS);
	if (w->dns == NULL || w->crowd == NULL)
		goto out;
	w->now = config_from(w, child_bundle(child));
	if (w->now == NULL || set_up_ways(w) < 0)
		goto out;
	w->devices = devices_new(w->loop, w->dns, w->now->settings->common.redis, child_bundle(child), worker_device_table());
	if (w->devices == NULL)
		goto out;
	devices_count(w->devices, &redis_metrics);
	w->switches = switches_new(w->loop, w->devices, on_switches, w);
	if (w->switches == NULL)
		goto out;
	switches_use(w->switches, w->now->settings);
	child_handle(child, &handlers, w);
	readable[0] = w->now->settings->common.state_dir;
	if (child_confine(child, readable, NULL) < 0 || accept_start(w) < 0 || admin_start(w) < 0)
		goto out;
	deadline_arm(w->loop, &w->sweep, SWEEP_MS, on_sweep);
	deadline_arm(w->loop, &w->links, LINKS_MS, on_links_due);
	child_ready(child);
	rc = loop_run(w->loop) < 0 ? 1 : 0;
out:
	tear_down(w);
	return rc;
}
