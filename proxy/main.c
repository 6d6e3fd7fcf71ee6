/*
 * main: easproxy's command line. No command runs the program; `check` tries a configuration; `status` asks a running one; `device` looks at devices.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/object_memory.h"
#include "proxy/check.h"
#include "proxy/device_cli.h"
#include "proxy/explain.h"
#include "proxy/local.h"
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
	      "  easproxy [-c FILE] explain --user NAME [--device ID] [--certificate FILE] [--json]\n"
	      "                              by what that account may come in at a running easproxy, and which line decides\n"
	      "\n"
	      "  -c, --config FILE   default " CONFIG_DEFAULT "\n"
	      "  -h, --help          this text\n"
	      "  -V, --version       the version\n"
	      "\n"
	      "SIGHUP reloads, SIGTERM ends in good order.\n",
	    to);
}

/* What a running easproxy of this configuration says of itself. */
static int status(const char *config_file)
{
	struct config_error error = { "" };
	struct settings *s = program_settings(config_file, &error);
	char text[65536];
	const char *body;
	unsigned code;

	if (s == NULL) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	body = local_get(s, "/status", text, sizeof(text), &code);
	settings_free(s);
	if (body == NULL)
		return 1;
	fputs(body, stdout);
	return 0;
}

static bool take_wish(struct explain_wish *wish, int option)
{
	switch (option) {
	case 'u':
		wish->user = optarg;
		return true;
	case 'd':
		wish->device = optarg;
		return true;
	case 'C':
		wish->certificate = optarg;
		return true;
	case 'j':
		wish->json = true;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "user", required_argument, NULL, 'u' },
		{ "device", required_argument, NULL, 'd' },
		{ "certificate", required_argument, NULL, 'C' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	const char *config_file = CONFIG_DEFAULT, *command;
	struct explain_wish wish = { NULL, NULL, NULL, false };
	bool wished = false;
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
			if (!take_wish(&wish, o)) {
				usage(stderr);
				return 2;
			}
			wished = true;
		}
	}
	command = optind < argc ? argv[optind] : "";
	log_setup(LOG_INFO, "master", -1);
	if (strcmp(command, "device") == 0)
		return device_cli(config_file, argc - optind - 1, argv + optind + 1);
	if (optind + 1 < argc || (command[0] != '\0' && strcmp(command, "check") != 0 && strcmp(command, "status") != 0 && strcmp(command, "explain") != 0)) {
		fprintf(stderr, "easproxy: unknown command: %s\n", optind + 1 < argc ? argv[optind + 1] : command);
		usage(stderr);
		return 2;
	}
	if ((strcmp(command, "explain") == 0) != wished || (wished && wish.user == NULL && wish.certificate == NULL)) {
		fputs("easproxy: explain needs --user or --certificate, and no other command has them\n", stderr);
		return 2;
	}
	if (wished)
		return explain_run(config_file, &wish);
	if (strcmp(command, "check") == 0)
		return check_run(config_file);
	if (strcmp(command, "status") == 0)
		return status(config_file);
	log_never_block();
	return master_run(&easproxy_program, config_file);
}
