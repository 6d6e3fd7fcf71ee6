/*
 * origin: the mail server behind the proxies of `make bench`; as little work as an HTTP/1.1
 * keep-alive server can do. Trusts its proxies: not a parser for strangers. One process, one loop.
 * Answers POST and OPTIONS with X-Bench-Size bytes and the user it was told; holds Cmd=Ping until
 * closed; GET /bench/stats tells its counters as JSON; drains a datagram socket as a syslog daemon
 * would (--sink). With --kerberos the user is the one of the request's token (origin_token.c), and
 * a request without a fresh one gets 401.
 */
#include "origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD_MAX   8192
#define ANSWER_MAX 1024
#define EVENTS_MAX 256

enum what { WHAT_LISTENER, WHAT_SINK, WHAT_PEER };

struct peer {
	enum what what;
	int fd;
	bool held;
	bool body_due;          /* a head was read, its body is not complete */
	bool ping;
	uint64_t body_in;       /* bytes of the request's body still to come */
	uint64_t body_out;      /* bytes of the answer's body still to go */
	size_t head_n;
	size_t answer_n, answer_off;
	char answer[ANSWER_MAX];
	char head[HEAD_MAX + 1];
};

static struct origin {
	int epoll;
	const char *header;     /* the trusted one, "\r\nName:" */
	bool kerberos;          /* tokens instead of the trusted header */
	uint64_t connections, requests, with_user, bad, log_lines;
	uint64_t held, held_max;
} origin;

static unsigned char scratch[256 * 1024];
static unsigned char body[1024 * 1024];

static void peer_close(struct peer *p)
{
	if (p->held)
		origin.held--;
	close(p->fd);
	free(p);
}

/* 1 all gone, 0 the socket is full, -1 over */
static int answer_flush(struct peer *p)
{
	while (p->answer_off < p->answer_n || p->body_out) {
		uint64_t part = p->body_out < sizeof(body) ? p->body_out : sizeof(body);
		struct iovec v[2] = {
			{ p->answer + p->answer_off, p->answer_n - p->answer_off },
			{ body, (size_t)part },
		};
		ssize_t n = writev(p->fd, v, 2);
		size_t of_head;

		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		of_head = (size_t)n < v[0].iov_len ? (size_t)n : v[0].iov_len;
		p->answer_off += of_head;
		p->body_out -= (uint64_t)n - of_head;
	}
	return 1;
}

/* The value of a header of a NUL-terminated head; not longer than `size`, else cut. */
static bool header_value(const char *head, const char *name, char *out, size_t size)
{
	const char *p = strcasestr(head, name);
	size_t n;

	out[0] = '\0';
	if (!p)
		return false;
	p += strlen(name);
	p += strspn(p, " ");
	n = strcspn(p, "\r");
	if (n >= size)
		n = size - 1;
	memcpy(out, p, n);
	out[n] = '\0';
	return n > 0;
}

static void answer_stats(struct peer *p)
{
	const struct token_counts *t = token_counts();
	char json[512];
	int n = snprintf(json, sizeof(json),
	                 "{\"connections\":%lu,\"requests\":%lu,\"with_user\":%lu,\"bad\":%lu,"
	                 "\"held\":%lu,\"held_max\":%lu,\"log_lines\":%lu,\"tokens\":%lu,"
	                 "\"tokens_opened\":%lu,\"tokens_repeated\":%lu,\"tokens_refused\":%lu}\n",
	                 origin.connections, origin.requests, origin.with_user, origin.bad,
	                 origin.held, origin.held_max, origin.log_lines, t->tokens, t->accepted,
	                 t->repeated, t->refused);

	p->answer_n = (size_t)snprintf(p->answer, sizeof(p->answer),
	                               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	                               "Content-Length: %d\r\n\r\n%s", n, json);
}

/* 0 answer, 1 the counters, 2 no credential; -1: what this server does not serve. */
static int head_read(struct peer *p, char *user, size_t user_size, uint64_t *size)
{
	char value[32];

	if (strncmp(p->head, "GET /bench/stats ", 17) == 0)
		return 1;
	if (strncmp(p->head, "POST ", 5) != 0 && strncmp(p->head, "OPTIONS ", 8) != 0)
		return -1;
	if (header_value(p->head, "\r\nTransfer-Encoding:", value, sizeof(value)))
		return -1;
	p->body_in = 0;
	if (header_value(p->head, "\r\nContent-Length:", value, sizeof(value)))
		p->body_in = strtoull(value, NULL, 10);
	*size = 200;
	if (header_value(p->head, "\r\nX-Bench-Size:", value, sizeof(value)))
		*size = strtoull(value, NULL, 10);
	origin.requests++;
	p->ping = strstr(p->head, "Cmd=Ping") != NULL;
	if (origin.kerberos) {
		if (token_user(p->head, user, user_size) < 0)
			return 2;
		origin.with_user++;
	} else if (header_value(p->head, origin.header, user, user_size)) {
		origin.with_user++;
	}
	return 0;
}

static int head_done(struct peer *p)
{
	char user[256];
	uint64_t size = 0;
	int kind = head_read(p, user, sizeof(user), &size);

	p->answer_off = 0;
	p->body_out = 0;
	p->body_due = true;
	if (kind < 0) {
		origin.bad++;
		return -1;
	}
	if (kind == 1) {
		p->body_in = 0;
		p->ping = false;
		answer_stats(p);
		return 0;
	}
	if (kind == 2) {
		p->ping = false;
		p->answer_n = (size_t)snprintf(p->answer, sizeof(p->answer),
		                               "HTTP/1.1 401 Unauthorized\r\n"
		                               "WWW-Authenticate: Negotiate\r\n"
		                               "Content-Length: 0\r\n\r\n");
		return 0;
	}
	p->body_out = size;
	p->answer_n = (size_t)snprintf(p->answer, sizeof(p->answer),
	                               "HTTP/1.1 200 OK\r\n"
	                               "Content-Type: application/vnd.ms-sync.wbxml\r\n"
	                               "MS-Server-ActiveSync: 15.2\r\n"
	                               "X-Bench-User: %s\r\n"
	                               "Content-Length: %lu\r\n\r\n", user, size);
	return 0;
}

/* The whole request is here: answer or hold it. -1 over, 0 wait, 1 the next one may come. */
static int request_done(struct peer *p)
{
	p->body_due = false;
	if (p->ping) {
		p->answer_n = p->answer_off = 0;
		p->body_out = 0;
		p->held = true;
		if (++origin.held > origin.held_max)
			origin.held_max = origin.held;
		return 0;
	}
	return answer_flush(p);
}

/* Looks for a head and takes what came of its body. -1 over, 0 more needed, 1 found. */
static int head_take(struct peer *p)
{
	char *end;
	size_t used, of_body;

	p->head[p->head_n] = '\0';
	end = strstr(p->head, "\r\n\r\n");
	if (!end)
		return p->head_n < HEAD_MAX ? 0 : -1;
	used = (size_t)(end + 4 - p->head);
	end[2] = '\0';
	if (head_done(p) < 0)
		return -1;
	of_body = p->head_n - used;
	if (of_body > p->body_in)
		of_body = (size_t)p->body_in;
	p->body_in -= of_body;
	used += of_body;
	p->head_n -= used;
	memmove(p->head, p->head + used, p->head_n);
	return 1;
}

/* One step of reading; the same results as request_done(). */
static int peer_read(struct peer *p)
{
	ssize_t n;
	int rc;

	if (p->body_due && !p->body_in)
		return request_done(p);
	if (p->body_due || p->held)
		n = recv(p->fd, scratch, sizeof(scratch), 0);
	else
		n = recv(p->fd, p->head + p->head_n, HEAD_MAX - p->head_n, 0);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	if (n == 0)
		return -1;
	if (p->held)
		return -1;              /* nobody may say anything after a Ping */
	if (p->body_due) {
		if ((uint64_t)n > p->body_in)
			return -1;
		p->body_in -= (uint64_t)n;
		return 1;
	}
	p->head_n += (size_t)n;
	rc = head_take(p);
	return rc < 0 ? -1 : 1;
}

static void peer_drive(struct peer *p)
{
	int rc = p->body_due ? 1 : answer_flush(p);    /* no answer before the whole request */

	while (rc > 0)
		rc = peer_read(p);
	if (rc < 0)
		peer_close(p);
}

static void accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct peer *p = malloc(sizeof(*p));
		struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
		int one = 1;

		if (!p) {
			close(fd);
			continue;
		}
		memset(p, 0, offsetof(struct peer, answer));
		p->what = WHAT_PEER;
		p->fd = fd;
		ev.data.ptr = p;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		origin.connections++;
		if (epoll_ctl(origin.epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
			peer_close(p);
	}
}

static void sink_drain(int fd)
{
	while (recv(fd, scratch, sizeof(scratch), MSG_DONTWAIT) >= 0)
		origin.log_lines++;
}

static int watch(struct peer *p)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = p };

	return epoll_ctl(origin.epoll, EPOLL_CTL_ADD, p->fd, &ev);
}

static int sink_open(struct peer *p, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(a.sun_path))
		return -1;
	memcpy(a.sun_path, path, strlen(path) + 1);
	p->what = WHAT_SINK;
	p->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return watch(p);
}

static int listener_open(struct peer *p)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);

	p->what = WHAT_LISTENER;
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&a, n) < 0 || listen(p->fd, 4096) < 0 ||
	    getsockname(p->fd, (struct sockaddr *)&a, &n) < 0 || watch(p) < 0)
		return -1;
	printf("{\"event\":\"listening\",\"address\":\"127.0.0.1:%u\"}\n", ntohs(a.sin_port));
	fflush(stdout);
	return 0;
}

static void serve(void)
{
	struct epoll_event ev[EVENTS_MAX];

	for (;;) {
		int n = epoll_wait(origin.epoll, ev, EVENTS_MAX, -1);

		if (n < 0 && errno != EINTR)
			return;
		for (int i = 0; i < n; i++) {
			struct peer *p = ev[i].data.ptr;

			if (p->what == WHAT_LISTENER)
				accept_all(p->fd);
			else if (p->what == WHAT_SINK)
				sink_drain(p->fd);
			else
				peer_drive(p);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "header", 1, NULL, 'h' }, { "sink", 1, NULL, 's' }, { "kerberos", 0, NULL, 'k' },
		{ NULL, 0, NULL, 0 },
	};
	static struct peer listener, sink;
	static char header[96];
	const char *name = "X-EAS-User", *path = NULL;
	struct rlimit files;
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (c == 'h')
			name = optarg;
		else if (c == 's')
			path = optarg;
		else if (c == 'k')
			origin.kerberos = true;
		else {
			fputs("usage: bench-origin [--header NAME] [--kerberos] [--sink SOCKET]\n",
			      stderr);
			return 2;
		}
	}
	snprintf(header, sizeof(header), "\r\n%s:", name);
	origin.header = header;
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (origin.kerberos && tokens_require() < 0)
		return 1;
	memset(body, 'x', sizeof(body));
	origin.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (origin.epoll < 0 || (path && sink_open(&sink, path) < 0) || listener_open(&listener) < 0) {
		perror("bench-origin");
		return 1;
	}
	serve();
	return 1;
}
