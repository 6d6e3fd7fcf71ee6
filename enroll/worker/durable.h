/*
 * durable: makes what was changed in the registry survive a power cut, many changes by one commit and one fdatasync, and the loop does not wait for it.
 *
 * Changes that are made while a sync is under way are gathered (registry_group() in registry.h), and committed when it has come back, or after GATHER_MS.
 * SQLite appends the commit to its write-ahead log (<registry>-wal) without a sync of its own; from there on it survives the end of the program. Here the
 * log is synced behind it, and whoever answers a request waits until the newest commit of that moment
 * is on the disk (http_server.h: hold): so an answer that was given stands after a power cut, and what a power cut takes back nobody was told.
 * The log is read in order and ends at the first commit that is not whole: of two commits the later never survives without the earlier.
 *
 * The sync is the kernel's asynchronous one (io_submit(2) with IOCB_CMD_FDSYNC): no thread. Where that is not to be had it is done in the loop,
 * once for all commits of a turn. One that fails is the end: nobody knows what is on the disk then; `failed` is told, and nothing is durable any more.
 * Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_DURABLE_H
#define EASGATE_ENROLL_DURABLE_H

#include "common/loop.h"

struct durable;

struct durable_config {
	struct loop *loop;
	const char *log;				/* path of the write-ahead log; copied */
	int (*commit)(void *arg);			/* commits what was gathered (registry_settle()); -1: it is lost */
	void (*reached)(void *arg, uint64_t upto);	/* commits up to this number are on the disk */
	void (*failed)(void *arg);			/* never again: a commit or a sync failed; from the loop */
	void *arg;
};

/* NULL: out of memory. */
struct durable *durable_new(const struct durable_config *config);
void durable_free(struct durable *d);	/* accepts NULL; waits for a sync that is under way */
/* A change was made: it is committed, or will be by `commit`. */
void durable_note(struct durable *d);
/* The number of the newest change; 0: all that was changed is on the disk. */
uint64_t durable_wait_for(const struct durable *d);

#endif
