/*
 * health: one line a dependency, and the metrics. Worker of easenroll.
 */
#include "enroll/worker/health.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/metrics.h"
#include "enroll/metric_table.h"
#include "enroll/worker/chain.h"
#include "enroll/worker/publish.h"
#include "enroll/worker/registry.h"
#include "enroll/worker/revoke.h"

#define ANSWER_MAX (1u << 20)

struct readiness {
	bool ready;
	struct buffer *out;
};

PRINTF(3, 4) static void check(struct readiness *r, bool good, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	r->ready &= good;
	if (buffer_printf(r->out, "%s %s\n", good ? "ok" : "MISSING", text) < 0)
		r->ready = false;
}

static void check_lists(struct readiness *r, struct enroll_worker *w)
{
	struct revoke_state state;
	int64_t now = loop_wall(w->loop);

	revoke_get_state(w->revoke, &state);
	if (state.list_ends == 0)
		check(r, false, "CRL: none was made yet%s%s", state.problem[0] != '\0' ? ": " : "", state.problem);
	else
		check(r, state.list_ends > now, "CRL: number %" PRIu64 ", %s in %" PRId64 " s%s%s", state.list_number, state.list_ends > now ? "ends" : "ENDED",
		    state.list_ends - now, state.problem[0] != '\0' ? ": " : "", state.problem);
	check(r, state.undone == 0 || state.problem[0] == '\0', "revocations under way: %u", state.undone);
}

static bool print_readiness(struct enroll_worker *w, struct buffer *out)
{
	struct readiness r = { true, out };
	const struct chain_entry *ca = chain_first(w->chain, SIGNER_CHAIN_ISSUING);

	check(&r, !w->draining, w->draining ? "draining: no new connections" : "accepting connections");
	check(&r, registry_is_up(w->registry), "registry %s", w->settings->enroll.registry);
	check(&r, asker_is_up(w->signer), "signer process");
	check(&r, ca != NULL, "issuing CA %s", ca != NULL ? ca->name : ": run `easenroll ca init`");
	check(&r, asker_is_up(w->directory), "directory process (%s)", w->settings->common.directory.kind);
	if (w->directory_down[0] != '\0')
		check(&r, false, "directory: %s", w->directory_down);
	if (w->settings->common.redis != NULL)
		check(&r, publish_is_up(w->publish), "redis: the fleet is told at once%s", publish_is_up(w->publish) ? "" : ": bring Redis back, see redis.servers");
	check_lists(&r, w);
	return r.ready;
}

static void serve_health(struct enroll_worker *w, struct http_request *r)
{
	(void)w;
	http_reply_text(r, 200, "ok\n");
}

static void serve_ready(struct enroll_worker *w, struct http_request *r)
{
	struct buffer out;
	bool ready;

	buffer_init(&out, ANSWER_MAX);
	ready = print_readiness(w, &out);
	http_reply(r, ready ? 200 : 503, "text/plain; charset=utf-8", buffer_view(&out));
	buffer_clear(&out);
}

static int print_own(struct enroll_worker *w, struct buffer *out)
{
	struct registry_counts n;
	int rc = buffer_printf(out, "# HELP easenroll_up This build.\n# TYPE easenroll_up gauge\neasenroll_up{version=\"%s\"} 1\n", EASGATE_VERSION);
	struct revoke_state state;

	revoke_get_state(w->revoke, &state);
	rc |= buffer_printf(out, "# HELP easenroll_crl_ends_timestamp_seconds nextUpdate of the newest full CRL; 0: there is none.\n"
		"# TYPE easenroll_crl_ends_timestamp_seconds gauge\neasenroll_crl_ends_timestamp_seconds %" PRId64 "\n", state.list_ends);
	if (registry_count(w->registry, &n) != REGISTRY_OK)
		return rc;
	rc |= buffer_printf(out, "# HELP easenroll_accounts Accounts in the registry.\n# TYPE easenroll_accounts gauge\neasenroll_accounts %" PRId64 "\n", n.accounts);
	rc |= buffer_printf(out, "# HELP easenroll_devices Devices in the registry.\n# TYPE easenroll_devices gauge\neasenroll_devices %" PRId64 "\n", n.devices);
	rc |= buffer_printf(out, "# HELP easenroll_certificates Certificates by state.\n# TYPE easenroll_certificates gauge\n"
		"easenroll_certificates{state=\"live\"} %" PRId64 "\neasenroll_certificates{state=\"held\"} %" PRId64
		"\neasenroll_certificates{state=\"revoked\"} %" PRId64 "\n", n.live, n.held, n.revoked);
	rc |= buffer_printf(out, "# HELP easenroll_waiting Devices that wait for approval.\n# TYPE easenroll_waiting gauge\neasenroll_waiting %" PRId64 "\n", n.waiting);
	rc |= buffer_printf(out, "# HELP easenroll_undone_acts Revocations not yet everywhere.\n# TYPE easenroll_undone_acts gauge\neasenroll_undone_acts %" PRId64 "\n", n.undone_acts);
	return rc;
}

static void serve_metrics(struct enroll_worker *w, struct http_request *r)
{
	struct buffer out;
	int rc;

	metrics_set(EM_CONNECTIONS, 0, http_server_connections(w->http));
	buffer_init(&out, ANSWER_MAX);
	rc = metrics_print(&out) | print_own(w, &out);
	http_reply(r, rc == 0 ? 200 : 503, "text/plain; version=0.0.4", buffer_view(&out));
	buffer_clear(&out);
}

#define OPERATORS (HTTP_WAY_ADMIN | HTTP_WAY_LOCAL)

const struct route health_routes[] = {
	{ "GET", "/healthz", OPERATORS, 0, ROUTE_OPEN, serve_health },
	{ "GET", "/readyz", OPERATORS, 0, ROUTE_OPEN, serve_ready },
	{ "GET", "/metrics", OPERATORS, 0, ROUTE_OPEN, serve_metrics },
	{ NULL, NULL, 0, 0, ROUTE_OPEN, NULL },
};
