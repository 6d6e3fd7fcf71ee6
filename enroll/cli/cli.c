/*
 * cli: options of commands, and text from elsewhere on a terminal. Runs alone.
 */
#include "enroll/cli/cli.h"

#include "common/text.h"

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

bool cli_any(const char *const *values, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (values[i] != NULL)
			return true;
	}
	return false;
}

size_t cli_character(const char *text, char out[8])
{
	size_t left = strnlen(text, 4);

	if (left == 0)
		return 0;
	for (size_t n = 1; n <= left; n++) {
		if (!text_is_clean((struct strv){ text, n }))
			continue;
		memcpy(out, text, n);
		out[n] = '\0';
		return n;
	}
	snprintf(out, 8, "\\x%02x", (unsigned)(unsigned char)*text);
	return 1;
}

void cli_print(FILE *to, const char *text)
{
	char out[8];

	for (size_t n; (n = cli_character(text, out)) > 0; text += n)
		fputs(out, to);
}

size_t cli_width(const char *text)
{
	char out[8];
	size_t width = 0;

	for (size_t n; (n = cli_character(text, out)) > 0; text += n)
		width += out[0] == '\\' && out[1] == 'x' ? 4 : 1;
	return width;
}
