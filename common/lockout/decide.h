/*
 * decide: may this password be tried, and what did the try teach? Changes the record that it is given and nothing else; whoever writes the
 * changed record first has decided for the fleet (store.h). Pure: clocks are arguments. *lockout* process.
 *
 * How AD counts (MS-ADTS 3.1.1.5.x, and what was found by trying): a wrong password raises badPwdCount of the domain controller that saw it
 * and of the PDC emulator; one that comes a whole observation window after the last begins anew; a right one clears both. The previous
 * password still binds for an hour; the one before fails uncounted. So the count here is of what passed here, whatever AD made of it,
 * and the count of the very server is held against the same limit where the password is tried (directory's margin).
 */
#ifndef EASGATE_LOCKOUT_DECIDE_H
#define EASGATE_LOCKOUT_DECIDE_H

#include "common/directory/account_facts.h"
#include "common/lockout/record.h"

#define LOCKOUT_UNLIMITED FACTS_UNLIMITED
/* Of an account whose password is so young, AD may still take the one before. */
#define LOCKOUT_OLD_SECONDS	 3720
#define LOCKOUT_OLD_GOOD_SECONDS 60

struct lockout_rules {
	uint32_t limit;			/* wrong ones within `window`, so that AD's count stays below the threshold less margin; UNLIMITED */
	uint32_t window;		/* AD's observation window */
	uint32_t attempts, attempts_window;	/* the budget */
	uint32_t pending_seconds;	/* as long as one try may take */
	uint32_t good_seconds;
	bool forced;			/* mode log: the verdict is given, and yet all is counted as if it were GO */
};

struct lockout_try {
	const uint8_t *key;		/* LOCKOUT_KEY bytes */
	const char *sid;
	int64_t generation;		/* pwdLastSet */
	int64_t set_at;			/* the same as seconds since the epoch; 0: not known */
	const uint8_t *stretched;	/* LOCKOUT_STRETCHED bytes */
	uint8_t tag[LOCKOUT_TAG], address[LOCKOUT_TAG];
	int64_t now;			/* by the store's clock */
	int64_t late;			/* the later of that and our own clock: what must end, ends by it */
	int64_t wall;			/* seconds since the epoch by ours */
};

enum lockout_verdict {
	VERDICT_FAILED = 0,		/* out of memory */
	VERDICT_GO,			/* counted: try it, then lockout_learn() */
	VERDICT_RIGHT,			/* remembered as right until *until */
	VERDICT_WRONG,			/* remembered as wrong */
	VERDICT_OLD,			/* was right before the last change; AD may still take it, we do not */
	VERDICT_PENDING,		/* somebody tries this very password: ask again in a moment */
	VERDICT_GUARDED,		/* the limit */
	VERDICT_BUDGET,			/* the budget */
};
/*
 * AD took this very password since it was last set (the record as read): it cannot raise AD's count, so what others have got wrong does not
 * stand against asking again: neither budget nor limit. Without that, a device with the right password would be out as soon as its `good_seconds` are over.
 */
bool lockout_was_right(const struct lockout_record *r, const struct lockout_try *t);
/* *until: with RIGHT, by the store's clock; with GUARDED and BUDGET, when to come again. *changed: the record is another now. */
enum lockout_verdict lockout_take(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, int64_t *until,
    bool *changed);

/* Of a password that the record has in no list, whatever it is: GO, GUARDED or BUDGET. Nothing is counted; t->tag is not read. */
enum lockout_verdict lockout_unknown(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t, int64_t *until);

enum lockout_lesson {
	LESSON_NONE = 0,		/* nobody knows whether AD counted it: it stays counted */
	LESSON_WRONG,
	LESSON_RIGHT,
	LESSON_NOT_COUNTED,		/* not tried at all, or nothing that AD counts */
};
/* `t` as for lockout_take(), with the generation that the server had when it was tried: t->tag is that of before. bad_count: AD's own
 * number before the try. Returns 0, or -1: out of memory, *r unchanged. */
MUST_CHECK int lockout_learn(struct lockout_record *r, const struct lockout_rules *rules, const struct lockout_try *t,
    enum lockout_lesson lesson, uint32_t bad_count);
/* How long a password holds that AD has just accepted. */
uint32_t lockout_good_seconds(const struct lockout_rules *rules, const struct lockout_try *t);
/* Nothing here can be believed: as if all that may be sent had been sent just now. */
void lockout_assume_worst(struct lockout_record *r, int64_t now);

#endif
