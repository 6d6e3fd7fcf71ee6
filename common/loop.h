/*
 * loop: the process's libevent base, its clock, timers, and the flush of its log.
 */
#ifndef EASGATE_LOOP_H
#define EASGATE_LOOP_H

#include <event2/event.h>

#include "common/base.h"

struct loop;

/* One per process, made after fork. NULL when out of memory. */
struct loop *loop_new(void);
void loop_free(struct loop *loop);
struct event_base *loop_base(struct loop *loop);
/* Runs until loop_stop(). 0, or -1 on a libevent failure. */
MUST_CHECK int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Monotonic milliseconds, read once per turn of the loop (a cached clock; loop_now_fresh() asks the kernel). */
uint64_t loop_now_ms(struct loop *loop);
uint64_t loop_now_fresh(void);
/* Seconds since the epoch, read once per turn. */
time_t loop_wall(struct loop *loop);

/*
 * Many deadlines of few kinds (a session's time limits): a wheel with a tick of 64 ms, so that arming and
 * disarming cost no heap operation and no system call. Fires never early, at most 128 ms late.
 */
struct deadline {
	struct deadline *next, *prev;	/* in a slot of the wheel; NULL: not armed */
	uint64_t at_ms;
	void (*fire)(struct deadline *d);
};
/* Arms, or arms anew. `fire` runs from the loop, with the deadline disarmed; it may free what holds d. */
void deadline_arm(struct loop *loop, struct deadline *d, uint64_t in_ms, void (*fire)(struct deadline *d));
void deadline_disarm(struct deadline *d);	/* harmless when not armed (zeroed storage) */

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif
