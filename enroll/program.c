/*
 * program: turns easenroll's settings into a plan for the master. Opens the sockets and folders before anything is forked. Master process.
 */
#include "enroll/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/process.h"
#include "common/lockout/process.h"
#include "common/lockout/stretch.h"
#include "common/log.h"
#include "common/prepare.h"
#include "common/shared_table.h"
#include "common/tls.h"
#include "enroll/listen.h"
#include "enroll/metric_table.h"
#include "enroll/signer/process.h"
#include "enroll/worker/tls_server.h"
#include "enroll/worker/worker.h"

#define DESCRIPTORS_EXTRA 256

static struct shared_table *lockout_table;	/* made before the fork; NULL: with Redis */

/* --- the roles --- */

/* It is mapped by *lockout* alone: what a captured process can write to, it can spoil. */
static void forget_lockout(void)
{
	shared_table_free(lockout_table);
	lockout_table = NULL;
}

static int run_directory(struct child *child)
{
	const struct enroll_settings *s = child_settings(child);
	const char *groups[ENROLL_GROUPS_MAX + 1];
	static const struct directory_metrics metrics = { EM_DIRECTORY_QUESTIONS, EM_DIRECTORY_CACHE, EM_DIRECTORY_SEARCHES,
		EM_DIRECTORY_SERVERS, EM_DIRECTORY_ENTRIES };
	struct directory_setup setup = { .config = &s->common.directory, .groups = groups, .metrics = &metrics, .signs_in = true,
		.lists_members = true };

	forget_lockout();
	setup.groups_count = enroll_settings_groups(s, groups);
	return directory_process(child, &setup);
}

static int run_stretch(struct child *child)
{
	forget_lockout();
	return stretch_process(child);
}

static int run_lockout(struct child *child)
{
	const struct enroll_settings *s = child_settings(child);
	static const struct lockout_metrics metrics = { EM_LOCKOUT_CHECKS, EM_LOCKOUT_BINDS, EM_LOCKOUT_REMEMBERED, EM_LOCKOUT_WOULD_REFUSE,
		EM_LOCKOUT_STRETCH, EM_LOCKOUT_WAITING, EM_LOCKOUT_STRETCHERS, { EM_REDIS_COMMANDS, EM_REDIS_CONNECTIONS } };
	struct lockout_setup setup = { .config = &s->common.lockout, .redis = s->common.redis, .directory = &s->common.directory,
		.table = lockout_table, .metrics = &metrics };

	return lockout_process(child, &setup);
}

void enroll_signer_setup(const struct enroll_settings *s, struct enroll_signer_setup *out)
{
	const struct enroll_section *e = &s->enroll;

	snprintf(out->crl_folder, sizeof(out->crl_folder), "%s/crl", s->common.state_dir);
	for (unsigned i = 0; i < e->profiles_count; i++) {
		const struct enroll_profile *p = &e->profiles[i];
		out->profiles[i] = (struct signer_profile){ p->name, p->days, p->subject, p->upn, p->mail, p->sid,
			p->key_kind == ENROLL_KEY_RSA ? SIGNER_KEY_RSA : p->key_kind == ENROLL_KEY_EC ? SIGNER_KEY_EC : SIGNER_KEY_ANY };
	}
	out->setup = (struct signer_setup){ .user = s->common.user, .ca_folder = e->ca.folder, .crl_folder = out->crl_folder,
		.key_password_file = e->ca.key_password_file, .pkcs11_module = e->ca.pkcs11_module, .pin_file = e->ca.pin_file,
		.known_keys_file = e->ca.known_keys_file,
		.plain_url = e->plain_url, .profiles = out->profiles, .profiles_n = e->profiles_count, .delta = e->ca.delta_seconds != 0,
		.ocsp_signer_seconds = e->ca.ocsp_signer_seconds,
		.des3 = e->scep.des3, .legacy_des = e->scep.legacy_des };
}

static int run_signer(struct child *child)
{
	struct enroll_signer_setup setup;

	forget_lockout();
	enroll_signer_setup(child_settings(child), &setup);
	return signer_process(child, &setup.setup);
}

static int run_worker(struct child *child)
{
	forget_lockout();
	return enroll_worker_process(child);
}

static void worker_files(struct plan_role *r, const struct enroll_settings *s)
{
	const struct enroll_section *e = &s->enroll;

	for (unsigned i = 0; i < e->listeners_count; i++) {
		plan_add_file(r, e->listeners[i].certificate);
		plan_add_file(r, e->listeners[i].key);
	}
	if (e->scep.challenge_kind == CHALLENGE_STATIC)
		plan_add_file(r, e->scep.static_file);
	if (e->scep.challenge_kind == CHALLENGE_WEBHOOK) {
		plan_add_file(r, e->scep.webhook_token_file);
		plan_add_file(r, e->scep.webhook_ca);
	}
	if (e->mdm.enabled)
		plan_add_file(r, e->mdm.secret_file);
	plan_add_file(r, e->apple.device_cas_file);
	plan_add_file(r, e->apple.trust_file);
	plan_add_redis(r, s->common.redis);
}

static void signer_files(struct plan_role *r, const struct enroll_settings *s)
{
	plan_add_file(r, s->enroll.ca.key_password_file);
	plan_add_file(r, s->enroll.ca.pin_file);
	plan_add_file(r, s->enroll.ca.known_keys_file);	/* as with the next */
	plan_add_file(r, s->enroll.ca.index);	/* read by the signer itself; named here so that a reload sees that it has changed */
}

struct enroll_settings *enroll_program_settings(const char *config_file, struct config_error *error)
{
	struct enroll_settings *s;
	char *text;
	size_t n;

	if (config_read_file(config_file, &text, &n, error) < 0)
		return NULL;
	s = enroll_settings_load(config_file, (struct strv){ text, n }, error);
	free(text);
	return s;
}

static int load(const char *config_file, struct plan *plan, struct config_error *error)
{
	struct enroll_settings *s = enroll_program_settings(config_file, error);
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
	r = plan_add_role(plan, ROLE_LOCKOUT, 1, run_lockout, 1u << ROLE_WORKER | 1u << ROLE_DIRECTORY | 1u << ROLE_STRETCH);
	r->vouch_key = true;
	r->ends = 1u << ROLE_STRETCH;
	plan_add_redis(r, s->common.redis);
	(void)plan_add_role(plan, ROLE_STRETCH, stretch_processes(&s->common.lockout), run_stretch, 0);
	r = plan_add_role(plan, ROLE_SIGNER, 1, run_signer, 1u << ROLE_WORKER);
	signer_files(r, s);
	r = plan_add_role(plan, ROLE_WORKER, 1, run_worker, 0);
	worker_files(r, s);
	if (plan_check(plan, config_file, error) == 0)
		return 0;
	enroll_settings_free(s);
	return -1;
}

/* Not before: a configuration that is refused must not change what the master says. */
static void in_force(const struct plan *plan)
{
	log_set_level(((const struct enroll_settings *)plan->settings)->common.log.parsed_level);
}

static void unload(struct plan *plan)
{
	enroll_settings_free(plan->settings);
	plan->settings = NULL;
}

/* --- before anything is forked --- */

static int make_dirs(const struct enroll_settings *s, const struct passwd *pw)
{
	char path[4400], *slash;

	if (prepare_dir(s->common.state_dir, 0750, pw) < 0 || prepare_dir(s->common.run_dir, 0750, pw) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/crl", s->common.state_dir);
	if (prepare_dir(path, 0755, pw) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s", s->enroll.registry);
	slash = strrchr(path, '/');
	if (slash == NULL || slash == path)
		return 0;
	*slash = '\0';
	return prepare_dir(path, 0700, pw);
}

static int prepare(struct plan *plan)
{
	const struct enroll_settings *s = plan->settings;
	const struct enroll_limits *limits = &s->enroll.limits;
	struct passwd *pw;
	char why[TLS_WHY_MAX];

	if (tls_library_check(why, sizeof(why)) < 0) {
		log_say(LOG_ERROR, "library", "%s", why);
		return -1;
	}
	if (prepare_user(s->common.user, &pw) < 0 ||
	    prepare_descriptors((rlim_t)limits->connections + DESCRIPTORS_EXTRA, "enroll.limits.connections", limits->connections) < 0 || make_dirs(s, pw) < 0)
		return -1;
	if (metrics_setup(enroll_metric_rows, EM_COUNT, plan_slots(plan)) < 0) {
		log_say(LOG_ERROR, "memory", "no memory for metrics");
		return -1;
	}
	if (s->common.redis == NULL && (lockout_table = lockout_table_new(&s->common.lockout)) == NULL) {
		log_say(LOG_ERROR, "memory", "no memory for lockout.entries: %s", strerror(errno));
		return -1;
	}
	return enroll_listen_all(plan, pw);
}

/* --- reload --- */

int enroll_program_trial(const struct enroll_settings *s, struct bundle *files, char *why, size_t why_size)
{
	for (unsigned i = 0; i < s->enroll.listeners_count; i++) {
		SSL_CTX *ctx = s->enroll.listeners[i].plain ? NULL : tls_server_new(&s->enroll.listeners[i], files, why, why_size);
		if (ctx == NULL && !s->enroll.listeners[i].plain)
			return -1;
		SSL_CTX_free(ctx);
	}
	return 0;
}

static int trial(const struct plan *plan, struct bundle *files)
{
	char why[1024] = "";

	if (enroll_program_trial(plan->settings, files, why, sizeof(why)) < 0) {
		log_say(LOG_ERROR, "config_refused", "%s", why);
		return -1;
	}
	return 0;
}

static const char *unchangeable(const struct plan *old, const struct plan *new)
{
	const struct enroll_settings *a = old->settings, *b = new->settings;

	if (strcmp(a->common.user, b->common.user) != 0)
		return "user";
	if (strcmp(a->common.state_dir, b->common.state_dir) != 0)
		return "state_dir";
	if (strcmp(a->common.run_dir, b->common.run_dir) != 0)
		return "run_dir";
	if (strcmp(a->enroll.registry, b->enroll.registry) != 0)
		return "enroll.registry";
	if (strcmp(a->enroll.admin.address, b->enroll.admin.address) != 0)
		return "enroll.admin.address";
	if (stretch_processes(&a->common.lockout) != stretch_processes(&b->common.lockout))
		return "lockout.processes";
	if (a->common.lockout.entries != b->common.lockout.entries)
		return "lockout.entries";
	if ((a->common.redis == NULL) != (b->common.redis == NULL))
		return "redis (put in or left out as a whole)";
	if (a->enroll.limits.connections < b->enroll.limits.connections)
		return "enroll.limits.connections (upwards)";
	if (a->enroll.listeners_count != b->enroll.listeners_count)
		return "enroll.listeners";
	for (unsigned i = 0; i < a->enroll.listeners_count; i++) {
		if (strcmp(a->enroll.listeners[i].address, b->enroll.listeners[i].address) != 0 || a->enroll.listeners[i].plain != b->enroll.listeners[i].plain)
			return "enroll.listeners";
	}
	return NULL;
}

static uint32_t drain_seconds(const struct plan *plan)
{
	return ((const struct enroll_settings *)plan->settings)->enroll.limits.drain_seconds;
}

static void died(unsigned process_slot)
{
	metrics_clear_gauges(process_slot);
	metrics_add(EM_PROCESS_RESTARTS, 0, 1);
}

const struct master_program easenroll_program = {
	.load = load,
	.in_force = in_force,
	.unload = unload,
	.prepare = prepare,
	.trial = trial,
	.unchangeable = unchangeable,
	.drain_seconds = drain_seconds,
	.died = died,
};
