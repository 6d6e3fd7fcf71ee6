/*
 * local: one question to the running easenroll over run_dir/easenroll.sock, in the admin API's words. Blocks, for five seconds at most. Runs alone.
 */
#ifndef EASGATE_ENROLL_CLI_LOCAL_H
#define EASGATE_ENROLL_CLI_LOCAL_H

#include <jansson.h>

#include "enroll/cli/cli.h"

#define LOCAL_ANSWER_MAX (8u << 20)

/*
 * body NULL: none; else sent as JSON (and freed). *status and the answer's JSON (caller's; an empty object where the answer is text,
 * which then stands under "text"). NULL: said on standard error what is wrong and the cure.
 */
json_t *local_ask(const struct enroll_settings *s, const char *method, const char *path, json_t *body, unsigned *status);
/* The same for commands: an answer that is no success is said on standard error. NULL then. */
json_t *local_do(const struct enroll_settings *s, const char *method, const char *path, json_t *body);
/* The same where something is acted on: where there is no such thing, or it cannot be done, the error names it and `cure`: how to find the right one. */
json_t *local_do_to(const struct enroll_settings *s, const char *method, const char *path, json_t *body, const char *what, const char *cure);
/* Appends text to a path percent-encoded. -1: does not fit. */
MUST_CHECK int local_escape(char *path, size_t size, const char *text);

/* A table for people: keys are paths such as "owner.name"; titles as long. Prints nothing but the titles for an empty list. */
void local_table(const json_t *list, const char *const *keys, const char *const *titles, size_t columns);
#define LOCAL_ROWS_MAX 500	/* that the API gives at once */
/* The same; says on standard error that there may be more where the list is as long as lists get. */
void local_rows(const json_t *list, const char *const *keys, const char *const *titles, size_t columns, const char *cure);
/* A "key  value" line. */
void local_fact(const char *key, const char *text);
/* "key  value" lines of an object's plain members. */
void local_facts(const json_t *object);
void local_json(const json_t *any);

/*
 * An answer as it was asked for, --json or for people: its facts, or the list under `key` as a table. more: local_rows()'s cure; NULL: the list is whole. Takes
 * the answer. Returns the exit status: 1 for NULL, of which local_do() has said what was wrong.
 */
int local_tell(const struct cli *c, json_t *answer);
int local_tell_list(const struct cli *c, json_t *answer, const char *key, const char *const *keys, const char *const *titles, size_t columns,
    const char *more);

#endif
