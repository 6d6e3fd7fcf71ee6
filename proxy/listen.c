/*
 * listen: binds with SO_REUSEPORT, one socket per worker, so that the kernel spreads connections; or takes systemd's. Master process.
 */
#include "proxy/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/address.h"
#include "common/local_revocation.h"
#include "common/log.h"
#include "common/text.h"
#include "proxy/settings.h"
#include "proxy/worker/accept.h"

#define BACKLOG	       4096
#define SYSTEMD_FIRST  3	/* sd_listen_fds(3) */
#define SYSTEMD_MAX    64

static int bind_one(const struct address *a)
{
	int on = 1, fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
	    /* what a listening socket has, its connections inherit: two system calls less for each */
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0 || listen(fd, BACKLOG) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

int listen_try(const char *address)
{
	struct address a;
	int fd = address_parse(strv_from(address), &a) < 0 ? -EINVAL : bind_one(&a);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* How many sockets systemd passed to this very process; the variables are taken away so that no child sees them. */
static int systemd_count(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t p, n;
	int count = 0;

	if (pid != NULL && fds != NULL && text_u64(strv_from(pid), INT32_MAX, &p) == 0 && text_u64(strv_from(fds), SYSTEMD_MAX, &n) == 0 &&
	    (pid_t)p == getpid())
		count = (int)n;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return count;
}

/* The passed socket that is bound to this address, -1: none. A wildcard port (0) matches nothing. */
static int systemd_find(int count, const struct address *a)
{
	for (int fd = SYSTEMD_FIRST; fd < SYSTEMD_FIRST + count; fd++) {
		struct address bound = { .len = sizeof(bound.sa) };
		char want[ADDRESS_TEXT_MAX], have[ADDRESS_TEXT_MAX];
		if (getsockname(fd, (struct sockaddr *)&bound.sa, &bound.len) < 0)
			continue;
		address_print((const struct sockaddr *)&a->sa, want);
		address_print((struct sockaddr *)&bound.sa, have);
		if (strcmp(want, have) == 0)
			return fd;
	}
	return -1;
}

static int add(struct plan *plan, int fd, enum role role, unsigned index, unsigned tag)
{
	if (plan->sockets_n == PLAN_SOCKETS) {
		log_say(LOG_ERROR, "listen_failed", "more listeners times workers than %d: lower proxy.workers", PLAN_SOCKETS);
		return -1;
	}
	plan->sockets[plan->sockets_n++] = (struct plan_socket){ fd, role, index, tag };
	return 0;
}

static void say(const char *what, int fd)
{
	struct address bound = { .len = sizeof(bound.sa) };
	char text[ADDRESS_TEXT_MAX];
	struct log_line l;

	if (getsockname(fd, (struct sockaddr *)&bound.sa, &bound.len) < 0)
		return;
	address_print((struct sockaddr *)&bound.sa, text);
	log_begin(&l, LOG_INFO, "listening");
	log_cstr(&l, "what", what);
	log_cstr(&l, "address", text);
	l.now = true;
	log_end(&l);
}

static int listen_on(struct plan *plan, const char *text, const char *what, unsigned workers, unsigned tag, int passed)
{
	struct address a;
	int fd;

	if (address_parse(strv_from(text), &a) < 0)
		return -1;
	fd = systemd_find(passed, &a);
	if (fd >= 0) {
		int on = 1;
		(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		say(what, fd);
		return add(plan, fd, ROLE_WORKER, UINT32_MAX, tag);	/* one socket, shared by all workers */
	}
	for (unsigned i = 0; i < workers; i++) {
		fd = bind_one(&a);
		if (fd < 0) {
			log_say(LOG_ERROR, "listen_failed", "%s: %s: %s", text, strerror(-fd), fd == -EADDRINUSE ?
				"another program has it: see `ss -ltnp`" : fd == -EACCES ? "start as root, or by systemd's socket" : "correct the address");
			return -1;
		}
		if (i == 0) {
			/* port 0: the others follow the first one's */
			a.len = sizeof(a.sa);
			if (getsockname(fd, (struct sockaddr *)&a.sa, &a.len) < 0)
				return -1;
			say(what, fd);
		}
		if (add(plan, fd, ROLE_WORKER, i, tag) < 0)
			return -1;
	}
	return 0;
}

struct local_socket {
	const char *name;		/* in run_dir */
	int type;
	enum role role;
	unsigned tag;
};

/*
 * For root and the user only. The directory is the user's: a name in it may be another thing a moment later, so that root follows
 * no link there, and the mode is right from the beginning.
 */
static int bind_local(int fd, const struct sockaddr_un *sun, const struct passwd *pw)
{
	mode_t before = umask(0177);
	int rc = bind(fd, (const struct sockaddr *)sun, sizeof(*sun));

	umask(before);
	return rc < 0 || (pw != NULL && lchown(sun->sun_path, pw->pw_uid, pw->pw_gid) < 0) ? -1 : 0;
}

static int listen_local(struct plan *plan, const struct settings *s, const struct passwd *pw, const struct local_socket *what)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", s->common.run_dir, what->name);

	if (n < 0 || (size_t)n >= sizeof(sun.sun_path)) {
		log_say(LOG_ERROR, "listen_failed", "run_dir: %s is too long for a local socket (107 bytes)", s->common.run_dir);
		return -1;
	}
	fd = socket(AF_UNIX, what->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		log_say(LOG_ERROR, "listen_failed", "%s: %s", sun.sun_path, strerror(errno));
		return -1;
	}
	unlink(sun.sun_path);
	if (bind_local(fd, &sun, pw) < 0 || listen(fd, 16) < 0) {
		log_say(LOG_ERROR, "listen_failed", "%s: %s", sun.sun_path, strerror(errno));
		close(fd);
		return -1;
	}
	return add(plan, fd, what->role, 0, what->tag);
}

int listen_all(struct plan *plan, const struct passwd *pw)
{
	/* what `easproxy status` asks, and what enrolment on this machine tells (revocation/local.h) */
	static const struct local_socket status = { "easproxy.sock", SOCK_STREAM, ROLE_WORKER, SOCKET_TAG_ADMIN_LOCAL };
	static const struct local_socket revocations = { LOCAL_REVOCATION_SOCKET, SOCK_SEQPACKET, ROLE_REVOCATION, 0 };
	const struct settings *s = plan->settings;
	unsigned workers = 1;
	int passed = systemd_count();

	for (size_t i = 0; i < plan->roles_n; i++) {
		if (plan->roles[i].role == ROLE_WORKER)
			workers = plan->roles[i].count;
	}
	for (unsigned i = 0; i < s->proxy.listeners_count; i++) {
		if (listen_on(plan, s->proxy.listeners[i].address, "proxy", workers, i, passed) < 0)
			return -1;
	}
	if (s->proxy.admin.address[0] != '\0' && listen_on(plan, s->proxy.admin.address, "admin", workers, SOCKET_TAG_ADMIN, passed) < 0)
		return -1;
	if (s->proxy.revocation.local && listen_local(plan, s, pw, &revocations) < 0)
		return -1;
	return listen_local(plan, s, pw, &status);
}
