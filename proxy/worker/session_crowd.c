/*
 * session_crowd: how many connections one address may have (proxy.limits.connections_per_address). Above that the one of them goes that has waited
 * longest without an exchange under way: so who opens connections and asks for nothing loses his own. Worker process.
 */
#include "common/log.h"
#include "proxy/metric_table.h"
#include "proxy/worker/session_state.h"

#define SAY_MS 60000

static void say(struct worker *w, const char *client, bool refused)
{
	uint64_t now = loop_now_ms(w->loop);
	struct log_line l;

	metrics_add(M_ACCEPT_REFUSED, ACCEPT_ADDRESS, 1);
	w->crowd_unsaid++;
	if (now < w->crowd_next_ms)
		return;
	log_begin(&l, LOG_WARNING, "connection_shed");
	log_cstr(&l, "why", "its address has proxy.limits.connections_per_address");
	log_cstr(&l, "what", refused ? "a new one, as all others are being served" : "the one that waited longest without a request");
	log_cstr(&l, "client", client);
	log_int(&l, "since_last_line", w->crowd_unsaid);
	log_end(&l);
	w->crowd_unsaid = 0;
	w->crowd_next_ms = now + SAY_MS;
}

bool session_crowd(struct session *s, const struct sockaddr *from)
{
	struct worker *w = s->worker;
	uint32_t most = w->now->settings->proxy.limits.connections_per_address;
	struct crowd_member *m;

	if (most == 0)
		return true;
	if (crowd_count(w->crowd, from) >= most) {
		m = crowd_longest(w->crowd, from);
		say(w, s->client, m == NULL);
		if (m == NULL)
			return false;
		session_close(CONTAINER_OF(m, struct session, crowd), "made room for another of its address");
	}
	if (crowd_enter(w->crowd, &s->crowd, from) == 0)
		return true;
	metrics_add(M_ACCEPT_REFUSED, ACCEPT_MEMORY, 1);
	return false;
}
