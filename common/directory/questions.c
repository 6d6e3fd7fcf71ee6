/*
 * questions: from an asker's claim to an answer: cache, one search for all who ask the same, age,
 * SID, voucher. Knows no wire and no LDAP. Decides only what the facts are and how old, never who
 * may in. Runs in the *directory* process.
 */
#include "common/directory/questions.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/directory/account_facts.h"
#include "common/directory/cache.h"
#include "common/directory/claim_kind.h"
#include "common/directory/file.h"
#include "common/directory/ldap.h"
#include "common/directory/sid.h"
#include "common/metrics.h"
#include "common/text.h"

#define SLOTS		    1024
#define FORGOTTEN	    64 /* changes that are told apart while a search runs */
#define TTL_MAX		    240 /* an asker keeps no answer longer: its voucher must outlive it */
#define STALE_TTL	    5
#define VOUCHER_SECONDS_MAX 300
#define VOUCHER_SPARE	    60 /* for a request that began just before the answer's time was over */

struct question {
	struct question *next;
	void *asker; /* NULL: has left */
	uint64_t number;
	struct directory_find find;
};

struct queue {
	struct question *first, **end;
};

/* One claim being looked for. */
struct search {
	struct search *next;
	struct questions *owner;
	uint8_t key[SHA256_SIZE];
	struct ldap_lookup *lookup;
	uint64_t forgets; /* how much had been forgotten when it began */
	uint64_t doubts;  /* and doubted */
	struct queue waiting;
	struct queue again; /* want facts younger than their question: the next search */
};

struct questions {
	struct questions_setup setup;
	struct cache *cache; /* NULL with the file */
	struct search *slot[SLOTS];
	unsigned count;
	uint64_t forgets, doubts;
	char forgotten[FORGOTTEN][ACCOUNT_SID_MAX]; /* whose facts: the last ones, number n at n % FORGOTTEN; "": everybody's */
};

/* --- metrics --- */

static void count_question(const struct questions *q, uint32_t result)
{
	if (q->setup.metrics != NULL)
		metrics_add(q->setup.metrics->questions, result, 1);
}

static void count_cache(const struct questions *q, enum directory_cache_use use)
{
	if (q->setup.metrics != NULL)
		metrics_add(q->setup.metrics->cache, use, 1);
}

static void show_entries(const struct questions *q)
{
	if (q->setup.metrics != NULL && q->cache != NULL)
		metrics_set(q->setup.metrics->entries, 0, (int64_t)cache_count(q->cache));
}

/* --- the answer --- */

static bool sid_agrees(const char *claimed, const char *found)
{
	struct sid a, b;

	return claimed[0] == '\0' ||
	       (sid_from_text(strv_from(claimed), &a) == 0 &&
		   sid_from_text(strv_from(found), &b) == 0 && sid_eq(&a, &b));
}

/* How long the asker may keep it: never beyond the account's own end. */
static uint32_t ttl_of(
    const struct questions *q, const struct cached *item, uint64_t age_ms, time_t now)
{
	uint64_t whole = item->result == ACCOUNT_FOUND ? q->setup.config->ttl_seconds
						       : q->setup.config->negative_ttl_seconds;
	uint64_t left = age_ms < whole * 1000 ? whole - age_ms / 1000 : STALE_TTL;
	int64_t expires = item->account.expires;

	if (left > TTL_MAX)
		left = TTL_MAX;
	if (item->result == ACCOUNT_FOUND && expires > now && (uint64_t)(expires - now) < left)
		left = (uint64_t)(expires - now);
	return (uint32_t)left;
}

static void vouch(const struct questions *q, const struct directory_find *find,
    struct directory_found *found, time_t now)
{
	const struct account *a = &found->account;
	int64_t seconds = (int64_t)found->ttl_seconds + VOUCHER_SPARE;

	/* A name that somebody typed, or wrote into a token, proves nothing: *lockout* vouches, once the password was right. */
	if (q->setup.vouch == NULL || find->kind == CLAIM_USER || find->unproven != 0 || !facts_may_delegate(a, now) || a->realm[0] == '\0')
		return;
	if (seconds > VOUCHER_SECONDS_MAX)
		seconds = VOUCHER_SECONDS_MAX;
	if (a->expires != 0 && a->expires - now < seconds)
		seconds = a->expires - now;
	if (vouch_make(q->setup.vouch, a->sam, a->realm, find->certificate, now + seconds,
		found->voucher) < 0)
		memset(found->voucher, 0, sizeof(found->voucher));
}

/* ttl_max 0: for this once only. */
static void give(struct questions *q, void *asker, uint64_t number,
    const struct directory_find *find, const struct cached *item, uint32_t ttl_max)
{
	struct directory_found found;
	uint64_t age = loop_now_ms(q->setup.loop) - item->fetched_ms;
	time_t now = loop_wall(q->setup.loop);

	memset(&found, 0, sizeof(found)); /* padding travels too */
	found.result = item->result;
	if (found.result == ACCOUNT_FOUND && !sid_agrees(find->sid, item->account.sid))
		found.result = ACCOUNT_MISMATCH;
	if (found.result != ACCOUNT_UNAVAILABLE) {
		found.age_seconds = (uint32_t)(age / 1000);
		found.ttl_seconds = ttl_of(q, item, age, now);
		if (found.ttl_seconds > ttl_max)
			found.ttl_seconds = ttl_max;
	}
	if (found.result == ACCOUNT_FOUND) {
		found.account = item->account;
		found.account.flags = facts_flags_now(&item->account, now);
		vouch(q, find, &found, now);
	}
	count_question(q, found.result);
	q->setup.answer(asker, number, &found);
}

static void give_unavailable(
    struct questions *q, void *asker, uint64_t number, const struct directory_find *find)
{
	struct cached nothing = { .result = ACCOUNT_UNAVAILABLE,
		.fetched_ms = loop_now_ms(q->setup.loop) };

	give(q, asker, number, find, &nothing, 0);
}

/* --- searches --- */

static void queue_add(struct queue *queue, struct question *question)
{
	question->next = NULL;
	*queue->end = question;
	queue->end = &question->next;
}

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static struct search **find_search(struct questions *q, const uint8_t key[SHA256_SIZE])
{
	uint64_t head;
	struct search **at;

	memcpy(&head, key, sizeof(head));
	for (at = &q->slot[head % SLOTS]; *at != NULL; at = &(*at)->next) {
		if (memcmp((*at)->key, key, SHA256_SIZE) == 0)
			break;
	}
	return at;
}

/* What is known though no server answers: an account found not too long ago. False: nothing. */
static bool get_stale(struct questions *q, const uint8_t key[SHA256_SIZE], struct cached *item)
{
	uint64_t age;

	if (!cache_get(q->cache, key, item) || item->result != ACCOUNT_FOUND)
		return false;
	age = loop_now_ms(q->setup.loop) - item->fetched_ms;
	return age < (uint64_t)q->setup.config->stale_seconds * 1000;
}

static void give_all(
    struct questions *q, struct queue *queue, const struct cached *item, uint32_t ttl_max)
{
	struct question *question;

	while ((question = queue->first) != NULL) {
		queue->first = question->next;
		q->count--;
		if (question->asker != NULL) {
			if (item != NULL)
				give(q, question->asker, question->number, &question->find, item,
				    ttl_max);
			else
				give_unavailable(
				    q, question->asker, question->number, &question->find);
		}
		free(question);
	}
	queue->end = &queue->first;
}

static void search_start(struct search *s);

/* Answers those who wait; then ends, or begins anew for those who came later and want it fresh. */
static void search_end(struct search *s, const struct cached *item, uint32_t ttl_max)
{
	struct questions *q = s->owner;

	s->lookup = NULL;
	give_all(q, &s->waiting, item, ttl_max);
	if (s->again.first != NULL) {
		s->waiting.first = s->again.first;
		s->waiting.end = s->again.end;
		queue_init(&s->again);
		search_start(s);
		return;
	}
	*find_search(q, s->key) = s->next;
	free(s);
	if (q->count == 0 && q->setup.idle != NULL)
		q->setup.idle(q->setup.arg);
}

static void search_failed(struct search *s)
{
	struct questions *q = s->owner;
	struct cached item;
	bool stale = get_stale(q, s->key, &item);

	if (stale)
		count_cache(q, DIRECTORY_CACHE_STALE);
	search_end(s, stale ? &item : NULL, STALE_TTL);
}

/* Has what was found become old while it was being looked for? Changes of others do not count, or nobody's facts would be kept while many change. */
static bool is_overtaken(const struct search *s, const struct cached *item)
{
	const struct questions *q = s->owner;

	if (s->forgets == q->forgets)
		return false;
	if (item->result != ACCOUNT_FOUND || q->forgets - s->forgets > FORGOTTEN)
		return true;
	for (uint64_t n = s->forgets; n < q->forgets; n++) {
		const char *sid = q->forgotten[n % FORGOTTEN];
		if (sid[0] == '\0' || strcmp(sid, item->account.sid) == 0)
			return true;
	}
	return false;
}

static void on_searched(void *arg, enum account_result result, const struct account *account)
{
	struct search *s = arg;
	struct questions *q = s->owner;
	struct cached item = {
		.result = result, .fetched_ms = loop_now_ms(q->setup.loop), .account = *account
	};
	bool overtaken;

	if (result == ACCOUNT_UNAVAILABLE) {
		search_failed(s);
		return;
	}
	/* It changed while it was looked up, or may have: this may be what was before. */
	item.doubtful = s->doubts != q->doubts;
	overtaken = is_overtaken(s, &item);
	if (!overtaken)
		cache_put(q->cache, s->key, &item);
	show_entries(q);
	search_end(s, &item, !overtaken && !item.doubtful ? UINT32_MAX : 0);
}

static void search_start(struct search *s)
{
	struct questions *q = s->owner;
	const struct directory_find *find = &s->waiting.first->find;

	s->forgets = q->forgets;
	s->doubts = q->doubts;
	s->lookup = directory_ldap_find(q->setup.ldap, find->kind, find->value, on_searched, s);
	if (s->lookup == NULL)
		search_failed(s);
}

static int wait_for(struct questions *q, void *asker, uint64_t number,
    const struct directory_find *find, const uint8_t key[SHA256_SIZE])
{
	struct search **at = find_search(q, key), *s = *at;
	struct question *question;

	if (q->count >= QUESTIONS_MAX)
		return -1;
	question = malloc(sizeof(*question));
	if (question == NULL)
		return -1;
	*question = (struct question){ .asker = asker, .number = number, .find = *find };
	if (s != NULL) {
		queue_add(find->fresh ? &s->again : &s->waiting, question);
		q->count++;
		return 0;
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL) {
		free(question);
		return -1;
	}
	s->owner = q;
	memcpy(s->key, key, SHA256_SIZE);
	queue_init(&s->waiting);
	queue_init(&s->again);
	queue_add(&s->waiting, question);
	q->count++;
	*at = s;
	search_start(s);
	return 0;
}

/* --- asking --- */

static bool ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* A young enough answer from the cache. */
static bool get_young(struct questions *q, const uint8_t key[SHA256_SIZE], struct cached *item)
{
	const struct config_directory *config = q->setup.config;
	uint64_t limit;

	if (!cache_get(q->cache, key, item) || item->doubtful)
		return false;
	limit = item->result == ACCOUNT_FOUND ? config->ttl_seconds : config->negative_ttl_seconds;
	return loop_now_ms(q->setup.loop) - item->fetched_ms < limit * 1000;
}

int questions_ask(
    struct questions *q, void *asker, uint64_t number, const struct directory_find *find)
{
	struct cached item = { .fetched_ms = loop_now_ms(q->setup.loop) };
	uint8_t key[SHA256_SIZE];

	if (!ends(find->value, sizeof(find->value)) || !ends(find->sid, sizeof(find->sid)))
		return -1;
	if (!text_is_clean(strv_from(find->value)) || find->value[0] == '\0') {
		item.result = ACCOUNT_UNKNOWN; /* no directory holds such a name */
		give(q, asker, number, find, &item, UINT32_MAX);
		return 0;
	}
	if (q->setup.file != NULL) {
		item.result = directory_file_find(
		    q->setup.file, find->kind, find->value, &item.account);
		give(q, asker, number, find, &item, UINT32_MAX);
		return 0;
	}
	if (cache_key(q->cache, find->kind, find->value, key) < 0)
		return -1;
	if (!find->fresh && get_young(q, key, &item)) {
		count_cache(q, DIRECTORY_CACHE_HIT);
		give(q, asker, number, find, &item, UINT32_MAX);
		return 0;
	}
	count_cache(q, DIRECTORY_CACHE_MISS);
	return wait_for(q, asker, number, find, key);
}

void questions_leave(struct questions *q, const void *asker)
{
	for (size_t i = 0; i < SLOTS; i++) {
		for (struct search *s = q->slot[i]; s != NULL; s = s->next) {
			for (struct question *w = s->waiting.first; w != NULL; w = w->next)
				w->asker = w->asker == asker ? NULL : w->asker;
			for (struct question *w = s->again.first; w != NULL; w = w->next)
				w->asker = w->asker == asker ? NULL : w->asker;
		}
	}
}

void questions_forget(struct questions *q, const char *sid)
{
	snprintf(q->forgotten[q->forgets % FORGOTTEN], sizeof(q->forgotten[0]), "%s", sid);
	q->forgets++;
	if (q->cache == NULL)
		return;
	if (sid[0] == '\0')
		cache_forget_all(q->cache);
	else
		(void)cache_forget_sid(q->cache, sid);
	show_entries(q);
}

void questions_doubt(struct questions *q)
{
	q->doubts++;
	if (q->cache != NULL)
		cache_doubt_all(q->cache);
}

unsigned questions_waiting(const struct questions *q)
{
	return q->count;
}

/* --- life --- */

struct questions *questions_new(const struct questions_setup *setup)
{
	struct questions *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return NULL;
	q->setup = *setup;
	if (setup->file == NULL) {
		q->cache = cache_new(setup->config->cache_entries);
		if (q->cache == NULL) {
			free(q);
			return NULL;
		}
	}
	return q;
}

static void queue_clear(struct queue *queue)
{
	struct question *question;

	while ((question = queue->first) != NULL) {
		queue->first = question->next;
		free(question);
	}
}

void questions_free(struct questions *q)
{
	struct search *s;

	if (q == NULL)
		return;
	for (size_t i = 0; i < SLOTS; i++) {
		while ((s = q->slot[i]) != NULL) {
			q->slot[i] = s->next;
			directory_ldap_cancel(s->lookup);
			queue_clear(&s->waiting);
			queue_clear(&s->again);
			free(s);
		}
	}
	cache_free(q->cache);
	free(q);
}
