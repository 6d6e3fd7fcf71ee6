/*
 * cli: options of commands. Runs alone.
 */
#include "enroll/cli/cli.h"

static void take_out(int *argc, char **argv, int at, int n)
{
	memmove(argv + at, argv + at + n, (size_t)(*argc - at - n) * sizeof(*argv));
	*argc -= n;
}

const char *cli_option(int *argc, char **argv, const char *name, bool *bad)
{
	size_t n = strlen(name);

	for (int i = 0; i < *argc; i++) {
		const char *value;
		if (strncmp(argv[i], name, n) != 0 || (argv[i][n] != '\0' && argv[i][n] != '='))
			continue;
		if (argv[i][n] == '=') {
			value = argv[i] + n + 1;
			take_out(argc, argv, i, 1);
			return value;
		}
		if (i + 1 == *argc) {
			*bad = true;
			return NULL;
		}
		value = argv[i + 1];
		take_out(argc, argv, i, 2);
		return value;
	}
	return NULL;
}

bool cli_flag(int *argc, char **argv, const char *name)
{
	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], name) == 0) {
			take_out(argc, argv, i, 1);
			return true;
		}
	}
	return false;
}
