/*
 * audit: `easenroll audit list | verify`: reads the registry's file directly, so that it also serves where the program does not run. Changes nothing.
 * Runs as a command of its own, as whoever may read the file.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/text.h"
#include "enroll/cli/audit_parts.h"
#include "enroll/worker/audit_names.h"

const char cli_audit_usage[] =
    "easenroll audit list [--from NUMBER] [--object OBJECT] [--limit NUMBER] [--json]\n"
    "        the entries, oldest first; without --from the newest ones\n"
    "easenroll audit verify [--log FILE] [--at NUMBER:HASH] [--json]\n"
    "        whether every entry continues the one before. With --log (-: standard input) also whether all that the program's log of other days\n"
    "        names as the trail's end (audit_head) is still in it, so that newest entries that were cut off are missed; --at: one such end\n";

static void time_text(int64_t at, char out[32])
{
	time_t t = (time_t)at;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, 32, "%" PRId64, at);
}

#define PORTION 256

/* Names are looked up between two portions: nothing else may be asked of the registry during a walk. */
struct portion {
	struct registry_audit_entry entry[PORTION];
	unsigned n;
};

static bool take_entry(void *arg, const struct registry_audit_entry *e)
{
	struct portion *p = arg;

	p->entry[p->n++] = *e;
	return p->n < PORTION;
}

/* Detail and names are whatever somebody called himself or his device. */
static void print_line(const struct registry_audit_entry *e, const char *at, const char *actor, const char *object)
{
	printf("%6" PRId64 "  %s  %-24s  %-24s ", e->n, at, e->action, e->actor);
	if (actor[0] != '\0') {
		putchar('(');
		cli_print(stdout, actor);
		putchar(')');
	}
	printf("  ");
	cli_print(stdout, e->object);
	printf("%s", object[0] != '\0' ? "  " : "");
	cli_print(stdout, object);
	printf("%s", e->detail[0] != '\0' ? "  " : "");
	cli_print(stdout, e->detail);
	putchar('\n');
}

/* As the API says it, or as one line. */
static void print_entry(struct registry *r, const struct registry_audit_entry *e, json_t *rows)
{
	char at[32], hash[2 * SHA256_SIZE + 1], actor[AUDIT_NAME_MAX], object[AUDIT_NAME_MAX];

	time_text(e->at, at);
	text_hex(hash, e->hash, SHA256_SIZE);
	audit_name(r, e->actor, actor);
	audit_name(r, e->object, object);
	if (rows != NULL)
		(void)json_array_append_new(rows, json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "n", (json_int_t)e->n, "at", at, "actor", e->actor,
		    "actor_name", actor, "action", e->action, "object", e->object, "object_name", object, "detail", e->detail, "hash", hash));
	else
		print_line(e, at, actor, object);
}

static enum registry_result print_all(struct registry *r, int64_t first, uint64_t most, const char *object, json_t *rows)
{
	struct portion *p = malloc(sizeof(*p));
	enum registry_result rc = p != NULL ? REGISTRY_OK : REGISTRY_FAILED;

	while (rc == REGISTRY_OK && most > 0) {
		p->n = 0;
		rc = registry_audit_list(r, first, (unsigned)(most < PORTION ? most : PORTION), object, take_entry, p);
		for (unsigned i = 0; rc == REGISTRY_OK && i < p->n; i++)
			print_entry(r, &p->entry[i], rows);
		if (p->n < PORTION)
			break;
		most -= p->n;
		first = p->entry[p->n - 1].n + 1;
	}
	free(p);
	return rc;
}

static bool take_number(void *arg, const struct registry_audit_entry *e)
{
	*(uint64_t *)arg = (uint64_t)e->n;
	return false;
}

static int fail(const char *what)
{
	fprintf(stderr, "easenroll: %s\n", what);
	return 1;
}

static int list(struct registry *r, const struct cli *c, const char *from, const char *object, const char *limit)
{
	uint64_t first = 0, most = 100;
	int64_t last = 0;
	json_t *rows;

	if ((from != NULL && text_u64(strv_from(from), INT64_MAX, &first) < 0) || (limit != NULL && text_u64(strv_from(limit), 1000000, &most) < 0))
		return 2;
	if (from == NULL && object == NULL && registry_audit_last(r, &last) == REGISTRY_OK && last > (int64_t)most)
		first = (uint64_t)last - most + 1;
	/* of one object likewise its newest ones; where it has fewer, all */
	if (from == NULL && object != NULL && most > 0 && registry_audit_newest(r, object, (unsigned)most - 1, 1, take_number, &first) != REGISTRY_OK)
		return fail(registry_problem(r));
	rows = c->json ? json_array() : NULL;
	if (print_all(r, (int64_t)first, most, object != NULL ? object : "", rows) != REGISTRY_OK) {
		json_decref(rows);
		return fail(registry_problem(r));
	}
	if (c->json) {
		json_t *all = json_pack("{s:o}", "entries", rows);
		json_dumpf(all, stdout, JSON_INDENT(2));
		puts("");
		json_decref(all);
	}
	return 0;
}

int cli_audit(const struct cli *c)
{
	bool bad = false;
	int argc = c->argc, rc = 2;
	const char *from = cli_option(&argc, c->argv, "--from", &bad), *object = cli_option(&argc, c->argv, "--object", &bad);
	const char *limit = cli_option(&argc, c->argv, "--limit", &bad), *at = cli_option(&argc, c->argv, "--at", &bad);
	const char *log = cli_option(&argc, c->argv, "--log", &bad);
	const char *const of_list[] = { from, object, limit }, *const of_verify[] = { at, log };
	char why[400];
	struct registry *r;
	bool is_list;

	is_list = argc == 1 && strcmp(c->argv[0], "list") == 0;
	if (bad || argc != 1 || (!is_list && strcmp(c->argv[0], "verify") != 0) || (is_list ? cli_any(of_verify, ARRAY_LEN(of_verify)) : cli_any(of_list, ARRAY_LEN(of_list)))) {
		fputs(cli_audit_usage, stderr);
		return 2;
	}
	r = registry_open_read(c->settings->enroll.registry, why, sizeof(why));
	if (r == NULL)
		return fail(why);
	rc = is_list ? list(r, c, from, object, limit) : audit_verify(r, c->json, at, log);
	if (rc == 2)
		fputs(cli_audit_usage, stderr);
	registry_close(r);
	return rc;
}
