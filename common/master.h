/*
 * master: starts the processes of a program, introduces them to each other, restarts what dies (with back-off),
 * reloads, and ends them in good order. Reads the configuration and files; never a byte from outside.
 */
#ifndef EASGATE_MASTER_H
#define EASGATE_MASTER_H

#include "common/plan.h"

struct master_program {
	/* Loads `config_file` into *plan (roles, not sockets). -1 with error. */
	int (*load)(const char *config_file, struct plan *plan, struct config_error *error);
	void (*in_force)(const struct plan *plan);	/* this plan counts from now on: at start, and after a good reload */
	void (*unload)(struct plan *plan);	/* frees settings; sockets are the master's */
	/* Once, as root, before any process is started: binds plan->sockets, makes shared tables and metrics. -1: logged. */
	int (*prepare)(struct plan *plan);
	/* In a short-lived process: builds all that the new configuration needs from these files. 0 good; else logged. */
	int (*trial)(const struct plan *plan, struct bundle *bundle);
	/* What cannot change without a restart: NULL, or the key that differs. */
	const char *(*unchangeable)(const struct plan *old, const struct plan *new);
	uint32_t (*drain_seconds)(const struct plan *plan);
	void (*died)(unsigned slot);		/* a process, by plan_slot() */
};

#define MASTER_CONFIG_NAME "configuration"	/* the configuration's text in a bundle */

/* The master's life. Returns the exit status. */
int master_run(const struct master_program *program, const char *config_file);

#endif
