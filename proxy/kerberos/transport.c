/*
 * transport: framed TCP to the KDCs with a deadline. Knows no key and no ticket; passes sealed
 * bytes on. Runs in the *kerberos* process, which may block.
 */
#include "proxy/kerberos/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"

#define NAMES_MAX 200

struct kdc {
	struct sockaddr_storage sa;
	socklen_t len;
};

struct transport {
	struct kdc kdc[TRANSPORT_KDCS_MAX];
	unsigned n, last_good;
	unsigned timeout_ms;
	uint64_t budget_end; /* 0: none */
	uint64_t rest_until; /* no question before; 0: the KDCs are well */
	unsigned failures;   /* exchanges without an answer, in a row */
	uint64_t exchanges;
	char names[NAMES_MAX];
};

/* One connection of an exchange. */
struct attempt {
	int fd; /* -1: over */
	unsigned kdc;
	size_t sent;
	uint8_t head[4];
	size_t got, want; /* of head and body together; want 0: length not known yet */
	char *body;
};

struct exchange {
	struct transport *t;
	const uint8_t *question; /* with its length in front */
	size_t question_n;
	uint64_t end, next_start;
	unsigned started;
	struct attempt attempt[TRANSPORT_KDCS_MAX];
	char *unavailable; /* an answer that says "not now": better than none */
	size_t unavailable_n;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- names --- */

static void add_address(struct transport *t, const struct addrinfo *ai)
{
	if (t->n == TRANSPORT_KDCS_MAX || ai->ai_addrlen > sizeof(t->kdc[0].sa))
		return;
	for (unsigned i = 0; i < t->n; i++) {
		if (t->kdc[i].len == ai->ai_addrlen &&
		    memcmp(&t->kdc[i].sa, ai->ai_addr, ai->ai_addrlen) == 0)
			return;
	}
	memcpy(&t->kdc[t->n].sa, ai->ai_addr, ai->ai_addrlen);
	t->kdc[t->n++].len = ai->ai_addrlen;
}

static int resolve(struct transport *t, const char *kdc, char *why, size_t why_size)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV },
			*list = NULL;
	char host[256], service[8];
	uint16_t port;
	int rc;

	if (host_port_parse(strv_from(kdc), 88, host, &port) < 0 || port == 0) {
		snprintf(why, why_size, "proxy.kerberos.kdcs: \"%s\": expected host:port", kdc);
		return -1;
	}
	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hint, &list);
	if (rc != 0) {
		snprintf(why, why_size,
		    "proxy.kerberos.kdcs: %s: %s: correct the name, or the DNS of this machine",
		    host, gai_strerror(rc));
		log_say(LOG_WARNING, "kdc_unresolved", "%s", why);
		return 0;
	}
	for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next)
		add_address(t, ai);
	freeaddrinfo(list);
	return 0;
}

struct transport *transport_new(
    const char *const *kdcs, unsigned n, unsigned timeout_ms, char *why, size_t why_size)
{
	struct transport *t = calloc(1, sizeof(*t));
	size_t at = 0;

	snprintf(why, why_size, "%s",
	    t == NULL ? "out of memory"
		      : "proxy.kerberos.kdcs is empty: name the DCs as host:port");
	if (t == NULL)
		return NULL;
	t->timeout_ms = timeout_ms;
	for (unsigned i = 0; i < n; i++) {
		if (resolve(t, kdcs[i], why, why_size) < 0)
			goto failed;
		if (at < sizeof(t->names))
			at += (size_t)snprintf(t->names + at, sizeof(t->names) - at, "%s%s",
			    i > 0 ? ", " : "", kdcs[i]);
	}
	if (t->n > 0)
		return t;
failed:
	transport_free(t);
	return NULL;
}

void transport_free(struct transport *t)
{
	free(t);
}

void transport_budget(struct transport *t, unsigned ms)
{
	t->budget_end = ms == 0 ? 0 : now_ms() + ms;
}

bool transport_resting(const struct transport *t)
{
	return now_ms() < t->rest_until;
}

const char *transport_names(const struct transport *t)
{
	return t->names;
}

unsigned transport_addresses(const struct transport *t)
{
	return t->n;
}

uint64_t transport_exchanges(const struct transport *t)
{
	return t->exchanges;
}

/* --- one connection --- */

static void attempt_end(struct attempt *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
	free(a->body);
	a->body = NULL;
}

static void attempt_start(struct exchange *x)
{
	struct transport *t = x->t;
	struct attempt *a = &x->attempt[x->started];

	*a = (struct attempt){ .fd = -1, .kdc = (t->last_good + x->started) % t->n };
	x->started++;
	a->fd = socket(t->kdc[a->kdc].sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (a->fd < 0)
		return;
	if (connect(a->fd, (const struct sockaddr *)&t->kdc[a->kdc].sa, t->kdc[a->kdc].len) < 0 &&
	    errno != EINPROGRESS)
		attempt_end(a);
}

/* 0: go on later; -1: this connection is over. */
static int attempt_write(struct exchange *x, struct attempt *a)
{
	ssize_t n = send(a->fd, x->question + a->sent, x->question_n - a->sent, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	a->sent += (size_t)n;
	return 0;
}

static int attempt_length(struct attempt *a)
{
	uint32_t n = (uint32_t)a->head[0] << 24 | (uint32_t)a->head[1] << 16 |
	    (uint32_t)a->head[2] << 8 | a->head[3];

	if (n == 0 || n > TRANSPORT_ANSWER_MAX)
		return -1;
	a->body = malloc(n);
	a->want = 4 + (size_t)n;
	return a->body == NULL ? -1 : 0;
}

/* 1: the answer is whole; 0: go on later; -1: this connection is over. */
static int attempt_read(struct attempt *a)
{
	bool in_head = a->got < 4;
	void *at = in_head ? (void *)(a->head + a->got) : (void *)(a->body + a->got - 4);
	ssize_t n = recv(a->fd, at, in_head ? 4 - a->got : a->want - a->got, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	a->got += (size_t)n;
	if (in_head)
		return a->got == 4 ? attempt_length(a) : 0;
	return a->got == a->want;
}

/* --- one exchange --- */

static bool says_unavailable(const char *answer, size_t n)
{
	krb5_data d = { .length = (unsigned)n, .data = (char *)(uintptr_t)answer };
	krb5_error *error = NULL;
	bool is;

	if (n == 0 || (uint8_t)answer[0] != 0x7e || krb5_rd_error(NULL, &d, &error) != 0)
		return false;
	is = error->error == (krb5_ui_4)(KRB5KDC_ERR_SVC_UNAVAILABLE - KRB5KDC_ERR_NONE);
	krb5_free_error(NULL, error);
	return is;
}

/* True when the answer is there to be used. */
static bool attempt_step(struct exchange *x, struct attempt *a)
{
	int rc = a->sent < x->question_n ? attempt_write(x, a) : attempt_read(a);

	if (rc == 0)
		return false;
	if (rc == 1 && !says_unavailable(a->body, a->want - 4))
		return true;
	if (rc == 1 && x->unavailable == NULL) {
		x->unavailable = a->body;
		x->unavailable_n = a->want - 4;
		a->body = NULL;
	}
	attempt_end(a);
	return false;
}

/* How long the ones before get alone. */
static unsigned stagger_ms(const struct exchange *x, uint64_t now)
{
	uint64_t left = x->end - now, waiting = x->t->n - x->started;

	return (unsigned)(left / (waiting + 1) / 2 + 1);
}

/* Starts what is due. False: nothing is under way and nothing is left to start. */
static bool keep_going(struct exchange *x, uint64_t now)
{
	unsigned alive = 0;

	for (unsigned i = 0; i < x->started; i++)
		alive += x->attempt[i].fd >= 0;
	while (x->started < x->t->n && (alive == 0 || now >= x->next_start)) {
		attempt_start(x);
		alive += x->attempt[x->started - 1].fd >= 0;
		x->next_start = now + stagger_ms(x, now);
	}
	return alive > 0;
}

static int wait_for_sockets(struct exchange *x, uint64_t now, struct pollfd *p)
{
	uint64_t until = x->started < x->t->n && x->next_start < x->end ? x->next_start : x->end;

	for (unsigned i = 0; i < x->started; i++) {
		p[i].fd = x->attempt[i].fd;
		p[i].events = x->attempt[i].sent < x->question_n ? POLLOUT : POLLIN;
		p[i].revents = 0;
	}
	return poll(p, x->started, until > now ? (int)(until - now) : 0);
}

/* The attempt with the whole answer, or NULL. */
static struct attempt *run(struct exchange *x)
{
	struct pollfd p[TRANSPORT_KDCS_MAX];
	uint64_t now;

	while ((now = now_ms()) < x->end) {
		if (!keep_going(x, now))
			return NULL;
		if (wait_for_sockets(x, now, p) <= 0)
			continue;
		for (unsigned i = 0; i < x->started; i++) {
			if (x->attempt[i].fd >= 0 && p[i].revents != 0 &&
			    attempt_step(x, &x->attempt[i]))
				return &x->attempt[i];
		}
	}
	return NULL;
}

/* The time this exchange has; 0: none. */
static uint64_t time_for(const struct transport *t, uint64_t now)
{
	uint64_t ms = t->timeout_ms;

	if (now < t->rest_until)
		return 0;
	if (t->failures > 0 && t->failures % 4 != 0)
		ms = ms / 4 + 1;
	if (t->budget_end != 0 && t->budget_end < now + ms)
		ms = t->budget_end > now ? t->budget_end - now : 0;
	return ms;
}

static void settle(struct transport *t, const struct attempt *good, bool any)
{
	if (good != NULL)
		t->last_good = good->kdc;
	if (any) {
		if (t->failures > 0)
			log_say(LOG_INFO, "kdc_back", "a KDC answers again (%s)", t->names);
		t->failures = 0;
		t->rest_until = 0;
		return;
	}
	if (t->failures++ == 0)
		log_say(LOG_WARNING, "kdc_down",
		    "no KDC answered in time (%s): cached tickets go on being used", t->names);
	t->last_good = (t->last_good + 1) % t->n;
	t->rest_until = now_ms() + TRANSPORT_REST_MS;
}

static int frame(struct strv question, uint8_t **out)
{
	uint32_t n = htonl((uint32_t)question.n);

	if (question.n == 0 || question.n > TRANSPORT_ANSWER_MAX)
		return -1;
	*out = malloc(4 + question.n);
	if (*out == NULL)
		return -1;
	memcpy(*out, &n, 4);
	memcpy(*out + 4, question.p, question.n);
	return 0;
}

krb5_error_code transport_exchange(
    struct transport *t, struct strv question, char **answer, size_t *answer_n)
{
	uint64_t now = now_ms(), ms = time_for(t, now);
	struct exchange x = { .t = t, .question_n = question.n + 4, .end = now + ms };
	struct attempt *good;
	uint8_t *framed;

	*answer = NULL;
	*answer_n = 0;
	if (ms == 0)
		return KRB5_KDC_UNREACH;
	if (frame(question, &framed) < 0)
		return ENOMEM;
	x.question = framed;
	t->exchanges++;
	good = run(&x);
	if (good != NULL) {
		*answer = good->body;
		*answer_n = good->want - 4;
		good->body = NULL;
	} else if (x.unavailable != NULL) {
		*answer = x.unavailable;
		*answer_n = x.unavailable_n;
		x.unavailable = NULL;
	}
	settle(t, good, *answer != NULL);
	for (unsigned i = 0; i < x.started; i++)
		attempt_end(&x.attempt[i]);
	free(x.unavailable);
	free(framed);
	return *answer != NULL ? 0 : KRB5_KDC_UNREACH;
}

/* The library's hook: never lets it go on to a transport of its own. */
static krb5_error_code on_send(krb5_context context, void *data, const krb5_data *realm,
    const krb5_data *message, krb5_data **new_message, krb5_data **reply)
{
	struct transport *t = data;
	krb5_data answer = { 0 };
	char *bytes = NULL;
	size_t n = 0;
	krb5_error_code rc;

	(void)realm;
	*new_message = NULL;
	*reply = NULL;
	rc = transport_exchange(t, (struct strv){ message->data, message->length }, &bytes, &n);
	if (rc != 0)
		return rc;
	answer.data = bytes;
	answer.length = (unsigned)n;
	rc = krb5_copy_data(context, &answer, reply);
	free(bytes);
	return rc;
}

void transport_attach(struct transport *t, krb5_context context)
{
	krb5_set_kdc_send_hook(context, on_send, t);
}
