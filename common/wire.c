/*
 * wire: questions and answers over a SOCK_SEQPACKET socket pair.
 * Keeps who asked what and until when; knows no verb's meaning. Runs in every process but parses no device's byte.
 */
#include "common/wire.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"

enum wire_kind { KIND_ASK = 1, KIND_ANSWER, KIND_TELL };

struct wire_head {
	uint64_t number;
	uint16_t verb;
	uint16_t kind;
	uint32_t length;
};
static_assert(sizeof(struct wire_head) == 16, "wire layout");

#define MESSAGE_MAX	(sizeof(struct wire_head) + WIRE_BODY_MAX)
#define BATCH		8	/* messages in one system call */
#define TURN_MAX	32	/* messages of one wire that are served before others have their turn */
#define QUEUE_MAX_BYTES (4u << 20)	/* messages that the kernel would not take yet */

struct question {
	struct question *next;		/* of the hash slot */
	struct wire *wire;
	uint64_t number;
	struct deadline deadline;
	wire_done_fn *done;
	void *arg;
};

struct message {
	struct message *next;
	size_t n;
	char bytes[];
};

#define QUESTION_SLOTS 256

struct wire {
	struct loop *loop;
	struct wire_config config;
	int fd;				/* -1: closed */
	struct event *readable, *writable;
	struct event *closing;		/* one-shot: tells `closed` from the loop */
	struct event *turn_end;		/* one-shot: sends what was gathered; not `writable`, which cannot be added while it is active */
	uint64_t next_number;
	unsigned pending;
	struct question *slot[QUESTION_SLOTS];
	struct message *queue, **queue_end;
	size_t queued;
	bool stuck;			/* the queue waits until the kernel takes more */
	bool due;			/* the queue leaves at the end of this turn of the loop */
	bool serving;			/* the queue leaves when what came was served */
};

int wire_pair(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		int size = 1 << 20;
		(void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	return 0;
}

bool wire_is_open(const struct wire *w)
{
	return w != NULL && w->fd >= 0;
}

static struct question **find(struct wire *w, uint64_t number)
{
	struct question **at = &w->slot[number % QUESTION_SLOTS];

	while (*at != NULL && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

/* Takes the question out of the table; the caller frees it. NULL: nobody waits for that number any more. */
static struct question *take(struct wire *w, uint64_t number)
{
	struct question **at = find(w, number), *q = *at;

	if (q == NULL)
		return NULL;
	*at = q->next;
	w->pending--;
	deadline_disarm(&q->deadline);
	return q;
}

static void message_free(struct message *m)
{
	struct wire_head head;

	memcpy(&head, m->bytes, sizeof(head));
	if ((head.verb & WIRE_SECRET) != 0)
		OPENSSL_cleanse(m->bytes, m->n);
	free(m);
}

static void drop_queue(struct wire *w)
{
	while (w->queue != NULL) {
		struct message *m = w->queue;
		w->queue = m->next;
		message_free(m);
	}
	w->queue_end = &w->queue;
	w->queued = 0;
}

static void on_closing(evutil_socket_t fd, short what, void *arg)
{
	struct wire *w = arg;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < QUESTION_SLOTS; i++) {
		while (w->slot[i] != NULL) {
			struct question *q = take(w, w->slot[i]->number);
			q->done(q->arg, WIRE_CLOSED, NULL, 0);
			free(q);
		}
	}
	if (w->config.closed != NULL)
		w->config.closed(w, w->config.arg);
}

/* Ends the transport now, tells everybody from the loop. Safe in any callback; needs no memory. */
static void shut(struct wire *w)
{
	if (w->fd < 0)
		return;
	event_del(w->readable);
	event_del(w->writable);
	event_del(w->turn_end);
	close(w->fd);
	w->fd = -1;
	drop_queue(w);
	event_active(w->closing, EV_TIMEOUT, 0);
}

/* The first messages of the queue, in one system call. 1: some left; 0: the kernel takes no more now; -1: the wire is no good. */
static int send_some(struct wire *w)
{
	struct mmsghdr batch[BATCH];
	struct iovec part[BATCH];
	unsigned n = 0;
	int sent;

	for (struct message *m = w->queue; m != NULL && n < BATCH; m = m->next, n++) {
		part[n] = (struct iovec){ m->bytes, m->n };
		batch[n] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &part[n], .msg_iovlen = 1 } };
	}
	do
		sent = sendmmsg(w->fd, batch, n, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EAGAIN || errno == ENOBUFS ? 0 : -1;
	for (int i = 0; i < sent; i++) {
		struct message *m = w->queue;
		bool whole = batch[i].msg_len == m->n;

		w->queue = m->next;
		if (w->queue == NULL)
			w->queue_end = &w->queue;
		w->queued -= m->n;
		message_free(m);
		if (!whole)
			return -1;
	}
	return 1;
}

static void send_queue(struct wire *w)
{
	int rc = 1;

	w->due = false;
	while (rc > 0 && w->queue != NULL)
		rc = send_some(w);
	if (rc < 0 || (rc == 0 && !w->stuck && event_add(w->writable, NULL) < 0)) {
		shut(w);
		return;
	}
	if (rc > 0 && w->stuck)
		event_del(w->writable);
	w->stuck = rc == 0;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	send_queue(arg);
}

void wire_flush(struct wire *w)
{
	if (wire_is_open(w) && w->queue != NULL && !w->stuck)
		send_queue(w);
}

/* No memory for a tell or an answer: lost unnoticed, it would leave the other side waiting or wrong. It is to begin with a new wire. */
static int lose(struct wire *w, const struct wire_head *head)
{
	if (head->kind != KIND_ASK)
		shut(w);
	return -1;
}

static struct message *message_new(const struct wire_head *head, struct strv first, struct strv second)
{
	size_t n = sizeof(*head) + head->length;
	struct message *m = malloc(sizeof(*m) + n);

	if (m == NULL)
		return NULL;
	m->next = NULL;
	m->n = n;
	memcpy(m->bytes, head, sizeof(*head));
	if (first.n > 0)
		memcpy(m->bytes + sizeof(*head), first.p, first.n);
	if (second.n > 0)
		memcpy(m->bytes + sizeof(*head) + first.n, second.p, second.n);
	return m;
}

/* head->length is that of both together. */
static int post(struct wire *w, const struct wire_head *head, struct strv first, struct strv second)
{
	struct message *m;
	size_t n = sizeof(*head) + head->length;

	if (w->queued + n > QUEUE_MAX_BYTES)
		wire_flush(w);
	if (w->fd < 0 || head->length > WIRE_BODY_MAX || w->queued + n > QUEUE_MAX_BYTES)
		return -1;
	m = message_new(head, first, second);
	if (m == NULL)
		return lose(w, head);
	*w->queue_end = m;
	w->queue_end = &m->next;
	w->queued += n;
	if (!w->config.gather) {
		wire_flush(w);
	} else if (!w->due && !w->stuck && !w->serving) {
		w->due = true;
		event_active(w->turn_end, EV_TIMEOUT, 0);	/* behind all that this turn of the loop has still to do */
	}
	return w->fd < 0 ? -1 : 0;
}

static const struct wire_verb *verb_of(const struct wire *w, uint16_t verb)
{
	for (const struct wire_verb *v = w->config.verbs; v != NULL && v->name != NULL; v++) {
		if (v->verb == verb)
			return v;
	}
	return NULL;
}

static void serve(struct wire *w, const struct wire_head *head, const void *body)
{
	const struct wire_verb *v = verb_of(w, head->verb);
	uint64_t number = head->kind == KIND_ASK ? head->number : 0;

	if (v == NULL || head->length < v->min || head->length > v->max) {
		log_say(LOG_ERROR, "wire_refused", "%s sent verb %u with %u bytes, which nobody here serves",
		    w->config.name, head->verb, head->length);
		if (number != 0)
			wire_answer(w, number, NULL, 0);
		return;
	}
	v->serve(w, number, body, head->length, w->config.arg);
}

static void receive(struct wire *w, const struct wire_head *head, const void *body)
{
	struct question *q;

	switch (head->kind) {
	case KIND_ASK:
	case KIND_TELL:
		serve(w, head, body);
		return;
	case KIND_ANSWER:
		q = take(w, head->number);
		if (q == NULL)
			return;		/* it came too late, or was cancelled */
		q->done(q->arg, head->length > 0 ? WIRE_OK : WIRE_FAILED, body, head->length);
		free(q);
		return;
	default:
		log_say(LOG_ERROR, "wire_broken", "%s sent a message of no known kind: the wire is cut", w->config.name);
		shut(w);
	}
}

static void take_message(struct wire *w, char *bytes, size_t n)
{
	struct wire_head head;

	if (n >= sizeof(head))
		memcpy(&head, bytes, sizeof(head));
	if (n < sizeof(head) || n > MESSAGE_MAX || head.length != n - sizeof(head)) {
		log_say(LOG_ERROR, "wire_broken", "%s sent a message of a wrong length: the wire is cut", w->config.name);
		shut(w);
		return;
	}
	if (w->fd >= 0)		/* else: what came before it cut the wire */
		receive(w, &head, bytes + sizeof(head));
	if ((head.verb & WIRE_SECRET) != 0)
		OPENSSL_cleanse(bytes, n);
}

/* One set per process is enough: messages are served one at a time, and a serve() never reads. Most pages of it are never touched. */
static _Alignas(16) char bytes_in[BATCH][MESSAGE_MAX];

/* How many came, 0: none now. */
static int receive_some(struct wire *w, int fd)
{
	struct mmsghdr batch[BATCH];
	struct iovec part[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++) {
		part[i] = (struct iovec){ bytes_in[i], MESSAGE_MAX };
		batch[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &part[i], .msg_iovlen = 1 } };
	}
	n = recvmmsg(fd, batch, BATCH, MSG_TRUNC, NULL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		shut(w);
	for (int i = 0; i < n; i++) {
		if (batch[i].msg_len == 0)
			shut(w);	/* the other side's end */
		else
			take_message(w, bytes_in[i], batch[i].msg_len);
	}
	return n;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct wire *w = arg;
	int n = BATCH;

	(void)what;
	w->serving = true;
	for (int all = 0; all < TURN_MAX && n == BATCH && w->fd >= 0; all += n)
		n = receive_some(w, fd);
	w->serving = false;
	wire_flush(w);
}

struct wire *wire_new(struct loop *loop, int fd, const struct wire_config *config)
{
	struct wire *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		close(fd);
		return NULL;
	}
	w->loop = loop;
	w->config = *config;
	w->fd = fd;
	w->queue_end = &w->queue;
	w->readable = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, w);
	w->writable = event_new(loop_base(loop), fd, EV_WRITE | EV_PERSIST, on_writable, w);
	w->closing = event_new(loop_base(loop), -1, 0, on_closing, w);
	w->turn_end = event_new(loop_base(loop), -1, 0, on_writable, w);
	if (!w->readable || !w->writable || !w->closing || !w->turn_end || event_add(w->readable, NULL) < 0) {
		wire_free(w);
		return NULL;
	}
	return w;
}

void wire_free(struct wire *w)
{
	if (w == NULL)
		return;
	for (size_t i = 0; i < QUESTION_SLOTS; i++) {
		while (w->slot[i] != NULL)
			free(take(w, w->slot[i]->number));
	}
	if (w->due)
		wire_flush(w);
	if (w->readable != NULL)
		event_free(w->readable);
	if (w->writable != NULL)
		event_free(w->writable);
	if (w->closing != NULL)
		event_free(w->closing);
	if (w->turn_end != NULL)
		event_free(w->turn_end);
	if (w->fd >= 0)
		close(w->fd);
	drop_queue(w);
	free(w);
}

static void on_deadline(struct deadline *d)
{
	struct question *q = CONTAINER_OF(d, struct question, deadline);

	take(q->wire, q->number);
	q->done(q->arg, WIRE_TIMEOUT, NULL, 0);
	free(q);
}

uint64_t wire_ask(struct wire *w, uint16_t verb, const void *body, size_t n, unsigned timeout_ms, wire_done_fn *done, void *arg)
{
	struct wire_head head = { .verb = verb, .kind = KIND_ASK };
	struct question *q;

	if (!wire_is_open(w) || w->pending >= WIRE_PENDING_MAX || n > WIRE_BODY_MAX)
		return 0;
	q = calloc(1, sizeof(*q));
	if (q == NULL)
		return 0;
	head.number = q->number = ++w->next_number;
	head.length = (uint32_t)n;
	if (post(w, &head, (struct strv){ body, n }, (struct strv){ NULL, 0 }) < 0) {
		free(q);
		return 0;
	}
	q->wire = w;
	q->done = done;
	q->arg = arg;
	q->next = w->slot[q->number % QUESTION_SLOTS];
	w->slot[q->number % QUESTION_SLOTS] = q;
	w->pending++;
	deadline_arm(w->loop, &q->deadline, timeout_ms, on_deadline);
	return q->number;
}

void wire_cancel(struct wire *w, uint64_t number)
{
	if (w != NULL && number != 0)
		free(take(w, number));
}

int wire_answer(struct wire *w, uint64_t number, const void *body, size_t n)
{
	struct wire_head head = { .number = number, .kind = KIND_ANSWER, .length = (uint32_t)n };

	return n > WIRE_BODY_MAX ? -1 : post(w, &head, (struct strv){ body, n }, (struct strv){ NULL, 0 });
}

int wire_answer_secret(struct wire *w, uint64_t number, struct strv first, struct strv second)
{
	struct wire_head head = { .number = number, .verb = WIRE_SECRET, .kind = KIND_ANSWER };

	if (first.n > WIRE_BODY_MAX || second.n > WIRE_BODY_MAX - first.n)
		return -1;
	head.length = (uint32_t)(first.n + second.n);
	return post(w, &head, first, second);
}

int wire_tell(struct wire *w, uint16_t verb, const void *body, size_t n)
{
	struct wire_head head = { .verb = verb, .kind = KIND_TELL, .length = (uint32_t)n };

	return n > WIRE_BODY_MAX ? -1 : post(w, &head, (struct strv){ body, n }, (struct strv){ NULL, 0 });
}
