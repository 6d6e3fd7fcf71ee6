/*
 * captured_worker: a process that closes the same doors behind itself as a worker does, and then tries what an intruder would.
 * Says each attempt on one line, "denied WHAT" or "GOT WHAT"; exit status 0 only if nothing was got.
 *
 *   captured_worker USER STATE_DIR [file PATH | write PATH | memory PID | signal PID]...
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "common/log.h"
#include "common/process_child.h"

static char **attempts;
static const char *state_dir;
static int got;

static void say(bool had, const char *what, const char *on)
{
	printf("%s %s %s: %s\n", had ? "GOT" : "denied", what, on, had ? "" : strerror(errno));
	got += had;
}

static void try_file(const char *path, int flags, const char *what)
{
	char byte;
	int fd = open(path, flags | O_CLOEXEC, 0600);

	say(fd >= 0 && ((flags & O_ACCMODE) != O_RDONLY || read(fd, &byte, 1) >= 0), what, path);
	if (fd >= 0)
		close(fd);
}

static void try_memory(const char *number)
{
	pid_t pid = (pid_t)atoi(number);
	char byte, path[64];
	struct iovec here = { &byte, 1 }, there = { &byte, 1 };

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	try_file(path, O_RDONLY, "mem of");
	say(process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT, "process_vm_readv", number);
	say(ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0, "ptrace", number);
	say(syscall(SYS_pidfd_getfd, (int)syscall(SYS_pidfd_open, pid, 0), 0, 0) >= 0, "pidfd_getfd", number);
}

static void try_rights(void)
{
	struct rlimit core = { 1 << 20, 1 << 20 };
	char *const shell[] = { (char *)(uintptr_t)"sh", NULL };
	char path[4096];

	say(setuid(0) == 0, "setuid", "0");
	say(setgid(0) == 0, "setgid", "0");
	say(chroot("/") == 0, "chroot", "/");
	say(mount("none", "/mnt", "tmpfs", 0, NULL) == 0, "mount", "/mnt");
	say(setrlimit(RLIMIT_CORE, &core) == 0, "core limit", "1 MB");
	say(socket(AF_PACKET, SOCK_RAW, 0) >= 0, "raw socket", "AF_PACKET");
	snprintf(path, sizeof(path), "%s/planted", state_dir);
	try_file(path, O_WRONLY | O_CREAT, "create");
	try_file("/tmp/planted-by-captured-worker", O_WRONLY | O_CREAT, "create");
	try_file("/etc/passwd", O_RDONLY, "read");
	if (fork() == 0) {
		execv("/bin/sh", shell);
		_exit(77);
	}
	{
		int status = 0;
		errno = EACCES;
		say(wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 77, "execute", "/bin/sh");
	}
}

static int capture(struct child *child)
{
	const char *readable[] = { state_dir, NULL };

	if (child_confine(child, readable, NULL) < 0)
		return 2;
	for (char **a = attempts; a[0] != NULL && a[1] != NULL; a += 2) {
		if (strcmp(a[0], "file") == 0)
			try_file(a[1], O_RDONLY, "read");
		else if (strcmp(a[0], "write") == 0)
			try_file(a[1], O_WRONLY, "write");
		else if (strcmp(a[0], "memory") == 0)
			try_memory(a[1]);
		else if (strcmp(a[0], "signal") == 0)
			say(kill((pid_t)atoi(a[1]), 0) == 0, "signal", a[1]);
	}
	try_rights();
	fflush(stdout);
	return got > 0;
}

int main(int argc, char **argv)
{
	struct child_start start = { .role = ROLE_WORKER, .run = capture };
	char why[256];
	int fds[2], status;
	pid_t pid;

	if (argc < 3)
		return 2;
	start.user = argv[1];
	state_dir = argv[2];
	attempts = argv + 3;
	log_setup(LOG_INFO, "captured", 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return 2;
	start.bundle_fd = bundle_build(NULL, 0, why, sizeof(why));
	start.control_fd = fds[1];
	pid = fork();
	if (pid == 0)
		exit(child_main(&start));
	close(fds[1]);
	if (pid < 0 || start.bundle_fd < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
