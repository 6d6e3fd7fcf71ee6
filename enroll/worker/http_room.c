/*
 * http_room: who may have a connection. Where there are too many, in all or of one address, the one goes that waits longest since its last answer
 * (or its beginning), in whatever state its client keeps it: so who holds many connections without asking loses his own, and whoever asks is served. Operators
 * have room of their own. Worker of easenroll.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "common/log.h"
#include "enroll/worker/http_server_parts.h"

#define OPERATORS_MAX 64
#define SAY_MS	      60000

static bool is_operators(const struct http_listener *l)
{
	return l->way == HTTP_WAY_LOCAL || l->way == HTTP_WAY_ADMIN;
}

static int enter_crowd(struct http_connection *c, const struct sockaddr *from)
{
	struct http_server *s = c->server;

	if (!is_operators(c->listener))
		return crowd_enter(s->crowd, &c->crowd, from);
	s->operators++;
	return 0;
}

static void leave_crowd(struct http_connection *c)
{
	struct http_server *s = c->server;

	if (is_operators(c->listener))
		s->operators--;
	crowd_leave(s->crowd, &c->crowd);
}

/* --- the list: the newest, and whoever was answered last, stands first --- */

static void link_first(struct http_connection *c)
{
	struct http_server *s = c->server;

	c->prev = NULL;
	c->next = s->first;
	if (s->first != NULL)
		s->first->prev = c;
	else
		s->last = c;
	s->first = c;
}

static void unlink_it(struct http_connection *c)
{
	struct http_server *s = c->server;

	if (c->next != NULL)
		c->next->prev = c->prev;
	else
		s->last = c->prev;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		s->first = c->next;
}

static void name_client(struct http_connection *c, const struct sockaddr *from)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t n = sizeof(peer);

	c->uid = (uid_t)-1;
	if (c->listener->way != HTTP_WAY_LOCAL) {
		address_print(from, c->client);
		return;
	}
	memcpy(c->client, "local", sizeof("local"));
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0)
		c->uid = peer.uid;
}

int room_enter(struct http_connection *c, const struct sockaddr *from)
{
	if (enter_crowd(c, from) < 0)
		return -1;
	name_client(c, from);
	link_first(c);
	c->server->connections++;
	return 0;
}

void room_leave(struct http_connection *c)
{
	room_body_over(c);
	leave_crowd(c);
	unlink_it(c);
	c->server->connections--;
}

void room_answered(struct http_connection *c)
{
	unlink_it(c);
	link_first(c);
	crowd_waits(&c->crowd);
}

/* --- making room --- */

void room_shed(struct http_server *s, enum enroll_shed why, const char *client)
{
	static const char *const texts[SHED_KINDS] = { "enroll.limits.connections are there", "its address has enroll.limits.connections_per_address",
		"enroll.limits.bodies_bytes of bodies have come", "hardly a descriptor is left" };
	uint64_t now = loop_now_ms(s->loop);
	struct log_line l;

	metrics_add(EM_CONNECTIONS_SHED, (unsigned)why, 1);
	s->shed[why].n++;
	if (now < s->shed[why].next_ms)
		return;
	log_begin(&l, LOG_WARNING, "connection_shed");
	log_cstr(&l, "why", texts[why]);
	log_cstr(&l, "client", client);
	log_int(&l, "since_last_line", s->shed[why].n);
	log_end(&l);
	s->shed[why].n = 0;
	s->shed[why].next_ms = now + SAY_MS;
}

static bool may_go(const struct http_connection *c)
{
	return !is_operators(c->listener) && c->state != CONNECTION_SERVING && c->state != CONNECTION_HELD;
}

static bool end_one(struct http_connection *c, enum enroll_shed why)
{
	if (c == NULL)
		return false;
	room_shed(c->server, why, c->client);
	connection_free(c);
	return true;
}

bool room_make(struct http_server *s, enum enroll_shed why)
{
	struct http_connection *c = s->last;

	while (c != NULL && !may_go(c))
		c = c->prev;
	return end_one(c, why);
}

static bool room_make_at(struct http_server *s, const struct sockaddr *from)
{
	struct crowd_member *m = crowd_longest(s->crowd, from);

	return m != NULL && end_one(CONTAINER_OF(m, struct http_connection, crowd), SHED_ADDRESS);
}

bool room_for(struct http_listener *l, const struct sockaddr *from)
{
	struct http_server *s = l->server;
	char client[ADDRESS_TEXT_MAX];
	bool crowd;

	if (is_operators(l))
		return s->operators < OPERATORS_MAX;
	crowd = crowd_count(s->crowd, from) >= s->config.connections_per_address;
	if (crowd ? room_make_at(s, from) : s->connections - s->operators < s->config.connections || room_make(s, SHED_FULL))
		return true;
	address_print(from, client);
	room_shed(s, crowd ? SHED_ADDRESS : SHED_FULL, client);
	return false;
}

/* --- bodies --- */

void room_body_over(struct http_connection *c)
{
	c->server->bodies -= c->body_counted;
	c->body_counted = 0;
}

int room_body(struct http_connection *c, size_t more)
{
	struct http_server *s = c->server;

	s->bodies += more;
	c->body_counted += more;
	while (s->bodies > s->config.bodies_bytes) {
		struct http_connection *other = s->last;
		while (other != NULL && other != c && (other->state != CONNECTION_BODY || other->body_counted == 0))
			other = other->prev;
		room_shed(s, SHED_BODIES, other != NULL ? other->client : c->client);
		if (other == NULL || other == c)
			return -1;
		connection_free(other);
	}
	return 0;
}
