/*
 * process: the life of a process that the master forked: its files, its wires, its end, and the doors it closes behind itself.
 * Includes no role's code. Runs in every process but the master.
 */
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/control.h"
#include "common/log.h"
#include "common/process_child.h"

const char *role_name(enum role role)
{
	static const char *const names[ROLE_COUNT] = {
		[ROLE_MASTER] = "master",	[ROLE_WORKER] = "worker",     [ROLE_REVOCATION] = "revocation",
		[ROLE_DIRECTORY] = "directory", [ROLE_KERBEROS] = "kerberos", [ROLE_SIGNER] = "signer",
		[ROLE_LOCKOUT] = "lockout",	[ROLE_STRETCH] = "stretch",
	};
	return (unsigned)role < ROLE_COUNT ? names[role] : "?";
}

#define SAY_AGAIN_MS 100

struct child {
	struct child_start start;
	struct loop *loop;
	struct bundle *bundle;
	struct child_handlers handlers;
	void *arg;
	struct event *control;
	uint32_t unsaid;		/* bit v: enum control_verb v, which the socket would not take */
	struct deadline say_again;
};

struct loop *child_loop(struct child *c) { return c->loop; }
enum role child_role(const struct child *c) { return c->start.role; }
unsigned child_index(const struct child *c) { return c->start.index; }
struct bundle *child_bundle(struct child *c) { return c->bundle; }
const void *child_settings(const struct child *c) { return c->start.settings; }

const struct child_socket *child_sockets(const struct child *c, size_t *n)
{
	*n = c->start.sockets_n;
	return c->start.sockets;
}

void child_handle(struct child *c, const struct child_handlers *handlers, void *arg)
{
	c->handlers = *handlers;
	c->arg = arg;
}

static void on_say_again(struct deadline *d);

/* Words that the master waits for: sent again until they are taken. */
static void say(struct child *c, enum control_verb verb)
{
	struct control_message m = { .verb = verb };

	c->unsaid &= ~(1u << verb);
	if (control_send(c->start.control_fd, &m, -1) == 0)
		return;
	c->unsaid |= 1u << verb;
	deadline_arm(c->loop, &c->say_again, SAY_AGAIN_MS, on_say_again);
}

static void on_say_again(struct deadline *d)
{
	struct child *c = CONTAINER_OF(d, struct child, say_again);
	uint32_t unsaid = c->unsaid;

	for (unsigned verb = 1; verb < 32; verb++)
		if ((unsaid & (1u << verb)) != 0)
			say(c, (enum control_verb)verb);
}

static void say_reloaded(struct child *c, bool good)
{
	say(c, good ? CONTROL_RELOADED : CONTROL_RELOAD_FAILED);
}

static void obey(struct child *c, const struct control_message *m, int fd)
{
	switch (m->verb) {
	case CONTROL_LINK:
		if (fd >= 0 && c->handlers.link != NULL) {
			c->handlers.link(c, (enum role)m->role, m->index, fd, c->arg);
			return;
		}
		break;
	case CONTROL_RELOAD:
		if (fd >= 0 && c->handlers.reload != NULL) {
			say_reloaded(c, c->handlers.reload(c, fd, c->arg) == 0);
			return;
		}
		say_reloaded(c, false);		/* no room for the descriptor, for instance */
		break;
	case CONTROL_DRAIN:
		if (c->handlers.drain != NULL)
			c->handlers.drain(c, c->arg);
		else
			loop_stop(c->loop);
		break;
	default:
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void on_control(evutil_socket_t socket, short what, void *arg)
{
	struct child *c = arg;
	struct control_message m;

	(void)what;
	for (;;) {
		int fd = -1, rc = control_receive(socket, &m, &fd);
		if (rc == 0)
			return;
		if (rc > 0) {
			obey(c, &m, fd);
			continue;
		}
		event_del(c->control);
		if (c->handlers.orphaned != NULL)
			c->handlers.orphaned(c, c->arg);
		else
			loop_stop(c->loop);
		return;
	}
}

void child_ready(struct child *c)
{
	say(c, CONTROL_READY);
}

void child_ask_reload(struct child *c)
{
	say(c, CONTROL_RELOAD_ASKED);
}

void child_ask_link(struct child *c, enum role peer, unsigned index)
{
	struct control_message m = { .verb = CONTROL_LINK_ASKED, .role = peer, .index = index };

	control_send(c->start.control_fd, &m, -1);
}

void child_say_hangs(struct child *c, enum role peer, unsigned index)
{
	struct control_message m = { .verb = CONTROL_HANGS, .role = peer, .index = index };

	control_send(c->start.control_fd, &m, -1);
}

/* --- the doors --- */

/* A build with sanitizers looks for leaks at the end, by ptrace and /proc: those two doors stay open in it, and only in it. */
#ifdef EASGATE_SANITIZED
#define LEAK_CHECKED 1
#else
#define LEAK_CHECKED 0
#endif

static int drop_user(const char *name)
{
	struct passwd *pw;

	if (geteuid() != 0)
		return 0;	/* started without root: there is nothing to drop */
	errno = 0;
	pw = getpwnam(name);
	if (pw == NULL || pw->pw_uid == 0) {
		log_say(LOG_ERROR, "user_unusable", "user: %s: %s: make it with `useradd --system %s`", name,
		    pw != NULL ? "is root" : "no such user", name);
		return -1;
	}
	if (setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0) {
		log_say(LOG_ERROR, "user_unusable", "cannot become user %s: %s", name, strerror(errno));
		return -1;
	}
	if (setuid(0) == 0) {
		log_say(LOG_ERROR, "user_unusable", "root could be had again after dropping it");
		return -1;
	}
	return 0;
}

#define LANDLOCK_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define LANDLOCK_ALL  ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)	/* the first version of the interface */

static int allow_path(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access };
	int rc, fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;	/* what is not there cannot be opened either */
	rule.parent_fd = fd;
	rc = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	if (rc < 0 && errno == EINVAL) {
		/* a file takes file rights only */
		rule.allowed_access = access & (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
		rc = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	}
	close(fd);
	return rc;
}

/* 0, also where the kernel has no Landlock (said once at debug level): file modes still hold. -1: a rule was refused. */
static int confine_files(const char *const *readable, const char *const *writable)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = LANDLOCK_ALL };
	int rc = 0, ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (ruleset < 0) {
		log_say(LOG_DEBUG, "no_landlock", "this kernel has no Landlock (%s): file modes alone hold", strerror(errno));
		return 0;
	}
	if (LEAK_CHECKED)
		rc = allow_path(ruleset, "/proc", LANDLOCK_READ);
#ifdef EASGATE_COUNTED
	/* a build that counts the lines it ran writes the counts at the end: this door too is in that build only */
	if (rc == 0)
		rc = allow_path(ruleset, EASGATE_COUNTED, LANDLOCK_READ | LANDLOCK_ACCESS_FS_WRITE_FILE);
#endif
	for (; rc == 0 && readable != NULL && *readable != NULL; readable++)
		rc = allow_path(ruleset, *readable, LANDLOCK_READ);
	for (; rc == 0 && writable != NULL && *writable != NULL; writable++)
		rc = allow_path(ruleset, *writable, LANDLOCK_ALL & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE);
	if (rc == 0)
		rc = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
	if (rc < 0)
		log_say(LOG_ERROR, "confine_failed", "Landlock refused a rule: %s", strerror(errno));
	close(ruleset);
	return rc;
}

int child_confine(struct child *c, const char *const *readable, const char *const *writable)
{
	static const struct rlimit no_core = { 0, 0 };

	if (drop_user(c->start.user) < 0)
		return -1;
	/* A crash must not write keys to a disk, and no other process of this user may look inside. */
	if (setrlimit(RLIMIT_CORE, &no_core) < 0 || prctl(PR_SET_DUMPABLE, LEAK_CHECKED) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		log_say(LOG_ERROR, "confine_failed", "cannot close the doors: %s", strerror(errno));
		return -1;
	}
	return confine_files(readable, writable);
}

void child_let_askers_finish(void)
{
	static const struct sched_param none;

	if (sched_setscheduler(0, SCHED_BATCH, &none) < 0)
		log_say(LOG_INFO, "scheduling", "SCHED_BATCH is not to be had: %s", strerror(errno));
}

int child_main(const struct child_start *start)
{
	struct child c = { .start = *start };
	int rc = 1;

	c.loop = loop_new();
	if (c.loop == NULL)
		goto out;
	c.bundle = bundle_open(start->bundle_fd);
	if (c.bundle == NULL) {
		log_say(LOG_ERROR, "start_failed", "the files from the master cannot be read: %s", strerror(errno));
		goto out;
	}
	c.control = event_new(loop_base(c.loop), start->control_fd, EV_READ | EV_PERSIST, on_control, &c);
	if (c.control == NULL || event_add(c.control, NULL) < 0)
		goto out;
	rc = start->run(&c);
out:
	deadline_disarm(&c.say_again);
	if (c.control != NULL)
		event_free(c.control);
	bundle_free(c.bundle);
	loop_free(c.loop);
	close(start->control_fd);
	return rc;
}
