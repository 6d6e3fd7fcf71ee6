/*
 * metric_table: every metric of easenroll by name. The enum and the rows in metric_table.c stand in the same order.
 */
#ifndef EASGATE_ENROLL_METRIC_TABLE_H
#define EASGATE_ENROLL_METRIC_TABLE_H

#include "common/metrics.h"

enum enroll_metric {
	EM_CONNECTIONS,		/* gauge */
	EM_CONNECTIONS_SHED,	/* enum enroll_shed */
	EM_REQUESTS,		/* enum enroll_way_index x status class */
	EM_OCSP,		/* enum enroll_ocsp_result */
	EM_DIRECTORY_CACHE,	/* hit, miss, stale: in the directory process */
	EM_DIRECTORY_QUESTIONS,	/* result */
	EM_DIRECTORY_SEARCHES,	/* histogram, result */
	EM_DIRECTORY_SERVERS,	/* gauge */
	EM_DIRECTORY_ENTRIES,	/* gauge */
	EM_LOCKOUT_CHECKS,	/* enum lockout_result */
	EM_LOCKOUT_BINDS,	/* enum lockout_bind */
	EM_LOCKOUT_REMEMBERED,	/* enum lockout_memory */
	EM_LOCKOUT_WOULD_REFUSE,	/* enum lockout_result: mode log */
	EM_LOCKOUT_STRETCH,	/* histogram */
	EM_LOCKOUT_STRETCHERS,	/* gauge */
	EM_LOCKOUT_WAITING,	/* gauge */
	EM_REDIS_COMMANDS,	/* result: of the lockout process */
	EM_REDIS_CONNECTIONS,	/* found, lost, failed */
	EM_REGISTRY_LOG,	/* histogram, enum enroll_log_when */
	EM_PROCESS_RESTARTS,
	EM_COUNT
};
extern const struct metric_row enroll_metric_rows[EM_COUNT];

enum enroll_way_index { WAY_TLS = 0, WAY_PLAIN, WAY_LOCAL, WAY_ADMIN };
#define EM_REQUEST_SUB(way, status) ((unsigned)(way) * 5 + (unsigned)((status) / 100 >= 1 && (status) / 100 <= 5 ? (status) / 100 - 1 : 4))
enum enroll_shed { SHED_FULL = 0, SHED_ADDRESS, SHED_BODIES, SHED_DESCRIPTORS, SHED_KINDS };
enum enroll_log_when { LOG_WHEN_LONG = 0, LOG_WHEN_REST };
enum enroll_ocsp_result { OCSP_CACHED = 0, OCSP_SIGNED, OCSP_REFUSED, OCSP_UNAVAILABLE };

#endif
