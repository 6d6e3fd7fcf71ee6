/*
 * device: questions, answers and the small memory between them and the store. The record is device_record.c's, Redis
 * device_redis.c's. Runs in workers.
 *
 * Memory: an answer is taken from it for FRESH_MS without asking; while Redis is away a known good one holds for STALE_MS. An
 * event that names the certificate ends it at once.
 */
#include "common/device.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/device_parts.h"
#include "common/log.h"
#include "common/text.h"

#define FRESH_MS 60000
#define STALE_MS 900000
#define SEEN_MS	 60000		/* last_seen is written no more often */

static struct device_op *find_op(const struct devices *d, uint64_t number)
{
	struct device_op *op;

	for (op = d->ops; op != NULL && op->number != number; op = op->next)
		;
	return op;
}

static void release(struct device_op *op)
{
	struct devices *d = op->owner;
	struct device_op **at;

	for (at = &d->ops; *at != op; at = &(*at)->next)
		;
	*at = op->next;
	d->ops_count--;
	if (op->asked != NULL)
		redis_cancel(op->asked->redis, op->command);
	free(op);
}

void device_answer_op(struct device_op *op, enum device_answer answer)
{
	op->answered = true;
	op->answer = answer;
	event_active(op->owner->deliver, EV_TIMEOUT, 1);
}

static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct devices *d = arg;
	enum device_answer answer;
	device_done_fn *done;
	struct device_op *op;
	void *done_arg;

	(void)fd;
	(void)what;
	/* From the beginning each time: done() may ask, cancel or end sessions. */
	for (;;) {
		for (op = d->ops; op != NULL && !op->answered; op = op->next)
			;
		if (op == NULL)
			return;
		answer = op->answer;
		done = op->done;
		done_arg = op->arg;
		release(op);
		done(done_arg, answer);
	}
}

/* --- memory --- */

static struct device_memory *set_of(struct devices *d, const uint8_t certificate[SHA256_SIZE])
{
	unsigned set = ((unsigned)certificate[0] << 8 | certificate[1]) % DEVICE_SETS;

	return d->memory[set];
}

struct device_memory *device_recall(struct devices *d, const uint8_t certificate[SHA256_SIZE])
{
	struct device_memory *m = set_of(d, certificate);
	unsigned i;

	for (i = 0; i < DEVICE_WAYS; i++)
		if (m[i].checked_ms != 0 && memcmp(m[i].certificate, certificate, SHA256_SIZE) == 0)
			return &m[i];
	return NULL;
}

void device_remember(struct devices *d, const struct device_op *op, enum device_state state, struct strv sid,
    struct strv device)
{
	struct device_memory *m = device_recall(d, op->certificate), *set = set_of(d, op->certificate);
	uint64_t now = loop_now_ms(d->loop) + 1;
	unsigned i;

	if (m == NULL) {
		m = set;
		for (i = 1; i < DEVICE_WAYS; i++)
			if (set[i].checked_ms < m->checked_ms)
				m = &set[i];
		*m = (struct device_memory){ .written_ms = now };
		memcpy(m->certificate, op->certificate, SHA256_SIZE);
	}
	m->checked_ms = now;
	m->state = (uint8_t)state;
	device_bound_hash(sid, device, m->bound);
}

/* True: answered from memory. */
static bool answer_from_memory(struct devices *d, struct device_op *op)
{
	struct device_memory *m = device_recall(d, op->certificate);
	uint64_t now = loop_now_ms(d->loop);
	bool same, up = devices_are_up(d);
	uint8_t bound[16];

	if (m == NULL || m->checked_ms <= d->believed_from_ms || now - m->checked_ms + 1 > (up ? FRESH_MS : STALE_MS))
		return false;
	device_bound_hash(strv_from(op->sid), strv_from(op->device), bound);
	same = memcmp(bound, m->bound, sizeof(bound)) == 0;
	if (m->state == DEVICE_STATE_BLOCKED)
		device_answer_op(op, DEVICE_BLOCKED);
	else if (m->state == DEVICE_STATE_NONE || (op->registered_only && m->state != DEVICE_STATE_REGISTERED))
		device_answer_op(op, DEVICE_UNREGISTERED);
	else if (!same)
		return false;		/* perhaps bound to this one by now: ask */
	else
		device_answer_op(op, DEVICE_ALLOWED);
	if (same && up && now - m->written_ms > SEEN_MS) {
		m->written_ms = now;
		device_write_seen(d, op);
	}
	return true;
}

void devices_changed(struct devices *d, const char *certificate_hex)
{
	uint8_t certificate[SHA256_SIZE];
	struct device_memory *m;

	if (d == NULL || d->memory == NULL)
		return;
	if (certificate_hex[0] == '\0') {
		memset(d->memory, 0, DEVICE_SETS * sizeof(*d->memory));
	} else if (text_unhex(certificate, SHA256_SIZE, strv_from(certificate_hex)) == 0) {
		m = device_recall(d, certificate);
		if (m != NULL)
			memset(m, 0, sizeof(*m));
	}
}

/* --- the table of a single machine --- */

static enum device_answer judge_table(const struct device_op *op, const struct device_record *r)
{
	if (r->state == DEVICE_STATE_BLOCKED)
		return DEVICE_BLOCKED;
	if (r->state == DEVICE_STATE_NONE || (op->registered_only && r->state != DEVICE_STATE_REGISTERED))
		return DEVICE_UNREGISTERED;
	/* The file may be damaged: texts are compared within their bounds. */
	if (strncmp(r->sid, op->sid, sizeof(r->sid)) != 0 || strncmp(r->device, op->device, sizeof(r->device)) != 0)
		return DEVICE_OTHER;
	return DEVICE_ALLOWED;
}

static void fill_record(const struct devices *d, const struct device_op *op, struct device_record *r)
{
	memcpy(r->sid, op->sid, sizeof(r->sid));
	memcpy(r->upn, op->upn, sizeof(r->upn));
	memcpy(r->device, op->device, sizeof(r->device));
	memcpy(r->client, op->client, sizeof(r->client));
	memcpy(r->method, op->method, sizeof(r->method));
	r->first_seen = r->last_seen = loop_wall(d->loop);
}

/*
 * Registered by enrolment without a device id: the first use binds it. Two processes may find it unbound at once; taking it away and
 * putting it back is the act that only one can do.
 */
static enum device_answer bind_registered(struct devices *d, const struct device_op *op, struct device_record *r)
{
	struct device_record standing;

	if (strncmp(r->sid, op->sid, sizeof(r->sid)) != 0)
		return DEVICE_OTHER;
	if (!shared_table_take(d->table, op->certificate, &standing))
		return DEVICE_UNAVAILABLE;
	if (standing.device[0] == '\0' && standing.state == DEVICE_STATE_REGISTERED) {
		fill_record(d, op, &standing);
		return shared_table_put_new(d->table, op->certificate, &standing, r) == 1 ? DEVICE_PINNED : DEVICE_UNAVAILABLE;
	}
	if (shared_table_put_new(d->table, op->certificate, &standing, r) < 0)
		return DEVICE_UNAVAILABLE;
	return judge_table(op, &standing);
}

static enum device_answer ask_table(struct devices *d, const struct device_op *op)
{
	struct device_record r = { .state = DEVICE_STATE_PINNED }, standing = { .state = DEVICE_STATE_NONE };
	enum device_answer answer;
	int rc;

	fill_record(d, op, &r);
	if (op->registered_only) {
		if (!shared_table_get(d->table, op->certificate, &standing))
			return DEVICE_UNREGISTERED;
	} else {
		rc = shared_table_put_new(d->table, op->certificate, &r, &standing);
		if (rc != 0)
			return rc == 1 ? DEVICE_PINNED : DEVICE_UNAVAILABLE;
	}
	if (standing.state == DEVICE_STATE_REGISTERED && standing.device[0] == '\0')
		return bind_registered(d, op, &standing);
	answer = judge_table(op, &standing);
	if (answer == DEVICE_ALLOWED && r.last_seen - standing.last_seen >= SEEN_MS / 1000) {
		r.first_seen = standing.first_seen;
		r.state = standing.state;
		shared_table_put(d->table, op->certificate, &r);
	}
	return answer;
}

/* --- questions --- */

static int copy_text(char *out, size_t size, const char *text, bool must_fit)
{
	if (text == NULL)
		text = "";
	if (must_fit && strlen(text) >= size)
		return -1;
	snprintf(out, size, "%s", text);
	return 0;
}

uint64_t device_check(struct devices *d, const struct device_ask *ask, device_done_fn *done, void *arg)
{
	struct device_op *op;

	if (d == NULL || d->ops_count >= DEVICE_ASKS_MAX || ask->sid[0] == '\0' || ask->device_id[0] == '\0')
		return 0;
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		return 0;
	*op = (struct device_op){ .next = d->ops, .owner = d, .number = ++d->next_number, .done = done, .arg = arg,
		.registered_only = ask->registered_only };
	memcpy(op->certificate, ask->certificate, SHA256_SIZE);
	text_hex(op->hex, op->certificate, SHA256_SIZE);
	if (copy_text(op->sid, sizeof(op->sid), ask->sid, true) < 0 || copy_text(op->upn, sizeof(op->upn), ask->upn, false) < 0 ||
	    copy_text(op->device, sizeof(op->device), ask->device_id, true) < 0 ||
	    copy_text(op->client, sizeof(op->client), ask->client, false) < 0 ||
	    copy_text(op->method, sizeof(op->method), ask->method, false) < 0) {
		free(op);
		return 0;
	}
	d->ops = op;
	d->ops_count++;
	if (d->table != NULL)
		device_answer_op(op, ask_table(d, op));
	else if (!answer_from_memory(d, op))
		device_ask_redis(d, op);
	return op->number;
}

void device_cancel(struct devices *d, uint64_t number)
{
	struct device_op *op = d != NULL && number != 0 ? find_op(d, number) : NULL;

	if (op != NULL)
		release(op);
}

bool devices_are_up(const struct devices *d)
{
	return d != NULL && (d->table != NULL || redis_is_up(device_store(d)->redis));
}

void devices_count(struct devices *d, const struct redis_metrics *metrics)
{
	d->metrics = metrics;
	if (d->store != NULL)
		redis_count(d->store->redis, metrics);
}

struct devices *devices_new(struct loop *loop, struct evdns_base *dns, const struct config_redis *redis, struct bundle *bundle,
    struct shared_table *table)
{
	struct devices *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->loop = loop;
	d->dns = dns;
	d->table = redis == NULL ? table : NULL;
	d->deliver = event_new(loop_base(loop), -1, 0, on_deliver, d);
	d->memory = calloc(DEVICE_SETS, sizeof(*d->memory));
	if (d->deliver == NULL || d->memory == NULL || (redis == NULL && table == NULL))
		goto fail;
	if (redis != NULL && device_store_open(d, redis, bundle) < 0)
		goto fail;
	return d;
fail:
	devices_free(d);
	return NULL;
}

void devices_free(struct devices *d)
{
	if (d == NULL)
		return;
	while (d->ops != NULL)
		release(d->ops);
	device_store_close(d);
	if (d->deliver != NULL)
		event_free(d->deliver);
	free(d->memory);
	free(d);
}
