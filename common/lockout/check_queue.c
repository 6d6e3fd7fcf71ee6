/*
 * check_queue: who waits for the memory-hard work, and whose turn it is. Bounded, and nobody can fill it against others:
 *
 *   - addresses take turns, whatever each has waiting (start-time fair queueing: a turn is given when a check comes, one later than
 *     the last of its address and than the one being served);
 *   - behind one address (a whole office, or a load balancer) accounts take turns: who was served longest ago is next;
 *   - an account from an address where its right password came from lately goes first, but for every fourth turn;
 *   - where it is full, the newest of the address with the most waiting goes, and of one account no more than half may wait.
 *
 * Who goes is told LOCKOUT_OVERLOADED and when to come again. *lockout* process.
 */
#include <openssl/rand.h>

#include "common/lockout/check_parts.h"
#include "common/metrics.h"

#define FIRST_OF 4	/* of so many turns one is without regard to who was right before */

static unsigned bucket(const uint8_t tag[LOCKOUT_TAG])
{
	return (tag[0] | (unsigned)tag[1] << 8) % QUEUE_BUCKETS;
}

/* Both tags are keyed: nobody chooses what falls together. */
static uint64_t pair_of(const struct check *k)
{
	uint64_t a, b;

	memcpy(&a, k->try.address + 4, sizeof(a));
	memcpy(&b, k->share + 4, sizeof(b));
	return a ^ b;
}

void check_queue_right(struct check *k)
{
	uint64_t pair = pair_of(k);

	k->owner->queue.right[pair % QUEUE_RIGHT] = pair;
}

static bool was_right(const struct check *k)
{
	uint64_t pair = pair_of(k);

	return k->owner->queue.right[pair % QUEUE_RIGHT] == pair;
}

static void show(const struct checks *c)
{
	if (c->setup.metrics != NULL)
		metrics_set(c->setup.metrics->waiting, 0, c->queue.n);
}

uint32_t checks_overload_seconds(const struct checks *c)
{
	unsigned up = stretchers_up(c->setup.stretchers);
	uint32_t drain = (uint32_t)((uint64_t)c->queue.n * c->stretch_ms / 1000 / (up > 0 ? up : 1)), spread = 0;

	(void)RAND_bytes((unsigned char *)&spread, sizeof(spread));
	return 1 + drain + spread % (drain + 2);	/* not all at once */
}

static void refuse(struct check *k)
{
	check_end_wait(k, LOCKOUT_OVERLOADED, checks_overload_seconds(k->owner));
}

void check_queue_leave(struct check *k)
{
	struct check_queue *q = &k->owner->queue;

	if (!k->queued)
		return;
	k->queued = false;
	k->held = NULL;
	q->n--;
	q->of_address[bucket(k->try.address)]--;
	q->of_account[bucket(k->share)]--;
	show(k->owner);
}

static unsigned from_there(const struct check *k)
{
	return k->owner->queue.of_address[bucket(k->try.address)];
}

/* Rather this one than that: it was not right before, or more wait behind its address; where both are alike, the newer. */
static bool is_rather(const struct check *k, unsigned n, const struct check *that, unsigned that_n)
{
	return k->first != that->first ? that->first : n >= that_n;
}

/* Who makes room for k, which is not among them yet: k itself, or another one. account: of its account. */
static struct check *victim_for(struct check *k, bool account)
{
	struct check *victim = k;
	unsigned most = from_there(k) + 1;

	for (struct check *other = k->owner->last; other != NULL; other = other->prev) {
		if (!other->queued || (account && bucket(other->share) != bucket(k->share)))
			continue;
		if (is_rather(victim, most, other, from_there(other)))
			continue;
		victim = other;
		most = from_there(other);
	}
	return victim;
}

bool check_queue_enter(struct check *k)
{
	struct checks *c = k->owner;
	struct check_queue *q = &c->queue;
	unsigned max = c->setup.config->queue, at = bucket(k->try.address);
	bool account = q->of_account[bucket(k->share)] >= (max + 1) / 2;
	struct check *victim = k;

	k->first = was_right(k);
	if (account || q->n >= max) {
		victim = victim_for(k, account);
		refuse(victim);
		if (victim == k)
			return false;
	}
	k->queued = true;
	k->turn = 1 + (q->last_turn[at] > q->turn ? q->last_turn[at] : q->turn);
	q->last_turn[at] = k->turn;
	q->n++;
	q->of_address[at]++;
	q->of_account[bucket(k->share)]++;
	show(c);
	return true;
}

static struct check *lowest_turn(const struct checks *c, bool any)
{
	struct check *found = NULL;

	for (struct check *k = c->first; k != NULL; k = k->next) {
		if (k->queued && k->held == NULL && (any || k->first) && (found == NULL || k->turn < found->turn))
			found = k;
	}
	return found;
}

struct check *check_queue_next(struct checks *c)
{
	struct check_queue *q = &c->queue;
	bool any = (q->served + 1) % FIRST_OF == 0;
	struct check *turn = any ? NULL : lowest_turn(c, false), *k;
	uint64_t turned;

	if (turn == NULL)
		turn = lowest_turn(c, true);
	if (turn == NULL)
		return NULL;
	q->served++;
	k = turn;
	for (struct check *other = c->first; other != NULL; other = other->next) {
		if (other->queued && other->held == NULL && other->first == turn->first && memcmp(other->try.address, turn->try.address, LOCKOUT_TAG) == 0 &&
		    q->served_account[bucket(other->share)] < q->served_account[bucket(k->share)])
			k = other;
	}
	turned = turn->turn;
	turn->turn = k->turn;	/* who was passed over keeps the address' next turn */
	k->turn = turned;
	q->turn = turned > q->turn ? turned : q->turn;
	q->served_account[bucket(k->share)] = q->served;
	return k;
}
