/*
 * listen: binds what the configuration names. Master process.
 */
#include "enroll/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"
#include "enroll/settings.h"

#define BACKLOG 1024

static int bind_one(const struct address *a)
{
	int on = 1, fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 || bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

int enroll_listen_try(const char *address)
{
	struct address a;
	int fd = address_parse(strv_from(address), &a) < 0 ? -EINVAL : bind_one(&a);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int add(struct plan *plan, int fd, unsigned tag)
{
	if (plan->sockets_n == PLAN_SOCKETS) {
		log_say(LOG_ERROR, "listen_failed", "more than %d listeners", PLAN_SOCKETS);
		close(fd);
		return -1;
	}
	plan->sockets[plan->sockets_n++] = (struct plan_socket){ fd, ROLE_WORKER, UINT32_MAX, tag };
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

static int listen_on(struct plan *plan, const char *text, const char *what, unsigned tag)
{
	struct address a;
	int fd;

	if (address_parse(strv_from(text), &a) < 0)
		return -1;
	fd = bind_one(&a);
	if (fd < 0) {
		log_say(LOG_ERROR, "listen_failed", "%s: %s: %s", text, strerror(-fd), fd == -EADDRINUSE ? "another program has it: see `ss -ltnp`" :
			fd == -EACCES ? "start as root" : "correct the address");
		return -1;
	}
	say(what, fd);
	return add(plan, fd, tag);
}

/* For root and the user only: the CLI asks here. */
static int listen_local(struct plan *plan, const struct enroll_settings *s, const struct passwd *pw)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/easenroll.sock", s->common.run_dir);

	if (n < 0 || (size_t)n >= sizeof(sun.sun_path)) {
		log_say(LOG_ERROR, "listen_failed", "run_dir: %s is too long for a local socket (107 bytes)", s->common.run_dir);
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		log_say(LOG_ERROR, "listen_failed", "%s: %s", sun.sun_path, strerror(errno));
		return -1;
	}
	unlink(sun.sun_path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || chmod(sun.sun_path, 0600) < 0 ||
	    (pw != NULL && chown(sun.sun_path, pw->pw_uid, pw->pw_gid) < 0) || listen(fd, 16) < 0) {
		log_say(LOG_ERROR, "listen_failed", "%s: %s", sun.sun_path, strerror(errno));
		close(fd);
		return -1;
	}
	return add(plan, fd, ENROLL_TAG_LOCAL);
}

int enroll_listen_all(struct plan *plan, const struct passwd *pw)
{
	const struct enroll_settings *s = plan->settings;

	for (unsigned i = 0; i < s->enroll.listeners_count; i++) {
		const struct enroll_listener *l = &s->enroll.listeners[i];
		if (listen_on(plan, l->address, l->plain ? "plain" : "enroll", i) < 0)
			return -1;
	}
	if (s->enroll.admin.address[0] != '\0' && listen_on(plan, s->enroll.admin.address, "admin", ENROLL_TAG_ADMIN) < 0)
		return -1;
	return listen_local(plan, s, pw);
}
