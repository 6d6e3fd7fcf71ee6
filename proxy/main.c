/*
 * main: easproxy's command line. No command runs the program; `check` tries a configuration; `status` asks a running one; `device` looks at devices.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/object_memory.h"
#include "proxy/check.h"
#include "proxy/device_cli.h"
#include "proxy/program.h"

#define CONFIG_DEFAULT "/etc/easgate/easgate.yaml"

static void usage(FILE *to)
{
	fputs("easproxy - lets phones with a certificate sync mail, without a password\n"
	      "\n"
	      "  easproxy [-c FILE]          run in the foreground; JSON lines on standard error\n"
	      "  easproxy [-c FILE] check    try every file, key and address of the configuration; one line a finding\n"
	      "  easproxy [-c FILE] status   what a running easproxy of this configuration says of itself\n"
	      "  easproxy [-c FILE] device list [waiting] | release KEY | block KEY | forget KEY\n"
	      "                              the devices that are known, a line each; let one in, keep it out, or free its pin\n"
	      "\n"
	      "  -c, --config FILE   default " CONFIG_DEFAULT "\n"
	      "  -h, --help          this text\n"
	      "  -V, --version       the version\n"
	      "\n"
	      "SIGHUP reloads, SIGTERM ends in good order.\n",
	    to);
}

/* Prints the answer of GET /status on the local socket without its head. */
static int status(const char *config_file)
{
	static const char request[] = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
	struct config_error error = { "" };
	struct settings *s = program_settings(config_file, &error);
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval limit = { 5, 0 };
	char text[65536], *body;
	size_t n = 0;
	int fd;

	if (s == NULL) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/easproxy.sock", s->common.run_dir);
	settings_free(s);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0) {
		fprintf(stderr, "%s: %s: %s\n", sun.sun_path, strerror(errno),
		    errno == EACCES ? "run it as root or as easproxy's user" : "easproxy does not run with this configuration");
		if (fd >= 0)
			close(fd);
		return 1;
	}
	while (n < sizeof(text) - 1) {
		ssize_t r = recv(fd, text + n, sizeof(text) - 1 - n, 0);
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	close(fd);
	text[n] = '\0';
	body = strstr(text, "\r\n\r\n");
	if (body == NULL) {
		fprintf(stderr, "easproxy did not answer within 5 s\n");
		return 1;
	}
	fputs(body + 4, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *config_file = CONFIG_DEFAULT, *command;
	int o;

	object_memory_init();
	while ((o = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			config_file = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			puts("easproxy " EASGATE_VERSION);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	command = optind < argc ? argv[optind] : "";
	log_setup(LOG_INFO, "master", -1);
	if (strcmp(command, "device") == 0)
		return device_cli(config_file, argc - optind - 1, argv + optind + 1);
	if (optind + 1 < argc || (command[0] != '\0' && strcmp(command, "check") != 0 && strcmp(command, "status") != 0)) {
		fprintf(stderr, "easproxy: unknown command: %s\n", optind + 1 < argc ? argv[optind + 1] : command);
		usage(stderr);
		return 2;
	}
	if (strcmp(command, "check") == 0)
		return check_run(config_file);
	if (strcmp(command, "status") == 0)
		return status(config_file);
	log_never_block();
	return master_run(&easproxy_program, config_file);
}
