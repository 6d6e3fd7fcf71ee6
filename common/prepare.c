/*
 * prepare: see prepare.h. Master process.
 */
#include "common/prepare.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"

#define BACKLOG	      4096
#define BACKLOG_LOCAL 16

int prepare_user(const char *name, struct passwd **out)
{
	*out = NULL;
	if (geteuid() != 0)
		return 0;
	*out = getpwnam(name);
	if (*out == NULL || (*out)->pw_uid == 0) {
		log_say(LOG_ERROR, "user_unusable", "user: %s: %s: make it with `useradd --system --no-create-home %s`, or name another", name,
		    *out == NULL ? "no such user" : "is root", name);
		return -1;
	}
	return 0;
}

int prepare_dir(const char *path, mode_t mode, const struct passwd *pw)
{
	if (mkdir(path, mode) < 0) {
		if (errno == EEXIST)
			return 0;
		log_say(LOG_ERROR, "dir_unusable", "%s: %s: create it, or correct state_dir or run_dir", path, strerror(errno));
		return -1;
	}
	if (pw != NULL && chown(path, pw->pw_uid, pw->pw_gid) < 0) {
		log_say(LOG_ERROR, "dir_unusable", "%s: cannot be given to %s: %s", path, pw->pw_name, strerror(errno));
		return -1;
	}
	return 0;
}

int prepare_descriptors(rlim_t need, const char *key, unsigned value)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -1;
	if (limit.rlim_max < need && geteuid() == 0) {
		struct rlimit more = { need, need };
		(void)setrlimit(RLIMIT_NOFILE, &more);
		(void)getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_max < need) {
		log_say(LOG_ERROR, "descriptors",
		    "%s: %u needs %llu descriptors in each worker, but the hard limit is %llu: "
		    "raise LimitNOFILE= (systemd) or ulimit -Hn, or lower %s",
		    key, value, (unsigned long long)need, (unsigned long long)limit.rlim_max, key);
		return -1;
	}
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit);
}

int prepare_bind(const struct address *a, unsigned flags)
{
	int on = 1, shared = (flags & PREPARE_SHARED) != 0, error;
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof(shared)) < 0 ||
	    /* what a listening socket has, its connections inherit: two system calls less for each */
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0 || listen(fd, BACKLOG) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

void prepare_say_bind(const char *text, int error)
{
	log_say(LOG_ERROR, "listen_failed", "%s: %s: %s", text, strerror(-error),
	    error == -EADDRINUSE ? "another program has it: see `ss -ltnp`" :
		error == -EACCES ? "start as root, or by systemd" :
				   "correct the address");
}

void prepare_say_listening(const char *what, int fd)
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

int prepare_local(const char *run_dir, const char *name, int type, const struct passwd *pw)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", run_dir, name);

	if (n < 0 || (size_t)n >= sizeof(sun.sun_path)) {
		log_say(LOG_ERROR, "listen_failed", "run_dir: %s is too long for a local socket (107 bytes)", run_dir);
		return -1;
	}
	fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		log_say(LOG_ERROR, "listen_failed", "%s: %s", sun.sun_path, strerror(errno));
		return -1;
	}
	unlink(sun.sun_path);
	if (bind_local(fd, &sun, pw) < 0 || listen(fd, BACKLOG_LOCAL) < 0) {
		log_say(LOG_ERROR, "listen_failed", "%s: %s", sun.sun_path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

int prepare_try(const char *address, unsigned flags)
{
	struct address a;
	int fd = address_parse(strv_from(address), &a) < 0 ? -EINVAL : prepare_bind(&a, flags);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
