/*
 * device_table: the records of a single machine, in the shared table: the same answers as Redis gives. Runs in workers.
 *
 * Beside the records stand, in the same table, small indexes: which devices an account has, so that they can be counted in one act under
 * the table's lock. Whoever may write the file may let anybody in: it needs no mac.
 */
#include <openssl/evp.h>
#include <stdio.h>

#include "common/device_parts.h"
#include "common/text.h"

#define KIND_INDEX 2

/* The devices of one account; lies where a record may lie. */
struct device_index {
	uint32_t kind, count;
	struct {
		uint8_t key[8];		/* the beginning of the device's */
		int64_t last_seen;
	} entry[DEVICE_TABLE_LIMIT];
};
_Static_assert(sizeof(struct device_index) <= DEVICE_TABLE_VALUE, "an index is a value of the table");
union table_value {
	struct device_record record;
	struct device_index index;
};

static int64_t seconds_of(const struct device_op *op)
{
	return (int64_t)op->days * 86400;
}

/* --- the index --- */

static bool index_key(const char *sid, uint8_t out[SHA256_SIZE])
{
	char text[DEVICE_SID_MAX + 16];
	int n = snprintf(text, sizeof(text), "devices\n%s", sid);

	return n > 0 && (size_t)n < sizeof(text) && EVP_Digest(text, (size_t)n, out, NULL, EVP_sha256(), NULL) == 1;
}

struct index_act {
	const uint8_t *key;
	int64_t now, ends;	/* what was seen last before that counts no more */
	unsigned limit;
	bool take_away, full;
};

static void index_drop(struct device_index *x, unsigned i)
{
	x->entry[i] = x->entry[--x->count];
}

static void change_index(void *value, void *arg)
{
	struct device_index *x = value;
	struct index_act *act = arg;

	/* Another kind, or a damaged count: begun anew. */
	if (x->kind != KIND_INDEX || x->count > DEVICE_TABLE_LIMIT) {
		memset(x, 0, sizeof(*x));
		x->kind = KIND_INDEX;
	}
	for (unsigned i = x->count; i-- > 0;) {
		if (memcmp(x->entry[i].key, act->key, sizeof(x->entry[i].key)) == 0) {
			if (act->take_away)
				index_drop(x, i);
			else
				x->entry[i].last_seen = act->now;
			return;
		}
	}
	for (unsigned i = x->count; !act->take_away && i-- > 0;)
		if (x->entry[i].last_seen < act->ends)
			index_drop(x, i);
	act->full = !act->take_away && (x->count >= act->limit || x->count >= DEVICE_TABLE_LIMIT);
	if (act->take_away || act->full)
		return;
	memcpy(x->entry[x->count].key, act->key, sizeof(x->entry[0].key));
	x->entry[x->count++].last_seen = act->now;
}

/* False: the account has as many as it may. One that was in already stays. */
static bool count_device(struct devices *d, const struct device_op *op, unsigned limit)
{
	struct index_act act = { .key = op->key, .now = loop_wall(d->loop), .limit = limit };
	uint8_t key[SHA256_SIZE];

	act.ends = act.now - seconds_of(op);
	return index_key(op->sid, key) && shared_table_change(d->table, key, change_index, &act) && !act.full;
}

void device_table_uncount(struct shared_table *table, const char *sid, const uint8_t key[SHA256_SIZE])
{
	struct index_act act = { .key = key, .take_away = true };
	uint8_t at[SHA256_SIZE];

	if (index_key(sid, at))
		shared_table_change(table, at, change_index, &act);
}

/* --- records --- */

static void fill_use(const struct devices *d, const struct device_op *op, struct device_record *r)
{
	memcpy(r->client, op->client, sizeof(r->client));
	memcpy(r->command, op->command, sizeof(r->command));
	memcpy(r->device_type, op->device_type, sizeof(r->device_type));
	memcpy(r->user_agent, op->user_agent, sizeof(r->user_agent));
	r->method = op->method;
	r->last_seen = loop_wall(d->loop);
}

static void fill_record(const struct devices *d, const struct device_op *op, enum device_state state, struct device_record *r)
{
	*r = (struct device_record){ .kind = DEVICE_KIND_RECORD, .state = state, .first_seen = loop_wall(d->loop) };
	memcpy(r->sid, op->sid, sizeof(r->sid));
	memcpy(r->upn, op->upn, sizeof(r->upn));
	memcpy(r->device, op->device, sizeof(r->device));
	fill_use(d, op, r);
}

/* The file may be damaged: texts end within their bounds. */
static bool read_record(struct device_record *r)
{
	r->sid[sizeof(r->sid) - 1] = r->device[sizeof(r->device) - 1] = r->upn[sizeof(r->upn) - 1] = '\0';
	return r->kind == DEVICE_KIND_RECORD && r->state != DEVICE_STATE_NONE && r->state < DEVICE_STATES;
}

struct bind_act {
	const struct devices *d;
	const struct device_op *op;
	enum device_state was;
	char device[DEVICE_ID_MAX];	/* that it was bound to */
	bool done;
};

static void change_binding(void *value, void *arg)
{
	struct device_record *r = value;
	struct bind_act *act = arg;

	if (r->kind != DEVICE_KIND_RECORD || r->state != (uint32_t)act->was || strncmp(r->device, act->device, sizeof(r->device)) != 0)
		return;
	memcpy(r->device, act->op->device, sizeof(r->device));
	r->state = device_bound_state(act->was);
	if (r->first_seen == 0)
		r->first_seen = loop_wall(act->d->loop);
	fill_use(act->d, act->op, r);
	act->done = true;
}

/* What was blocked or taken away meanwhile stays so. */
static void change_use(void *value, void *arg)
{
	struct device_record *r = value;
	struct bind_act *act = arg;

	if (r->kind == DEVICE_KIND_RECORD)
		fill_use(act->d, act->op, r);
	act->done = r->kind == DEVICE_KIND_RECORD;
}

static void write_use(struct devices *d, const struct device_op *op)
{
	struct bind_act act = { .d = d, .op = op };

	if (shared_table_change(d->table, op->key, change_use, &act) && !act.done)
		(void)!shared_table_take(d->table, op->key, NULL);	/* the change made an empty one */
	(void)!count_device(d, op, DEVICE_TABLE_LIMIT);
}

static enum device_answer make(struct devices *d, const struct device_op *op, enum device_state state, union table_value *standing)
{
	union table_value fresh = { .record = { 0 } };
	int rc;

	if (state == DEVICE_STATE_NONE)
		return device_new_answer(op, state);
	if (!count_device(d, op, op->limit))
		return DEVICE_LIMIT;
	fill_record(d, op, state, &fresh.record);
	rc = shared_table_put_new(d->table, op->key, &fresh, standing);
	/* somebody was faster: DEVICE_NEW says that `standing` is to be judged */
	return rc == 1 ? device_new_answer(op, state) : rc == 0 ? DEVICE_NEW : DEVICE_UNAVAILABLE;
}

enum device_answer device_ask_table(struct devices *d, const struct device_op *op)
{
	union table_value standing;
	struct device_record *r = &standing.record;
	struct bind_act act = { .d = d, .op = op };
	enum device_answer answer;
	bool there = shared_table_get(d->table, op->key, &standing) && read_record(r);

	if (there && device_state_ends((enum device_state)r->state) && r->last_seen < loop_wall(d->loop) - seconds_of(op)) {
		(void)!shared_table_take(d->table, op->key, NULL);
		there = false;
	}
	if (!there) {
		answer = make(d, op, device_new_state(op), &standing);
		if (answer != DEVICE_NEW || op->look_only)
			return answer;
		if (!read_record(r))
			return DEVICE_UNAVAILABLE;
	}
	if (device_judge_state(op, (enum device_state)r->state, strv_from(r->sid), strv_from(r->device), &answer) == DEVICE_JUDGE_BIND) {
		act.was = (enum device_state)r->state;
		memcpy(act.device, r->device, sizeof(act.device));
		if (!shared_table_change(d->table, op->key, change_binding, &act))
			return DEVICE_UNAVAILABLE;
		(void)!count_device(d, op, DEVICE_TABLE_LIMIT);
		/* somebody was faster: the device comes again */
		return act.done ? DEVICE_PINNED : DEVICE_UNAVAILABLE;
	}
	if (!op->look_only && op->device[0] != '\0' && answer != DEVICE_OTHER && loop_wall(d->loop) - r->last_seen >= DEVICE_SEEN_MS / 1000)
		write_use(d, op);
	return answer;
}

bool device_is_out(struct devices *d, const uint8_t key[SHA256_SIZE])
{
	union table_value v;

	return d != NULL && d->table != NULL && shared_table_get(d->table, key, &v) && v.record.kind == DEVICE_KIND_RECORD &&
	    (v.record.state == DEVICE_STATE_BLOCKED || v.record.state == DEVICE_STATE_QUARANTINED);
}
