/*
 * http_server: listeners, and connections taken from them. Worker of easenroll.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "enroll/worker/http_server_parts.h"

#define AT_ONCE	 16	/* per turn of the loop: the others get their turn too */
#define PAUSE_MS 500
#define CROWD_BUCKETS 256

struct http_server *http_server_new(struct loop *loop, const struct http_server_config *config)
{
	struct http_server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->loop = loop;
	s->config = *config;
	s->spare = descriptors_spare();
	s->crowd = crowd_new(CROWD_BUCKETS);
	if (s->crowd == NULL) {
		http_server_free(s);
		return NULL;
	}
	return s;
}

static void stop_listening(struct http_server *s)
{
	deadline_disarm(&s->pause);
	for (struct http_listener *l = s->listeners; l != NULL; l = l->next) {
		if (l->readable != NULL)
			event_free(l->readable);
		l->readable = NULL;
	}
}

void http_server_free(struct http_server *s)
{
	if (s == NULL)
		return;
	stop_listening(s);
	s->drained = NULL;
	while (s->first != NULL)
		connection_free(s->first);
	while (s->requests != NULL)
		pending_free(s->requests);
	while (s->listeners != NULL) {
		struct http_listener *l = s->listeners;
		s->listeners = l->next;
		SSL_CTX_free(l->tls);
		free(l);
	}
	crowd_free(s->crowd);
	if (s->spare >= 0)
		close(s->spare);
	free(s);
}

unsigned http_server_connections(const struct http_server *s)
{
	return s->connections;
}

/* --- accepting --- */

static bool is_operators(enum http_way way)
{
	return way == HTTP_WAY_LOCAL || way == HTTP_WAY_ADMIN;
}

static void on_pause_over(struct deadline *d)
{
	struct http_server *s = CONTAINER_OF(d, struct http_server, pause);

	for (struct http_listener *l = s->listeners; l != NULL; l = l->next) {
		if (l->readable != NULL && event_add(l->readable, NULL) < 0)
			deadline_arm(s->loop, &s->pause, PAUSE_MS, on_pause_over);
	}
}

static void pause_accepting(struct http_server *s, bool all, const char *why)
{
	log_say(LOG_ERROR, "accept_paused", "%s: new connections wait for half a second; raise LimitNOFILE= or lower enroll.limits.connections", why);
	for (struct http_listener *l = s->listeners; l != NULL; l = l->next) {
		if (l->readable != NULL && (all || !is_operators(l->way)))
			event_del(l->readable);
	}
	deadline_arm(s->loop, &s->pause, PAUSE_MS, on_pause_over);
}

/* Nobody can be taken. True: now there is a descriptor again. */
static bool is_helped(struct http_listener *l, int error)
{
	struct http_server *s = l->server;

	if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM)
		return false;	/* EAGAIN, or one that ended before it was taken */
	if (room_make(s, SHED_DESCRIPTORS))
		return true;
	/* to try again at once would only take the processor's time */
	pause_accepting(s, true, strerror(error));
	if (error == EMFILE || error == ENFILE) {
		room_shed(s, SHED_DESCRIPTORS, "");
		descriptors_refuse_one(l->fd, &s->spare);
	}
	return false;
}

/* What descriptors are left is for the registry, other processes and operators. False: no more of them now. */
static bool take(struct http_listener *l, int fd, const struct sockaddr *from)
{
	struct http_server *s = l->server;

	if (!is_operators(l->way) && descriptors_are_scarce(fd) && !room_make(s, SHED_DESCRIPTORS)) {
		close(fd);
		room_shed(s, SHED_DESCRIPTORS, "");
		pause_accepting(s, false, "hardly a descriptor is left");
		return false;
	}
	if (room_for(l, from))
		connection_start(l, fd, from);
	else
		close(fd);
	return true;
}

static void on_acceptable(evutil_socket_t socket, short what, void *arg)
{
	struct http_listener *l = arg;
	struct sockaddr_storage from;

	(void)what;
	for (int i = 0; i < AT_ONCE; i++) {
		socklen_t n = sizeof(from);
		int fd = accept4(socket, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 ? !is_helped(l, errno) : !take(l, fd, (struct sockaddr *)&from))
			return;
	}
}

int http_server_listen(struct http_server *s, int fd, enum http_way way, SSL_CTX *tls)
{
	struct http_listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return -1;
	*l = (struct http_listener){ .next = s->listeners, .server = s, .way = way, .fd = fd, .index = s->listeners_n++ };
	s->listeners = l;
	if (tls != NULL && SSL_CTX_up_ref(tls) == 1)
		l->tls = tls;
	l->readable = event_new(loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_acceptable, l);
	return l->readable != NULL && event_add(l->readable, NULL) == 0 ? 0 : -1;
}

void http_server_set_tls(struct http_server *s, unsigned index, SSL_CTX *tls)
{
	for (struct http_listener *l = s->listeners; l != NULL; l = l->next) {
		if (l->index == index && SSL_CTX_up_ref(tls) == 1) {
			SSL_CTX_free(l->tls);
			l->tls = tls;
		}
	}
}

/* --- ending --- */

static void say_drained(struct http_server *s)
{
	void (*done)(void *) = s->drained;

	s->drained = NULL;
	if (done != NULL)
		done(s->drained_arg);
}

void server_connection_gone(struct http_server *s)
{
	if (s->draining && s->connections == 0)
		say_drained(s);
}

void http_server_drain(struct http_server *s, void (*done)(void *arg), void *arg)
{
	struct http_connection *next;

	stop_listening(s);
	s->draining = true;
	for (struct http_connection *c = s->first; c != NULL; c = next) {
		next = c->next;
		if (c->state == CONNECTION_IDLE || c->state == CONNECTION_LINGER)
			connection_free(c);
	}
	s->drained = done;
	s->drained_arg = arg;
	if (s->connections == 0)
		say_drained(s);
}
