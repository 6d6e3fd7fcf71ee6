/*
 * follow_events: takes the entries of the `events` stream into the index and passes on what concerns others.
 * What a field says is event.c's, where to read from is follow.c's.
 */
#include <stdio.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/revocation/follow_parts.h"

_Static_assert(EVENT_SWITCH + 1 == EVENT_TYPES, "the metric has a label for each type");

#define TEXT(n)	 #n
#define TEXT_OF(n) TEXT(n)
#define COUNT	 "500"

int stream_id_compare(struct stream_id a, struct stream_id b)
{
	if (a.ms != b.ms)
		return a.ms < b.ms ? -1 : 1;
	return a.number == b.number ? 0 : a.number < b.number ? -1 : 1;
}

int stream_id_read(struct strv text, struct stream_id *out)
{
	struct strv ms = text_split(&text, '-');

	return text.p != NULL && text_u64(ms, UINT64_MAX, &out->ms) == 0 && text_u64(text, UINT64_MAX, &out->number) == 0 ? 0 : -1;
}

static void audit(const struct event_entry *e, const char *verdict, const char *why)
{
	char hex[2 * SHA256_SIZE + 1];
	struct log_line l;

	log_begin_audit(&l, "revocation_event");
	log_cstr(&l, "type", event_type_name(e->type));
	log_cstr(&l, "verdict", verdict);
	log_cstr(&l, "reason", why);
	log_bool(&l, "authentic", e->authentic);
	if (e->has_issuer) {
		text_hex(hex, e->issuer, SHA256_SIZE);
		log_cstr(&l, "issuer", hex);
	}
	if (e->has_serial) {
		text_hex(hex, e->serial.byte, e->serial.n);
		log_cstr(&l, "serial", hex);
	}
	if (e->sid[0] != '\0')
		log_cstr(&l, "sid", e->sid);
	if (e->certificate[0] != '\0')
		log_cstr(&l, "certificate", e->certificate);
	log_int(&l, "event_time", e->time);
	log_end(&l);
}

static struct follow_issuer *find_issuer(struct follow *f, const uint8_t key[SHA256_SIZE])
{
	unsigned i;

	for (i = 0; i < f->issuers_count; i++)
		if (memcmp(f->issuers[i].key, key, SHA256_SIZE) == 0)
			return &f->issuers[i];
	return NULL;
}

static enum event_verdict change(struct follow *f, const struct event_entry *e, bool revoked)
{
	int rc;

	if (find_issuer(f, e->issuer) == NULL)
		return EVENT_FOREIGN;	/* another fleet's, or another program's */
	rc = index_writer_change(f->c.index, e->issuer, INDEX_REDIS, &e->serial, revoked);
	if (rc < 0)
		log_say(LOG_ERROR, "index_unwritable", "a change could not be stored in the revocation index: %s; "
		    "make room in state_dir", strerror(-rc));
	if (rc < 0 && revoked)
		f->load_all = true;	/* not lost: the next round loads it from the hash */
	else if (rc > 0)
		f->batch_changed = true;
	return rc < 0 ? EVENT_NOT_STORED : e->authentic ? EVENT_TAKEN : EVENT_TAKEN_UNPROVEN;
}

/* What might let somebody in and was believed. */
static enum event_verdict let_in(struct follow *f, const struct event_entry *e)
{
	struct follow_issuer *issuer;

	index_raise_let_in_floor(f->c.index, e->time);
	switch (e->type) {
	case EVENT_UNREVOKED:
		return change(f, e, false);
	case EVENT_DEVICE:
		f->c.device(f->c.arg, e->certificate);
		break;
	default:
		issuer = e->has_issuer ? find_issuer(f, e->issuer) : NULL;
		if (issuer != NULL)
			issuer->replace = true;
		f->load_all = true;
		f->c.reload(f->c.arg);
	}
	return EVENT_TAKEN;
}

static enum event_verdict take(struct follow *f, struct stream_id id, const struct event_entry *e)
{
	enum event_verdict verdict;

	switch (e->type) {
	case EVENT_REVOKED:
		/* Fail closed: believed from anybody, but it is said who had no right mac. */
		audit(e, "taken", event_verdict_text(e->authentic ? EVENT_TAKEN : EVENT_TAKEN_UNPROVEN));
		return change(f, e, true);
	case EVENT_ACCOUNT:
		/* Only makes the node ask the directory again: nothing to believe. */
		f->c.account(f->c.arg, e->sid);
		return e->authentic ? EVENT_TAKEN : EVENT_TAKEN_UNPROVEN;
	case EVENT_SWITCH:
		/* Only makes the workers read the switches again. */
		f->c.switched(f->c.arg);
		return e->authentic ? EVENT_TAKEN : EVENT_TAKEN_UNPROVEN;
	default:
		verdict = event_may_let_in(&f->guard, e, (int64_t)(id.ms / 1000), loop_wall(f->c.loop));
		audit(e, verdict == EVENT_TAKEN ? "taken" : "refused", event_verdict_text(verdict));
		return verdict == EVENT_TAKEN ? let_in(f, e) : verdict;
	}
}

static void take_event(struct follow *f, struct stream_id id, const redisReply *fields)
{
	struct event_entry e;
	const char *why;

	if (event_read(fields, f->c.secret, &e, &why) < 0) {
		log_say(LOG_WARNING, "event_refused", "an entry of the events stream is of no use: %s", why);
		metrics_add(M_REVOCATION_EVENTS, EVENT_SUB(EVENT_UNKNOWN, EVENT_MALFORMED), 1);
		return;
	}
	metrics_add(M_REVOCATION_EVENTS, EVENT_SUB(e.type, take(f, id, &e)), 1);
}

/* [[key, [[id, fields], ...]]] or nil. The number of entries, or -1. */
static long take_reply(struct follow *f, const redisReply *reply)
{
	const redisReply *stream, *entries, *entry;
	struct stream_id id;
	struct strv text;
	size_t i;

	if (reply->type == REDIS_REPLY_NIL)
		return 0;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1)
		return -1;
	stream = reply->element[0];
	if (stream->type != REDIS_REPLY_ARRAY || stream->elements != 2)
		return -1;
	entries = stream->element[1];
	if (entries->type != REDIS_REPLY_ARRAY)
		return -1;
	for (i = 0; i < entries->elements; i++) {
		entry = entries->element[i];
		if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 || !redis_text(entry->element[0], &text) ||
		    stream_id_read(text, &id) < 0)
			return -1;
		if (stream_id_compare(id, f->position) <= 0)
			continue;	/* asked for before a gap was crossed */
		take_event(f, id, entry->element[1]);
		f->position = id;
		index_set_stream_position(f->c.index, id.ms, id.number);
	}
	return (long)entries->elements;
}

static void on_events(void *arg, enum redis_status status, const redisReply *reply)
{
	struct follow *f = arg;
	long n = status == REDIS_ANSWER ? take_reply(f, reply) : -1;

	if (f->batch_changed)
		f->c.changed(f->c.arg);
	f->batch_changed = false;
	if (n < 0) {
		follow_failed(f, "XREAD events", status, reply);
		return;
	}
	/* Caught up when nothing is left: load what must be, or go on. */
	if (n == 0 && (f->stage == FOLLOW_CATCHING_UP || f->load_all))
		follow_load(f);
	else
		follow_read(f);
}

void follow_read(struct follow *f)
{
	bool wait = f->stage == FOLLOW_FOLLOWING && !f->load_all;
	char key[320], from[48];
	const char *argv[] = { "XREAD", "COUNT", COUNT, "BLOCK", TEXT_OF(FOLLOW_BLOCK_MS), "STREAMS", key, from };
	const char *at_once[] = { "XREAD", "COUNT", COUNT, "STREAMS", key, from };
	unsigned limit = f->c.redis->timeout_ms;

	follow_key(f, key, sizeof(key), "events", "");
	snprintf(from, sizeof(from), "%llu-%llu", (unsigned long long)f->position.ms, (unsigned long long)f->position.number);
	if (wait)
		follow_ask(f, &f->chain, limit, on_events, (int)ARRAY_LEN(argv), argv);
	else
		follow_ask(f, &f->chain, limit, on_events, (int)ARRAY_LEN(at_once), at_once);
}
