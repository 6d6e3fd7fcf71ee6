/*
 * audit_verify: walks the trail, then looks for each end of it that was noted elsewhere: in the program's log, or by hand. A chain of hashes alone cannot
 * tell that its newest entries are missing: whoever can write the file can also cut it. Runs as a command of its own; changes nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "enroll/cli/audit_parts.h"
#include "enroll/worker/audit_head.h"
#include "enroll/worker/audit_trail.h"

struct verdict {
	struct registry *r;
	struct audit_trail_report report;
	uint64_t heads;			/* found in the log, and in the trail */
	bool good;
};

/* One end of the trail as `whence` noted it. False: it is not there as it was. */
static bool check_head(struct verdict *v, int64_t n, const uint8_t noted[SHA256_SIZE], const char *whence)
{
	uint8_t hash[SHA256_SIZE];
	enum registry_result rc = audit_head_entry(v->r, n, hash);

	if (rc == REGISTRY_OK && memcmp(hash, noted, SHA256_SIZE) == 0)
		return true;
	v->good = false;
	if (rc != REGISTRY_OK && rc != REGISTRY_NONE)
		snprintf(v->report.text, sizeof(v->report.text), "%s", registry_problem(v->r));
	else if (n > v->report.entries)
		snprintf(v->report.text, sizeof(v->report.text), "the trail ends with entry %" PRId64 ", but %s knew entry %" PRId64
		    ": its newest entries were cut off, or an older copy was put in its place", v->report.entries, whence, n);
	else
		snprintf(v->report.text, sizeof(v->report.text), "entry %" PRId64 " is not the one that %s knew: the trail was written anew from there or "
		    "from an earlier entry on", n, whence);
	v->report.bad = n;
	return false;
}

/* A line of the log, whatever another program wrote before it. False: no need to go on. */
static bool check_line(struct verdict *v, const char *line)
{
	const char *json = strchr(line, '{');
	json_t *entry = json != NULL && strstr(json, "\"audit_head\"") != NULL ? json_loads(json, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	const char *event = json_string_value(json_object_get(entry, "event")), *head = json_string_value(json_object_get(entry, "head"));
	const char *time = json_string_value(json_object_get(entry, "time"));
	uint8_t hash[SHA256_SIZE];
	char whence[64];
	int64_t n = 0;
	bool on = true;

	if (event != NULL && strcmp(event, "audit_head") == 0 && head != NULL && audit_head_parse(strv_from(head), &n, hash) == 0) {
		snprintf(whence, sizeof(whence), "the log of %.30s", time != NULL ? time : "another time");
		on = check_head(v, n, hash, whence);
		v->heads++;
	}
	json_decref(entry);
	return on;
}

/* 0: all read. -1: v->report.text says why not. */
static int check_log(struct verdict *v, const char *name)
{
	FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
	char *line = NULL;
	size_t size = 0;
	bool on = true, read_all;

	if (f == NULL) {
		snprintf(v->report.text, sizeof(v->report.text), "%s cannot be read: %s", name, strerror(errno));
		return -1;
	}
	while (on && getline(&line, &size, f) >= 0)
		on = check_line(v, line);
	read_all = !on || (feof(f) && !ferror(f));
	free(line);
	if (f != stdin)
		fclose(f);
	if (!read_all)
		snprintf(v->report.text, sizeof(v->report.text), "%s could not be read to its end", name);
	else if (v->heads == 0)
		snprintf(v->report.text, sizeof(v->report.text), "%s has no audit_head line: it is not easenroll's log, and tells nothing of the trail's end", name);
	return read_all && v->heads > 0 ? 0 : -1;
}

static void print(const struct verdict *v, bool json)
{
	char head[AUDIT_HEAD_MAX], hash[2 * SHA256_SIZE + 1];

	text_hex(hash, v->report.last, SHA256_SIZE);
	audit_head_print(head, v->report.entries, v->report.last);
	if (json)
		printf("{\"whole\": %s, \"entries\": %" PRId64 ", \"hash\": \"%s\", \"bad\": %" PRId64 ", \"heads\": %" PRIu64 "}\n", v->good ? "true" : "false",
		    v->report.entries, hash, v->report.bad, v->heads);
	else if (v->good && v->heads > 0)
		printf("%" PRId64 " entries, whole, and all %" PRIu64 " ends that the log names are in it; keep elsewhere: %s\n", v->report.entries, v->heads, head);
	else if (v->good)
		printf("%" PRId64 " entries, whole; whether newer ones were cut off only a log can tell (--log); keep elsewhere: %s\n", v->report.entries, head);
	if (!v->good)
		fprintf(stderr, "easenroll: %s\n", v->report.text);
}

int audit_verify(struct registry *r, bool json, const char *at, const char *log)
{
	struct verdict v = { .r = r };
	uint8_t hash[SHA256_SIZE];
	int64_t n = 0;

	if (at != NULL && audit_head_parse(strv_from(at), &n, hash) < 0)
		return 2;
	v.good = audit_trail_verify(r, &v.report) == 0;
	if (v.good && at != NULL)
		(void)check_head(&v, n, hash, "the note");
	if (v.good && log != NULL && check_log(&v, log) < 0)
		v.good = false;
	print(&v, json);
	return v.good ? 0 : 1;
}
