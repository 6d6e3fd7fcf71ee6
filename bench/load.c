/*
 * load: the load generator of `make bench`; a fixed number of operations, then figures as JSON.
 * Speaks lines with bench/run: prints {"event":"ready"} when prepared, waits for a line, works,
 * prints {"event":"done",...}, waits for a line, closes all, prints {"event":"closed"}, waits for
 * the last line. With </dev/null it does not wait.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256

static const char usage[] =
	"usage: bench-load MODE --target ADDRESS:PORT --ca FILE --devices FILE [options]\n"
	"  MODE             full, resumed, keepalive or hold\n"
	"  --ops N          operations to measure (1000)\n"
	"  --connections N  in flight at once (16)\n"
	"  --down BYTES     body asked of the mail server (200)\n"
	"  --up BYTES       body sent (60)\n"
	"  --password TEXT  no certificates: each device's user, and this, by Basic\n"
	"  --host NAME      SNI, Host and name in the server's certificate (localhost)\n"
	"  --deadline S     seconds for each phase (120)\n";

static const char *const mode_names[] = { "full", "resumed", "keepalive", "hold" };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One round of the loop; an event without a connection is standard input: then true. */
static bool turn(struct load *l, int timeout_ms)
{
	struct epoll_event ev[EVENTS_MAX];
	bool line = false;
	int n;

	while (l->todo_n)
		conn_start(l, l->todo[--l->todo_n]);
	n = epoll_wait(l->epoll, ev, EVENTS_MAX, timeout_ms);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr)
			conn_drive(l, ev[i].data.ptr);
		else
			line = true;
	}
	return line;
}

/* Waits for a line on standard input while the open connections are looked after. */
static void wait_line(struct load *l)
{
	struct epoll_event ev = { .events = EPOLLIN };
	char c;
	ssize_t n;

	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &ev) < 0)
		return;         /* a file or /dev/null: nobody to wait for */
	do {
		while (!turn(l, -1))
			;
		n = read(STDIN_FILENO, &c, 1);
	} while (n == 1 && c != '\n');
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
}

/* Runs `ops` operations to their end; what the deadline leaves undone has failed. */
static double phase(struct load *l, unsigned ops)
{
	double start = now();
	double end = start + l->opt.deadline;
	size_t first = l->opt.connections < l->conn_n ? l->opt.connections : l->conn_n;

	l->left = ops;
	l->conn_next = first;
	for (size_t i = 0; i < first && l->left; i++)
		op_queue(l, &l->conns[i]);
	while (l->busy && now() < end)
		turn(l, 100);
	if (l->busy) {
		l->counts.ops += l->left + l->busy;
		l->counts.failures += l->left + l->busy;
		l->left = l->busy = 0;
		l->todo_n = 0;
		if (!l->first_failure[0])
			snprintf(l->first_failure, sizeof(l->first_failure), "deadline passed");
		for (size_t i = 0; i < l->conn_n; i++)
			conn_close(l, &l->conns[i]);
	}
	return now() - start;
}

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s >= ' ' && (unsigned char)*s < 127)
			putchar(*s);
	}
	putchar('"');
}

static void report(const struct load *l, double seconds)
{
	const struct load_counts *n = &l->counts;

	printf("{\"event\":\"done\",\"mode\":\"%s\",\"ops\":%lu,\"failures\":%lu,\"seconds\":%.6f,"
	       "\"handshakes\":%lu,\"resumed\":%lu,\"tickets\":%lu,\"reconnects\":%lu,\"bytes\":%lu,"
	       "\"first_failure\":",
	       mode_names[l->opt.mode], n->ops, n->failures, seconds, n->handshakes, n->resumed,
	       n->tickets, n->reconnects, n->bytes);
	json_string(l->first_failure);
	printf("}\n");
	fflush(stdout);
}

static int target_parse(struct sockaddr_in *out, const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	char *end;
	unsigned long port;

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return -1;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (*end || port == 0 || port > 65535)
		return -1;
	out->sin_family = AF_INET;
	out->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &out->sin_addr) == 1 ? 0 : -1;
}

static int options_parse(struct load_options *o, int argc, char **argv)
{
	static const struct option names[] = {
		{ "target", 1, NULL, 't' }, { "ca", 1, NULL, 'c' }, { "devices", 1, NULL, 'd' },
		{ "ops", 1, NULL, 'n' }, { "connections", 1, NULL, 'k' }, { "down", 1, NULL, 'a' },
		{ "up", 1, NULL, 'u' }, { "host", 1, NULL, 'h' }, { "deadline", 1, NULL, 's' },
		{ "password", 1, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	int c, m;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 't': if (target_parse(&o->target, optarg) < 0) return -1; break;
		case 'c': o->ca = optarg; break;
		case 'd': o->devices = optarg; break;
		case 'n': o->ops = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'k': o->connections = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'a': o->down = strtoul(optarg, NULL, 10); break;
		case 'u': o->up = strtoul(optarg, NULL, 10); break;
		case 'h': o->host = optarg; break;
		case 'p': o->password = optarg; break;
		case 's': o->deadline = strtod(optarg, NULL); break;
		default: return -1;
		}
	}
	if (optind + 1 != argc || !o->ca || !o->devices || !o->target.sin_port)
		return -1;
	for (m = 0; m < 4 && strcmp(argv[optind], mode_names[m]) != 0; m++)
		;
	if (m == 4 || !o->ops || !o->connections)
		return -1;
	o->mode = (enum load_mode)m;
	return 0;
}

static int conns_new(struct load *l)
{
	l->conn_n = l->opt.mode == MODE_HOLD ? l->opt.ops : l->opt.connections;
	l->conns = calloc(l->conn_n, sizeof(*l->conns));
	l->todo = calloc(l->conn_n, sizeof(struct conn *));
	if (!l->conns || !l->todo)
		return -1;
	for (size_t i = 0; i < l->conn_n; i++) {
		l->conns[i].fd = -1;
		l->conns[i].device = &l->devices[i % l->device_n];
		if (request_format(l, &l->conns[i]) < 0)
			return -1;
	}
	return 0;
}

/* What must be there before the figures begin: sessions to resume, connections to keep. */
static int prepare(struct load *l)
{
	if (l->opt.mode == MODE_RESUMED || l->opt.mode == MODE_KEEPALIVE) {
		phase(l, l->opt.connections);
		if (l->counts.failures) {
			fprintf(stderr, "bench-load: preparing: %s\n", l->first_failure);
			return -1;
		}
	}
	memset(&l->counts, 0, sizeof(l->counts));
	l->keep_session = l->opt.mode == MODE_RESUMED;
	return 0;
}

static int run(struct load *l)
{
	double seconds;
	uint64_t failures;

	if (devices_load(l) < 0 || context_new(l) < 0 || conns_new(l) < 0 || prepare(l) < 0)
		return -1;
	printf("{\"event\":\"ready\"}\n");
	fflush(stdout);
	wait_line(l);
	seconds = phase(l, l->opt.ops);
	report(l, seconds);
	failures = l->counts.failures;
	wait_line(l);
	failures = l->counts.failures - failures;       /* held or kept, and yet closed on us */
	for (size_t i = 0; i < l->conn_n; i++)
		conn_close(l, &l->conns[i]);
	printf("{\"event\":\"closed\",\"lost\":%lu}\n", failures);
	fflush(stdout);
	wait_line(l);
	return 0;
}

int main(int argc, char **argv)
{
	static char localhost[] = "localhost";
	struct load l = { .epoll = -1, .opt = { .ops = 1000, .connections = 16, .down = 200,
	                                        .up = 60, .host = localhost, .deadline = 120 } };
	struct rlimit files;
	int rc = -1;

	signal(SIGPIPE, SIG_IGN);
	if (options_parse(&l.opt, argc, argv) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l.epoll >= 0)
		rc = run(&l);
	for (size_t i = 0; i < l.conn_n && l.conns; i++) {
		conn_close(&l, &l.conns[i]);
		SSL_SESSION_free(l.conns[i].session);
	}
	free(l.conns);
	free(l.todo);
	SSL_CTX_free(l.ctx);
	devices_free(&l);
	close(l.epoll);
	return rc < 0;
}
