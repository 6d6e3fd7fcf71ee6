/*
 * accept: takes connections as long as there is room for them and for their mail servers' ends. Worker process.
 */
#include "proxy/worker/accept.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/descriptors.h"
#include "common/log.h"
#include "proxy/metric_table.h"
#include "proxy/worker/session.h"

#define AT_ONCE	 16		/* per turn of the loop: the others get their turn too */
#define PAUSE_MS 1000

struct listener {
	struct listener *next;
	struct worker *worker;
	unsigned index;			/* of proxy.listeners */
	int fd;
	struct event *readable;
	struct network *believed;
	size_t believed_n;
	struct deadline pause;
	bool paused;
	int reserve;			/* a descriptor to give up when there are none, so that the refused are closed, not left hanging */
};

static void on_pause_over(struct deadline *d)
{
	struct listener *l = CONTAINER_OF(d, struct listener, pause);

	if (l->worker->draining || !l->paused)
		return;
	if (l->worker->sessions >= l->worker->now->settings->proxy.sessions) {
		deadline_arm(l->worker->loop, &l->pause, PAUSE_MS, on_pause_over);
		return;
	}
	l->paused = false;
	event_add(l->readable, NULL);
}

static void pause_for_a_while(struct listener *l, const char *why)
{
	if (l->paused)
		return;
	l->paused = true;
	event_del(l->readable);
	log_say(LOG_ERROR, "accept_paused", "%s: new connections wait for a second; those there are go on", why);
	deadline_arm(l->worker->loop, &l->pause, PAUSE_MS, on_pause_over);
}

static void on_acceptable(evutil_socket_t socket, short what, void *arg)
{
	struct listener *l = arg;
	struct worker *w = l->worker;
	struct sockaddr_storage from;

	(void)what;
	for (int i = 0; i < AT_ONCE; i++) {
		socklen_t n = sizeof(from);
		int fd;
		if (w->sessions >= w->now->settings->proxy.sessions) {
			metrics_add(M_ACCEPT_REFUSED, ACCEPT_FULL, 1);
			pause_for_a_while(l, "as many sessions as proxy.sessions allows");
			return;
		}
		fd = accept4(socket, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
				pause_for_a_while(l, strerror(errno));
				descriptors_refuse_one(l->fd, &l->reserve);
				metrics_add(M_ACCEPT_REFUSED, ACCEPT_DESCRIPTORS, 1);
			}
			return;		/* EAGAIN, or a connection that ended before it was taken */
		}
		if (descriptors_are_scarce(fd)) {
			close(fd);
			metrics_add(M_ACCEPT_REFUSED, ACCEPT_DESCRIPTORS, 1);
			pause_for_a_while(l, "what descriptors are left is for the mail servers' ends of those who are here");
			return;
		}
		session_start(w, fd, (struct sockaddr *)&from,
		    network_list_contains(l->believed, l->believed_n, (struct sockaddr *)&from));
	}
}

static int read_believed(struct listener *l)
{
	const struct proxy_settings *p = &l->worker->now->settings->proxy;
	const struct listener_settings *from = l->index < p->listeners_count ? &p->listeners[l->index] : NULL;
	size_t n = from != NULL ? from->proxy_protocol_from_count : 0;
	struct network *list = calloc(n + 1, sizeof(*list));

	if (list == NULL)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (network_parse(&list[i], strv_from(from->proxy_protocol_from[i])) < 0) {
			free(list);
			return -1;
		}
	}
	free(l->believed);
	l->believed = list;
	l->believed_n = n;
	return 0;
}

int accept_start(struct worker *w)
{
	const struct child_socket *sockets;
	size_t n;

	sockets = child_sockets(w->child, &n);
	for (size_t i = 0; i < n; i++) {
		struct listener *l;
		if (sockets[i].tag >= SOCKET_TAG_ADMIN)
			continue;
		l = calloc(1, sizeof(*l));
		if (l == NULL)
			return -1;
		l->worker = w;
		l->index = sockets[i].tag;
		l->fd = sockets[i].fd;
		l->reserve = descriptors_spare();
		l->next = w->listeners;
		w->listeners = l;
		l->readable = event_new(loop_base(w->loop), l->fd, EV_READ | EV_PERSIST, on_acceptable, l);
		if (l->readable == NULL || read_believed(l) < 0 || event_add(l->readable, NULL) < 0)
			return -1;
	}
	return 0;
}

void accept_reload(struct worker *w)
{
	for (struct listener *l = w->listeners; l != NULL; l = l->next) {
		if (read_believed(l) < 0)
			log_say(LOG_ERROR, "reload_partial", "proxy_protocol_from of listener %u stays as it was: out of memory", l->index);
	}
}

void accept_stop(struct worker *w)
{
	for (struct listener *l = w->listeners; l != NULL; l = l->next) {
		deadline_disarm(&l->pause);
		if (l->readable != NULL)
			event_free(l->readable);
		l->readable = NULL;
		if (l->fd >= 0)
			close(l->fd);
		l->fd = -1;
	}
}

void accept_free(struct worker *w)
{
	accept_stop(w);
	while (w->listeners != NULL) {
		struct listener *l = w->listeners;
		w->listeners = l->next;
		if (l->reserve >= 0)
			close(l->reserve);
		free(l->believed);
		free(l);
	}
}

void accept_resume(struct worker *w)
{
	for (struct listener *l = w->listeners; l != NULL; l = l->next) {
		if (l->paused && l->readable != NULL)
			deadline_arm(w->loop, &l->pause, 0, on_pause_over);
	}
}
