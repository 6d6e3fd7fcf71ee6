/*
 * metric_table: names, help and labels of easproxy's metrics, in the order of enum metric.
 */
#include "proxy/metric_table.h"

#include "proxy/worker/eas_query.h"
#include "proxy/worker/reply.h"

static const char *const handshake_results[] = { "full", "resumed", "failed", "timeout", NULL };
static const char *const versions[] = { "other", "1.2", "1.3", NULL };
static const unsigned short status_codes[] = { 200, 400, 401, 403, 404, 408, 413, 431, 449, 451, 456, 457, 500, 501, 502, 503, 504, 507 };
static const char *const statuses[] = { "200", "400", "401", "403", "404", "408", "413", "431", "449", "451", "456", "457", "500",
	"501", "502", "503", "504", "507", "other", NULL };
static const char *const directions[] = { "from_device", "to_device", NULL };
static const char *const lookups[] = { "unknown", "good", "revoked", NULL };
static const char *const caches[] = { "hit", "miss", "stale", NULL };
static const char *const account_results[] = { "unavailable", "found", "unknown", "ambiguous", "mismatch", NULL };
static const char *const kerberos_results[] = { "refused", "ok", "no_kdc", "denied", "broken", NULL };
static const char *const device_results[] = { "unavailable", "allowed", "pinned", "other_device", "unregistered", "blocked", "quarantined", "limit", "new", NULL };
static const char *const lockout_results[] = { "unavailable", "right", "wrong", "known_wrong", "unknown", "disabled", "expired", "locked",
	"must_change", "not_now", "guarded", "account_budget", "address_budget", "overloaded", NULL };
static const char *const lockout_binds[] = { "wrong", "right", "other", NULL };
static const char *const lockout_memories[] = { "right", "wrong", "old", "shared", NULL };
static const char *const connection_states[] = { "active", "idle", NULL };
static const char *const upstream_failures[] = { "connect", "tls", "answer", "timeout", "auth", NULL };
static const char *const ended[] = { "revoked", "account", "device", "certificate", "trust", NULL };
static const char *const accept_refusals[] = { "full", "proxy_header", "descriptors", "memory", "address", NULL };
static const char *const redis_results[] = { "down", "timeout", "error", "answer", "not_sent", NULL };
static const char *const redis_connections[] = { "found", "lost", "failed", NULL };
static const char *const event_types[] = { "unknown", "revoked", "unrevoked", "device", "account", "reload", "switch", NULL };
static const char *const event_verdicts[] = { "taken", "taken_unproven", "foreign", "not_stored", "malformed", "no_mac", "wrong_time",
	"misplaced", "old", "replayed", NULL };
static const char *const crl_looks[] = { "loaded", "unchanged", "expired", "unreadable", "not_fetched", "malformed", "wrong_issuer",
	"signature", "not_yet_valid", "rollback", "scope", NULL };
static const char *const key_fetches[] = { "loaded", "unchanged", "not_fetched", "refused", NULL };
static const char *const unverified_answers[] = { "accepted", "refused", "other", NULL };
static const char *const local_results[] = { "taken", "not_taken", "refused", NULL };
static const char *const good_failed[] = { "good", "failed", NULL };

const struct metric_row metric_rows[M_COUNT] = {
	[M_SESSIONS] = { "easproxy_sessions", "Device connections open now.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[M_SESSIONS_HELD] = { "easproxy_sessions_held", "Device connections with a Ping or Sync waiting at the mail server.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[M_ACCEPTED] = { "easproxy_accepted_total", "Device connections accepted.", METRIC_COUNTER, NULL, NULL, NULL, NULL },
	[M_ACCEPT_REFUSED] = { "easproxy_accept_refused_total", "Device connections closed at once, or to make room for others of their address.", METRIC_COUNTER, "reason", accept_refusals, NULL, NULL },
	[M_HANDSHAKES] = { "easproxy_handshakes_total", "TLS handshakes with devices.", METRIC_COUNTER, "result", handshake_results, "version", versions },
	[M_REQUESTS] = { "easproxy_requests_total", "Requests by ActiveSync command and status answered.", METRIC_COUNTER, "command", eas_command_names, "status", statuses },
	[M_REQUEST_SECONDS] = { "easproxy_request_seconds", "From the head of a request to the end of its answer, without Ping and Sync.", METRIC_HISTOGRAM, NULL, NULL, NULL, NULL },
	[M_REFUSALS] = { "easproxy_refusals_total", "Requests that the proxy answered itself, by reason.", METRIC_COUNTER, "reason", fact_names, NULL, NULL },
	[M_BYTES] = { "easproxy_bytes_total", "Bytes of HTTP messages from and to devices.", METRIC_COUNTER, "direction", directions, NULL, NULL },
	[M_REVOCATION_LOOKUPS] = { "easproxy_revocation_lookups_total", "Look-ups in the revocation index.", METRIC_COUNTER, "answer", lookups, NULL, NULL },
	[M_ACCOUNT_CACHE] = { "easproxy_account_cache_total", "Look-ups in the workers' account caches.", METRIC_COUNTER, "result", caches, NULL, NULL },
	[M_DIRECTORY_CALLS] = { "easproxy_directory_calls_total", "Questions to the directory process.", METRIC_COUNTER, "result", account_results, NULL, NULL },
	[M_DIRECTORY_SECONDS] = { "easproxy_directory_seconds", "Time until the directory process answered.", METRIC_HISTOGRAM, NULL, NULL, NULL, NULL },
	[M_DIRECTORY_CACHE] = { "easproxy_directory_cache_total", "Look-ups in the directory process's cache.", METRIC_COUNTER, "result", caches, NULL, NULL },
	[M_DIRECTORY_QUESTIONS] = { "easproxy_directory_questions_total", "Questions that the directory process answered.", METRIC_COUNTER, "result", account_results, NULL, NULL },
	[M_DIRECTORY_SEARCHES] = { "easproxy_directory_search_seconds", "Time that finding one account took.", METRIC_HISTOGRAM, "result", account_results, NULL, NULL },
	[M_DIRECTORY_SERVERS] = { "easproxy_directory_servers_up", "LDAP servers that answer.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[M_DIRECTORY_ENTRIES] = { "easproxy_directory_cache_entries", "Answers in the directory process's cache.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[M_KERBEROS_CALLS] = { "easproxy_kerberos_calls_total", "Questions to the kerberos processes.", METRIC_COUNTER, "result", kerberos_results, NULL, NULL },
	[M_KERBEROS_CACHE] = { "easproxy_kerberos_cache_total", "Tokens made from a cached ticket (hit) or with the KDC (miss).", METRIC_COUNTER, "result", caches, NULL, NULL },
	[M_KERBEROS_SECONDS] = { "easproxy_kerberos_seconds", "Time until the kerberos process answered.", METRIC_HISTOGRAM, NULL, NULL, NULL, NULL },
	[M_DEVICE_CHECKS] = { "easproxy_device_checks_total", "Whether the device is the certificate's.", METRIC_COUNTER, "result", device_results, NULL, NULL },
	[M_LOCKOUT_CHECKS] = { "easproxy_lockout_checks_total", "Passwords that the lockout process was asked about.", METRIC_COUNTER, "result", lockout_results, NULL, NULL },
	[M_LOCKOUT_BINDS] = { "easproxy_lockout_binds_total", "Passwords that were sent to the directory.", METRIC_COUNTER, "result", lockout_binds, NULL, NULL },
	[M_LOCKOUT_REMEMBERED] = { "easproxy_lockout_remembered_total", "Passwords that were judged without asking the directory.", METRIC_COUNTER, "what", lockout_memories, NULL, NULL },
	[M_LOCKOUT_WOULD_REFUSE] = { "easproxy_lockout_would_refuse_total", "Mode log: passwords that enforce would have refused.", METRIC_COUNTER, "result", lockout_results, NULL, NULL },
	[M_LOCKOUT_STRETCH] = { "easproxy_lockout_stretch_seconds", "The memory-hard work of one password.", METRIC_HISTOGRAM, NULL, NULL, NULL, NULL },
	[M_LOCKOUT_STRETCHERS] = { "easproxy_lockout_processes", "Processes that do it, or could.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[M_LOCKOUT_WAITING] = { "easproxy_lockout_waiting", "Passwords that wait for the memory-hard work.", METRIC_GAUGE, NULL, NULL, NULL, NULL },
	[M_UPSTREAM_CONNECTIONS] = { "easproxy_upstream_connections", "Connections to mail servers.", METRIC_GAUGE, "state", connection_states, NULL, NULL },
	[M_UPSTREAM_FAILURES] = { "easproxy_upstream_failures_total", "Failures of mail servers.", METRIC_COUNTER, "kind", upstream_failures, NULL, NULL },
	[M_REDIS_COMMANDS] = { "easproxy_redis_commands_total", "Commands to Redis, of workers and of the revocation process.", METRIC_COUNTER, "result", redis_results, NULL, NULL },
	[M_REDIS_CONNECTIONS] = { "easproxy_redis_connections_total", "Connections to Redis that found the master, lost it again, or failed.", METRIC_COUNTER, "result", redis_connections, NULL, NULL },
	[M_REVOCATION_EVENTS] = { "easproxy_revocation_events_total", "Entries of the events stream in Redis, and what became of them.", METRIC_COUNTER, "type", event_types, "result", event_verdicts },
	[M_LOCAL_MESSAGES] = { "easproxy_local_revocations_total", "Revocations from enrolment on this machine, and what became of them.", METRIC_COUNTER, "result", local_results, NULL, NULL },
	[M_CRL_LOADS] = { "easproxy_crl_loads_total", "Looks at a CRL, and what they came to.", METRIC_COUNTER, "result", crl_looks, NULL, NULL },
	[M_KEY_FETCHES] = { "easproxy_bearer_key_fetches_total", "Rounds for the keys of bearer.keys_url, and what they came to.", METRIC_COUNTER, "result", key_fetches, NULL, NULL },
	[M_BEARER_UNVERIFIED] = { "easproxy_bearer_unverified_total", "Tokens passed on unverified (bearer.mode pass), by what the mail server said.", METRIC_COUNTER, "answer", unverified_answers, NULL, NULL },
	[M_SESSIONS_ENDED] = { "easproxy_sessions_ended_total", "Live connections ended because something changed.", METRIC_COUNTER, "reason", ended, NULL, NULL },
	[M_PROCESS_RESTARTS] = { "easproxy_process_restarts_total", "Processes that died and were started again.", METRIC_COUNTER, NULL, NULL, NULL, NULL },
	[M_RELOADS] = { "easproxy_reloads_total", "Configurations that a worker took or refused.", METRIC_COUNTER, "result", good_failed, NULL, NULL },
};

unsigned metric_request_sub(unsigned command, unsigned status)
{
	size_t i = 0;

	while (i < ARRAY_LEN(status_codes) && status_codes[i] != status)
		i++;
	return command * (unsigned)(ARRAY_LEN(status_codes) + 1) + (unsigned)i;
}

unsigned metric_unverified_sub(unsigned status)
{
	return status / 100 == 2 ? UNVERIFIED_ACCEPTED : status == 401 || status == 403 ? UNVERIFIED_REFUSED : UNVERIFIED_OTHER;
}
