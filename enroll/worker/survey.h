/*
 * survey: goes through the records of all devices in Redis, their owners' figures of the lockout guard and, where groups are to be switched, their groups in
 * the directory, some at a time, on a connection of its own; and keeps what it found until the next one is through. One at a time. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_SURVEY_H
#define EASGATE_ENROLL_SURVEY_H

#include "common/asker.h"
#include "common/bundle.h"
#include "enroll/worker/survey_table.h"

#define SURVEY_FRESH_SECONDS 60	/* so old may one be that is shown without another being begun */

struct survey;
struct survey_config {
	struct loop *loop;
	struct asker *directory;
	const struct config_redis *redis;
	struct bundle *bundle;			/* password and CA, not kept */
	const struct enroll_migration *migration;
	/* all borrowed */
};
struct survey *survey_new(const struct survey_config *config, char *why, size_t why_size);	/* NULL: why */
void survey_free(struct survey *s);	/* accepts NULL */

/* Begins one, unless one is running; with `fresh` false only where the last one is old. */
void survey_begin(struct survey *s, bool fresh);
/* What was not asked for for an hour is given back. */
void survey_tidy(struct survey *s);

struct survey_state {
	bool running;
	unsigned number;	/* of surveys that have ended, well or not: grows */
	size_t looked_at;	/* devices of the one that is running */
	bool whole;		/* the last one holds everything that was there */
	int64_t at;		/* when it began; 0: none yet */
	const char *problem;	/* why the last one has failed; "" : it has not */
};
void survey_get_state(const struct survey *s, struct survey_state *out);
/* The last one that went through, with its totals; NULL: none yet. Good until the loop goes on. */
struct survey_table *survey_found(struct survey *s, const struct survey_totals **totals);
/* For other questions of the migration; NULL while Redis does not answer. */
struct redis *survey_redis(struct survey *s);

#endif
