/*
 * metric_table: names, help and labels of easenroll's metrics, in the order of enum enroll_metric.
 */
#include "enroll/metric_table.h"

static const char *const ways[] = { "tls", "plain", "local", "admin", NULL };
static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx", NULL };
static const char *const shed[] = { "full", "address", "bodies", "descriptors", NULL };
static const char *const ocsp_results[] = { "cached", "signed", "refused", "unavailable", NULL };
static const char *const caches[] = { "hit", "miss", "stale", NULL };
static const char *const account_results[] = { "unavailable", "found", "unknown", "ambiguous", "mismatch", NULL };
static const char *const lockout_results[] = { "unavailable", "right", "wrong", "known_wrong", "unknown", "disabled", "expired", "locked",
	"must_change", "not_now", "guarded", "account_budget", "address_budget", "overloaded", NULL };
static const char *const lockout_binds[] = { "wrong", "right", "other", NULL };
static const char *const lockout_memories[] = { "right", "wrong", "old", "shared", NULL };
static const char *const redis_results[] = { "down", "timeout", "error", "answer", "not_sent", NULL };
static const char *const redis_connections[] = { "found", "lost", "failed", NULL };
static const char *const log_when[] = { "long", "rest", NULL };

const struct metric_row enroll_metric_rows[EM_COUNT] = {
	[EM_CONNECTIONS] = { "easenroll_connections", "Connections open now.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[EM_CONNECTIONS_SHED] = { "easenroll_connections_shed_total", "Connections closed, or not taken, so that others are served.", METRIC_COUNTER, "reason", shed, NULL, NULL },
	[EM_REQUESTS] = { "easenroll_requests_total", "Requests answered, by listener and class of status.", METRIC_COUNTER, "listener", ways, "status", classes },
	[EM_OCSP] = { "easenroll_ocsp_total", "OCSP requests.", METRIC_COUNTER, "result", ocsp_results, NULL, NULL },
	[EM_DIRECTORY_CACHE] = { "easenroll_directory_cache_total", "The directory process's cache.", METRIC_COUNTER, "result", caches, NULL, NULL },
	[EM_DIRECTORY_QUESTIONS] = { "easenroll_directory_questions_total", "Questions to the directory process.", METRIC_COUNTER, "result", account_results, NULL, NULL },
	[EM_DIRECTORY_SEARCHES] = { "easenroll_directory_search_seconds", "One account by LDAP.", METRIC_HISTOGRAM, "result", account_results, NULL, NULL },
	[EM_DIRECTORY_SERVERS] = { "easenroll_directory_servers", "LDAP servers that are well.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[EM_DIRECTORY_ENTRIES] = { "easenroll_directory_entries", "Answers in the directory's cache.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[EM_LOCKOUT_CHECKS] = { "easenroll_lockout_checks_total", "Passwords that the lockout process was asked about.", METRIC_COUNTER, "result", lockout_results, NULL, NULL },
	[EM_LOCKOUT_BINDS] = { "easenroll_lockout_binds_total", "Passwords that were sent to the directory.", METRIC_COUNTER, "result", lockout_binds, NULL, NULL },
	[EM_LOCKOUT_REMEMBERED] = { "easenroll_lockout_remembered_total", "Passwords that were judged without asking the directory.", METRIC_COUNTER, "what", lockout_memories, NULL, NULL },
	[EM_LOCKOUT_WOULD_REFUSE] = { "easenroll_lockout_would_refuse_total", "Mode log: passwords that enforce would have refused.", METRIC_COUNTER, "result", lockout_results, NULL, NULL },
	[EM_LOCKOUT_STRETCH] = { "easenroll_lockout_stretch_seconds", "The memory-hard work of one password.", METRIC_HISTOGRAM, NULL, NULL, NULL, NULL },
	[EM_LOCKOUT_STRETCHERS] = { "easenroll_lockout_processes", "Processes that do it, or could.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[EM_LOCKOUT_WAITING] = { "easenroll_lockout_waiting", "Passwords that wait for the memory-hard work.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[EM_REDIS_COMMANDS] = { "easenroll_redis_commands_total", "Commands of the lockout process to Redis.", METRIC_COUNTER, "result", redis_results, NULL, NULL },
	[EM_REDIS_CONNECTIONS] = { "easenroll_redis_connections_total", "Its connections to Redis that found the master, lost it again, or failed.", METRIC_COUNTER, "result", redis_connections, NULL, NULL },
	[EM_REGISTRY_LOG] = { "easenroll_registry_log_seconds", "Moving the registry's log into its file, for which a worker stands still.", METRIC_HISTOGRAM, "when", log_when, NULL, NULL },
	[EM_PROCESS_RESTARTS] = { "easenroll_process_restarts_total", "Processes that died and were started again.", METRIC_COUNTER, NULL, NULL, NULL, NULL },
};
