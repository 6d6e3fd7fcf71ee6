/*
 * master: the process that starts, watches and replaces the others. Runs as root where it was started so.
 * Holds no secret: files go from disk to sealed memory of the process that needs them.
 */
#include "common/master_parts.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "common/directory/vouch.h"
#include "common/log.h"

#define BACK_OFF_FIRST 100	/* ms */
#define BACK_OFF_MAX   30000
#define GOOD_LIFE_MS   60000	/* one that lived so long starts without delay */

static void end_program(struct master *m, int status);

/* --- deaths --- */

static void forget(struct process *p)
{
	if (p->readable != NULL)
		event_free(p->readable);
	p->readable = NULL;
	if (p->control >= 0)
		close(p->control);
	p->control = -1;
	p->pid = 0;
	p->ready = false;
}

static void on_restart(struct deadline *d)
{
	struct process *p = CONTAINER_OF(d, struct process, restart);

	if (!p->used || p->leaving || p->master->ending)
		return;
	if (master_spawn(p) < 0) {
		p->back_off = p->back_off * 2 < BACK_OFF_MAX ? p->back_off * 2 : BACK_OFF_MAX;
		deadline_arm(p->master->loop, &p->restart, p->back_off, on_restart);
	}
}

static bool nobody_left(const struct master *m)
{
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		if (m->processes[i].used && m->processes[i].pid != 0)
			return false;
	}
	return true;
}

/* The others serve the workers to their end, then follow. */
static void drain_the_others(struct master *m)
{
	struct control_message drain = { .verb = CONTROL_DRAIN };

	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		if (m->processes[i].used && m->processes[i].pid != 0 && m->processes[i].role == ROLE_WORKER)
			return;
	}
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		if (m->processes[i].used && m->processes[i].pid != 0 && m->processes[i].control >= 0)
			control_send(m->processes[i].control, &drain, -1);
	}
}

static void say_death(const struct process *p, int status)
{
	if (WIFSIGNALED(status))
		log_say(LOG_ERROR, "process_died", "%s %u (process %d) was ended by signal %d (%s)", role_name(p->role),
		    p->index, (int)p->pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		log_say(LOG_ERROR, "process_died", "%s %u (process %d) ended with status %d; its lines above say why",
		    role_name(p->role), p->index, (int)p->pid, WEXITSTATUS(status));
}

static void died(struct process *p, int status)
{
	struct master *m = p->master;
	bool was_ready = p->ready, good_end = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	uint64_t lived = loop_now_fresh() - p->started_ms;

	if (!(good_end && (p->leaving || m->ending))) {
		say_death(p, status);
		if (m->ending)
			m->status = 1;
	}
	if (m->program->died != NULL && !p->leaving)
		m->program->died(plan_slot(&m->plan, p->role, p->index));
	forget(p);
	master_reload_answered(p, true);	/* its successor starts with the new configuration */
	if (p->leaving)
		p->used = false;
	if (m->ending) {
		drain_the_others(m);
		if (nobody_left(m))
			loop_stop(m->loop);
		return;
	}
	if (p->leaving)
		return;
	if (!was_ready && !m->started) {
		log_say(LOG_ERROR, "start_failed", "%s %u could not start: nothing is served", role_name(p->role), p->index);
		end_program(m, 1);
		return;
	}
	p->back_off = lived > GOOD_LIFE_MS || p->back_off == 0 ? BACK_OFF_FIRST : p->back_off * 2;
	if (p->back_off > BACK_OFF_MAX)
		p->back_off = BACK_OFF_MAX;
	log_say(LOG_WARNING, "process_restart", "%s %u starts again in %u ms", role_name(p->role), p->index, p->back_off);
	deadline_arm(m->loop, &p->restart, p->back_off, on_restart);
}

static void reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == m->trial_pid) {
			master_trial_done(m, status);
			continue;
		}
		for (size_t i = 0; i < PROCESSES_MAX; i++) {
			if (m->processes[i].used && m->processes[i].pid == pid) {
				died(&m->processes[i], status);
				break;
			}
		}
	}
	if (m->ending && nobody_left(m))
		loop_stop(m->loop);
}

/* --- what children say --- */

static void all_ready(struct master *m)
{
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		if (m->processes[i].used && !m->processes[i].ready)
			return;
	}
	if (m->started || m->ending)
		return;
	m->started = true;
	log_say(LOG_INFO, "ready", "all processes serve");
}

void master_on_control(int fd, short what, void *arg)
{
	struct process *p = arg;
	struct master *m = p->master;
	struct control_message msg;
	int got, passed;

	(void)what;
	while ((got = control_receive(fd, &msg, &passed)) > 0) {
		if (passed >= 0)
			close(passed);	/* children send none */
		switch (msg.verb) {
		case CONTROL_READY:
			p->ready = true;
			all_ready(m);
			break;
		case CONTROL_RELOADED:
		case CONTROL_RELOAD_FAILED:
			master_reload_answered(p, msg.verb == CONTROL_RELOADED);
			break;
		case CONTROL_LINK_ASKED:
			master_link_again(p, (enum role)msg.role, msg.index);
			break;
		case CONTROL_RELOAD_ASKED:
			master_reload(m);
			break;
		case CONTROL_HANGS:
			master_end_hanging(p, (enum role)msg.role, msg.index);
			break;
		default:
			break;
		}
	}
	if (got < 0 && p->readable != NULL)
		event_del(p->readable);	/* SIGCHLD tells the rest */
}

/* --- the end --- */

static void on_end(struct deadline *d)
{
	struct master *m = CONTAINER_OF(d, struct master, end);

	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		if (m->processes[i].used && m->processes[i].pid != 0) {
			log_say(LOG_WARNING, "drain_over", "%s %u did not end in time and is killed",
			    role_name(m->processes[i].role), m->processes[i].index);
			kill(m->processes[i].pid, SIGKILL);
		}
	}
}

static void end_program(struct master *m, int status)
{
	struct control_message drain = { .verb = CONTROL_DRAIN };

	if (m->ending) {
		on_end(&m->end);	/* asked twice: at once */
		return;
	}
	m->ending = true;
	m->status = status;
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		deadline_disarm(&m->processes[i].restart);
		if (m->processes[i].used && m->processes[i].pid != 0 && m->processes[i].role == ROLE_WORKER)
			control_send(m->processes[i].control, &drain, -1);
	}
	/* The workers have closed theirs, or will at once: with these open too, new connections would wait in vain. */
	for (size_t i = 0; i < m->plan.sockets_n; i++)
		close(m->plan.sockets[i].fd);
	m->plan.sockets_n = 0;
	drain_the_others(m);
	deadline_arm(m->loop, &m->end, (uint64_t)(m->program->drain_seconds(&m->plan) + 5) * 1000, on_end);
	if (nobody_left(m))
		loop_stop(m->loop);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct signalfd_siginfo info;

	(void)what;
	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			reap(m);
			break;
		case SIGHUP:
			master_reload(m);
			break;
		default:
			log_say(LOG_INFO, "stopping", "signal %u: no new connections, the others are given time", info.ssi_signo);
			end_program(m, 0);
			break;
		}
	}
}

static int watch_signals(struct master *m)
{
	static const int wanted[] = { SIGCHLD, SIGHUP, SIGTERM, SIGINT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		sigaddset(&set, wanted[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signals < 0)
		return -1;
	m->on_signal = event_new(loop_base(m->loop), m->signals, EV_READ | EV_PERSIST, on_signal, m);
	return m->on_signal != NULL ? event_add(m->on_signal, NULL) : -1;
}

static int start_all(struct master *m)
{
	for (size_t i = 0; i < m->plan.roles_n; i++) {
		for (unsigned k = 0; k < m->plan.roles[i].count; k++) {
			struct process *p = master_place(m);
			if (p == NULL)
				return -1;
			p->role = m->plan.roles[i].role;
			p->index = k;
			if (master_spawn(p) < 0) {
				p->used = false;
				return -1;
			}
		}
	}
	return 0;
}

static int make_key(void)
{
	uint8_t key[VOUCH_KEY_SIZE];
	int fd = memfd_create("easgate-key", MFD_CLOEXEC);

	if (fd < 0 || RAND_bytes(key, sizeof(key)) != 1 || write(fd, key, sizeof(key)) != (ssize_t)sizeof(key)) {
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	OPENSSL_cleanse(key, sizeof(key));
	return fd;
}

int master_run(const struct master_program *program, const char *config_file)
{
	struct master *m = calloc(1, sizeof(*m));
	struct config_error error = { "" };
	int status = 1;

	if (m == NULL) {
		log_say(LOG_ERROR, "start_failed", "out of memory");
		return 1;
	}
	m->program = program;
	m->config_file = config_file;
	m->key_fd = m->signals = -1;
	if (program->load(config_file, &m->plan, &error) < 0) {
		log_say(LOG_ERROR, "config_refused", "%s", error.text);
		free(m);
		return 1;
	}
	program->in_force(&m->plan);
	m->loop = loop_new();
	m->key_fd = make_key();
	if (m->loop == NULL || m->key_fd < 0 || watch_signals(m) < 0) {
		log_say(LOG_ERROR, "start_failed", "out of memory or descriptors: %s", strerror(errno));
		goto out;
	}
	if (program->prepare(&m->plan) < 0)
		goto out;
	if (start_all(m) < 0)
		end_program(m, 1);
	if (!(m->ending && nobody_left(m)) && loop_run(m->loop) < 0)
		m->status = 1;
	status = m->status;
	log_say(LOG_INFO, "stopped", "all processes have ended");
out:
	for (size_t i = 0; i < PROCESSES_MAX; i++)
		forget(&m->processes[i]);
	if (m->on_signal != NULL)
		event_free(m->on_signal);
	if (m->signals >= 0)
		close(m->signals);
	for (size_t i = 0; i < m->plan.sockets_n; i++)
		close(m->plan.sockets[i].fd);
	if (m->key_fd >= 0)
		close(m->key_fd);
	program->unload(&m->plan);
	loop_free(m->loop);
	free(m);
	return status;
}
