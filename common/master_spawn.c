/*
 * master_spawn: forks one process, gives it its files and sockets, and introduces it to the others. Master process, until the
 * child's main begins.
 */
#include "common/master_parts.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/control.h"
#include "common/directory/vouch.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/process_child.h"
#include "common/wire.h"

struct plan_role *master_role(struct plan *plan, enum role role)
{
	for (size_t i = 0; i < plan->roles_n; i++) {
		if (plan->roles[i].role == role)
			return &plan->roles[i];
	}
	return NULL;
}

struct process *master_place(struct master *m)
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

/* --- introductions --- */

static bool wants(struct master *m, enum role a, enum role b)
{
	struct plan_role *role = master_role(&m->plan, a);

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

void master_link_again(struct process *p, enum role role, unsigned index)
{
	struct master *m = p->master;

	for (size_t i = 0; i < PROCESSES_MAX && !m->ending && !p->leaving; i++) {
		struct process *q = &m->processes[i];
		if (!q->used || q == p || q->role != role || q->index != index || q->pid == 0 || q->control < 0 || q->leaving)
			continue;
		if ((!wants(m, p->role, role) && !wants(m, role, p->role)) || p->links_again >= LINKS_AGAIN_MAX)
			return;
		p->links_again++;
		log_say(LOG_WARNING, "link_again", "%s %u and %s %u get a new wire: theirs could not be made, or broke",
		    role_name(p->role), p->index, role_name(role), index);
		introduce(p, q);
		return;
	}
}

void master_end_hanging(struct process *p, enum role role, unsigned index)
{
	struct master *m = p->master;
	struct plan_role *own = master_role(&m->plan, p->role);

	if (own == NULL || (unsigned)role >= ROLE_COUNT || (own->ends & (1u << role)) == 0 || m->ending || p->leaving)
		return;
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		struct process *q = &m->processes[i];
		if (!q->used || q->role != role || q->index != index || q->pid == 0 || !q->ready || q->leaving)
			continue;
		log_say(LOG_ERROR, "process_hangs", "%s %u (process %d) does not answer %s %u and is killed", role_name(role), index, (int)q->pid,
		    role_name(p->role), p->index);
		(void)kill(q->pid, SIGKILL);
	}
}

/* --- starting one process --- */

/* The role's files, with the vouchers' key or, for those that reload in place, the configuration's text. */
int master_bundle(struct master *m, struct plan *plan, const struct plan_role *role)
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

void master_fingerprint(const struct plan *plan, int bundle_fd, uint8_t out[SHA256_SIZE])
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
void master_close_all_but(int *keep, size_t n)
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
	master_close_all_but(keep, n);
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
	metrics_use_slot(plan_slot(&m->plan, p->role, p->index));
	exit(child_main(&start));
}

int master_spawn(struct process *p)
{
	struct master *m = p->master;
	struct plan_role *role = master_role(&m->plan, p->role);
	int fds[2] = { -1, -1 }, bundle_fd = master_bundle(m, &m->plan, role);

	if (bundle_fd < 0)
		return -1;
	master_fingerprint(&m->plan, bundle_fd, p->fingerprint);
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
	p->readable = event_new(loop_base(m->loop), p->control, EV_READ | EV_PERSIST, master_on_control, p);
	if (p->readable == NULL || event_add(p->readable, NULL) < 0) {
		/* With nobody to hear it, it ends; SIGCHLD tells of that, and it starts again. */
		log_say(LOG_ERROR, "start_failed", "%s %u cannot be heard: out of memory or descriptors", role_name(p->role), p->index);
		close(p->control);
		p->control = -1;
		return 0;
	}
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
