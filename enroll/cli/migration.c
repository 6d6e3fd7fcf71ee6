/*
 * migration: `easenroll migration report | switch | days`: the admin API's words. A report is printed page by page, however many devices there are. Runs alone.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "enroll/cli/local.h"

#define PATH	   "/api/admin/migration"
#define PAGE	   500
#define PATIENCE   600	/* seconds for one survey */
#define LOOK_MS	   100

const char cli_migration_usage[] =
    "  easenroll migration report [--group DN] [--holding] [--csv | --json]\n"
    "                              how far each group is, each device, and who has none; --holding: only devices that hold their owner back\n"
    "  easenroll migration switch DN certificate [--accept N]\n"
    "                              members come in by certificate alone; N devices that do not yet may be shut out by it\n"
    "  easenroll migration switch DN back\n"
    "  easenroll migration days [N]   figures of the last N days (90; at most 400)\n";

static int usage(void)
{
	fputs(cli_migration_usage, stderr);
	return 2;
}

/* --- a survey --- */

/* The overview once the devices have been gone through anew. NULL: it is said why not. */
static json_t *survey(const struct cli *c)
{
	json_t *overview = local_do(c->settings, "GET", PATH "?fresh=true", NULL), *s;
	const char *problem;

	for (unsigned i = 0; overview != NULL; i++) {
		s = json_object_get(overview, "survey");
		problem = json_string_value(json_object_get(s, "problem"));
		if (!json_is_true(json_object_get(s, "running"))) {
			if (problem == NULL || problem[0] == '\0')
				return overview;
			fprintf(stderr, "easenroll: the devices could not be gone through: %s\n", problem);
			break;
		}
		if (i >= PATIENCE * 1000 / LOOK_MS) {
			fprintf(stderr, "easenroll: %d s were not enough to go through the devices: see its log\n", PATIENCE);
			break;
		}
		json_decref(overview);
		(void)poll(NULL, 0, LOOK_MS);
		overview = local_do(c->settings, "GET", PATH, NULL);
	}
	json_decref(overview);
	return NULL;
}

/* --- lines for programs --- */

/* A spreadsheet takes what begins with one of these for a formula: names of devices are whatever a device says. */
static void print_csv(const char *text, bool first)
{
	char shown[8];

	if (!first)
		putchar(',');
	putchar('"');
	if (text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL)
		putchar('\'');
	for (size_t n; (n = cli_character(text, shown)) > 0; text += n) {
		if (*text == '"')
			putchar('"');
		fputs(shown, stdout);
	}
	putchar('"');
}

static const char *const csv_fields[] = { "upn", "sid", "device", "device_type", "user_agent", "state", "method", "command", "client", "first_seen", "last_seen",
	"verdict", "holds_back", "absorbed", "prevented", "last_bad", "directory", "key" };

static void print_csv_row(const json_t *row)
{
	char room[32], all[8192] = "";
	const json_t *v, *group;
	size_t i, n = 0;

	for (i = 0; i < ARRAY_LEN(csv_fields); i++) {
		v = json_object_get(row, csv_fields[i]);
		if (json_is_integer(v))
			snprintf(room, sizeof(room), "%lld", (long long)json_integer_value(v));
		else
			snprintf(room, sizeof(room), "%s", json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "");
		print_csv(json_is_string(v) ? json_string_value(v) : room, i == 0);
	}
	json_array_foreach(json_object_get(row, "groups"), i, group) {
		int k = snprintf(all + n, sizeof(all) - n, "%s%s", i > 0 ? " | " : "", json_string_value(group));
		if (k < 0 || (size_t)k >= sizeof(all) - n)
			break;
		n += (size_t)k;
	}
	print_csv(all, false);
	putchar('\n');
}

/* --- the report --- */

enum form { FORM_TEXT, FORM_CSV, FORM_JSON };

static void begin(enum form form, const json_t *overview)
{
	static const char *const keys[] = { "group", "switched", "since", "users", "ready", "unready", "holding", "without" };
	static const char *const titles[] = { "GROUP", "SWITCHED", "SINCE", "USERS", "READY", "NOT READY", "DEVICES THAT HOLD BACK", "WITHOUT A DEVICE" };
	const json_t *whole = json_object_get(json_object_get(overview, "survey"), "whole");

	if (json_is_false(whole))
		fputs("easenroll: there are more devices than a report holds: it is not whole\n", stderr);
	if (form == FORM_CSV) {
		for (size_t i = 0; i < ARRAY_LEN(csv_fields); i++)
			print_csv(csv_fields[i], i == 0);
		puts(",\"groups\"");
	} else if (form == FORM_JSON) {
		fputs("{\"overview\": ", stdout);
		json_dumpf(overview, stdout, JSON_INDENT(2));
		fputs(",\n\"devices\": [", stdout);
	} else {
		local_table(json_object_get(overview, "groups"), keys, titles, ARRAY_LEN(keys));
		printf("\nusers and devices that were seen within %lld days\n", (long long)json_integer_value(json_object_get(overview, "days")));
		local_facts(overview);
		local_facts(json_object_get(overview, "devices"));
		putchar('\n');
	}
}

static void print_page(enum form form, json_t *list, bool first)
{
	static const char *const keys[] = { "upn", "device", "device_type", "method", "last_seen", "verdict", "absorbed", "prevented" };
	static const char *const titles[] = { "USER", "DEVICE", "TYPE", "LAST METHOD", "LAST SEEN", "VERDICT", "ABSORBED", "PREVENTED" };
	const json_t *row;
	size_t i;

	if (form == FORM_TEXT) {
		if (first || json_array_size(list) > 0)
			local_table(list, keys, titles, ARRAY_LEN(keys));
		return;
	}
	json_array_foreach(list, i, row) {
		if (form == FORM_CSV) {
			print_csv_row(row);
			continue;
		}
		fputs(first && i == 0 ? "\n" : ",\n", stdout);
		json_dumpf(row, stdout, JSON_COMPACT);
	}
}

static void print_people(enum form form, json_t *list, bool first)
{
	static const char *const keys[] = { "upn", "sid", "old" };
	static const char *const titles[] = { "WITHOUT A DEVICE", "SID", "OLD DEVICES" };
	json_t *row;
	size_t i;

	if (form == FORM_TEXT) {
		if (first && json_array_size(list) > 0)
			putchar('\n');
		if (json_array_size(list) > 0)
			local_table(list, keys, titles, ARRAY_LEN(keys));
		return;
	}
	json_array_foreach(list, i, row) {
		if (form == FORM_CSV) {
			(void)json_object_set_new(row, "verdict", json_string("without"));
			print_csv_row(row);
			continue;
		}
		fputs(first && i == 0 ? "\n" : ",\n", stdout);
		json_dumpf(row, stdout, JSON_COMPACT);
	}
}

/* What is printed page by page: devices, or people. */
struct rows {
	const char *path, *key;
	void (*print)(enum form form, json_t *list, bool first);
};
static const struct rows device_rows = { PATH "/devices", "devices", print_page }, people_rows = { PATH "/without", "people", print_people };

/* Everything of one survey: 0, or 1 where another one came between. */
static int print_rows(const struct cli *c, const struct rows *rows, enum form form, const char *query, json_int_t number)
{
	char path[4096];
	size_t n = PAGE;

	for (unsigned skip = 0; n == PAGE; skip += PAGE) {
		json_t *answer, *list;
		snprintf(path, sizeof(path), "%s?limit=%d&skip=%u%s", rows->path, PAGE, skip, query);
		answer = local_do(c->settings, "GET", path, NULL);
		if (answer == NULL)
			return 1;
		list = json_object_get(answer, rows->key);
		n = json_array_size(list);
		if (json_integer_value(json_object_get(answer, "number")) != number) {
			fputs("easenroll: the devices were gone through anew meanwhile: this is not one report; ask again\n", stderr);
			json_decref(answer);
			return 1;
		}
		rows->print(form, list, skip == 0);
		json_decref(answer);
	}
	return 0;
}

static int report(const struct cli *c, enum form form, const char *group, bool holding)
{
	char query[4000] = "&group=";
	json_t *overview;
	json_int_t number;
	int rc;

	if (group == NULL)
		query[0] = '\0';
	else if (local_escape(query, sizeof(query) - 32, group) < 0)
		return usage();
	if (holding)
		memcpy(query + strlen(query), "&holding=true", sizeof("&holding=true"));
	overview = survey(c);
	if (overview == NULL)
		return 1;
	begin(form, overview);
	number = json_integer_value(json_object_get(json_object_get(overview, "survey"), "number"));
	rc = print_rows(c, &device_rows, form, query, number);
	if (form == FORM_JSON)
		fputs("\n],\n\"people\": [", stdout);
	/* nobody of them holds anything back */
	if (rc == 0 && !holding)
		rc = print_rows(c, &people_rows, form, query, number);
	if (form == FORM_JSON)
		puts("\n]}");
	json_decref(overview);
	return rc;
}

/* --- the switch --- */

static int do_switch(const struct cli *c, const char *group, const char *to, const char *accept)
{
	char *end = NULL;
	long n = accept != NULL ? strtol(accept, &end, 10) : 0;
	json_t *overview;

	if ((strcmp(to, "certificate") != 0 && strcmp(to, "back") != 0) || n < 0 || (accept != NULL && (*accept == '\0' || *end != '\0')))
		return usage();
	if (strcmp(to, "certificate") == 0) {
		overview = survey(c);		/* whom it shuts out is said of now */
		if (overview == NULL)
			return 1;
		json_decref(overview);
	}
	return local_tell(c, local_do(c->settings, "POST", PATH "/switch", json_pack("{s:s,s:s,s:I}", "group", group, "to", to, "accept", (json_int_t)n)));
}

static int print_days(const struct cli *c, const char *days)
{
	static const char *const keys[] = { "day", "requests_certificate", "requests_password", "requests_bearer", "seen_certificate", "seen_password",
		"stale_absorbed", "lockouts_prevented" };
	static const char *const titles[] = { "DAY", "BY CERTIFICATE", "BY PASSWORD", "BY TOKEN", "DEVICES BY CERTIFICATE", "BY PASSWORD", "ABSORBED", "PREVENTED" };
	char path[256] = PATH "/days?days=";

	if (local_escape(path, sizeof(path), days) < 0)
		return usage();
	return local_tell_list(c, local_do(c->settings, "GET", path, NULL), "days", keys, titles, ARRAY_LEN(keys), NULL);
}

int cli_migration(const struct cli *c)
{
	int argc = c->argc;
	bool bad = false, csv = cli_flag(&argc, c->argv, "--csv"), holding = cli_flag(&argc, c->argv, "--holding");
	const char *group = cli_option(&argc, c->argv, "--group", &bad), *accept = cli_option(&argc, c->argv, "--accept", &bad);
	char **argv = c->argv;

	if (bad || argc < 1 || (csv && c->json) || (accept != NULL && (strcmp(argv[0], "switch") != 0 || argc != 3 || strcmp(argv[2], "certificate") != 0)) ||
	    (strcmp(argv[0], "report") != 0 && (csv || holding || group != NULL)))
		return usage();
	if (strcmp(argv[0], "report") == 0 && argc == 1)
		return report(c, csv ? FORM_CSV : c->json ? FORM_JSON : FORM_TEXT, group, holding);
	if (strcmp(argv[0], "switch") == 0 && argc == 3)
		return do_switch(c, argv[1], argv[2], accept);
	if (strcmp(argv[0], "days") == 0 && argc <= 2)
		return print_days(c, argc == 2 ? argv[1] : "90");
	return usage();
}
