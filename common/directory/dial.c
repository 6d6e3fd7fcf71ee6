/*
 * dial: names to addresses to a connected socket. Speaks no protocol, retries nothing beyond the
 * addresses of one name. Runs in the *directory* process.
 */
#include "common/directory/dial.h"

#include <errno.h>
#include <event2/util.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct dial {
	struct loop *loop;
	struct evdns_getaddrinfo_request *request;
	bool resolving; /* the resolver still holds our pointer */
	bool dead;	/* cancelled: free when the resolver lets go */
	struct evutil_addrinfo *list, *at;
	unsigned timeout_ms, each_ms;
	int fd, dns_error;
	struct event *step; /* the name is resolved, or the socket is writable or late */
	struct deadline deadline;
	char why[512], host[256];
	uint16_t port;
	dial_done_fn *done;
	void *arg;
};

struct evdns_base *dial_dns_new(struct loop *loop)
{
	struct evdns_base *dns = evdns_base_new(loop_base(loop), EVDNS_BASE_INITIALIZE_NAMESERVERS);

	if (dns != NULL)
		return dns;
	/* No usable /etc/resolv.conf: addresses and /etc/hosts still work. */
	dns = evdns_base_new(loop_base(loop), 0);
	if (dns != NULL)
		(void)evdns_base_load_hosts(dns, "/etc/hosts");
	return dns;
}

static void dial_free(struct dial *d)
{
	deadline_disarm(&d->deadline);
	if (d->step != NULL)
		event_free(d->step);
	if (d->fd >= 0)
		close(d->fd);
	if (d->list != NULL)
		evutil_freeaddrinfo(d->list);
	d->step = NULL;
	d->list = NULL;
	d->fd = -1;
	if (d->resolving) {
		d->dead = true;
		evdns_getaddrinfo_cancel(d->request);
	} else {
		free(d);
	}
}

void dial_cancel(struct dial *d)
{
	if (d != NULL)
		dial_free(d);
}

static void finish(struct dial *d)
{
	dial_done_fn *done = d->done;
	void *arg = d->arg;
	int fd = d->fd;
	char why[sizeof(d->why)];

	memcpy(why, d->why, sizeof(why));
	d->fd = -1;
	dial_free(d);
	done(arg, fd, fd >= 0 ? NULL : why);
}

/* A connection that dies without a word must be noticed also while nothing is asked. */
static void set_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 30 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 5 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 30000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		(void)setsockopt(
		    fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

/* Starts with the next address that lets itself be started with. False: none is left. */
static bool next_address(struct dial *d)
{
	struct timeval limit = { d->each_ms / 1000, (d->each_ms % 1000) * 1000 };

	for (; d->at != NULL; d->at = d->at->ai_next) {
		const struct evutil_addrinfo *a = d->at;
		d->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (d->fd < 0) {
			snprintf(d->why, sizeof(d->why), "no socket: %s", strerror(errno));
			continue;
		}
		set_options(d->fd);
		if (connect(d->fd, a->ai_addr, (socklen_t)a->ai_addrlen) == 0 ||
		    errno == EINPROGRESS) {
			event_assign(d->step, loop_base(d->loop), d->fd, EV_WRITE,
			    event_get_callback(d->step), d);
			if (event_add(d->step, &limit) == 0)
				return true;
		}
		snprintf(
		    d->why, sizeof(d->why), "%s port %u: %s", d->host, d->port, strerror(errno));
		close(d->fd);
		d->fd = -1;
	}
	return false;
}

/* The resolver has answered, or the connection has come, failed or taken too long. */
static void on_step(evutil_socket_t fd, short what, void *arg)
{
	struct dial *d = arg;
	int error = ETIMEDOUT;
	socklen_t size = sizeof(error);

	(void)fd;
	if (d->fd >= 0) {
		if ((what & EV_WRITE) && getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
			error = errno;
		if (error == 0) {
			finish(d);
			return;
		}
		snprintf(
		    d->why, sizeof(d->why), "%s port %u: %s", d->host, d->port, strerror(error));
		close(d->fd);
		d->fd = -1;
		d->at = d->at->ai_next;
	} else if (d->dns_error != 0) {
		snprintf(d->why, sizeof(d->why), "the name %s is not resolved: %s", d->host,
		    evutil_gai_strerror(d->dns_error));
	}
	if (!next_address(d))
		finish(d);
}

static void on_resolved(int error, struct evutil_addrinfo *list, void *arg)
{
	struct dial *d = arg;
	unsigned n = 0;

	d->resolving = false;
	if (d->dead) {
		if (list != NULL)
			evutil_freeaddrinfo(list);
		free(d);
		return;
	}
	d->list = d->at = list;
	d->dns_error = error;
	for (struct evutil_addrinfo *a = list; a != NULL; a = a->ai_next)
		n++;
	/* Half of the time for the first, so that one silent address does not use it all up. */
	d->each_ms = n > 1 ? d->timeout_ms / 2 : d->timeout_ms;
	/* This may run inside dial_start(): go on from the loop. */
	event_active(d->step, EV_TIMEOUT, 0);
}

static void on_deadline(struct deadline *deadline)
{
	struct dial *d = CONTAINER_OF(deadline, struct dial, deadline);

	if (d->resolving)
		snprintf(d->why, sizeof(d->why), "no answer for the name %s in %u ms", d->host,
		    d->timeout_ms);
	else
		snprintf(d->why, sizeof(d->why), "%s port %u: no answer in %u ms", d->host, d->port,
		    d->timeout_ms);
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	finish(d);
}

struct dial *dial_start(struct loop *loop, struct evdns_base *dns, const char *host, uint16_t port,
    unsigned timeout_ms, dial_done_fn *done, void *arg)
{
	struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP
	};
	struct dial *d = calloc(1, sizeof(*d));
	struct evdns_getaddrinfo_request *request;
	char service[8];

	if (d == NULL)
		return NULL;
	d->loop = loop;
	d->fd = -1;
	d->timeout_ms = timeout_ms;
	d->port = port;
	d->done = done;
	d->arg = arg;
	snprintf(d->host, sizeof(d->host), "%s", host);
	snprintf(service, sizeof(service), "%u", port);
	d->step = event_new(loop_base(loop), -1, 0, on_step, d);
	if (d->step == NULL) {
		free(d);
		return NULL;
	}
	deadline_arm(loop, &d->deadline, timeout_ms, on_deadline);
	d->resolving = true;
	request = evdns_getaddrinfo(dns, d->host, service, &hints, on_resolved, d);
	if (d->resolving)
		d->request = request;
	return d;
}
