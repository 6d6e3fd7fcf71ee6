/*
 * master: the process that starts, watches and replaces the others. Runs as root where it was started so.
 * Holds no secret: files go from disk to sealed memory of the process that needs them.
 */
#include "common/master.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "common/directory/vouch.h"
#include "common/metrics.h"
#include "common/process_child.h"
#include "common/wire.h"

#define PROCESSES_MAX	64
#define BACK_OFF_FIRST	100	/* ms */
#define BACK_OFF_MAX	30000
#define GOOD_LIFE_MS	60000	/* one that lived so long starts without delay */
#define TRIAL_SECONDS	30

struct process {
	struct master *master;
	enum role role;
	unsigned index;
	bool used;
	bool ready;
	bool leaving;			/* replaced, or the program ends: no restart */
	bool reloading;			/* its answer to a new configuration is awaited */
	pid_t pid;			/* 0: not running */
	int control;			/* -1 */
	struct event *readable;
	struct deadline restart;
	unsigned back_off;
	uint64_t started_ms;
	uint8_t fingerprint[SHA256_SIZE];	/* of the configuration and files it was started with */
};

struct master {
	const struct master_program *program;
	const char *config_file;
	struct plan plan;
	struct loop *loop;
	struct process processes[PROCESSES_MAX];
	int key_fd;			/* memfd with the vouchers' key; never mapped here */
	int signals;
	struct event *on_signal;
	struct deadline end;
	bool started;			/* all were ready once */
	bool ending;
	unsigned reloading;		/* workers whose answer is awaited */
	bool reload_bad;
	int status;
	pid_t trial_pid;
	struct plan *trial_plan;
	struct deadline trial_end;
};

static void spawn_all_links(struct master *m, struct process *p);
static void reload_start(struct master *m);
static void reload_finish(struct master *m, bool good);
static void reload_answered(struct process *p, bool good);
static void end_program(struct master *m, int status);

static struct plan_role *role_of(struct plan *plan, enum role role)
{
	for (size_t i = 0; i < plan->roles_n; i++) {
		if (plan->roles[i].role == role)
			return &plan->roles[i];
	}
	return NULL;
}

/* --- starting one process --- */

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

/* The role's files, with the vouchers' key or, for those that reload in place, the configuration's text. */
static int bundle_for(struct master *m, struct plan *plan, const struct plan_role *role)
{
	char why[1024] = "";
	uint8_t key[VOUCH_KEY_SIZE];
	struct strv extra = plan->text;
	const char *name = MASTER_CONFIG_NAME;
	int fd;

	if (role->vouch_key) {
		if (pread(m->key_fd, key, sizeof(key), 0) != (ssize_t)sizeof(key)) {
			log_say(LOG_ERROR, "start_failed", "the vouchers' key is gone: %s", strerror(errno));
			return -1;
		}
		name = VOUCH_KEY_NAME;
		extra = (struct strv){ (const char *)key, sizeof(key) };
	}
	fd = bundle_build_with(role->files, role->files_n, name, extra, why, sizeof(why));
	OPENSSL_cleanse(key, sizeof(key));
	if (fd < 0)
		log_say(LOG_ERROR, "file_unusable", "%s", why);
	return fd;
}

static void fingerprint_of(const struct plan *plan, int bundle_fd, uint8_t out[SHA256_SIZE])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	char block[16384];
	off_t at = 0;
	ssize_t n;

	memset(out, 0, SHA256_SIZE);
	if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		goto out;
	EVP_DigestUpdate(md, plan->text.p, plan->text.n);
	while ((n = pread(bundle_fd, block, sizeof(block), at)) > 0) {
		EVP_DigestUpdate(md, block, (size_t)n);
		at += n;
	}
	EVP_DigestFinal_ex(md, out, NULL);
out:
	OPENSSL_cleanse(block, sizeof(block));
	EVP_MD_CTX_free(md);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* In the child: everything the master had open goes, but for what this process was meant to get. */
static void close_all_but(int *keep, size_t n)
{
	unsigned from = STDERR_FILENO + 1;

	qsort(keep, n, sizeof(*keep), by_number);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned)keep[i] > from)
			close_range(from, (unsigned)keep[i] - 1, 0);
		from = (unsigned)keep[i] + 1;
	}
	close_range(from, ~0u, 0);
}

NORETURN static void be_child(struct process *p, const struct plan_role *role, int control, int bundle_fd)
{
	struct master *m = p->master;
	struct child_socket sockets[PLAN_SOCKETS];
	struct child_start start = { .role = p->role, .index = p->index, .run = role->run, .settings = m->plan.settings,
		.user = m->plan.user, .control_fd = control, .bundle_fd = bundle_fd, .sockets = sockets };
	int keep[PLAN_SOCKETS + 2] = { control, bundle_fd };
	size_t n = 2;
	sigset_t all;
	char name[16];

	for (size_t i = 0; i < m->plan.sockets_n; i++) {
		const struct plan_socket *s = &m->plan.sockets[i];
		if (s->role != p->role || (s->index != p->index && s->index != UINT32_MAX))
			continue;
		sockets[start.sockets_n++] = (struct child_socket){ s->fd, s->tag };
		keep[n++] = s->fd;
	}
	close_all_but(keep, n);
	/* The terminal's or the container's signals go to the master alone, which says what they mean. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	snprintf(name, sizeof(name), "eas-%.6s-%u", role_name(p->role), p->index);
	prctl(PR_SET_NAME, name);
	log_setup(log_wanted(LOG_DEBUG) ? LOG_DEBUG : log_wanted(LOG_INFO) ? LOG_INFO : log_wanted(LOG_WARNING) ? LOG_WARNING : LOG_ERROR,
	    role_name(p->role), (int)p->index);
	if (m->program->slot != NULL)
		metrics_use_slot(m->program->slot(&m->plan, p->role, p->index));
	exit(child_main(&start));
}

static void on_control(evutil_socket_t fd, short what, void *arg);

static int spawn(struct process *p)
{
	struct master *m = p->master;
	struct plan_role *role = role_of(&m->plan, p->role);
	int fds[2] = { -1, -1 }, bundle_fd = bundle_for(m, &m->plan, role);

	if (bundle_fd < 0)
		return -1;
	fingerprint_of(&m->plan, bundle_fd, p->fingerprint);
	if (wire_pair(fds) < 0)
		goto failed;
	log_flush();
	p->pid = fork();
	if (p->pid < 0)
		goto failed;
	if (p->pid == 0)
		be_child(p, role, fds[1], bundle_fd);
	close(fds[1]);
	close(bundle_fd);
	p->control = fds[0];
	p->ready = false;
	p->started_ms = loop_now_fresh();
	p->readable = event_new(loop_base(m->loop), p->control, EV_READ | EV_PERSIST, on_control, p);
	if (p->readable != NULL)
		event_add(p->readable, NULL);
	spawn_all_links(m, p);
	return 0;
failed:
	log_say(LOG_ERROR, "start_failed", "cannot start %s %u: %s", role_name(p->role), p->index, strerror(errno));
	close(bundle_fd);
	if (fds[0] >= 0) {
		close(fds[0]);
		close(fds[1]);
	}
	p->pid = 0;
	return -1;
}

/* --- introductions --- */

static bool wants(struct master *m, enum role a, enum role b)
{
	struct plan_role *role = role_of(&m->plan, a);

	return role != NULL && (role->peers & (1u << b)) != 0;
}

static void introduce(struct process *a, struct process *b)
{
	struct control_message to_a = { .verb = CONTROL_LINK, .role = b->role, .index = b->index };
	struct control_message to_b = { .verb = CONTROL_LINK, .role = a->role, .index = a->index };
	int fds[2];

	if (wire_pair(fds) < 0) {
		log_say(LOG_ERROR, "start_failed", "no socket pair: %s", strerror(errno));
		return;
	}
	if (control_send(a->control, &to_a, fds[0]) < 0 || control_send(b->control, &to_b, fds[1]) < 0)
		log_say(LOG_DEBUG, "link_failed", "%s %u and %s %u: %s", role_name(a->role), a->index, role_name(b->role),
		    b->index, strerror(errno));
	close(fds[0]);
	close(fds[1]);
}

static void spawn_all_links(struct master *m, struct process *p)
{
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		struct process *q = &m->processes[i];
		if (!q->used || q == p || q->pid == 0 || q->control < 0 || q->leaving)
			continue;
		if (wants(m, p->role, q->role) || wants(m, q->role, p->role))
			introduce(p, q);
	}
}

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
	if (spawn(p) < 0)
		deadline_arm(p->master->loop, &p->restart, BACK_OFF_MAX, on_restart);
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
		m->program->died(m->program->slot(&m->plan, p->role, p->index));
	forget(p);
	reload_answered(p, true);	/* its successor starts with the new configuration */
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

static void on_trial_done(struct master *m, int status);

static void reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == m->trial_pid) {
			on_trial_done(m, status);
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
	if (m->started)
		return;
	m->started = true;
	log_say(LOG_INFO, "ready", "all processes serve");
}

static void reload_answered(struct process *p, bool good)
{
	struct master *m = p->master;

	if (!p->reloading)
		return;
	p->reloading = false;
	m->reload_bad |= !good;
	if (--m->reloading == 0)
		reload_finish(m, !m->reload_bad);
}

static void on_control(evutil_socket_t fd, short what, void *arg)
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
			reload_answered(p, msg.verb == CONTROL_RELOADED);
			break;
		case CONTROL_RELOAD_ASKED:
			reload_start(m);
			break;
		default:
			break;
		}
	}
	if (got < 0 && p->readable != NULL)
		event_del(p->readable);	/* SIGCHLD tells the rest */
}

/* --- reload: try in a process of its own, then swap everywhere --- */

static struct process *slot_for(struct master *m)
{
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		struct process *p = &m->processes[i];
		if (!p->used) {
			memset(p, 0, sizeof(*p));
			p->master = m;
			p->control = -1;
			p->used = true;
			return p;
		}
	}
	return NULL;
}

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

	close_all_but(keep, 1);
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
	const char *paths[PLAN_ROLES * PLAN_FILES];
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

static void reload_start(struct master *m)
{
	struct config_error error = { "" };
	const char *fixed;
	int fd;

	if (m->ending || m->trial_plan != NULL || m->reloading > 0) {
		log_say(LOG_WARNING, "reload_busy", "a reload is under way already: ask again when it has ended");
		return;
	}
	m->trial_plan = calloc(1, sizeof(*m->trial_plan));
	if (m->trial_plan == NULL)
		return;
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
	struct process *p = slot_for(m);
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
	if (spawn(p) < 0) {
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

static void swap_roles(struct master *m)
{
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		struct process *p = &m->processes[i];
		struct plan_role *role = p->used && !p->leaving ? role_of(&m->plan, p->role) : NULL;
		struct control_message reload = { .verb = CONTROL_RELOAD };
		uint8_t now[SHA256_SIZE];
		int fd;

		if (role == NULL || p->pid == 0)
			continue;
		fd = bundle_for(m, &m->plan, role);
		if (fd < 0) {
			m->reload_bad = true;
			continue;
		}
		fingerprint_of(&m->plan, fd, now);
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

static void on_trial_done(struct master *m, int status)
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
}

static void reload_finish(struct master *m, bool good)
{
	(void)m;
	if (good)
		log_say(LOG_INFO, "reloaded", "the new configuration is in force");
	else
		log_say(LOG_ERROR, "reload_failed", "a process kept the old configuration: see the lines before");
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
			reload_start(m);
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
			struct process *p = slot_for(m);
			if (p == NULL)
				return -1;
			p->role = m->plan.roles[i].role;
			p->index = k;
			if (spawn(p) < 0) {
				p->used = false;
				return -1;
			}
		}
	}
	return 0;
}

int master_run(const struct master_program *program, const char *config_file)
{
	struct master *m = calloc(1, sizeof(*m));
	struct config_error error = { "" };
	int status = 1;

	if (m == NULL)
		return 1;
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
	if (m->loop == NULL || m->key_fd < 0 || watch_signals(m) < 0 || program->prepare(&m->plan) < 0)
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
