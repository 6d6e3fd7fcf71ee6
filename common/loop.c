/*
 * loop: one libevent base per process, a cached clock, and a wheel of coarse deadlines. Runs in every process.
 */
#include "common/loop.h"

#include <stdlib.h>

#include "common/log.h"

#define TICK_MS	   64
#define SLOTS	   1024	/* one turn of the wheel: 65 s; later deadlines stay in their slot for more turns */
#define FLUSH_TICKS 2

struct loop {
	struct event_base *base;
	struct event *tick;
	uint64_t tick_no;		/* slot that was fired last */
	unsigned flush_in;
	struct deadline slot[SLOTS];	/* list heads */
};

uint64_t loop_now_fresh(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t loop_now_ms(struct loop *loop)
{
	(void)loop;
	/* The coarse clock is read from the vDSO in a few nanoseconds: cheaper than keeping a copy right. */
	return loop_now_fresh();
}

time_t loop_wall(struct loop *loop)
{
	struct timespec t;

	(void)loop;
	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return t.tv_sec;
}

static void unlink_deadline(struct deadline *d)
{
	d->next->prev = d->prev;
	d->prev->next = d->next;
	d->next = d->prev = NULL;
}

static void link_deadline(struct loop *loop, struct deadline *d)
{
	uint64_t tick = d->at_ms / TICK_MS + 1;
	struct deadline *head;

	if (tick <= loop->tick_no)
		tick = loop->tick_no + 1;
	head = &loop->slot[tick % SLOTS];
	d->next = head;
	d->prev = head->prev;
	head->prev->next = d;
	head->prev = d;
}

void deadline_arm(struct loop *loop, struct deadline *d, uint64_t in_ms, void (*fire)(struct deadline *d))
{
	if (d->next != NULL)
		unlink_deadline(d);
	d->at_ms = loop_now_ms(loop) + in_ms;
	d->fire = fire;
	link_deadline(loop, d);
}

void deadline_disarm(struct deadline *d)
{
	if (d->next != NULL)
		unlink_deadline(d);
}

/* Takes the whole slot off first: what fires may arm, disarm or free any other deadline, also of this slot. */
static void fire_slot(struct loop *loop, struct deadline *head, uint64_t now)
{
	struct deadline due = { .next = &due, .prev = &due };
	struct deadline *d, *next;

	for (d = head->next; d != head; d = next) {
		next = d->next;
		if (d->at_ms > now)
			continue;
		unlink_deadline(d);
		d->next = &due;
		d->prev = due.prev;
		due.prev->next = d;
		due.prev = d;
	}
	while (due.next != &due) {
		d = due.next;
		unlink_deadline(d);
		d->fire(d);
	}
	(void)loop;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	uint64_t now = loop_now_ms(loop), tick = now / TICK_MS;

	(void)fd;
	(void)what;
	if (tick > loop->tick_no + SLOTS)
		loop->tick_no = tick - SLOTS;	/* a stopped process: every slot once */
	while (loop->tick_no < tick) {
		loop->tick_no++;
		fire_slot(loop, &loop->slot[loop->tick_no % SLOTS], now);
	}
	if (loop->flush_in-- == 0) {
		loop->flush_in = FLUSH_TICKS;
		log_flush();
	}
}

struct loop *loop_new(void)
{
	static const struct timeval period = { 0, TICK_MS * 1000 };
	struct loop *loop = calloc(1, sizeof(*loop));
	struct event_config *config;

	config = event_config_new();
	if (loop == NULL || config == NULL)
		goto failed;
	/* Monotonic and coarse is enough, and saves system calls. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	loop->base = event_base_new_with_config(config);
	if (loop->base == NULL)
		goto failed;
	for (size_t i = 0; i < SLOTS; i++)
		loop->slot[i].next = loop->slot[i].prev = &loop->slot[i];
	loop->tick_no = loop_now_fresh() / TICK_MS;
	loop->tick = event_new(loop->base, -1, EV_PERSIST, on_tick, loop);
	if (loop->tick == NULL || event_add(loop->tick, &period) < 0)
		goto failed;
	event_config_free(config);
	return loop;
failed:
	if (config != NULL)
		event_config_free(config);
	loop_free(loop);
	return NULL;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	log_flush();
	if (loop->tick != NULL)
		event_free(loop->tick);
	if (loop->base != NULL) {
		/* A bufferevent that was freed with a callback under way is let go only here; freeing the base forgets it. */
		(void)event_base_loop(loop->base, EVLOOP_NONBLOCK);
		event_base_free(loop->base);
	}
	free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

int loop_run(struct loop *loop)
{
	int rc = event_base_dispatch(loop->base);

	log_flush();
	return rc < 0 ? -1 : 0;
}

void loop_stop(struct loop *loop)
{
	event_base_loopbreak(loop->base);
}
