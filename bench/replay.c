/*
 * replay: sends a fixed number of requests from a file, over kept connections or a new one each, and tells rate and waits as JSON.
 * Speaks lines as bench-load does: prints {"event":"ready"}, waits for a line, works, prints {"event":"done",...}, waits for a
 * line, closes all, prints {"event":"closed"}, waits for the last line. With </dev/null it does not wait.
 */
#include "replay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256

static const char usage[] =
	"usage: bench-replay --target ADDRESS:PORT --requests FILE --type CONTENT-TYPE [options]\n"
	"  --ops N          operations to measure; more than the file has: from its beginning again (all once)\n"
	"  --connections N  in flight at once (16)\n"
	"  --new 1          a connection for each request\n"
	"  --pace S         seconds between two requests of a connection (0: none)\n"
	"  --ca FILE        TLS, and who signed the server's certificate\n"
	"  --host NAME      SNI and name in the server's certificate (localhost)\n"
	"  --save FILE      bodies of the answers, as lengths and bytes\n"
	"  --deadline S     seconds for all (120)\n";

double replay_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void replay_ended(struct replay *r, struct conn *c, const char *why)
{
	double now = replay_now();

	c->asked = false;
	r->took[r->ended++ % r->opt.ops] = (float)(now - c->since);
	c->next = r->opt.pace > 0 ? c->since + r->opt.pace : 0;
	if (why == NULL)
		return;
	r->failures++;
	if (r->first_failure[0] != '\0')
		return;
	snprintf(r->first_failure, sizeof(r->first_failure), "request %u: %s", c->op, why);
	for (char *p = r->first_failure; *p != '\0'; p++)
		if (*p < ' ' || *p == '"' || *p == '\\')
			*p = ' ';
}

static void turn(struct replay *r, int timeout_ms)
{
	struct epoll_event ev[EVENTS_MAX];
	int n = epoll_wait(r->epoll, ev, EVENTS_MAX, timeout_ms);

	for (int i = 0; i < n; i++)
		conn_drive(r, ev[i].data.ptr);
}

/* Gives operations to those that have none. Returns how long nobody has to be looked at, in milliseconds. */
static int hand_out(struct replay *r)
{
	double now = replay_now(), first = now + 0.1;

	for (unsigned i = 0; i < r->opt.connections && r->begun < r->opt.ops; i++) {
		struct conn *c = &r->conns[i];
		/* an answer that has come already makes it free again at once */
		while ((c->stage == STAGE_IDLE || c->stage == STAGE_CLOSED) && c->next <= now && r->begun < r->opt.ops)
			conn_begin(r, c, r->begun++);
		if ((c->stage == STAGE_IDLE || c->stage == STAGE_CLOSED) && c->next < first)
			first = c->next;
	}
	return first > now ? (int)ceil((first - now) * 1e3) : 0;
}

static double work(struct replay *r)
{
	double start = replay_now(), end = start + r->opt.deadline;

	while (r->ended < r->opt.ops && replay_now() < end)
		turn(r, hand_out(r));
	if (r->ended < r->opt.ops) {
		r->failures += r->opt.ops - r->ended;
		if (r->first_failure[0] == '\0')
			snprintf(r->first_failure, sizeof(r->first_failure), "deadline passed with %u of %u answered", r->ended, r->opt.ops);
	}
	return replay_now() - start;
}

static void wait_line(struct replay *r)
{
	char c;

	while (r->epoll >= 0 && read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		;
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

static void report(struct replay *r, double seconds)
{
	unsigned n = r->ended;

	qsort(r->took, n, sizeof(r->took[0]), by_size);
	printf("{\"event\":\"done\",\"ops\":%u,\"failures\":%u,\"seconds\":%.6f,\"handshakes\":%u,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,"
	       "\"first_failure\":\"%s\"}\n",
	    r->opt.ops, r->failures, seconds, r->handshakes, n ? r->took[n / 2] * 1e6 : 0.0, n ? r->took[n * 99ul / 100] * 1e6 : 0.0,
	    n ? r->took[n - 1] * 1e6 : 0.0, r->first_failure);
	fflush(stdout);
}

static int save(const struct replay *r)
{
	FILE *f = fopen(r->opt.save, "wbe");
	int rc = f != NULL ? 0 : -1;

	for (unsigned i = 0; rc == 0 && i < r->opt.ops; i++) {
		uint32_t n = htonl((uint32_t)r->answers[i].n);
		if (fwrite(&n, sizeof(n), 1, f) != 1 || fwrite(r->answers[i].p, 1, r->answers[i].n, f) != r->answers[i].n)
			rc = -1;
	}
	return f != NULL && fclose(f) == 0 ? rc : -1;
}

/* --- preparing --- */

static int requests_load(struct replay *r)
{
	int fd = open(r->opt.requests, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const char *p, *end;
	size_t room = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 4)
		return -1;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return -1;
	for (end = p + st.st_size; p + 4 <= end; r->request_n++) {
		uint32_t n;
		if (r->request_n == room) {
			struct strand *more = realloc(r->requests, (room = room * 2 + 64) * sizeof(*more));
			if (more == NULL)
				return -1;
			r->requests = more;
		}
		memcpy(&n, p, 4);
		n = ntohl(n);
		if (n == 0 || n > (size_t)(end - p - 4))
			return -1;
		r->requests[r->request_n] = (struct strand){ p + 4, n };
		p += 4 + n;
	}
	if (r->opt.ops == 0)
		r->opt.ops = (unsigned)r->request_n;
	return p == end ? 0 : -1;
}

static int prepare(struct replay *r)
{
	double end = replay_now() + 20;
	unsigned open = 0;

	if (requests_load(r) < 0)
		return -1;
	r->conns = calloc(r->opt.connections, sizeof(*r->conns));
	r->took = calloc(r->opt.ops, sizeof(*r->took));
	r->answers = r->opt.save != NULL ? calloc(r->opt.ops, sizeof(*r->answers)) : NULL;
	if (r->conns == NULL || r->took == NULL || (r->opt.save != NULL && r->answers == NULL))
		return -1;
	if (r->opt.ca != NULL) {
		r->ctx = SSL_CTX_new(TLS_client_method());
		if (r->ctx == NULL || SSL_CTX_load_verify_file(r->ctx, r->opt.ca) != 1 || SSL_CTX_set1_groups_list(r->ctx, "X25519") != 1 ||
		    SSL_CTX_set_ciphersuites(r->ctx, "TLS_AES_128_GCM_SHA256") != 1)
			return -1;
		SSL_CTX_set_verify(r->ctx, SSL_VERIFY_PEER, NULL);
	}
	for (unsigned i = 0; i < r->opt.connections; i++) {
		r->conns[i].fd = -1;
		if (r->opt.kept)
			conn_open(r, &r->conns[i]);
	}
	while (r->opt.kept && open < r->opt.connections && r->first_failure[0] == '\0' && replay_now() < end) {
		turn(r, 100);
		open = 0;
		for (unsigned i = 0; i < r->opt.connections; i++)
			open += r->conns[i].stage == STAGE_IDLE;
	}
	if (r->opt.kept && open < r->opt.connections)
		fprintf(stderr, "bench-replay: %u of %u connections: %s\n", open, r->opt.connections, r->first_failure);
	r->handshakes = 0;
	return r->opt.kept && open < r->opt.connections ? -1 : 0;
}

static int target_parse(struct sockaddr_in *out, char *text)
{
	char *colon = strrchr(text, ':');

	if (colon == NULL)
		return -1;
	*colon = '\0';
	out->sin_family = AF_INET;
	out->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	return inet_pton(AF_INET, text, &out->sin_addr) == 1 && out->sin_port != 0 ? 0 : -1;
}

static int options_parse(struct replay_options *o, int argc, char **argv)
{
	static const struct option names[] = {
		{ "target", 1, NULL, 't' }, { "requests", 1, NULL, 'r' }, { "type", 1, NULL, 'y' }, { "ops", 1, NULL, 'n' },
		{ "connections", 1, NULL, 'k' }, { "new", 1, NULL, 'w' }, { "pace", 1, NULL, 'p' }, { "ca", 1, NULL, 'c' },
		{ "host", 1, NULL, 'h' }, { "save", 1, NULL, 'v' }, { "deadline", 1, NULL, 's' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 't': if (target_parse(&o->target, optarg) < 0) return -1; break;
		case 'r': o->requests = optarg; break;
		case 'y': o->type = optarg; break;
		case 'n': o->ops = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'k': o->connections = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'w': o->kept = strcmp(optarg, "1") != 0; break;
		case 'p': o->pace = strtod(optarg, NULL); break;
		case 'c': o->ca = optarg; break;
		case 'h': o->host = optarg; break;
		case 'v': o->save = optarg; break;
		case 's': o->deadline = strtod(optarg, NULL); break;
		default: return -1;
		}
	}
	return optind == argc && o->requests != NULL && o->type != NULL && o->target.sin_port != 0 && o->connections > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	static char localhost[] = "localhost";
	struct replay r = { .opt = { .connections = 16, .kept = true, .host = localhost, .deadline = 120 } };
	double seconds;

	signal(SIGPIPE, SIG_IGN);
	if (options_parse(&r.opt, argc, argv) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	r.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r.epoll < 0 || prepare(&r) < 0) {
		fprintf(stderr, "bench-replay: cannot begin\n");
		ERR_print_errors_fp(stderr);
		return 1;
	}
	printf("{\"event\":\"ready\"}\n");
	fflush(stdout);
	wait_line(&r);
	seconds = work(&r);
	report(&r, seconds);
	wait_line(&r);
	for (unsigned i = 0; i < r.opt.connections; i++)
		conn_close(&r.conns[i]);
	printf("{\"event\":\"closed\"}\n");
	fflush(stdout);
	wait_line(&r);
	return r.opt.save != NULL && r.failures == 0 && save(&r) < 0 ? 1 : 0;
}
