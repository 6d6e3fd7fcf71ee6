/*
 * master_parts: what the files master*.c share of the process that starts the others. Nobody else includes it.
 */
#ifndef EASGATE_MASTER_PARTS_H
#define EASGATE_MASTER_PARTS_H

#include <sys/types.h>

#include "common/master.h"

#define PROCESSES_MAX	256	/* of a large plan, and those that a reload replaces */

#define LINKS_AGAIN_MAX 1000	/* of one process: a captured one must not use up the others' descriptors */

struct process {
	struct master *master;
	enum role role;
	unsigned index;
	bool used;
	bool ready;
	bool leaving;			/* replaced, or the program ends: no restart */
	bool reloading;			/* its answer to a new configuration is awaited */
	pid_t pid;			/* 0: not running */
	int control;			/* -1 */
	struct event *readable;
	struct deadline restart;
	unsigned back_off, links_again;
	uint64_t started_ms;
	uint8_t fingerprint[SHA256_SIZE];	/* of the configuration and files it was started with */
};

struct master {
	const struct master_program *program;
	const char *config_file;
	struct plan plan;
	struct loop *loop;
	struct process processes[PROCESSES_MAX];
	int key_fd;			/* memfd with the vouchers' key; never mapped here */
	int signals;
	struct event *on_signal;
	struct deadline end, reload_limit;
	bool started;			/* all were ready once */
	bool ending;
	unsigned reloading;		/* workers whose answer is awaited */
	bool reload_bad;
	int status;
	pid_t trial_pid;
	struct plan *trial_plan;
	struct deadline trial_end;
};

/* --- master_spawn.c --- */
struct plan_role *master_role(struct plan *plan, enum role role);
/* A free place, emptied and taken; NULL: all are taken. */
struct process *master_place(struct master *m);
/* The role's files, sealed, with the vouchers' key or the configuration's text. -1: logged. */
MUST_CHECK int master_bundle(struct master *m, struct plan *plan, const struct plan_role *role);
void master_fingerprint(const struct plan *plan, int bundle_fd, uint8_t out[SHA256_SIZE]);
/* Forks p with the plan in force and introduces it to the others. -1: logged. */
MUST_CHECK int master_spawn(struct process *p);
/* In the child: everything the master had open goes, but for these (sorted in place). */
void master_close_all_but(int *keep, size_t n);

/* p asks for another wire to that process. Refused: one that the plan has not, and from one that asks without end. */
void master_link_again(struct process *p, enum role role, unsigned index);

/* p says that this one hangs. Only who may, and only of one that lives and has served. */
void master_end_hanging(struct process *p, enum role role, unsigned index);

/* --- master_reload.c --- */
void master_reload(struct master *m);
void master_trial_done(struct master *m, int status);
/* p took the new configuration, or kept the old; harmless when it was not asked. */
void master_reload_answered(struct process *p, bool good);

/* --- master.c --- */
/* What a child says arrives here; event callback with the struct process. */
void master_on_control(int fd, short what, void *arg);

#endif
