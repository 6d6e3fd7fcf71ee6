/*
 * local: peers of the local socket, and the entries that no list holds yet. Runs in the revocation process.
 */
#include "proxy/revocation/local.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/local_revocation.h"
#include "common/log.h"
#include "common/text.h"
#include "common/wire.h"
#include "proxy/metric_table.h"
#include "proxy/revocation/crl.h"

#define PEERS_MAX  8
#define LOOKS_MAX  8
#define LOOK_MS	   100		/* between two looks that were asked for: a peer must not keep us reading */
#define ENTRIES_AT_FIRST 64u

struct peer {
	struct local *owner;
	struct wire *wire;		/* NULL: free */
	int fd;				/* the wire's; to cut it from inside serve() */
	struct ucred who;
	uint64_t since;
};

struct entry {
	uint8_t issuer[SHA256_SIZE];
	struct serial serial;
	uint64_t number;
};

struct local {
	struct local_config c;
	struct event *accept;
	struct peer peers[PEERS_MAX];
	uint64_t peers_seen;
	struct entry *entries;
	size_t n, room;
	bool unsettled;
	uint64_t settled_at;		/* index_writer_replacements() of the last time */
	struct deadline look;
	uint64_t looked_ms;
	uint8_t wanted[LOOKS_MAX][SHA256_SIZE];
	unsigned wanted_n;
};

/* --- entries --- */

static struct entry *find(struct local *l, const uint8_t issuer[SHA256_SIZE], const struct serial *serial)
{
	for (size_t i = 0; i < l->n; i++) {
		struct entry *e = &l->entries[i];
		if (e->serial.n == serial->n && memcmp(e->serial.byte, serial->byte, serial->n) == 0 && memcmp(e->issuer, issuer, SHA256_SIZE) == 0)
			return e;
	}
	return NULL;
}

static struct entry *add(struct local *l, const uint8_t issuer[SHA256_SIZE], const struct serial *serial, uint64_t number)
{
	size_t room = l->room > 0 ? 2 * l->room : ENTRIES_AT_FIRST;
	struct entry *more;

	if (l->n == LOCAL_ENTRIES_MAX)
		return NULL;
	if (l->n == l->room) {
		more = realloc(l->entries, room * sizeof(*more));
		if (more == NULL)
			return NULL;
		l->entries = more;
		l->room = room;
	}
	more = &l->entries[l->n++];
	*more = (struct entry){ .serial = *serial, .number = number };
	memcpy(more->issuer, issuer, SHA256_SIZE);
	return more;
}

/* A list above that number is in the index. */
static bool is_overtaken(const struct local *l, const uint8_t issuer[SHA256_SIZE], uint64_t number)
{
	const struct index_source_state *crl = index_writer_source(l->c.index, issuer, INDEX_CRL);
	struct serial own;

	local_message_number(number, &own);
	return crl != NULL && serial_compare(&own, &crl->delta_number) < 0;
}

void local_settle(struct local *l)
{
	uint64_t now;
	int rc;

	if (l == NULL)
		return;
	now = index_writer_replacements(l->c.index);
	if (!l->unsettled && now == l->settled_at)
		return;
	l->unsettled = false;
	l->settled_at = now;
	for (size_t i = 0; i < l->n;) {
		struct entry *e = &l->entries[i];
		if (!is_overtaken(l, e->issuer, e->number)) {
			i++;
			continue;
		}
		rc = index_writer_change(l->c.index, e->issuer, INDEX_LOCAL, &e->serial, false);
		if (rc < 0 && rc != -EINVAL) {
			l->unsettled = true;
			i++;
			continue;
		}
		*e = l->entries[--l->n];
	}
}

/* The highest number of an issuer's entries outlives a restart; one by one they need not. */
static void remember_number(struct local *l, const uint8_t issuer[SHA256_SIZE], uint64_t number)
{
	const struct index_source_state *s = index_writer_source(l->c.index, issuer, INDEX_LOCAL);
	struct serial own;

	local_message_number(number, &own);
	if (s != NULL && serial_compare(&s->number, &own) < 0)
		index_writer_set_number(l->c.index, issuer, INDEX_LOCAL, &own);
}

static enum local_result take(struct local *l, const struct local_message *m, const struct serial *serial)
{
	struct entry *e = find(l, m->issuer, serial);
	int rc;

	/* said again, and the list has the last word already */
	if (e == NULL && is_overtaken(l, m->issuer, m->number))
		return LOCAL_TAKEN;
	if (e == NULL && l->n == LOCAL_ENTRIES_MAX)
		return LOCAL_FULL;
	rc = index_writer_change(l->c.index, m->issuer, INDEX_LOCAL, serial, true);
	if (rc < 0)
		return rc == -EINVAL ? LOCAL_FOREIGN : LOCAL_FAILED;
	if (e == NULL)
		e = add(l, m->issuer, serial, m->number);
	/* it is revoked already, but nothing would end it: it is said again */
	if (e == NULL)
		return LOCAL_FAILED;
	if (m->number > e->number)
		e->number = m->number;
	remember_number(l, m->issuer, m->number);
	return LOCAL_TAKEN;
}

/* --- what peers say --- */

static void say_refused(const struct ucred *who, const char *reason)
{
	struct log_line line;

	metrics_add(M_LOCAL_MESSAGES, LOCAL_COUNTED_REFUSED, 1);
	log_begin_audit(&line, "local_refused");
	log_cstr(&line, "reason", reason);
	log_int(&line, "uid", who->uid);
	log_int(&line, "pid", who->pid);
	log_end(&line);
}

static void say_taken(const struct local_message *m, const struct serial *serial, enum local_result result)
{
	static const char *const text[] = { [LOCAL_FAILED] = "the index could not take it", [LOCAL_TAKEN] = "taken",
		[LOCAL_FOREIGN] = "no CRL of its issuer is configured here", [LOCAL_FULL] = "too many that no list holds yet" };
	char issuer[2 * SHA256_SIZE + 1], hex[2 * SERIAL_MAX + 1];
	struct log_line line;

	metrics_add(M_LOCAL_MESSAGES, result == LOCAL_TAKEN ? LOCAL_COUNTED_TAKEN : LOCAL_COUNTED_NOT_TAKEN, 1);
	text_hex(issuer, m->issuer, SHA256_SIZE);
	text_hex(hex, serial->byte, serial->n);
	log_begin(&line, result == LOCAL_TAKEN ? LOG_INFO : LOG_WARNING, "local_revoked");
	log_cstr(&line, "issuer", issuer);
	log_cstr(&line, "serial", hex);
	log_cstr(&line, "result", text[result]);
	log_end(&line);
}

/* What cannot be read ends the connection: both ends are ours, so it is neither old nor new, but wrong. */
static bool read_message(struct peer *p, enum local_verb verb, const void *body, size_t n, struct local_message *out)
{
	const char *why;

	if (local_message_read(verb, body, n, out, &why) == 0)
		return true;
	say_refused(&p->who, why);
	shutdown(p->fd, SHUT_RDWR);
	return false;
}

static void answer(struct wire *w, uint64_t number, enum local_result result)
{
	struct local_answer a = { .result = result };

	if (number != 0)
		wire_answer(w, number, &a, sizeof(a));
}

static void serve_revoked(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *p = arg;
	struct local_message m;
	struct serial serial;
	enum local_result result;

	if (!read_message(p, LOCAL_REVOKED, body, n, &m))
		return;
	serial.n = m.serial_n;
	memcpy(serial.byte, m.serial, SERIAL_MAX);
	result = take(p->owner, &m, &serial);
	say_taken(&m, &serial, result);
	p->owner->c.changed(p->owner->c.arg);
	answer(w, number, result);
}

static void do_looks(struct local *l)
{
	unsigned n = l->wanted_n;

	l->wanted_n = 0;
	l->looked_ms = loop_now_ms(l->c.loop);
	for (unsigned i = 0; i < n; i++)
		l->c.look(l->c.arg, l->wanted[i]);
}

static void on_look(struct deadline *d)
{
	do_looks(CONTAINER_OF(d, struct local, look));
}

static void serve_listed(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *p = arg;
	struct local *l = p->owner;
	struct local_message m;
	unsigned i;

	if (!read_message(p, LOCAL_LISTED, body, n, &m))
		return;
	for (i = 0; i < l->wanted_n && memcmp(l->wanted[i], m.issuer, SHA256_SIZE) != 0; i++)
		;
	if (i == LOOKS_MAX) {
		answer(w, number, LOCAL_FULL);
		return;
	}
	answer(w, number, LOCAL_TAKEN);
	if (m.number == 0 || is_overtaken(l, m.issuer, m.number - 1))
		return;
	if (i == l->wanted_n)
		memcpy(l->wanted[l->wanted_n++], m.issuer, SHA256_SIZE);
	if (loop_now_ms(l->c.loop) >= l->looked_ms + LOOK_MS)
		do_looks(l);
	else
		deadline_arm(l->c.loop, &l->look, LOOK_MS, on_look);
}

/* Any length comes to serve(), which says in the audit what was wrong with it. */
static const struct wire_verb verbs[] = {
	{ LOCAL_REVOKED, "revoked", 0, WIRE_BODY_MAX, serve_revoked },
	{ LOCAL_LISTED, "listed", 0, WIRE_BODY_MAX, serve_listed },
	{ 0, NULL, 0, 0, NULL },
};

/* --- peers --- */

static void drop(struct peer *p)
{
	struct wire *w = p->wire;

	p->wire = NULL;
	wire_free(w);
}

static void on_closed(struct wire *w, void *arg)
{
	(void)w;
	drop(arg);
}

/* A free place, else that of whoever came first: enrolment comes again. */
static struct peer *place(struct local *l)
{
	struct peer *oldest = &l->peers[0];

	for (size_t i = 0; i < PEERS_MAX; i++) {
		if (l->peers[i].wire == NULL)
			return &l->peers[i];
		if (l->peers[i].since < oldest->since)
			oldest = &l->peers[i];
	}
	drop(oldest);
	return oldest;
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
	struct local *l = arg;
	struct wire_config config = { .verbs = verbs, .closed = on_closed, .name = "enrolment" };
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(who);
	struct peer *p;
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || (who.uid != 0 && who.uid != geteuid())) {
		say_refused(&who, "is neither root nor the service user");
		close(fd);
		return;
	}
	p = place(l);
	*p = (struct peer){ .owner = l, .fd = fd, .who = who, .since = ++l->peers_seen };
	config.arg = p;
	p->wire = wire_new(l->c.loop, fd, &config);
	if (p->wire != NULL)
		log_say(LOG_INFO, "local_connected", "enrolment on this machine is connected (uid %u, pid %d)", (unsigned)who.uid, (int)who.pid);
}

/* --- life --- */

struct take_up { struct local *local; const uint8_t *issuer; uint64_t number; bool failed; };

static void take_up_one(void *arg, const struct serial *serial)
{
	struct take_up *t = arg;

	if (add(t->local, t->issuer, serial, t->number) == NULL)
		t->failed = true;	/* it stays revoked; the index alone knows of it */
}

static void take_up(struct local *l, const uint8_t issuer[SHA256_SIZE])
{
	const struct index_source_state *s = index_writer_source(l->c.index, issuer, INDEX_LOCAL);
	struct take_up t = { l, issuer, 0, false };

	for (unsigned i = 0; s != NULL && i < s->number.n && i < 8; i++)
		t.number = t.number << 8 | s->number.byte[i];
	index_writer_each(l->c.index, issuer, INDEX_LOCAL, take_up_one, &t);
	if (t.failed)
		log_say(LOG_ERROR, "memory", "local revocations of the last run stay until the index is made anew");
}

struct local *local_new(const struct local_config *config)
{
	struct local *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->c = *config;
	l->unsettled = true;
	l->accept = event_new(loop_base(l->c.loop), l->c.fd, EV_READ | EV_PERSIST, on_accept, l);
	if (l->accept == NULL || event_add(l->accept, NULL) < 0) {
		local_free(l);
		return NULL;
	}
	for (unsigned i = 0; i < config->issuers_count; i++)
		if ((config->issuers[i].sources & INDEX_BIT(INDEX_LOCAL)) != 0)
			take_up(l, config->issuers[i].issuer);
	return l;
}

void local_free(struct local *l)
{
	if (l == NULL)
		return;
	deadline_disarm(&l->look);
	for (size_t i = 0; i < PEERS_MAX; i++)
		if (l->peers[i].wire != NULL)
			drop(&l->peers[i]);
	if (l->accept != NULL)
		event_free(l->accept);
	free(l->entries);
	free(l);
}
