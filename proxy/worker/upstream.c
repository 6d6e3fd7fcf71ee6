/*
 * upstream: groups of mail servers, the choice among them, and idle connections kept by account. Worker process.
 */
#include "proxy/worker/upstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/bundle.h"
#include "common/log.h"
#include "common/tls.h"
#include "proxy/metric_table.h"
#include "proxy/worker/upstream_group.h"

struct upstream_op {
	struct upstreams *owner;
	unsigned group;
	uint32_t tried;			/* bit per server */
	uint8_t account[SHA256_SIZE];
	struct upstream_attempt *attempt;
	upstream_done_fn *done;
	void *arg;
};

/* --- building and ending --- */

static int set_up_server(struct upstream_server *s, const struct upstream_settings *from, unsigned i)
{
	char host[280];
	const char *open, *close;

	s->index = i;
	s->text = strdup(from->servers[i]);
	if (s->text == NULL || server_url_parse(strv_from(from->servers[i]), &s->url) < 0)
		return -1;
	s->tls_name = strdup(from->server_name[0] != '\0' ? from->server_name : s->url.host);
	/* RFC 3986 section 3.2.2: the colons of an IPv6 address are no port's */
	open = strchr(s->url.host, ':') != NULL ? "[" : "";
	close = open[0] != '\0' ? "]" : "";
	if (from->server_name[0] != '\0')
		snprintf(host, sizeof(host), "%s", from->server_name);
	else if (s->url.port == (s->url.tls ? 443 : 80))
		snprintf(host, sizeof(host), "%s%s%s", open, s->url.host, close);
	else
		snprintf(host, sizeof(host), "%s%s%s:%u", open, s->url.host, close, s->url.port);
	s->host_field = strdup(host);
	s->healthy = true;	/* until a check or a connection says otherwise */
	return s->tls_name != NULL && s->host_field != NULL ? 0 : -1;
}

static int set_up_group(struct upstreams *u, unsigned i, const struct upstream_settings *from, struct bundle *files, char *why, size_t why_size)
{
	struct upstream_group *g = &u->groups[i];
	struct strv pem = { NULL, 0 };
	bool tls = false;

	g->connect_ms = from->connect_ms;
	g->health_ms = from->health_seconds * 1000;
	g->health_status = from->health_status;
	g->idle_ms = from->idle_seconds * 1000;
	g->pool = from->pool;
	g->name = strdup(from->name);
	g->health_path = strdup(from->health_path);
	g->servers = calloc(from->servers_count, sizeof(*g->servers));
	g->names = calloc(2 * (size_t)from->servers_count, sizeof(*g->names));
	if (g->servers == NULL || g->name == NULL || g->health_path == NULL || g->names == NULL) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	for (unsigned k = 0; k < from->servers_count; k++) {
		g->servers[k].owner = u;
		g->servers[k].group = i;
		g->servers_n = k + 1;
		if (set_up_server(&g->servers[k], from, k) < 0) {
			snprintf(why, why_size, "upstream %s: server %s cannot be used", from->name, from->servers[k]);
			return -1;
		}
		tls |= g->servers[k].url.tls;
		g->names[g->names_n++] = strv_from(g->servers[k].url.host);
		g->names[g->names_n++] = strv_from(g->servers[k].tls_name);
	}
	if (!tls)
		return 0;
	if (!bundle_get(files, from->ca, &pem)) {
		snprintf(why, why_size, "upstream %s: ca: %s cannot be read: name the PEM file of the CA that issued the servers' certificates",
		    from->name, from->ca);
		return -1;
	}
	g->tls = tls_client_ctx_new(pem, why, why_size);
	return g->tls != NULL ? 0 : -1;
}

struct upstreams *upstreams_new(struct loop *loop, struct evdns_base *dns, const struct settings *settings, struct bundle *files,
    char *why, size_t why_size)
{
	struct upstreams *u = calloc(1, sizeof(*u));
	const struct proxy_settings *p = &settings->proxy;

	if (u == NULL || (u->groups = calloc(p->upstreams_count, sizeof(*u->groups))) == NULL) {
		free(u);
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	u->loop = loop;
	u->dns = dns;
	u->groups_n = p->upstreams_count;
	for (unsigned i = 0; i < p->upstreams_count; i++) {
		if (set_up_group(u, i, &p->upstreams[i], files, why, why_size) < 0) {
			upstreams_retire(u);
			return NULL;
		}
	}
	/* Without a loop (trial of a configuration) nothing is looked up or checked. */
	for (unsigned i = 0; loop != NULL && i < u->groups_n; i++) {
		for (unsigned k = 0; k < u->groups[i].servers_n; k++)
			upstream_health_start(&u->groups[i].servers[k]);
	}
	return u;
}

void upstreams_maybe_free(struct upstreams *u)
{
	if (!u->retired || u->users > 0)
		return;
	for (unsigned i = 0; i < u->groups_n; i++) {
		struct upstream_group *g = &u->groups[i];
		for (unsigned k = 0; k < g->servers_n; k++) {
			free(g->servers[k].text);
			free(g->servers[k].tls_name);
			free(g->servers[k].host_field);
		}
		free(g->servers);
		free(g->names);
		free(g->name);
		free(g->health_path);
		SSL_CTX_free(g->tls);
	}
	free(u->groups);
	free(u);
}

static void forget_idle(struct upstream_conn *c);

void upstreams_retire(struct upstreams *u)
{
	if (u == NULL)
		return;
	u->users++;	/* not freed while this goes on */
	u->retired = true;
	while (u->oldest != NULL) {
		struct upstream_conn *c = u->oldest;
		forget_idle(c);
		upstream_close(c);
	}
	for (unsigned i = 0; i < u->groups_n; i++) {
		for (unsigned k = 0; k < u->groups[i].servers_n; k++)
			upstream_health_stop(&u->groups[i].servers[k]);
	}
	u->users--;
	upstreams_maybe_free(u);
}

void upstream_mark(struct upstream_server *s, bool healthy, const char *why)
{
	bool news = s->healthy != healthy || !s->known;

	s->healthy = healthy;
	s->known = true;
	if (!news || s->owner->retired)
		return;
	if (healthy)
		log_say(LOG_INFO, "upstream_up", "%s answers", s->text);
	else
		log_say(LOG_ERROR, "upstream_down", "%s: %s; it is tried again every health_seconds", s->text, why);
}

/* --- idle connections --- */

static struct upstream_conn **pool_slot(struct upstreams *u, const uint8_t account[SHA256_SIZE])
{
	return &u->slot[(account[0] | (unsigned)account[1] << 8) % POOL_SLOTS];
}

static void forget_idle(struct upstream_conn *c)
{
	struct upstreams *u = c->owner;
	struct upstream_conn **at = pool_slot(u, c->account);

	while (*at != c)
		at = &(*at)->hash_next;
	*at = c->hash_next;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		u->newest = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	else
		u->oldest = c->prev;
	u->idle--;
	metrics_add(M_UPSTREAM_CONNECTIONS, CONNECTIONS_IDLE, -1);
	deadline_disarm(&c->deadline);
}

static void close_idle(struct upstream_conn *c)
{
	forget_idle(c);
	upstream_close(c);
}

static void on_idle_deadline(struct deadline *d)
{
	close_idle(CONTAINER_OF(d, struct upstream_conn, deadline));
}

/* Whatever an idle connection says ends it: the end, or bytes that nobody asked for. */
static void on_idle_readable(struct upstream_conn *c, void *arg)
{
	(void)arg;
	close_idle(c);
}

static const struct upstream_user idle_user = { .readable = on_idle_readable, .writable = on_idle_readable };

static void keep_idle(struct upstream_conn *c)
{
	struct upstreams *u = c->owner;
	struct upstream_group *g = &u->groups[c->group];
	struct upstream_conn **slot = pool_slot(u, c->account);

	if (u->idle >= g->pool && u->oldest != NULL)
		close_idle(u->oldest);
	c->user = &idle_user;
	c->arg = NULL;
	c->reused = true;
	c->hash_next = *slot;
	*slot = c;
	c->prev = NULL;
	c->next = u->newest;
	if (u->newest != NULL)
		u->newest->prev = c;
	else
		u->oldest = c;
	u->newest = c;
	u->idle++;
	metrics_add(M_UPSTREAM_CONNECTIONS, CONNECTIONS_IDLE, 1);
	deadline_arm(u->loop, &c->deadline, g->idle_ms, on_idle_deadline);
}

void upstream_release(struct upstream_conn *c, bool reusable)
{
	if (c == NULL)
		return;
	metrics_add(M_UPSTREAM_CONNECTIONS, CONNECTIONS_ACTIVE, -1);
	if (!reusable || c->owner->retired || c->ended || c->last || buffer_len(&c->in) > 0 || buffer_len(&c->out) > 0 || c->want_write ||
	    (c->ssl != NULL && SSL_has_pending(c->ssl))) {
		upstream_close(c);
		return;
	}
	upstream_pause(c, false);
	buffer_release_empty(&c->in);
	buffer_release_empty(&c->out);
	keep_idle(c);
}

/* --- getting one --- */

static void on_read_event(evutil_socket_t fd, short what, void *arg)
{
	struct upstream_conn *c = arg;

	(void)fd;
	(void)what;
	c->user->readable(c, c->arg);
}

static void on_write_event(evutil_socket_t fd, short what, void *arg)
{
	struct upstream_conn *c = arg;

	(void)fd;
	(void)what;
	event_del(&c->on_write);
	c->want_write = false;
	c->user->writable(c, c->arg);
}

void upstream_pause(struct upstream_conn *c, bool paused)
{
	if (c->paused == paused)
		return;
	c->paused = paused;
	if (paused)
		event_del(&c->on_read);
	else
		event_add(&c->on_read, NULL);
}

struct upstream_server *upstream_pick(struct upstreams *u, unsigned group, uint32_t tried)
{
	struct upstream_group *g = &u->groups[group];

	for (unsigned i = 0; i < g->servers_n; i++) {
		unsigned k = (g->turn + i) % g->servers_n;
		if (g->servers[k].healthy && (tried & (1u << k)) == 0) {
			g->turn = k + 1;
			return &g->servers[k];
		}
	}
	return NULL;
}

static void on_attempt(void *arg, struct upstream_conn *c);

static int attempt_next(struct upstream_op *op)
{
	struct upstream_server *s = upstream_pick(op->owner, op->group, op->tried);

	if (s == NULL)
		return -1;
	op->tried |= 1u << s->index;
	op->attempt = upstream_connect(s, on_attempt, op);
	return op->attempt != NULL ? 0 : -1;
}

static void on_attempt(void *arg, struct upstream_conn *c)
{
	struct upstream_op *op = arg;
	upstream_done_fn *done = op->done;
	void *done_arg = op->arg;

	op->attempt = NULL;
	/* nothing was sent on a connection that never came to be: the next server may have it */
	if (c == NULL && attempt_next(op) == 0)
		return;
	if (c != NULL) {
		struct event_base *base = loop_base(c->owner->loop);
		event_del(&c->on_read);
		event_del(&c->on_write);
		event_assign(&c->on_read, base, c->fd, EV_READ | EV_PERSIST, on_read_event, c);
		event_assign(&c->on_write, base, c->fd, EV_WRITE | EV_PERSIST, on_write_event, c);
		event_add(&c->on_read, NULL);
		memcpy(c->account, op->account, SHA256_SIZE);
		c->user = &idle_user;
		metrics_add(M_UPSTREAM_CONNECTIONS, CONNECTIONS_ACTIVE, 1);
	}
	op->owner->users--;
	upstreams_maybe_free(op->owner);
	free(op);
	done(done_arg, c);
}

static struct upstream_server *server_of(const struct upstream_conn *c)
{
	return &c->owner->groups[c->group].servers[c->server];
}

/* Neither ended nor talking unasked, as of now: its event may stand in the queue behind the one that brought the request. */
static bool is_silent(const struct upstream_conn *c)
{
	char byte;

	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

int upstream_get(struct upstreams *u, unsigned group, const uint8_t account[SHA256_SIZE], upstream_done_fn *done, void *arg,
    struct upstream_conn **conn, struct upstream_op **op_out)
{
	struct upstream_op *op;

	for (struct upstream_conn *c = *pool_slot(u, account), *next; c != NULL; c = next) {
		next = c->hash_next;
		if (c->group != group || memcmp(c->account, account, SHA256_SIZE) != 0)
			continue;
		forget_idle(c);
		/* a server that says it is ill gets nothing more, not even on what it once accepted */
		if (!is_silent(c) || !server_of(c)->healthy) {
			upstream_close(c);
			continue;
		}
		metrics_add(M_UPSTREAM_CONNECTIONS, CONNECTIONS_ACTIVE, 1);
		*conn = c;
		return 1;
	}
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		return -1;
	*op = (struct upstream_op){ .owner = u, .group = group, .done = done, .arg = arg };
	memcpy(op->account, account, SHA256_SIZE);
	u->users++;
	if (attempt_next(op) < 0) {
		u->users--;
		free(op);
		return -1;
	}
	*op_out = op;
	return 0;
}

void upstream_cancel(struct upstream_op *op)
{
	struct upstreams *u;

	if (op == NULL)
		return;
	u = op->owner;
	upstream_connect_cancel(op->attempt);
	free(op);
	u->users--;
	upstreams_maybe_free(u);
}

/* --- what is known of them --- */

const char *upstream_server_name(const struct upstream_conn *c) { return server_of(c)->text; }

const struct strv *upstream_names(const struct upstream_conn *c, size_t *n)
{
	const struct upstream_group *g = &c->owner->groups[c->group];

	*n = g->names_n;
	return g->names;
}

const char *upstream_host_field(const struct upstream_conn *c) { return server_of(c)->host_field; }

bool upstream_health(const struct upstreams *u, unsigned index, const char **group, const char **server, bool *healthy)
{
	for (unsigned i = 0; i < u->groups_n; i++) {
		if (index < u->groups[i].servers_n) {
			*group = u->groups[i].name;
			*server = u->groups[i].servers[index].text;
			*healthy = u->groups[i].servers[index].healthy;
			return true;
		}
		index -= u->groups[i].servers_n;
	}
	return false;
}

bool upstream_group_is_healthy(const struct upstreams *u, unsigned group)
{
	return group < u->groups_n && upstream_pick((struct upstreams *)(uintptr_t)u, group, 0) != NULL;
}
