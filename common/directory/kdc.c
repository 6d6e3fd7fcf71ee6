/*
 * kdc: carries Kerberos messages; understands none. So that libkrb5, which would wait, never opens
 * a socket here. Runs in the *directory* process.
 */
#include "common/directory/kdc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/text.h"

struct kdc_exchange {
	struct loop *loop;
	struct evdns_base *dns;
	struct kdc_list *list;
	unsigned tried, at;
	struct dial *dial;
	int fd;
	struct event *io;
	struct deadline deadline;
	char *out; /* length and message */
	size_t out_n, sent;
	char *in; /* length and answer */
	size_t in_size, got;
	char why[600];
	kdc_done_fn *done;
	void *arg;
};

static void next_kdc(struct kdc_exchange *x);

static void hang_up(struct kdc_exchange *x)
{
	dial_cancel(x->dial);
	x->dial = NULL;
	deadline_disarm(&x->deadline);
	if (x->io != NULL)
		event_free(x->io);
	x->io = NULL;
	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
	free(x->in);
	x->in = NULL;
	x->in_size = x->got = x->sent = 0;
}

void kdc_cancel(struct kdc_exchange *x)
{
	if (x == NULL)
		return;
	hang_up(x);
	free(x->out);
	free(x);
}

static void this_one_failed(struct kdc_exchange *x, const char *why)
{
	snprintf(x->why, sizeof(x->why), "KDC %s: %s", x->list->hosts[x->at], why);
	hang_up(x);
	next_kdc(x);
}

static void finish(struct kdc_exchange *x)
{
	kdc_done_fn *done = x->done;
	void *arg = x->arg;
	char *in = x->in;
	size_t n = x->in_size;

	x->list->best = x->at;
	x->in = NULL;
	kdc_cancel(x);
	done(arg, (struct strv){ in + 4, n - 4 }, NULL);
	free(in);
}

/* 1: all there; 0: more to come; -1: broken. */
static int receive(struct kdc_exchange *x)
{
	char head[4];
	ssize_t n;
	size_t size;

	if (x->in == NULL) {
		n = recv(x->fd, head, sizeof(head), MSG_PEEK);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		if (n == 0)
			return -1;
		if (n < 4)
			return 0;
		size = (size_t)(uint8_t)head[0] << 24 | (size_t)(uint8_t)head[1] << 16 |
		       (size_t)(uint8_t)head[2] << 8 | (uint8_t)head[3];
		if (size == 0 || size > KDC_ANSWER_MAX)
			return -1;
		x->in_size = size + 4;
		x->in = malloc(x->in_size);
		if (x->in == NULL)
			return -1;
	}
	n = recv(x->fd, x->in + x->got, x->in_size - x->got, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	x->got += (size_t)n;
	return x->got == x->in_size;
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct kdc_exchange *x = arg;
	int rc;

	if ((what & EV_WRITE) && x->sent < x->out_n) {
		ssize_t n = send(fd, x->out + x->sent, x->out_n - x->sent, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			this_one_failed(x, strerror(errno));
			return;
		}
		x->sent += n > 0 ? (size_t)n : 0;
		if (x->sent == x->out_n) {
			event_del(x->io);
			event_assign(x->io, loop_base(x->loop), fd, EV_READ | EV_PERSIST, on_io, x);
			event_add(x->io, NULL);
		}
		return;
	}
	rc = receive(x);
	if (rc > 0)
		finish(x);
	else if (rc < 0)
		this_one_failed(x, "it hung up, or sent what is no answer");
}

static void on_late(struct deadline *d)
{
	struct kdc_exchange *x = CONTAINER_OF(d, struct kdc_exchange, deadline);

	this_one_failed(x, "no answer in time");
}

static void on_dialled(void *arg, int fd, const char *why)
{
	struct kdc_exchange *x = arg;

	x->dial = NULL;
	if (fd < 0) {
		this_one_failed(x, why);
		return;
	}
	x->fd = fd;
	x->io = event_new(loop_base(x->loop), fd, EV_WRITE | EV_PERSIST, on_io, x);
	if (x->io == NULL || event_add(x->io, NULL) < 0)
		this_one_failed(x, "out of memory");
}

/* "host", "host:port", "[v6]", "[v6]:port". */
static int split_host(const char *text, char host[256], uint16_t *port)
{
	struct strv name, rest = strv_from(text);
	uint64_t n = 88;

	if (rest.n > 0 && rest.p[0] == '[') {
		rest = (struct strv){ rest.p + 1, rest.n - 1 };
		name = text_split(&rest, ']');
		if (rest.p == NULL)
			return -1;
		if (rest.n > 0 && rest.p[0] != ':')
			return -1;
		rest = rest.n > 0 ? (struct strv){ rest.p + 1, rest.n - 1 }
				  : (struct strv){ NULL, 0 };
	} else {
		name = text_split(&rest, ':');
	}
	if (rest.p != NULL && (text_u64(rest, 65535, &n) < 0 || n == 0))
		return -1;
	*port = (uint16_t)n;
	return name.n == 0 ? -1 : text_copy(host, 256, name);
}

static void on_nobody(struct deadline *d)
{
	struct kdc_exchange *x = CONTAINER_OF(d, struct kdc_exchange, deadline);
	kdc_done_fn *done = x->done;
	void *arg = x->arg;
	char why[sizeof(x->why)];

	memcpy(why, x->why, sizeof(why));
	kdc_cancel(x);
	done(arg, (struct strv){ NULL, 0 }, why);
}

static void next_kdc(struct kdc_exchange *x)
{
	char host[256];
	uint16_t port;

	while (x->tried < x->list->count) {
		x->at = (x->list->best + x->tried++) % x->list->count;
		if (split_host(x->list->hosts[x->at], host, &port) < 0) {
			snprintf(x->why, sizeof(x->why), "KDC %s: expected host:port",
			    x->list->hosts[x->at]);
			continue;
		}
		x->dial = dial_start(
		    x->loop, x->dns, host, port, x->list->timeout_ms, on_dialled, x);
		if (x->dial == NULL)
			break;
		deadline_arm(x->loop, &x->deadline, x->list->timeout_ms, on_late);
		return;
	}
	deadline_arm(x->loop, &x->deadline, 0,
	    on_nobody); /* from the loop, also when this is the first try */
}

struct kdc_exchange *kdc_ask(struct loop *loop, struct evdns_base *dns, struct kdc_list *list,
    struct strv message, kdc_done_fn *done, void *arg)
{
	struct kdc_exchange *x = calloc(1, sizeof(*x));

	if (x == NULL || (x->out = malloc(message.n + 4)) == NULL) {
		free(x);
		return NULL;
	}
	for (int i = 0; i < 4; i++)
		x->out[i] = (char)(message.n >> (8 * (3 - i)));
	memcpy(x->out + 4, message.p, message.n);
	x->out_n = message.n + 4;
	x->loop = loop;
	x->dns = dns;
	x->list = list;
	x->fd = -1;
	x->done = done;
	x->arg = arg;
	snprintf(x->why, sizeof(x->why), "no KDC is configured");
	next_kdc(x);
	return x;
}
