/*
 * upstream_health: keeps each server's addresses and asks it regularly whether it serves. Worker process.
 * A check is a connection of its own: TCP (and TLS), and with health_path one GET whose status must be health_status.
 */
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/http_head.h"
#include "common/log.h"
#include "proxy/worker/upstream_group.h"

struct health_check {
	struct upstream_server *server;
	struct upstream_attempt *attempt;
	struct upstream_conn *conn;
};

static void look_up(struct upstream_server *s);

static void on_again(struct deadline *d)
{
	look_up(CONTAINER_OF(d, struct upstream_server, again));
}

static void end_check(struct upstream_server *s, bool healthy, const char *why)
{
	struct health_check *h = s->check;

	s->check = NULL;
	if (h != NULL) {
		if (h->conn != NULL)
			upstream_close(h->conn);
		free(h);
	}
	upstream_mark(s, healthy, why);
	deadline_arm(s->owner->loop, &s->again, s->owner->groups[s->group].health_ms, on_again);
}

static void on_check_deadline(struct deadline *d)
{
	struct upstream_conn *c = CONTAINER_OF(d, struct upstream_conn, deadline);
	struct health_check *h = c->arg;

	end_check(h->server, false, "health_path was not answered in time");
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	static const struct http_limits limits = { 16384, HTTP_FIELDS_MAX };
	struct health_check *h = arg;
	struct upstream_server *s = h->server;
	struct http_scan scan = { 0 };
	struct http_head head;
	enum http_result rc;
	size_t used;
	long n;

	(void)fd;
	(void)what;
	n = upstream_read(h->conn);
	if (n == 0)
		return;
	rc = http_read_response(&head, &scan, buffer_data(&h->conn->in), buffer_len(&h->conn->in), &limits, &used);
	if (rc == HTTP_MORE && n > 0)
		return;
	if (rc != HTTP_DONE) {
		end_check(s, false, "health_path was answered by what is no HTTP");
	} else if (head.status != s->owner->groups[s->group].health_status) {
		char why[96];
		snprintf(why, sizeof(why), "health_path was answered with %u, not %u", head.status, s->owner->groups[s->group].health_status);
		end_check(s, false, why);
	} else {
		end_check(s, true, NULL);
	}
}

static void on_connected(void *arg, struct upstream_conn *c)
{
	struct health_check *h = arg;
	struct upstream_server *s = h->server;
	struct upstream_group *g = &s->owner->groups[s->group];
	char text[512];
	int n;

	h->attempt = NULL;
	if (c == NULL) {
		/* upstream_connect() has marked it and said why */
		s->check = NULL;
		free(h);
		deadline_arm(s->owner->loop, &s->again, g->health_ms, on_again);
		return;
	}
	h->conn = c;
	if (g->health_path[0] == '\0') {
		end_check(s, true, NULL);
		return;
	}
	n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", g->health_path, s->host_field);
	event_del(&c->on_read);
	event_assign(&c->on_read, loop_base(s->owner->loop), c->fd, EV_READ | EV_PERSIST, on_answer, h);
	c->arg = h;
	if (n < 0 || (size_t)n >= sizeof(text) || upstream_write(c, text, (size_t)n) != n) {
		end_check(s, false, "health_path could not be asked for");
		return;
	}
	event_add(&c->on_read, NULL);
	deadline_arm(s->owner->loop, &c->deadline, g->connect_ms, on_check_deadline);
}

static void begin_check(struct upstream_server *s)
{
	struct health_check *h = calloc(1, sizeof(*h));

	if (h == NULL || s->addresses_n == 0) {
		free(h);
		upstream_mark(s, false, "its name has no address: see DNS");
		deadline_arm(s->owner->loop, &s->again, s->owner->groups[s->group].health_ms, on_again);
		return;
	}
	h->server = s;
	s->check = h;
	h->attempt = upstream_connect(s, on_connected, h);
	if (h->attempt == NULL)
		end_check(s, s->healthy, "out of memory");
}

/* Old addresses stay while DNS is away. */
static void on_resolved(int result, struct evutil_addrinfo *list, void *arg)
{
	struct upstream_server *s = arg;
	struct upstreams *u = s->owner;
	unsigned n = 0;

	s->resolving = NULL;
	for (struct evutil_addrinfo *a = list; result == 0 && a != NULL && n < SERVER_ADDRESSES; a = a->ai_next) {
		if (a->ai_addrlen > sizeof(s->addresses[n].sa))
			continue;
		memcpy(&s->addresses[n].sa, a->ai_addr, a->ai_addrlen);
		s->addresses[n++].len = (socklen_t)a->ai_addrlen;
	}
	if (list != NULL)
		evutil_freeaddrinfo(list);
	if (n > 0)
		s->addresses_n = n;
	u->users--;
	if (u->retired) {
		upstreams_maybe_free(u);
		return;
	}
	begin_check(s);
}

static void look_up(struct upstream_server *s)
{
	struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP };
	struct evdns_getaddrinfo_request *r;
	char port[8];

	snprintf(port, sizeof(port), "%u", s->url.port);
	s->owner->users++;
	/* a literal address is answered inside the call, and then `r` is NULL */
	r = evdns_getaddrinfo(s->owner->dns, s->url.host, port, &hints, on_resolved, s);
	if (r != NULL)
		s->resolving = r;
}

void upstream_health_start(struct upstream_server *s)
{
	look_up(s);
}

void upstream_health_stop(struct upstream_server *s)
{
	deadline_disarm(&s->again);
	if (s->resolving != NULL)
		evdns_getaddrinfo_cancel(s->resolving);
	if (s->check != NULL) {
		upstream_connect_cancel(s->check->attempt);
		if (s->check->conn != NULL)
			upstream_close(s->check->conn);
		free(s->check);
		s->check = NULL;
	}
}
