/*
 * faults: a library that is loaded before a program under test (LD_PRELOAD) and makes its allocations and system calls fail as a page
 * of memory says that the test shares with it. Does nothing until told to. Knows nothing of the program but its processes' names.
 *
 * EASGATE_FAULTS names the file of that page; tests/e2e/site_/faults.py writes it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The order in which site_/faults.py names them. */
enum kind { ALLOC, READ, WRITE, OPEN, ACCEPT, WATCH, MAKE, CONNECT, FILES, MAP, FORK, KINDS };

struct page {
	_Atomic uint32_t armed;
	uint32_t kinds;			/* bit k: enum kind */
	uint32_t nth, span, every;	/* calls nth to nth + span - 1 fail; with `every`, of these each every-th */
	int32_t error;			/* errno; 0 for READ and WRITE: only one byte is moved */
	char process[16];		/* as prctl(PR_SET_NAME) was told, or its beginning; "": the master and who has no name yet */
	uint32_t exact;			/* `process` is the whole name: "" is the master alone, otherwise any */
	_Atomic uint32_t calls, failed;
};

static struct page *page;
static char name[16];
static bool traces;		/* EASGATE_FAULTS_TRACE: say on standard error where each failing call comes from, too */

/* Used before dlsym() can be: it allocates itself. Never given back. */
static char first[1 << 16] __attribute__((aligned(16)));
static size_t first_used;

static void *early(size_t n)
{
	char *p = first + first_used;

	n = (n + 15) & ~(size_t)15;
	if (n > sizeof(first) - first_used)
		_exit(126);
	first_used += n;
	return p;
}

static bool is_early(const void *p)
{
	return (const char *)p >= first && (const char *)p < first + sizeof(first);
}

static void trace(const char *why)
{
	void *frame[48];
	int n = backtrace(frame, 48);
	bool before = traces;

	traces = false;
	dprintf(STDERR_FILENO, "-- %s in %s\n", why, name);
	backtrace_symbols_fd(frame, n, STDERR_FILENO);
	traces = before;
}

static void on_crash(int number)
{
	page = NULL;
	trace(number == SIGSEGV ? "SIGSEGV" : "SIGABRT");
	signal(number, SIG_DFL);
	raise(number);
}

/* --- whether this call fails --- */

static bool hit(enum kind kind)
{
	struct page *p = page;
	uint32_t n;

	if (p == NULL || p->armed == 0 || (p->kinds & (1u << kind)) == 0)
		return false;
	if (p->exact ? strncmp(name, p->process, sizeof(name)) != 0 : strncmp(name, p->process, strlen(p->process)) != 0)
		return false;
	n = ++p->calls;
	if (n < p->nth || n - p->nth >= p->span || (p->every > 1 && (n - p->nth) % p->every != 0))
		return false;
	p->failed++;
	if (traces)
		trace("fault");
	return true;
}

static bool fails(enum kind kind)
{
	if (!hit(kind))
		return false;
	errno = page->error != 0 && kind != ALLOC ? page->error : ENOMEM;
	return true;
}

/* 0: as usual. -1: failed. 1: a byte only. */
static int moves(enum kind kind)
{
	if (!hit(kind))
		return 0;
	if (page->error == 0)
		return 1;
	errno = page->error;
	return -1;
}

static void *next(const char *symbol)
{
	void *p = dlsym(RTLD_NEXT, symbol);

	if (p == NULL)
		_exit(125);
	return p;
}

#define REAL(function) \
	static __typeof__(&function) real; \
	if (real == NULL) \
		real = (__typeof__(&function))(uintptr_t)next(#function)

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("EASGATE_FAULTS");
	int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	void *p, *frame[1];

	if (fd < 0)
		return;
	p = (void *)syscall(SYS_mmap, NULL, (long)sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
	syscall(SYS_close, fd);
	if (p != MAP_FAILED)
		page = p;
	backtrace(frame, 1);		/* loads what it needs */
	traces = getenv("EASGATE_FAULTS_TRACE") != NULL;
	signal(SIGSEGV, on_crash);
	signal(SIGABRT, on_crash);
}

/* --- memory --- */

static __thread bool finding;
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

/* False while dlsym() itself asks for memory. */
static bool found(void)
{
	if (real_free != NULL)
		return true;
	if (finding)
		return false;
	finding = true;
	real_malloc = (void *(*)(size_t))(uintptr_t)next("malloc");
	real_calloc = (void *(*)(size_t, size_t))(uintptr_t)next("calloc");
	real_realloc = (void *(*)(void *, size_t))(uintptr_t)next("realloc");
	real_free = (void (*)(void *))(uintptr_t)next("free");
	finding = false;
	return true;
}

void *malloc(size_t n)
{
	if (!found())
		return early(n);
	return fails(ALLOC) ? NULL : real_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	if (!found())
		return early(n * size);		/* small and never used before */
	return fails(ALLOC) ? NULL : real_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	void *copy;

	if (!found())
		return early(n);
	if (is_early(p)) {
		copy = real_malloc(n);
		if (copy != NULL)
			memcpy(copy, p, (size_t)(first + sizeof(first) - (char *)p) < n ? (size_t)(first + sizeof(first) - (char *)p) : n);
		return copy;
	}
	return n > 0 && fails(ALLOC) ? NULL : real_realloc(p, n);
}

void free(void *p)
{
	if (p != NULL && !is_early(p) && found())
		real_free(p);
}

int posix_memalign(void **out, size_t alignment, size_t n)
{
	REAL(posix_memalign);
	return fails(ALLOC) ? ENOMEM : real(out, alignment, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
	REAL(aligned_alloc);
	return fails(ALLOC) ? NULL : real(alignment, n);
}

void *mmap(void *at, size_t n, int rights, int flags, int fd, off_t from)
{
	REAL(mmap);
	return fails(MAP) ? MAP_FAILED : real(at, n, rights, flags, fd, from);
}

/* --- bytes in and out --- */

ssize_t read(int fd, void *p, size_t n)
{
	int how = moves(READ);
	REAL(read);
	return how < 0 ? -1 : real(fd, p, how > 0 && n > 0 ? 1 : n);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
	int how = moves(READ);
	REAL(pread);
	return how < 0 ? -1 : real(fd, p, how > 0 && n > 0 ? 1 : n, at);
}

ssize_t readv(int fd, const struct iovec *v, int n)
{
	struct iovec one = { n > 0 ? v[0].iov_base : NULL, 1 };
	int how = moves(READ);
	REAL(readv);
	return how < 0 ? -1 : how > 0 && n > 0 && v[0].iov_len > 0 ? real(fd, &one, 1) : real(fd, v, n);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
	int how = moves(READ);
	REAL(recv);
	return how < 0 ? -1 : real(fd, p, how > 0 && n > 0 ? 1 : n, flags);
}

ssize_t recvfrom(int fd, void *p, size_t n, int flags, struct sockaddr *from, socklen_t *size)
{
	REAL(recvfrom);
	return moves(READ) < 0 ? -1 : real(fd, p, n, flags, from, size);
}

/* Never less than all: on a socket of messages the rest would be lost, which no kernel does. */
ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	REAL(recvmsg);
	return moves(READ) < 0 ? -1 : real(fd, m, flags);
}

ssize_t write(int fd, const void *p, size_t n)
{
	int how = moves(WRITE);
	REAL(write);
	return how < 0 ? -1 : real(fd, p, how > 0 && n > 0 ? 1 : n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	int how = moves(WRITE);
	REAL(pwrite);
	return how < 0 ? -1 : real(fd, p, how > 0 && n > 0 ? 1 : n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	struct iovec one = { n > 0 ? v[0].iov_base : NULL, 1 };
	int how = moves(WRITE);
	REAL(writev);
	return how < 0 ? -1 : how > 0 && n > 0 && v[0].iov_len > 0 ? real(fd, &one, 1) : real(fd, v, n);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	int how = moves(WRITE);
	REAL(send);
	return how < 0 ? -1 : real(fd, p, how > 0 && n > 0 ? 1 : n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	REAL(sendmsg);
	return moves(WRITE) < 0 ? -1 : real(fd, m, flags);
}

/* Less than all is one message. */
int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
	int how = moves(READ);
	REAL(recvmmsg);
	return how < 0 ? -1 : real(fd, m, how > 0 && n > 0 ? 1 : n, flags, timeout);
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	int how = moves(WRITE);
	REAL(sendmmsg);
	return how < 0 ? -1 : real(fd, m, how > 0 && n > 0 ? 1 : n, flags);
}

/* --- descriptors --- */

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(ap, unsigned) : 0;
}

int open(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;
	REAL(open);

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return fails(OPEN) ? -1 : real(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;
	REAL(openat);

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return fails(OPEN) ? -1 : real(dir, path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
	REAL(fopen);
	return fails(OPEN) ? NULL : real(path, mode);
}

int accept4(int fd, struct sockaddr *from, socklen_t *size, int flags)
{
	REAL(accept4);
	return fails(ACCEPT) ? -1 : real(fd, from, size, flags);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *e)
{
	REAL(epoll_ctl);
	return what != EPOLL_CTL_DEL && fails(WATCH) ? -1 : real(epoll, what, fd, e);
}

int epoll_create1(int flags)
{
	REAL(epoll_create1);
	return fails(MAKE) ? -1 : real(flags);
}

int socket(int family, int type, int protocol)
{
	REAL(socket);
	return fails(MAKE) ? -1 : real(family, type, protocol);
}

int socketpair(int family, int type, int protocol, int fds[2])
{
	REAL(socketpair);
	return fails(MAKE) ? -1 : real(family, type, protocol, fds);
}

int memfd_create(const char *what, unsigned flags)
{
	REAL(memfd_create);
	return fails(MAKE) ? -1 : real(what, flags);
}

int connect(int fd, const struct sockaddr *to, socklen_t n)
{
	REAL(connect);
	return fails(CONNECT) ? -1 : real(fd, to, n);
}

int ftruncate(int fd, off_t n)
{
	REAL(ftruncate);
	return fails(FILES) ? -1 : real(fd, n);
}

int fsync(int fd)
{
	REAL(fsync);
	return fails(FILES) ? -1 : real(fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	REAL(renameat);
	return fails(FILES) ? -1 : real(from_dir, from, to_dir, to);
}

int posix_fallocate(int fd, off_t from, off_t n)
{
	REAL(posix_fallocate);
	return fails(FILES) ? errno : real(fd, from, n);
}

pid_t fork(void)
{
	REAL(fork);
	return fails(FORK) ? -1 : real();
}

/* --- who this is --- */

int prctl(int what, ...)
{
	unsigned long a[4];
	va_list ap;
	int i;

	va_start(ap, what);
	for (i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (what == PR_SET_NAME)
		snprintf(name, sizeof(name), "%s", (const char *)a[0]);
	return (int)syscall(SYS_prctl, what, a[0], a[1], a[2], a[3]);
}
