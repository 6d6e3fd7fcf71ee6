/*
 * main: arguments, signals, and the loop of the sample mail server.
 * An ActiveSync server for the quickstart, tests and demonstrations: mail lives in memory, and
 * the user is whoever the trusted header or Basic says. Never to stand in an open network.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <libxml/parser.h>

#include "commands.h"
#include "server.h"
#include "text.h"

#define FLUSH_MS 100            /* for the last answers after SIGTERM */

struct program {
	struct event_base *base;
	struct server *server;
	struct server_options options;
	char address[64];
	const char *certificate, *key;
};

static void usage(FILE *f)
{
	fputs("usage: sample-mail [options]\n"
	    "An ActiveSync server that keeps its mail in memory, for tests and demonstrations.\n"
	    "Any user is known; new ones find a welcome mail. One of the first two is needed.\n"
	    "  --user-header NAME  the user is what this header says, and it is believed\n"
	    "  --basic             the user is who Basic says, with any password\n"
	    "  --listen ADDR:PORT  default 127.0.0.1:0; the line `listening ADDR:PORT` tells\n"
	    "  --tls CERT KEY      HTTPS; PEM files, the certificate first, then its chain\n"
	    "  --domain NAME       mail domain of users without one, default example.test\n"
	    "  --log               one line a request on standard error\n"
	    "  --help\n", f);
}

/* Splits ADDR:PORT or [ADDR]:PORT. */
static bool parse_listen(struct program *p, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon == NULL ? 0 : (size_t)(colon - text);
	uint32_t port;

	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(p->address) || !text_number(colon + 1, 65535, &port))
		return false;
	memcpy(p->address, text, n);
	p->address[n] = '\0';
	p->options.address = p->address;
	p->options.port = (uint16_t)port;
	return true;
}

/* Returns 0, or the exit status plus one. */
static int parse_arguments(int argc, char **argv, struct program *p)
{
	static const struct option known[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "user-header", required_argument, NULL, 'u' },
		{ "basic", no_argument, NULL, 'b' },
		{ "tls", required_argument, NULL, 't' },
		{ "domain", required_argument, NULL, 'd' },
		{ "log", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool good = parse_listen(p, "127.0.0.1:0");
	int c;

	p->options.domain = "example.test";
	while (good && (c = getopt_long(argc, argv, "+h", known, NULL)) != -1) {
		switch (c) {
		case 'l':
			good = parse_listen(p, optarg);
			break;
		case 'u':
			p->options.user_header = optarg;
			break;
		case 'b':
			p->options.basic = true;
			break;
		case 't':
			p->certificate = optarg;
			good = optind < argc;
			p->key = good ? argv[optind++] : NULL;
			break;
		case 'd':
			p->options.domain = optarg;
			break;
		case 'v':
			p->options.log = true;
			break;
		case 'h':
			usage(stdout);
			return 1;
		default:
			good = false;
		}
	}
	if (good && optind == argc && (p->options.user_header != NULL || p->options.basic))
		return 0;
	usage(stderr);
	return 3;
}

static SSL_CTX *tls_context(const char *certificate, const char *key)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (ctx == NULL)
		return NULL;
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	    SSL_CTX_use_certificate_chain_file(ctx, certificate) == 1 &&
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1 &&
	    SSL_CTX_check_private_key(ctx) == 1)
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	const struct timeval flush = { 0, FLUSH_MS * 1000 };
	struct program *p = arg;

	(void)number;
	(void)what;
	server_stop(p->server);
	event_base_loopexit(p->base, &flush);
}

/* Serves until a signal ends it. */
static int serve(struct program *p)
{
	struct event *term = evsignal_new(p->base, SIGTERM, on_signal, p);
	struct event *interrupt = evsignal_new(p->base, SIGINT, on_signal, p);
	bool six = strchr(p->address, ':') != NULL;
	int rc = -1;

	if (term != NULL && interrupt != NULL && event_add(term, NULL) == 0 &&
	    event_add(interrupt, NULL) == 0) {
		printf("listening %s%s%s:%u\n", six ? "[" : "", p->address, six ? "]" : "",
		    (unsigned)server_port(p->server));
		fflush(stdout);
		rc = event_base_dispatch(p->base);
	}
	if (term != NULL)
		event_free(term);
	if (interrupt != NULL)
		event_free(interrupt);
	return rc < 0 ? -1 : 0;
}

static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct program p = { 0 };
	int rc = parse_arguments(argc, argv, &p), status = 1;

	if (rc != 0)
		return rc - 1;
	raise_limits();
	if (p.certificate != NULL) {
		p.options.tls = tls_context(p.certificate, p.key);
		if (p.options.tls == NULL) {
			fprintf(stderr, "sample-mail: --tls: cannot use %s with %s\n",
			    p.certificate, p.key);
			return 1;
		}
	}
	p.base = event_base_new();
	if (p.base != NULL)
		p.server = server_new(p.base, &p.options);
	if (p.server == NULL)
		fprintf(stderr, "sample-mail: cannot listen on %s port %u: %s\n", p.address,
		    (unsigned)p.options.port, strerror(errno));
	else if (serve(&p) == 0)
		status = 0;
	server_free(p.server);
	if (p.base != NULL)
		event_base_free(p.base);
	SSL_CTX_free(p.options.tls);
	xmlCleanupParser();
	libevent_global_shutdown();
	return status;
}
