/*
 * main: easenroll's command line. Without a command the program runs; `ca` and `audit` work on files, the others ask the running one.
 */
#include <getopt.h>
#include <stdio.h>

#include "common/log.h"
#include "common/object_memory.h"
#include "enroll/check.h"
#include "enroll/cli/cli.h"
#include "enroll/program.h"

#define CONFIG_DEFAULT "/etc/easgate/easgate.yaml"

static void usage(FILE *to)
{
	fputs("easenroll - from a sign-in to a device's certificate, and back to revoked\n"
	      "\n"
	      "  easenroll [-c FILE] [run]     run in the foreground; JSON lines on standard error\n"
	      "  easenroll [-c FILE] check     try every file, key and address of the configuration; one line a finding\n"
	      "  easenroll [-c FILE] status    what a running easenroll of this configuration says of itself\n"
	      "  easenroll ca init | import | rollover | show\n"
	      "  easenroll audit list | verify\n"
	      "  easenroll device list | show | add | approve | reject | revoke | hold | release | waiting | block | forget\n"
	      "  easenroll migration report | switch | days\n"
	      "  easenroll user list | show | revoke\n"
	      "  easenroll secret add | list | revoke\n"
	      "\n"
	      "  -c, --config FILE   default " CONFIG_DEFAULT "\n"
	      "  -j, --json          answers of commands for programs\n"
	      "  -h, --help          this text; `easenroll COMMAND --help` says more\n"
	      "  -V, --version       the version\n"
	      "\n"
	      "SIGHUP reloads, SIGTERM ends in good order.\n",
	    to);
}

struct command {
	const char *name;
	int (*run)(const struct cli *c);
	const char *usage;
};

static const struct command commands[] = {
	{ "ca", cli_ca, cli_ca_usage }, { "audit", cli_audit, cli_audit_usage }, { "device", cli_device, cli_device_usage },
	{ "migration", cli_migration, cli_migration_usage }, { "user", cli_user, cli_user_usage }, { "secret", cli_secret, cli_secret_usage },
	{ "status", cli_status, cli_status_usage },
};

static int run_command(const struct command *command, const char *config_file, bool json, int argc, char **argv)
{
	struct config_error error = { "" };
	struct cli c = { .json = json, .argc = argc, .argv = argv };
	struct enroll_settings *s;
	int rc;

	/* before the configuration is read: who asks how to use it may have none yet */
	if (cli_flag(&c.argc, argv, "--help") || cli_flag(&c.argc, argv, "-h")) {
		fputs(command->usage, stdout);
		return 0;
	}
	c.settings = s = enroll_program_settings(config_file, &error);
	if (s == NULL) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	c.json |= cli_flag(&c.argc, c.argv, "--json");
	rc = command->run(&c);
	enroll_settings_free(s);
	return rc;
}

static int dispatch(const char *config_file, bool json, int argc, char **argv)
{
	const char *name = argc > 0 ? argv[0] : "run";

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return run_command(&commands[i], config_file, json, argc - 1, argv + 1);
	}
	if (argc > 1 || (strcmp(name, "run") != 0 && strcmp(name, "check") != 0)) {
		bool known = strcmp(name, "run") == 0 || strcmp(name, "check") == 0;
		fprintf(stderr, "easenroll: unknown command: %s\n", known ? argv[1] : name);
		usage(stderr);
		return 2;
	}
	if (strcmp(name, "check") == 0)
		return enroll_check_run(config_file);
	log_never_block();
	return master_run(&easenroll_program, config_file);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *config_file = CONFIG_DEFAULT;
	bool json = false;
	int o;

	object_memory_init();
	log_setup(LOG_INFO, "master", -1);
	/* "+": what stands behind the command is the command's */
	while ((o = getopt_long(argc, argv, "+c:jhV", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			config_file = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			puts("easenroll " EASGATE_VERSION);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	return dispatch(config_file, json, argc - optind, argv + optind);
}
