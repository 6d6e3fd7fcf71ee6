/*
 * master_reload: a new configuration is tried in a process of its own, then swapped in everywhere; a wrong one changes nothing. Master
 * process.
 */
#include "common/master_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "common/log.h"

#define TRIAL_SECONDS  30
#define ANSWER_SECONDS 30

static void reload_finish(struct master *m, bool good);
static void on_reload_limit(struct deadline *d);

static void fail_reload(struct master *m, const char *message)
{
	log_say(LOG_ERROR, "reload_failed", "%s; the old configuration stays in force", message);
	if (m->trial_plan != NULL) {
		m->program->unload(m->trial_plan);
		free(m->trial_plan);
		m->trial_plan = NULL;
	}
}

NORETURN static void be_trial(struct master *m, struct plan *plan, int bundle_fd)
{
	struct bundle *bundle;
	int keep[1] = { bundle_fd };

	master_close_all_but(keep, 1);
	alarm(TRIAL_SECONDS);
	log_setup(LOG_WARNING, "trial", -1);
	bundle = bundle_open(bundle_fd);
	if (bundle == NULL || m->program->trial(plan, bundle) != 0) {
		log_flush();
		_exit(1);
	}
	log_flush();
	_exit(0);
}

/* All files of all roles at once: what any of them cannot read fails here, before anything changes. */
static int trial_bundle(const struct plan *plan)
{
	const char *paths[PLAN_ROLES * PLAN_FILES] = { NULL };
	char why[1024] = "";
	size_t n = 0;
	int fd;

	for (size_t i = 0; i < plan->roles_n; i++) {
		for (size_t k = 0; k < plan->roles[i].files_n; k++)
			paths[n++] = plan->roles[i].files[k];
	}
	fd = bundle_build(paths, n, why, sizeof(why));
	if (fd < 0)
		log_say(LOG_ERROR, "file_unusable", "%s", why);
	return fd;
}

void master_reload(struct master *m)
{
	struct config_error error = { "" };
	const char *fixed;
	int fd;

	if (m->ending || m->trial_plan != NULL || m->reloading > 0) {
		log_say(LOG_WARNING, "reload_busy", "a reload is under way already: ask again when it has ended");
		return;
	}
	m->trial_plan = calloc(1, sizeof(*m->trial_plan));
	if (m->trial_plan == NULL) {
		fail_reload(m, "out of memory");
		return;
	}
	if (m->program->load(m->config_file, m->trial_plan, &error) < 0) {
		free(m->trial_plan);
		m->trial_plan = NULL;
		fail_reload(m, error.text);
		return;
	}
	fixed = m->program->unchangeable(&m->plan, m->trial_plan);
	if (fixed != NULL) {
		char text[256];
		snprintf(text, sizeof(text), "%s: %s cannot change while the program runs: restart it", m->config_file, fixed);
		fail_reload(m, text);
		return;
	}
	fd = trial_bundle(m->trial_plan);
	if (fd < 0) {
		fail_reload(m, "a file cannot be read");
		return;
	}
	log_flush();
	m->trial_pid = fork();
	if (m->trial_pid == 0)
		be_trial(m, m->trial_plan, fd);
	close(fd);
	if (m->trial_pid < 0) {
		m->trial_pid = 0;
		fail_reload(m, "no process for the trial");
	}
}

/* Replaces one process by a new one with the new settings; the old finishes what it has. -1: the old one stays (logged). */
static int replace(struct process *old)
{
	struct master *m = old->master;
	struct process *p = master_place(m);
	struct control_message drain = { .verb = CONTROL_DRAIN };

	if (p == NULL) {
		log_say(LOG_ERROR, "start_failed", "no room for another %s process: a reload came before the last one's processes had ended",
		    role_name(old->role));
		return -1;
	}
	p->role = old->role;
	p->index = old->index;
	p->ready = false;
	old->leaving = true;
	deadline_disarm(&old->restart);
	if (master_spawn(p) < 0) {
		old->leaving = false;
		memset(p, 0, sizeof(*p));
		return -1;
	}
	if (old->pid != 0)
		control_send(old->control, &drain, -1);
	else
		old->used = false;
	return 0;
}

static void swap(struct master *m, bool in_place)
{
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		struct process *p = &m->processes[i];
		struct plan_role *role = p->used && !p->leaving ? master_role(&m->plan, p->role) : NULL;
		struct control_message reload = { .verb = CONTROL_RELOAD };
		uint8_t now[SHA256_SIZE];
		int fd;

		if (role == NULL || p->pid == 0 || role->reloads != in_place)
			continue;
		fd = master_bundle(m, &m->plan, role);
		if (fd < 0) {
			m->reload_bad = true;
			continue;
		}
		master_fingerprint(&m->plan, fd, now);
		if (role->reloads) {
			p->reloading = control_send(p->control, &reload, fd) == 0;
			m->reloading += p->reloading;
			memcpy(p->fingerprint, now, sizeof(now));
		} else if (memcmp(now, p->fingerprint, sizeof(now)) != 0) {
			m->reload_bad |= replace(p) < 0;
		}
		close(fd);
	}
}

/*
 * Who is replaced first: the others have a wire to the new one before they learn of the new configuration, so that they never
 * put a question in its terms to a process of the old.
 */
static void swap_roles(struct master *m)
{
	swap(m, false);
	swap(m, true);
}

void master_trial_done(struct master *m, int status)
{
	struct plan *plan = m->trial_plan;

	m->trial_pid = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fail_reload(m, WIFEXITED(status) ? "the new configuration cannot be used (see the line before)"
						 : "the trial of the new configuration did not end in time");
		return;
	}
	m->trial_plan = NULL;
	/* Sockets live on; the number of workers is part of what cannot change. */
	memcpy(plan->sockets, m->plan.sockets, sizeof(plan->sockets));
	plan->sockets_n = m->plan.sockets_n;
	m->program->unload(&m->plan);
	m->plan = *plan;
	free(plan);
	m->program->in_force(&m->plan);
	m->reload_bad = false;
	swap_roles(m);
	if (m->reloading == 0)
		reload_finish(m, !m->reload_bad);
	else
		deadline_arm(m->loop, &m->reload_limit, ANSWER_SECONDS * 1000, on_reload_limit);
}

/* Who has not said what became of it is not waited for: the next reload must be possible. */
static void on_reload_limit(struct deadline *d)
{
	struct master *m = CONTAINER_OF(d, struct master, reload_limit);

	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		if (m->processes[i].used && m->processes[i].reloading)
			log_say(LOG_ERROR, "reload_unanswered", "%s %u did not say whether it took the new configuration",
			    role_name(m->processes[i].role), m->processes[i].index);
		if (m->processes[i].used)
			master_reload_answered(&m->processes[i], false);
	}
}

static void reload_finish(struct master *m, bool good)
{
	deadline_disarm(&m->reload_limit);
	if (good)
		log_say(LOG_INFO, "reloaded", "the new configuration is in force");
	else
		log_say(LOG_ERROR, "reload_failed", "a process kept the old configuration: see the lines before");
}

void master_reload_answered(struct process *p, bool good)
{
	struct master *m = p->master;

	if (!p->reloading)
		return;
	p->reloading = false;
	m->reload_bad |= !good;
	if (--m->reloading == 0)
		reload_finish(m, !m->reload_bad);
}
