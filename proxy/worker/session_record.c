/*
 * session_record: the tables of resumable sessions and verified chains, and when an entry ends.
 * Must not write a secret anywhere but to shared anonymous memory. Runs in the master (setup) and
 * workers.
 */
#include "proxy/worker/session_record.h"

#include <errno.h>
#include <stdlib.h>
#include <openssl/crypto.h>

#include "common/shared_table.h"

struct session_records {
	struct shared_table *sessions, *chains, *rings;
};

/* The ids of a chain's last sessions on one host. Its key: the one XOR the other. */
struct ring {
	uint8_t ids[RECORDS_PER_CHAIN][SESSION_ID_SIZE];
	uint32_t next; /* where the next one goes, over the oldest */
};

/*
 * A chain as it lies in the table: links and texts packed one behind the other in `pool`, so that
 * most of what a claim could hold and hardly ever does takes no memory.
 */
#define CHAIN_VALUE_SIZE 688
struct chain_value {
	uint8_t scope[SHA256_SIZE], fingerprint[SHA256_SIZE], anchor[SHA256_SIZE];
	int64_t not_after;
	int32_t claim_result;
	uint16_t value_n, sid_n;
	uint8_t kind, bad_kind, links_count;
	uint8_t pool[CHAIN_VALUE_SIZE - 3 * SHA256_SIZE - 19];
};
_Static_assert(sizeof(struct chain_value) <= CHAIN_VALUE_SIZE + 8, "no padding to speak of");
_Static_assert(sizeof(struct session_record) <= 128, "the record's size is promised to be small");

struct session_records *session_record_setup(size_t records)
{
	struct shared_table_config config = { .entries = records, .layout = 1 };
	struct session_records *r = calloc(1, sizeof(*r));
	int saved;

	if (r == NULL)
		return NULL;
	config.value_size = sizeof(struct session_record);
	r->sessions = shared_table_new(&config);
	config.value_size = sizeof(struct chain_value);
	if (r->sessions != NULL)
		r->chains = shared_table_new(&config);
	config.value_size = sizeof(struct ring);
	if (r->chains != NULL)
		r->rings = shared_table_new(&config);
	if (r->rings == NULL) {
		saved = errno;
		session_record_free(r);
		errno = saved;
		return NULL;
	}
	return r;
}

void session_record_free(struct session_records *r)
{
	if (r == NULL)
		return;
	shared_table_free(r->sessions);
	shared_table_free(r->chains);
	shared_table_free(r->rings);
	free(r);
}

/* --- chains --- */

static bool pack(struct chain_value *v, const struct chain_facts *facts)
{
	size_t links_n = facts->links_count * sizeof(struct chain_link);
	size_t value_n = strlen(facts->claim.value), sid_n = strlen(facts->claim.sid);

	if (links_n + value_n + sid_n > sizeof(v->pool))
		return false;
	memset(v, 0, sizeof(*v));
	memcpy(v->scope, facts->scope, SHA256_SIZE);
	memcpy(v->fingerprint, facts->fingerprint, SHA256_SIZE);
	memcpy(v->anchor, facts->anchor, SHA256_SIZE);
	v->not_after = facts->not_after;
	v->claim_result = facts->claim_result;
	v->kind = (uint8_t)facts->claim.kind;
	v->bad_kind = (uint8_t)facts->bad_kind;
	v->links_count = (uint8_t)facts->links_count;
	v->value_n = (uint16_t)value_n;
	v->sid_n = (uint16_t)sid_n;
	memcpy(v->pool, facts->links, links_n);
	memcpy(v->pool + links_n, facts->claim.value, value_n);
	memcpy(v->pool + links_n + value_n, facts->claim.sid, sid_n);
	return true;
}

/*
 * False: no such value was ever packed. Another process may have written it: every length is
 * checked.
 */
static bool unpack(struct chain_facts *facts, const struct chain_value *v)
{
	size_t links_n = v->links_count * sizeof(struct chain_link);

	if (v->links_count > CHAIN_LINKS_MAX || v->kind >= CLAIM_KINDS ||
	    v->bad_kind >= CLAIM_KINDS || v->value_n >= sizeof(facts->claim.value) ||
	    v->sid_n >= sizeof(facts->claim.sid) ||
	    links_n + v->value_n + v->sid_n > sizeof(v->pool))
		return false;
	memset(facts, 0, sizeof(*facts));
	memcpy(facts->scope, v->scope, SHA256_SIZE);
	memcpy(facts->fingerprint, v->fingerprint, SHA256_SIZE);
	memcpy(facts->anchor, v->anchor, SHA256_SIZE);
	facts->not_after = v->not_after;
	facts->claim_result = v->claim_result;
	facts->bad_kind = v->bad_kind;
	facts->links_count = v->links_count;
	facts->claim.kind = v->kind;
	memcpy(facts->links, v->pool, links_n);
	memcpy(facts->claim.value, v->pool + links_n, v->value_n);
	memcpy(facts->claim.sid, v->pool + links_n + v->value_n, v->sid_n);
	return true;
}

bool session_record_chain(struct session_records *r, const uint8_t key[SHA256_SIZE],
    const uint8_t scope[SHA256_SIZE], time_t now, struct chain_facts *out)
{
	struct chain_value value;

	if (!shared_table_get(r->chains, key, &value))
		return false;
	if (value.not_after < now) {
		shared_table_take(r->chains, key, NULL);
		return false;
	}
	return memcmp(value.scope, scope, SHA256_SIZE) == 0 && unpack(out, &value);
}

bool session_record_chain_put(
    struct session_records *r, const uint8_t key[SHA256_SIZE], const struct chain_facts *facts)
{
	struct chain_value value;

	return pack(&value, facts) && shared_table_put(r->chains, key, &value);
}

/* --- sessions --- */

/*
 * One that was good when it was made, and still is on this host. *gone: it can never be good again.
 */
static bool may_resume(struct session_records *r, const struct session_record *record,
    const uint8_t scope[SHA256_SIZE], uint32_t max_age, time_t now, struct chain_facts *facts,
    bool *gone)
{
	if (record->secret_n == 0 || record->secret_n > SESSION_SECRET_MAX ||
	    record->authenticated > now || now - record->authenticated > (time_t)max_age) {
		*gone = true;
		return false;
	}
	*gone = !session_record_chain(r, record->chain, scope, now, facts);
	return !*gone;
}

bool session_record_find(struct session_records *r, const uint8_t *id, size_t id_n,
    const uint8_t context[SHA256_SIZE], const uint8_t scope[SHA256_SIZE], uint32_t max_age,
    time_t now, struct session_record *out, struct chain_facts *facts)
{
	struct session_record record;
	bool gone = false, good = false;

	if (id_n != SESSION_ID_SIZE || !shared_table_get(r->sessions, id, &record))
		return false;
	/* Another host's stays for that host. */
	if (CRYPTO_memcmp(record.context, context, SHA256_SIZE) == 0)
		good = may_resume(r, &record, scope, max_age, now, facts, &gone);
	if (gone)
		shared_table_take(r->sessions, id, NULL);
	if (good)
		*out = record;
	OPENSSL_cleanse(&record, sizeof(record));
	return good;
}

struct newcomer {
	const uint8_t *id;
	uint8_t leaving[SESSION_ID_SIZE]; /* zero: nobody */
};

static void take_turn(void *value, void *arg)
{
	struct ring *ring = value;
	struct newcomer *n = arg;
	uint32_t at = ring->next % RECORDS_PER_CHAIN;

	memcpy(n->leaving, ring->ids[at], SESSION_ID_SIZE);
	memcpy(ring->ids[at], n->id, SESSION_ID_SIZE);
	ring->next = (at + 1) % RECORDS_PER_CHAIN;
}

bool session_record_put(struct session_records *r, const uint8_t id[SESSION_ID_SIZE],
    const struct session_record *record)
{
	static const uint8_t nobody[SESSION_ID_SIZE];
	struct newcomer n = { .id = id };
	uint8_t key[SHARED_TABLE_KEY];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = record->chain[i] ^ record->context[i];
	if (!shared_table_change(r->rings, key, take_turn, &n))
		return false;
	if (memcmp(n.leaving, nobody, sizeof(nobody)) != 0)
		shared_table_take(r->sessions, n.leaving, NULL);
	return shared_table_put(r->sessions, id, record);
}

void session_record_counts(struct session_records *r, struct session_record_counts *out)
{
	out->sessions = shared_table_count(r->sessions);
	out->chains = shared_table_count(r->chains);
	out->sessions_evicted = shared_table_evictions(r->sessions);
	out->chains_evicted = shared_table_evictions(r->chains);
}

void session_record_clear(struct session_records *r)
{
	shared_table_clear(r->sessions);
	shared_table_clear(r->chains);
	shared_table_clear(r->rings);
}
