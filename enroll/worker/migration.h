/*
 * migration: what administrators see of the way from passwords to certificates, and the switch of a group. What the files of the part share; openapi.yaml says
 * what it looks like from outside. All of its figures come from Redis, and are as true as whoever can write there; a switch only ever restricts. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_MIGRATION_H
#define EASGATE_ENROLL_MIGRATION_H

#include "enroll/worker/portal_parts.h"
#include "enroll/worker/survey.h"

#define MIGRATION_DAYS_MAX 400

struct migration {
	struct enroll_worker *worker;
	struct survey *survey;		/* NULL: there is no Redis */
};
struct migration *migration_new(struct enroll_worker *w);	/* NULL: why is logged */
void migration_free(struct migration *m);			/* accepts NULL */
void migration_tidy(struct migration *m);

/* The survey, or NULL: it has answered that there is no Redis. */
struct survey *migration_survey(const struct enroll_worker *w, struct http_request *r);
/* The group of this DN; NULL: none. */
const struct enroll_group *migration_group(const struct enroll_worker *w, struct strv dn);

/* A value of `switches`. False: the group is not switched. *at: 0 where nobody can say since when. */
bool migration_switch_read(const redisReply *value, int64_t *at);

/* For the table of migration.c. */
void migration_serve_devices(struct enroll_worker *w, struct http_request *r);
void migration_serve_without(struct enroll_worker *w, struct http_request *r);
void migration_serve_days(struct enroll_worker *w, struct http_request *r);
void migration_serve_switch(struct enroll_worker *w, struct http_request *r);
void migration_serve_records(struct enroll_worker *w, struct http_request *r);
void migration_serve_record_act(struct enroll_worker *w, struct http_request *r);

extern const struct route migration_routes[];

#endif
