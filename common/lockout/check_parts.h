/*
 * check_parts: what check*.c share. Private to them.
 */
#ifndef EASGATE_LOCKOUT_CHECK_PARTS_H
#define EASGATE_LOCKOUT_CHECK_PARTS_H

#include "common/lockout/check.h"
#include "common/lockout/decide.h"

#define CHECK_BEFORE_MS 8000	/* from the question to the bind, at most */
#define CHECK_BIND_MS	10000	/* the bind, at most */

enum check_step { CHECK_FINDING, CHECK_STRETCHING, CHECK_TAKING, CHECK_WAITING, CHECK_BINDING, CHECK_LEARNING, CHECK_OVER };

struct check {
	struct check *next, *prev;	/* of all, in the order they came */
	struct checks *owner;
	void *asker;			/* NULL: has left */
	uint64_t number;
	struct lockout_check ask;	/* its password is overwritten as soon as it was sent */
	char address[LOCKOUT_ADDRESS_MAX];	/* lockout_address() of it */
	enum check_step step;
	bool queued;			/* waits for the memory-hard work */
	bool ready;			/* it is done: `stretched` */
	bool known;			/* the name is an account's */
	/* Whose record it is: the account's SID; for a name that nobody has "?" and its keyed hash, so that nobody learns which names there are */
	char subject[ACCOUNT_SID_MAX];
	uint64_t began_ms;
	struct account account;
	uint8_t stretched[LOCKOUT_STRETCHED];
	struct lockout_try try;
	struct lockout_rules rules;
	struct check *leader;		/* who tries this very password; NULL: nobody here */
	struct store_item item;
	uint64_t asked;			/* of *directory* */
	unsigned beaten;
	struct deadline limit, again, soon;
	enum lockout_lesson lesson;
	uint32_t bad_count;
	uint8_t share[LOCKOUT_TAG];	/* the account's key there */
	bool was_right;			/* lockout_was_right(): not held against what others got wrong */
	bool recorded;			/* the store knows of the try, and is to be told what it taught */
	struct lockout_checked answer;
};

struct checks {
	struct checks_setup setup;
	struct check *first, *last;
	unsigned count, queued;
	struct event *stretch;		/* armed while somebody waits for it */
	struct account policy;		/* lock-out policy of the last account that was found: names of nobody seem to have the same */
};

/* --- check.c --- */
/* The end; the answer is told from the loop, and to all who wait for this one. */
void check_end(struct check *k, enum lockout_result result);
void check_end_wait(struct check *k, enum lockout_result result, int64_t seconds);
/* Right: fills in the voucher and how long it holds. */
void check_end_right(struct check *k, int64_t seconds, bool remembered);
/* mode log: what enforce would have answered; the check goes on. */
void check_would(struct check *k, enum lockout_result result);
/* enforce: an audit line beside the worker's, with what the guard knew. */
void check_say_prevented(struct check *k, enum lockout_result result);
void check_count_memory(const struct check *k, enum lockout_memory what);
bool check_account_is_whole(const struct account *a);
/* LOCKOUT_RESULTS: nothing in the account's state stands against it. */
enum lockout_result check_state(const struct check *k);

/* --- check_stretch.c --- */
void check_stretch(struct check *k);
int checks_stretch_open(struct checks *c);

/* --- check_store.c --- */
void check_take(struct check *k);	/* after the tag is known */
void check_learn(struct check *k);	/* after the bind; k->lesson, k->answer.result are set */

/* --- check_bind.c --- */
void check_bind(struct check *k);

#endif
