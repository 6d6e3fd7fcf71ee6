/*
 * redis_server: a real redis-server for tests, on a unix socket in a folder of its own; and waiting on the loop.
 */
#ifndef TEST_REDIS_SERVER_H
#define TEST_REDIS_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/config.h"
#include "common/loop.h"
#include "common/redis.h"

struct redis_server {
	char dir[64], socket[96], url[112];
	pid_t pid;
};

static inline int redis_server_connects(const struct redis_server *s)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

	strcpy(sa.sun_path, s->socket);
	rc = connect(fd, (struct sockaddr *)(void *)&sa, sizeof(sa));
	close(fd);
	return rc == 0;
}

/* extra: further arguments, NULL-terminated, may be NULL. In the folder that s->dir names when set. */
static inline void redis_server_run(struct redis_server *s, const char *const *extra)
{
	const char *argv[40] = { "redis-server", "--port", "0", "--unixsocket", s->socket, "--dir", s->dir, "--save", "",
		"--appendonly", "no", "--logfile", "redis.log", "--enable-debug-command", "yes" };
	int n = 15, i;

	while (extra != NULL && *extra != NULL && n < 39)
		argv[n++] = *extra++;
	s->pid = fork();
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(argv[0], (char *const *)(const void *)argv);
		_exit(127);
	}
	for (i = 0; i < 1000 && !redis_server_connects(s); i++) {
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
			s->pid = 0;
			return;
		}
		usleep(5000);
	}
}

static inline void redis_server_start(struct redis_server *s, const char *const *extra)
{
	strcpy(s->dir, "/tmp/easgate-redis-XXXXXX");
	if (mkdtemp(s->dir) == NULL)
		abort();
	snprintf(s->socket, sizeof(s->socket), "%s/s", s->dir);
	snprintf(s->url, sizeof(s->url), "unix:%s", s->socket);
	redis_server_run(s, extra);
}

static inline void redis_server_kill(struct redis_server *s)
{
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
	unlink(s->socket);
}

static inline void redis_server_stop(struct redis_server *s)
{
	char command[128];

	redis_server_kill(s);
	snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
	if (strncmp(s->dir, "/tmp/easgate-redis-", 19) == 0 && system(command) != 0)
		abort();
}

/* Is there a redis-server to run? */
static inline int redis_server_exists(void)
{
	return system("command -v redis-server >/dev/null 2>&1") == 0;
}

/* --- waiting --- */
struct wait_guard {
	struct deadline d;
	struct loop *loop;
	bool late;
};

static inline void wait_guard_fire(struct deadline *d)
{
	struct wait_guard *g = CONTAINER_OF(d, struct wait_guard, d);

	g->late = true;
	event_base_loopbreak(loop_base(g->loop));
}

/* Turns the loop until *flag is set; false after `seconds`. */
static inline bool wait_for(struct loop *loop, const volatile int *flag, unsigned seconds)
{
	struct wait_guard g = { .loop = loop };

	deadline_arm(loop, &g.d, seconds * 1000u, wait_guard_fire);
	while (!*flag && !g.late)
		event_base_loop(loop_base(loop), EVLOOP_ONCE);
	deadline_disarm(&g.d);
	return *flag != 0;
}

static inline void turn_for(struct loop *loop, unsigned ms)
{
	struct wait_guard g = { .loop = loop };

	deadline_arm(loop, &g.d, ms, wait_guard_fire);
	while (!g.late)
		event_base_loop(loop_base(loop), EVLOOP_ONCE);
}

#endif
