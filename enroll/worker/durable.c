/*
 * durable: one sync under way at most; changes that come meanwhile share the next commit and sync. Worker of easenroll.
 */
#include "enroll/worker/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"

#define GATHER_MS 20	/* a transaction that stays open holds up whoever else writes (the worker of a reload) */

struct durable {
	struct durable_config c;
	char *path;
	int log, done;			/* descriptors: the log; an eventfd that counts finished syncs, -1: none, syncs are done in the loop */
	aio_context_t context;
	struct iocb sync;
	struct event *start, *finished;
	struct deadline gathered;
	uint64_t written, asked, reached;	/* changes: made; that the sync under way covers; on the disk */
	bool busy, broken;
};

/* libaio has no more than these four, and would be one more library. */
static long io_setup(unsigned events, aio_context_t *context)
{
	return syscall(SYS_io_setup, events, context);
}

static void stop_aio(struct durable *d)
{
	if (d->context != 0)
		(void)syscall(SYS_io_destroy, d->context);	/* waits for what is under way */
	d->context = 0;
	if (d->finished != NULL)
		event_free(d->finished);
	d->finished = NULL;
	if (d->done >= 0)
		close(d->done);
	d->done = -1;
}

static void give_up(struct durable *d)
{
	d->broken = true;
	deadline_disarm(&d->gathered);
	d->c.failed(d->c.arg);
}

static void settle(struct durable *d, int error)
{
	d->busy = false;
	if (error != 0) {
		log_say(LOG_ERROR, "registry_not_synced", "%s: %s: what was committed may be lost by a power cut; nothing is answered any more", d->path,
		    strerror(error));
		give_up(d);
		return;
	}
	d->reached = d->asked;
	d->c.reached(d->c.arg, d->reached);
	if (d->written > d->reached && !d->busy)
		event_active(d->start, EV_TIMEOUT, 0);
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
	struct durable *d = arg;
	struct io_event event;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0 || syscall(SYS_io_getevents, d->context, 0, 1, &event, NULL) != 1)
		return;
	settle(d, event.res < 0 ? (int)-event.res : 0);
}

/* True: under way. */
static bool submit(struct durable *d)
{
	struct iocb *list[] = { &d->sync };

	d->sync = (struct iocb){ .aio_lio_opcode = IOCB_CMD_FDSYNC, .aio_fildes = (uint32_t)d->log, .aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)d->done };
	return syscall(SYS_io_submit, d->context, 1, list) == 1;
}

static void on_start(evutil_socket_t fd, short what, void *arg)
{
	struct durable *d = arg;

	(void)fd;
	(void)what;
	if (d->busy || d->broken || d->written == d->reached)
		return;
	if (d->log < 0)
		d->log = open(d->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (d->log < 0) {
		settle(d, errno);
		return;
	}
	d->busy = true;
	if (d->c.commit(d->c.arg) < 0) {
		d->busy = false;
		give_up(d);
		return;
	}
	deadline_disarm(&d->gathered);
	d->asked = d->written;
	if (d->done >= 0 && submit(d))
		return;
	if (d->done >= 0) {
		log_say(LOG_INFO, "registry_sync", "no asynchronous fdatasync here (%s): the loop waits for each", strerror(errno));
		stop_aio(d);
	}
	settle(d, fdatasync(d->log) == 0 ? 0 : errno);
}

struct durable *durable_new(const struct durable_config *config)
{
	struct durable *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->c = *config;
	d->log = d->done = -1;
	d->path = strdup(config->log);
	d->start = evtimer_new(loop_base(config->loop), on_start, d);
	if (d->path == NULL || d->start == NULL) {
		durable_free(d);
		return NULL;
	}
	d->c.log = d->path;
	if (io_setup(1, &d->context) < 0) {
		d->context = 0;
		return d;
	}
	d->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->finished = d->done >= 0 ? event_new(loop_base(config->loop), d->done, EV_READ | EV_PERSIST, on_finished, d) : NULL;
	if (d->finished == NULL || event_add(d->finished, NULL) < 0)
		stop_aio(d);
	return d;
}

void durable_free(struct durable *d)
{
	if (d == NULL)
		return;
	stop_aio(d);
	deadline_disarm(&d->gathered);
	if (d->start != NULL)
		event_free(d->start);
	if (d->log >= 0)
		close(d->log);
	free(d->path);
	free(d);
}

static void on_gathered(struct deadline *deadline)
{
	struct durable *d = CONTAINER_OF(deadline, struct durable, gathered);

	if (!d->broken && d->c.commit(d->c.arg) < 0)
		give_up(d);
}

void durable_note(struct durable *d)
{
	static const struct timeval next_turn = { 0, 0 };

	d->written++;
	if (d->broken)
		return;
	if (d->busy)
		deadline_arm(d->c.loop, &d->gathered, GATHER_MS, on_gathered);
	else if (!evtimer_pending(d->start, NULL))
		(void)evtimer_add(d->start, &next_turn);
}

uint64_t durable_wait_for(const struct durable *d)
{
	return d->written > d->reached || d->broken ? d->written : 0;
}
