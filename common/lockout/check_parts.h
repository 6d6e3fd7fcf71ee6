/*
 * check_parts: what check*.c share. Private to them.
 */
#ifndef EASGATE_LOCKOUT_CHECK_PARTS_H
#define EASGATE_LOCKOUT_CHECK_PARTS_H

#include "common/lockout/check.h"
#include "common/lockout/decide.h"
#include "common/lockout/stale.h"
#include "common/lockout/untried.h"

#define CHECK_BEFORE_MS 8000	/* from the question to the bind, at most */
#define CHECK_BIND_MS	10000	/* the bind, at most */
#define BINDS_MAX	8	/* tries under way at once: each is a connection and a handshake to the domain controller, which answers others, too */
#define QUEUE_BUCKETS	4096
#define QUEUE_RIGHT	8192

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
	bool working;			/* a *stretch* process does it */
	struct check *held;		/* whose work will be this one's, too: queued, and not given out; NULL: nobody's */
	bool first;			/* before others in the queue: see check_queue.c */
	bool ready;			/* it is done: `stretched` */
	bool gated;			/* waits until fewer are being tried */
	bool binds;			/* is counted among those */
	uint64_t turn;
	uint8_t stale[LOCKOUT_TAG];	/* stale_name() of it */
	struct untried_entry untried;	/* of this password: as found, or (noted) as it is to be kept */
	bool noted;
	bool known;			/* the name is an account's */
	/* Whose record it is: the account's SID; for a name that nobody has "?" and its keyed hash, so that nobody learns which names there are */
	char subject[ACCOUNT_SID_MAX];
	uint64_t began_ms, work_began_ms;
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

/* By keyed hash: what falls into the same bucket is taken for one, which costs it a turn now and then. */
struct check_queue {
	unsigned n;			/* waiting */
	uint64_t turn;			/* being served */
	uint64_t served;		/* how many were */
	uint16_t of_address[QUEUE_BUCKETS], of_account[QUEUE_BUCKETS];	/* waiting */
	uint64_t last_turn[QUEUE_BUCKETS];	/* that an address was given */
	uint64_t served_account[QUEUE_BUCKETS];	/* `served` when the account last was */
	uint64_t right[QUEUE_RIGHT];	/* pairs of account and address whose password was right lately */
};

struct late;

struct checks {
	struct checks_setup setup;
	struct check *first, *last;
	unsigned count;
	struct check_queue queue;
	struct brief *stale, *untried;
	unsigned binds;
	struct late *late;		/* answers that are told later */
	unsigned lates;
	struct event *stretch;		/* active when there may be work to give out */
	uint32_t stretch_ms;		/* what one took lately */
	struct deadline tidy;
	uint64_t said_limit[2];		/* thresholds that were complained of: a bit each */
	struct account policy;		/* lock-out policy of the last account that was found: names of nobody seem to have the same */
};

/* --- check_queue.c --- */
/* After k->share and k->try.address are known. False: k was refused, and has ended. */
MUST_CHECK bool check_queue_enter(struct check *k);
void check_queue_leave(struct check *k);	/* harmless when it is not in */
struct check *check_queue_next(struct checks *c);	/* whose turn it is: still in; NULL: nobody waits, or only those who are held */
void check_queue_right(struct check *k);	/* its password was right */
/* When to come again after LOCKOUT_OVERLOADED. */
uint32_t checks_overload_seconds(const struct checks *c);

/* --- check_end.c --- */
void check_free(struct check *k);
void checks_late_leave(struct checks *c, const void *asker);
void checks_late_free(struct checks *c);
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

/* --- check.c --- */
int64_t check_seconds(const struct checks *c);	/* of a clock that nobody sets */
bool check_account_is_whole(const struct account *a);
/* LOCKOUT_RESULTS: nothing in the account's state stands against it. */
enum lockout_result check_state(const struct check *k);

/* --- check_stretch.c --- */
void check_stretch(struct check *k);
void check_wait_turn(struct check *k);	/* for the work */
void check_stretch_leave(struct check *k);	/* nobody waits for its work any more; harmless when there is none */
MUST_CHECK int checks_stretch_open(struct checks *c);
void checks_stretch_close(struct checks *c);	/* harmless when not open */

/* --- check_store.c --- */
void check_take(struct check *k);	/* after the tag is known */
void check_learn(struct check *k);	/* after the bind; k->lesson, k->answer.result are set */
void check_gate_leave(struct check *k);	/* it is no more among those being tried, nor waits to be */

/* The record is the account's. */
void check_name_record(struct check *k);
/* After the record was read: clocks, and what may be tried. */
void check_set_rules(struct check *k);
/* Not tried, or known to be wrong; the store hears of it. */
void check_refuse(struct check *k, enum lockout_result result, int64_t seconds);

/* --- check_untried.c --- */
/* True: it was not tried lately, and goes its own way. */
MUST_CHECK bool check_untried(struct check *k);
/* It is not tried now; before: the record as read. */
void check_untried_keep(const struct check *k, const struct lockout_record *before);
/* It is sent now, and its password overwritten; should the domain controller's own count stand against it, that is kept. */
void check_untried_note(struct check *k);
void check_untried_guarded(struct check *k);

/* --- check_bind.c --- */
void check_bind(struct check *k);

#endif
