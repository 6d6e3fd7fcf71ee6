/*
 * master: starts the processes of a program, introduces them to each other, restarts what dies (with back-off),
 * reloads, and ends them in good order. Reads the configuration and files; never a byte from outside.
 */
#ifndef EASGATE_MASTER_H
#define EASGATE_MASTER_H

#include "common/config.h"
#include "common/process.h"

#define PLAN_ROLES   8
#define PLAN_FILES   256
#define PLAN_SOCKETS 256

/* One role of a plan. */
struct plan_role {
	enum role role;
	unsigned count;
	int (*run)(struct child *c);
	const char *files[PLAN_FILES];	/* what it may read; borrowed from the settings */
	size_t files_n;
	bool vouch_key;			/* gets the key of vouchers (directory, kerberos, lockout) */
	bool reloads;			/* takes a new configuration in place (workers); others are replaced */
	uint32_t peers;			/* bit per enum role: it has a wire to each process of those */
	uint32_t ends;			/* bit per enum role: one of those that it says hangs is killed and started again */
};

/* A bound socket that the processes of `role` with that index inherit (index UINT32_MAX: all of them). */
struct plan_socket {
	int fd;
	enum role role;
	unsigned index;
	unsigned tag;
};

/* What a configuration asks for. */
struct plan {
	void *settings;
	const char *user;		/* borrowed from settings */
	struct strv text;		/* the configuration file's contents; borrowed */
	struct plan_role roles[PLAN_ROLES];
	size_t roles_n;
	struct plan_socket sockets[PLAN_SOCKETS];
	size_t sockets_n;
};

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
	/* Metrics slot of a process; called in the child and, after its death, in the master. */
	unsigned (*slot)(const struct plan *plan, enum role role, unsigned index);
	void (*died)(unsigned slot);
};

#define MASTER_CONFIG_NAME "configuration"	/* the configuration's text in a bundle */

/* The master's life. Returns the exit status. */
int master_run(const struct master_program *program, const char *config_file);

#endif
