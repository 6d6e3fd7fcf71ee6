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
#define WAITING_MS 1000		/* one that waits for an administrator is not to wait for us */

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
		redis_cancel(op->asked->redis, op->command_number);
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

static struct device_memory *set_of(struct devices *d, const uint8_t key[SHA256_SIZE])
{
	unsigned set = ((unsigned)key[0] << 8 | key[1]) % DEVICE_SETS;

	return d->memory[set];
}

struct device_memory *device_recall(struct devices *d, const uint8_t key[SHA256_SIZE])
{
	struct device_memory *m = set_of(d, key);
	unsigned i;

	for (i = 0; i < DEVICE_WAYS; i++)
		if (m[i].checked_ms != 0 && memcmp(m[i].key, key, SHA256_SIZE) == 0)
			return &m[i];
	return NULL;
}

void device_remember(struct devices *d, const struct device_op *op, enum device_state state, struct strv sid,
    struct strv device)
{
	struct device_memory *m = device_recall(d, op->key), *set = set_of(d, op->key);
	uint64_t now = loop_now_ms(d->loop) + 1;
	unsigned i;

	if (m == NULL) {
		m = set;
		for (i = 1; i < DEVICE_WAYS; i++)
			if (set[i].checked_ms < m->checked_ms)
				m = &set[i];
		*m = (struct device_memory){ .written_ms = 0 };
		memcpy(m->key, op->key, SHA256_SIZE);
	}
	m->checked_ms = now;
	m->state = (uint8_t)state;
	device_bound_hash(sid, device, m->bound);
	device_bound_hash(sid, STRV(""), m->owner);
}

/* True: *answer, by what is remembered. False: ask, it may be another thing by now. */
static bool judge_memory(const struct device_op *op, const struct device_memory *m, enum device_answer *answer)
{
	uint8_t bound[16], owner[16];

	switch (m->state) {
	case DEVICE_STATE_BLOCKED:
		*answer = DEVICE_BLOCKED;
		return true;
	case DEVICE_STATE_QUARANTINED:
		*answer = DEVICE_QUARANTINED;
		return true;
	case DEVICE_STATE_NONE:
		*answer = DEVICE_UNREGISTERED;
		return op->binds && op->registered_only && !op->note && !op->quarantine;
	default:
		break;
	}
	*answer = DEVICE_UNREGISTERED;
	if (op->binds && op->registered_only && m->state != DEVICE_STATE_REGISTERED)
		return true;
	device_bound_hash(strv_from(op->sid), strv_from(op->device), bound);
	device_bound_hash(strv_from(op->sid), STRV(""), owner);
	*answer = DEVICE_ALLOWED;
	if (!op->binds || op->device[0] == '\0')
		return memcmp(owner, m->owner, sizeof(owner)) == 0;
	return m->state != DEVICE_STATE_SEEN && memcmp(bound, m->bound, sizeof(bound)) == 0;
}

/* True: answered from memory. */
static bool answer_from_memory(struct devices *d, struct device_op *op)
{
	struct device_memory *m = device_recall(d, op->key);
	uint64_t now = loop_now_ms(d->loop), fresh;
	bool up = devices_are_up(d);
	enum device_answer answer;

	if (m == NULL || m->checked_ms <= d->believed_from_ms)
		return false;
	fresh = m->state == DEVICE_STATE_QUARANTINED ? WAITING_MS : FRESH_MS;
	if (now - m->checked_ms + 1 > (up ? fresh : STALE_MS) || !judge_memory(op, m, &answer))
		return false;
	device_answer_op(op, answer);
	if (up)
		device_used(d, op);
	return true;
}

void device_used(struct devices *d, const struct device_op *op)
{
	struct device_memory *m = device_recall(d, op->key);
	uint64_t now = loop_now_ms(d->loop);

	if (m == NULL || op->look_only || op->device[0] == '\0' || (m->written_ms != 0 && now < m->written_ms + DEVICE_SEEN_MS))
		return;
	m->written_ms = now + 1;
	device_write_seen(d, op);
}

void devices_changed(struct devices *d, const char *key_hex)
{
	uint8_t key[SHA256_SIZE];
	struct device_memory *m;

	if (d == NULL || d->memory == NULL)
		return;
	if (key_hex[0] == '\0') {
		memset(d->memory, 0, DEVICE_SETS * sizeof(*d->memory));
	} else if (text_unhex(key, SHA256_SIZE, strv_from(key_hex)) == 0) {
		m = device_recall(d, key);
		if (m != NULL)
			memset(m, 0, sizeof(*m));
	}
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

static int fill_op(struct device_op *op, const struct device_ask *ask)
{
	memcpy(op->key, ask->key, SHA256_SIZE);
	text_hex(op->hex, op->key, SHA256_SIZE);
	if (copy_text(op->sid, sizeof(op->sid), ask->sid, true) < 0 || copy_text(op->upn, sizeof(op->upn), ask->upn, false) < 0 ||
	    copy_text(op->device, sizeof(op->device), ask->device_id, true) < 0 ||
	    copy_text(op->client, sizeof(op->client), ask->client, false) < 0 ||
	    copy_text(op->command, sizeof(op->command), ask->command, false) < 0 ||
	    copy_text(op->device_type, sizeof(op->device_type), ask->device_type, false) < 0 ||
	    copy_text(op->user_agent, sizeof(op->user_agent), ask->user_agent, false) < 0)
		return -1;
	return 0;
}

uint64_t device_check(struct devices *d, const struct device_ask *ask, device_done_fn *done, void *arg)
{
	struct device_op *op;

	if (d == NULL || d->ops_count >= DEVICE_ASKS_MAX || ask->sid[0] == '\0' || (ask->device_id[0] == '\0' && !ask->look_only && !ask->quarantine) || ask->limit == 0 || ask->days == 0)
		return 0;
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		return 0;
	*op = (struct device_op){ .next = d->ops, .owner = d, .number = ++d->next_number, .done = done, .arg = arg, .binds = ask->binds,
		.registered_only = ask->registered_only, .note = ask->note, .quarantine = ask->quarantine, .look_only = ask->look_only,
		.method = ask->method, .limit = ask->limit, .days = ask->days };
	if (fill_op(op, ask) < 0) {
		free(op);
		return 0;
	}
	d->ops = op;
	d->ops_count++;
	if (d->table != NULL)
		device_answer_op(op, device_ask_table(d, op));
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

struct redis *devices_redis(struct devices *d)
{
	return d != NULL && d->table == NULL ? device_store(d)->redis : NULL;
}

bool devices_are_up(const struct devices *d)
{
	return d != NULL && (d->table != NULL || redis_is_up(device_store(d)->redis));
}

bool devices_are_local(const struct devices *d)
{
	return d != NULL && d->table != NULL;
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
