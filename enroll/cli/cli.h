/*
 * cli: what the commands of easenroll share. A command gets the words behind its own name ("init --rsa"), prints to standard
 * output (--json: one JSON document, for programs) and returns the exit status: 0 good, 1 refused or failed (one line on standard
 * error says what and the cure), 2 wrong usage. `ca` and `audit` work on files; the others ask the running easenroll.
 */
#ifndef EASGATE_ENROLL_CLI_H
#define EASGATE_ENROLL_CLI_H

#include <stdio.h>

#include "enroll/settings.h"

struct cli {
	const struct enroll_settings *settings;
	bool json;
	int argc;		/* words behind the command's name */
	char **argv;
};

int cli_ca(const struct cli *c);	/* init | import | rollover | show */
int cli_audit(const struct cli *c);	/* list | verify */
int cli_device(const struct cli *c);	/* list | show | add | approve | reject | revoke | hold | release | waiting | block | forget */
int cli_migration(const struct cli *c);	/* report | switch | days */
int cli_user(const struct cli *c);	/* list | show | revoke */
int cli_secret(const struct cli *c);	/* add | list | revoke */
int cli_status(const struct cli *c);

/* What `easenroll COMMAND --help` says, and what stands on standard error where a command is not understood. */
extern const char cli_ca_usage[], cli_audit_usage[], cli_device_usage[], cli_migration_usage[], cli_user_usage[], cli_secret_usage[], cli_status_usage[];

/* The value of option `name` ("--reason"), taken out of the words; NULL: not there. *bad: it stands there without a value. */
const char *cli_option(int *argc, char **argv, const char *name, bool *bad);
/* Whether one of these stands among the words: for commands that do not take what others of their family take. */
bool cli_any(const char *const *values, size_t n);
/* Whether the option without a value is there; taken out of the words. */
bool cli_flag(int *argc, char **argv, const char *name);

/*
 * Text from elsewhere (a device says what it is called), as a terminal may have it: what it would obey, what turns the direction of writing, and bytes that are
 * no UTF-8 are shown as "\x1b". One character of it into out; returns how many bytes of text that was, 0 at its end.
 */
size_t cli_character(const char *text, char out[8]);
void cli_print(FILE *to, const char *text);
size_t cli_width(const char *text);	/* columns, one a character: no font is asked */

#endif
