/*
 * program: turns the settings into a plan for the master. Opens the node's sockets and tables before anything is forked. Master process.
 */
#include "proxy/program.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/device.h"
#include "common/directory/process.h"
#include "common/lockout/process.h"
#include "common/prepare.h"
#include "common/lockout/stretch.h"
#include "common/shared_table.h"
#include "common/tls.h"
#include "proxy/kerberos/ask.h"
#include "proxy/kerberos/guard.h"
#include "proxy/listen.h"
#include "proxy/metric_table.h"
#include "proxy/revocation/process.h"
#include "proxy/worker/worker.h"

#define DESCRIPTORS_EXTRA 256	/* listeners, wires, the pool's slack, the log */

static unsigned workers_of(const struct settings *s)
{
	cpu_set_t cpus;
	int n;

	if (s->proxy.workers > 0)
		return s->proxy.workers;
	n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	return n < 1 ? 1 : n > 48 ? 48 : (unsigned)n;
}

/* Some device may come with a password: then there is somebody to judge it. */
static bool takes_passwords(const struct settings *s)
{
	return settings_takes_anywhere(s, METHOD_PASSWORD);
}

static struct shared_table *lockout_table;	/* made before the fork; NULL: with Redis, or without passwords */

/* --- the roles --- */

/* Each table of the node is mapped by the processes that use it alone: what a captured one can write to, it can spoil. */
static void forget_lockout(void)
{
	shared_table_free(lockout_table);
	lockout_table = NULL;
}

static void forget_tables(void)
{
	worker_forget_tables();
	forget_lockout();
}

static int run_directory(struct child *child)
{
	const struct settings *s = child_settings(child);
	const char *groups[SETTINGS_GROUPS_MAX + 1];
	const struct kerberos_settings *k = s->proxy.kerberos;
	static const struct directory_metrics metrics = { M_DIRECTORY_QUESTIONS, M_DIRECTORY_CACHE, M_DIRECTORY_SEARCHES,
		M_DIRECTORY_SERVERS, M_DIRECTORY_ENTRIES };
	struct directory_setup setup = { .config = &s->common.directory, .groups = groups, .metrics = &metrics,
		.signs_in = takes_passwords(s) };

	forget_tables();
	setup.groups_count = settings_groups(s, groups);
	if (k != NULL) {
		setup.refused_groups = (const char *const *)k->refused_groups;
		setup.refused_groups_count = k->refused_groups_count;
		setup.kdcs = (const char *const *)k->kdcs;
		setup.kdcs_count = k->kdcs_count;
	}
	return directory_process(child, &setup);
}

static int run_lockout(struct child *child)
{
	const struct settings *s = child_settings(child);
	static const struct lockout_metrics metrics = { M_LOCKOUT_CHECKS, M_LOCKOUT_BINDS, M_LOCKOUT_REMEMBERED, M_LOCKOUT_WOULD_REFUSE,
		M_LOCKOUT_STRETCH, M_LOCKOUT_WAITING, M_LOCKOUT_STRETCHERS, { M_REDIS_COMMANDS, M_REDIS_CONNECTIONS } };
	struct lockout_setup setup = { .config = &s->common.lockout, .redis = s->common.redis, .directory = &s->common.directory,
		.table = lockout_table, .metrics = &metrics };

	worker_forget_tables();
	return lockout_process(child, &setup);
}

static int run_stretch(struct child *child)
{
	forget_tables();
	return stretch_process(child);
}

static int run_revocation(struct child *child)
{
	forget_tables();
	return revocation_process(child);
}

static int run_kerberos(struct child *child)
{
	forget_tables();
	return kerberos_process(child);
}

static int run_worker(struct child *child)
{
	forget_lockout();
	return worker_process(child);
}

static void worker_files(struct plan_role *r, const struct settings *s)
{
	const struct proxy_settings *p = &s->proxy;

	for (unsigned i = 0; i < p->hosts_count; i++) {
		plan_add_file(r, p->hosts[i].certificate);
		plan_add_file(r, p->hosts[i].key);
		for (unsigned k = 0; k < p->hosts[i].client_ca_count; k++)
			plan_add_file(r, p->hosts[i].client_ca[k]);
	}
	for (unsigned i = 0; i < p->upstreams_count; i++)
		plan_add_file(r, p->upstreams[i].ca);
	if (p->bearer != NULL)
		plan_add_file(r, p->bearer->keys_file);
	plan_add_redis(r, s->common.redis);
}

static void revocation_files(struct plan_role *r, const struct settings *s)
{
	const struct proxy_settings *p = &s->proxy;

	for (unsigned i = 0; i < p->revocation.crls_count; i++)
		plan_add_file(r, p->revocation.crls[i].issuer_ca);
	if (p->bearer != NULL)
		plan_add_file(r, p->bearer->keys_ca);
	for (unsigned i = 0; i < p->hosts_count; i++) {
		for (unsigned k = 0; k < p->hosts[i].client_ca_count; k++)
			plan_add_file(r, p->hosts[i].client_ca[k]);
	}
	plan_add_redis(r, s->common.redis);
}

struct settings *program_settings(const char *config_file, struct config_error *error)
{
	struct settings *s;
	char *text;
	size_t n;

	if (config_read_file(config_file, &text, &n, error) < 0)
		return NULL;
	s = settings_load(config_file, (struct strv){ text, n }, error);
	free(text);
	return s;
}

static int load(const char *config_file, struct plan *plan, struct config_error *error)
{
	struct settings *s = program_settings(config_file, error);
	struct plan_role *r;

	if (s == NULL)
		return -1;
	memset(plan, 0, sizeof(*plan));
	plan->settings = s;
	plan->user = s->common.user;
	plan->text = (struct strv){ s->text, s->text_n };
	r = plan_add_role(plan, ROLE_DIRECTORY, 1, run_directory, 1u << ROLE_WORKER);
	r->vouch_key = true;
	plan_add_directory(r, &s->common.directory);
	if (takes_passwords(s)) {
		r = plan_add_role(plan, ROLE_LOCKOUT, 1, run_lockout, 1u << ROLE_WORKER | 1u << ROLE_DIRECTORY | 1u << ROLE_STRETCH);
		r->vouch_key = true;
		r->ends = 1u << ROLE_STRETCH;
		plan_add_redis(r, s->common.redis);
		(void)plan_add_role(plan, ROLE_STRETCH, stretch_processes(&s->common.lockout), run_stretch, 0);
	}
	r = plan_add_role(plan, ROLE_REVOCATION, 1, run_revocation, 1u << ROLE_WORKER | 1u << ROLE_DIRECTORY);
	revocation_files(r, s);
	if (s->proxy.kerberos != NULL) {
		r = plan_add_role(plan, ROLE_KERBEROS, s->proxy.kerberos->processes, run_kerberos, 1u << ROLE_WORKER);
		r->vouch_key = true;
		plan_add_file(r, s->proxy.kerberos->keytab);
	}
	r = plan_add_role(plan, ROLE_WORKER, workers_of(s), run_worker, 0);
	r->reloads = true;
	worker_files(r, s);
	if (plan_check(plan, config_file, error) == 0)
		return 0;
	settings_free(s);
	return -1;
}

/* Not before: a configuration that is refused must not change what the master says. */
static void in_force(const struct plan *plan)
{
	log_set_level(((const struct settings *)plan->settings)->common.log.parsed_level);
}

static void unload(struct plan *plan)
{
	settings_free(plan->settings);
	plan->settings = NULL;
}

/* --- before anything is forked --- */

static int prepare(struct plan *plan)
{
	const struct settings *s = plan->settings;
	struct session_records *records;
	struct shared_table *devices = NULL;
	struct passwd *pw;
	char why[TLS_WHY_MAX];

	if (tls_library_check(why, sizeof(why)) < 0) {
		log_say(LOG_ERROR, "library", "%s", why);
		return -1;
	}
	if (prepare_user(s->common.user, &pw) < 0 ||
	    prepare_descriptors((rlim_t)s->proxy.sessions * 2 + DESCRIPTORS_EXTRA, "proxy.sessions", s->proxy.sessions) < 0 ||
	    prepare_dir(s->common.state_dir, 0750, pw) < 0 || prepare_dir(s->common.run_dir, 0750, pw) < 0)
		return -1;
	if (metrics_setup(metric_rows, M_COUNT, plan_slots(plan)) < 0 || guard_setup() < 0) {
		log_say(LOG_ERROR, "memory", "no memory for metrics");
		return -1;
	}
	records = session_record_setup(s->proxy.limits.session_records);
	if (records == NULL) {
		log_say(LOG_ERROR, "memory", "no memory for limits.session_records: %s", strerror(errno));
		return -1;
	}
	if (s->common.redis == NULL) {
		char path[4096];
		struct shared_table_config config = { DEVICE_TABLE_ENTRIES, DEVICE_TABLE_VALUE, path, DEVICE_TABLE_LAYOUT };
		snprintf(path, sizeof(path), "%s/" DEVICE_TABLE_FILE, s->common.state_dir);
		devices = shared_table_new(&config);
		if (devices == NULL) {
			log_say(LOG_ERROR, "dir_unusable", "%s/devices.tab: %s", s->common.state_dir, strerror(errno));
			session_record_free(records);
			return -1;
		}
	}
	worker_use_tables(records, devices);
	if (s->common.redis == NULL && takes_passwords(s) && (lockout_table = lockout_table_new(&s->common.lockout)) == NULL) {
		log_say(LOG_ERROR, "memory", "no memory for lockout.entries: %s", strerror(errno));
		return -1;
	}
	return listen_all(plan, pw);
}

/* --- reload --- */

int program_trial(const struct settings *s, struct bundle *files, char *why, size_t why_size)
{
	struct config_error error = { "" };
	struct settings *copy = settings_load(s->name, (struct strv){ s->text, s->text_n }, &error);
	struct session_records *records = session_record_setup(64);
	struct worker_config *c;

	if (copy == NULL || records == NULL) {
		snprintf(why, why_size, "%s", copy == NULL ? error.text : "out of memory");
		settings_free(copy);
		session_record_free(records);
		return -1;
	}
	c = worker_config_new(NULL, NULL, copy, files, records, why, why_size);
	worker_config_free(c);
	session_record_free(records);
	return c != NULL ? devices_try(s->common.redis, files, why, why_size) : -1;
}

static int trial(const struct plan *plan, struct bundle *files)
{
	char why[1024] = "";

	if (program_trial(plan->settings, files, why, sizeof(why)) < 0) {
		log_say(LOG_ERROR, "config_refused", "%s", why);
		return -1;
	}
	return 0;
}

static const char *unchangeable(const struct plan *old, const struct plan *new)
{
	const struct settings *a = old->settings, *b = new->settings;

	if (workers_of(a) != workers_of(b))
		return "proxy.workers";
	if (strcmp(a->common.user, b->common.user) != 0)
		return "user";
	if (strcmp(a->common.state_dir, b->common.state_dir) != 0)
		return "state_dir";
	if (strcmp(a->common.run_dir, b->common.run_dir) != 0)
		return "run_dir";
	if (strcmp(a->proxy.admin.address, b->proxy.admin.address) != 0)
		return "proxy.admin.address";
	if (a->proxy.limits.session_records != b->proxy.limits.session_records)
		return "proxy.limits.session_records";
	if (a->proxy.revocation.local != b->proxy.revocation.local)
		return "proxy.revocation.local";
	if (a->proxy.sessions < b->proxy.sessions)
		return "proxy.sessions (upwards)";
	/* devices' records would be in another place, and the table of one machine is made at the start */
	if ((a->common.redis == NULL) != (b->common.redis == NULL))
		return "redis (put in or left out as a whole)";
	if ((a->proxy.kerberos == NULL) != (b->proxy.kerberos == NULL) ||
	    (a->proxy.kerberos != NULL && a->proxy.kerberos->processes != b->proxy.kerberos->processes))
		return "proxy.kerberos.processes";
	if (takes_passwords(a) != takes_passwords(b))
		return "proxy.policies.methods.password (the first that is switched on, or the last that is switched off)";
	if (stretch_processes(&a->common.lockout) != stretch_processes(&b->common.lockout))
		return "lockout.processes";
	if (a->common.lockout.entries != b->common.lockout.entries)
		return "lockout.entries";
	if (a->proxy.listeners_count != b->proxy.listeners_count)
		return "proxy.listeners";
	for (unsigned i = 0; i < a->proxy.listeners_count; i++) {
		if (strcmp(a->proxy.listeners[i].address, b->proxy.listeners[i].address) != 0)
			return "proxy.listeners";
	}
	return NULL;
}

static uint32_t drain_seconds(const struct plan *plan)
{
	return ((const struct settings *)plan->settings)->proxy.limits.drain_seconds;
}

static void died(unsigned process_slot)
{
	metrics_clear_gauges(process_slot);
	metrics_add(M_PROCESS_RESTARTS, 0, 1);
}

const struct master_program easproxy_program = {
	.load = load,
	.in_force = in_force,
	.unload = unload,
	.prepare = prepare,
	.trial = trial,
	.unchangeable = unchangeable,
	.drain_seconds = drain_seconds,
	.died = died,
};
