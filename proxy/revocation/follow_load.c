/*
 * follow_load: reads the hashes revoked:<issuer> into the index, and crl:<issuer> for how fresh that is.
 * Reads all of a hash by HSCAN in portions; holds only what the index does not know yet.
 */
#include <stdio.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/revocation/follow_parts.h"

#define COUNT	   "1000"
#define SILENT_SECONDS 600	/* a publisher writes every 20 */
#define AHEAD_SECONDS  300	/* as far as an event's time may be ahead */
#define ONE_BY_ONE 512		/* so many news go to the change table; more are built in */

static void scan(struct follow *f);

static void end_load(struct follow *f)
{
	f->load_all = false;
	f->stage = FOLLOW_FOLLOWING;
	if (f->problem[0] != '\0')
		log_say(LOG_INFO, "redis_followed", "revocations are followed in Redis again");
	f->problem[0] = '\0';
	f->c.changed(f->c.arg);
	follow_confirm(f);
	follow_read(f);
}

/* The hash was read to its end. */
static int store(struct follow *f, struct follow_issuer *issuer)
{
	const struct index_source_state *known = index_writer_source(f->c.index, issuer->key, INDEX_REDIS);
	struct index_source_state state = { 0 };
	struct serial s;
	size_t i;
	int rc = 0;

	if (known == NULL)
		return -1;
	state = *known;
	serials_sort(&f->list);
	if (issuer->replace || f->list.n > ONE_BY_ONE)
		return index_writer_load(f->c.index, issuer->key, INDEX_REDIS, &f->list, !issuer->replace, &state);
	for (i = 0; i < f->list.n && rc >= 0; i++) {
		s.n = (uint8_t)serial_width(f->list.row[i]);
		memcpy(s.byte, f->list.row[i] + SERIAL_MAX - s.n, s.n);
		rc = index_writer_change(f->c.index, issuer->key, INDEX_REDIS, &s, true);
	}
	return rc < 0 ? rc : 0;
}

static void issuer_done(struct follow *f)
{
	struct follow_issuer *issuer = &f->issuers[f->loading];
	size_t n = f->list.n;
	struct log_line l;
	int rc;

	rc = store(f, issuer);
	serials_clear(&f->list);
	if (rc < 0) {
		log_say(LOG_ERROR, "index_unwritable", "revoked:%s could not be stored in the revocation index: %s; make room in "
		    "state_dir", issuer->hex, strerror(-rc));
		follow_failed(f, "storing", REDIS_ANSWER, NULL);
		return;
	}
	log_begin(&l, LOG_INFO, "redis_loaded");
	log_cstr(&l, "issuer", issuer->hex);
	log_int(&l, issuer->replace ? "revoked" : "news", (int64_t)n);
	log_int(&l, "malformed", f->bad_fields);
	log_end(&l);
	issuer->loaded = true;
	issuer->replace = false;
	f->loading++;
	f->cursor[0] = '\0';
	scan(f);
}

/* [cursor, [field, value, ...]]. 0, or -1: not such a reply or no memory. */
static int take_portion(struct follow *f, const redisReply *reply)
{
	struct follow_issuer *issuer = &f->issuers[f->loading];
	const redisReply *pairs;
	struct strv cursor, field;
	struct serial s;
	uint64_t number;
	size_t i;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !redis_text(reply->element[0], &cursor) ||
	    text_u64(cursor, UINT64_MAX, &number) < 0 || text_copy(f->cursor, sizeof(f->cursor), cursor) < 0)
		return -1;
	pairs = reply->element[1];
	if (pairs->type != REDIS_REPLY_ARRAY || pairs->elements % 2 != 0)
		return -1;
	for (i = 0; i < pairs->elements; i += 2) {
		/* Whatever the value says: the field's being there is the statement. */
		if (!redis_text(pairs->element[i], &field) || event_serial(field, &s) < 0) {
			f->bad_fields++;
			continue;
		}
		if (!issuer->replace && index_writer_says(f->c.index, issuer->key, INDEX_REDIS, &s))
			continue;
		if (serials_add(&f->list, &s) < 0)
			return -1;
	}
	return 0;
}

static void on_portion(void *arg, enum redis_status status, const redisReply *reply)
{
	struct follow *f = arg;

	if (status != REDIS_ANSWER || take_portion(f, reply) < 0) {
		serials_clear(&f->list);
		follow_failed(f, "HSCAN revoked:<issuer>", status, reply);
		return;
	}
	if (strcmp(f->cursor, "0") == 0)
		issuer_done(f);
	else
		scan(f);
}

static void scan(struct follow *f)
{
	char key[400];
	const char *argv[] = { "HSCAN", key, f->cursor, "COUNT", COUNT };

	while (f->loading < f->issuers_count && f->cursor[0] == '\0') {
		if (f->load_all || f->issuers[f->loading].replace || !f->issuers[f->loading].loaded) {
			memcpy(f->cursor, "0", sizeof("0"));
			f->bad_fields = 0;
			serials_clear(&f->list);
		} else {
			f->loading++;
		}
	}
	if (f->loading >= f->issuers_count) {
		end_load(f);
		return;
	}
	follow_key(f, key, sizeof(key), "revoked:", f->issuers[f->loading].hex);
	follow_ask(f, &f->chain, f->c.redis->timeout_ms, on_portion, (int)ARRAY_LEN(argv), argv);
}

void follow_load(struct follow *f)
{
	f->stage = FOLLOW_LOADING;
	f->loading = 0;
	f->cursor[0] = '\0';
	scan(f);
}

/* --- freshness --- */

static void say_published(struct follow_issuer *issuer, bool published)
{
	if (issuer->published == (published ? 1 : -1))
		return;
	issuer->published = published ? 1 : -1;
	if (!published)
		log_say(LOG_ERROR, "redis_issuer_unknown", "crl:%s is missing in Redis or has no loaded_at: nobody publishes this "
		    "issuer's revocations there, its certificates become unknown when max_age_seconds have passed", issuer->hex);
}

/*
 * Only said, not refused: whoever publishes says by next_update until when his set may be relied on, as a CRL does, and what is revoked by hand
 * has no publisher that goes on. But while he is silent nobody revokes, and a copy of old that was brought back looks the same.
 */
static void say_written(struct follow_issuer *issuer, int64_t loaded_at, int64_t now)
{
	enum follow_written written = now - loaded_at > SILENT_SECONDS ? WRITTEN_LONG_AGO : loaded_at - now > AHEAD_SECONDS ? WRITTEN_AHEAD : WRITTEN_NOW;

	if (written == issuer->written)
		return;
	issuer->written = written;
	switch (written) {
	case WRITTEN_LONG_AGO:
		log_say(LOG_WARNING, "redis_publisher_silent", "crl:%s was written %lld seconds ago: does easenroll run, and is this Redis no copy of old? "
		    "What was revoked since then is not known here", issuer->hex, (long long)(now - loaded_at));
		break;
	case WRITTEN_AHEAD:
		log_say(LOG_WARNING, "redis_publisher_ahead", "crl:%s was written %lld seconds from now: set the clock of this machine or of easenroll's. "
		    "That easenroll falls silent would not be seen until then", issuer->hex, (long long)(loaded_at - now));
		break;
	case WRITTEN_NOW:
		log_say(LOG_INFO, "redis_publisher_back", "crl:%s is written again", issuer->hex);
		break;
	}
}

static void on_published(void *arg, enum redis_status status, const redisReply *reply)
{
	struct follow *f = arg;
	struct follow_issuer *issuer = &f->issuers[f->answered++];
	struct strv text;
	uint64_t loaded_at = 0, next = 0;

	if (f->answered == f->asked)
		f->asked = f->answered = 0;
	if (status != REDIS_ANSWER) {
		if (status == REDIS_ERROR)
			say_published(issuer, false);
		return;
	}
	if (!redis_field(reply, STRV("loaded_at"), &text) || text_u64(text, INT64_MAX / 2, &loaded_at) < 0 || loaded_at == 0 ||
	    (redis_field(reply, STRV("next_update"), &text) && text_u64(text, INT64_MAX / 2, &next) < 0)) {
		say_published(issuer, false);
		return;
	}
	if (f->stage != FOLLOW_FOLLOWING || !issuer->loaded || f->load_all)
		return;
	say_published(issuer, true);
	say_written(issuer, (int64_t)loaded_at, loop_wall(f->c.loop));
	index_writer_confirm(f->c.index, issuer->key, INDEX_REDIS, loop_wall(f->c.loop), (int64_t)next);
	f->c.changed(f->c.arg);
}

void follow_confirm(struct follow *f)
{
	char key[400];
	const char *argv[] = { "HGETALL", key };
	unsigned i;

	if (f->asked > 0)
		return;			/* the round before still goes on */
	for (i = 0; i < f->issuers_count; i++) {
		follow_key(f, key, sizeof(key), "crl:", f->issuers[i].hex);
		if (redis_command(f->redis, on_published, f, (int)ARRAY_LEN(argv), argv, NULL) == 0)
			break;
		f->asked++;
	}
}
