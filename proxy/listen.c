/*
 * listen: binds with SO_REUSEPORT, one socket per worker, so that the kernel spreads connections; or takes systemd's. Master process.
 */
#include "proxy/listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/local_revocation.h"
#include "common/prepare.h"
#include "common/text.h"
#include "proxy/settings.h"
#include "proxy/worker/accept.h"

#define SYSTEMD_FIRST  3	/* sd_listen_fds(3) */
#define SYSTEMD_MAX    64

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
	return plan_add_socket(plan, (struct plan_socket){ fd, role, index, tag }, "name fewer in proxy.listeners, or lower proxy.workers");
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
		prepare_say_listening(what, fd);
		return add(plan, fd, ROLE_WORKER, UINT32_MAX, tag);	/* one socket, shared by all workers */
	}
	for (unsigned i = 0; i < workers; i++) {
		fd = prepare_bind(&a, PREPARE_SHARED);
		if (fd < 0) {
			prepare_say_bind(text, fd);
			return -1;
		}
		if (i == 0) {
			/* port 0: the others follow the first one's */
			a.len = sizeof(a.sa);
			if (getsockname(fd, (struct sockaddr *)&a.sa, &a.len) < 0)
				return -1;
			prepare_say_listening(what, fd);
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

static int listen_local(struct plan *plan, const struct settings *s, const struct passwd *pw, const struct local_socket *what)
{
	int fd = prepare_local(s->common.run_dir, what->name, what->type, pw);

	return fd >= 0 ? add(plan, fd, what->role, 0, what->tag) : -1;
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
