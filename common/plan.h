/*
 * plan: what a configuration asks of the master: which processes, the files that each may read, and the sockets that they inherit. A plan borrows
 * everything from its settings, and owns its sockets' descriptors until the master has taken them.
 */
#ifndef EASGATE_PLAN_H
#define EASGATE_PLAN_H

#include "common/config.h"
#include "common/process.h"

#define PLAN_ROLES   8
#define PLAN_FILES   1024
#define PLAN_SOCKETS 256

/* One role of a plan. */
struct plan_role {
	enum role role;
	unsigned count;
	int (*run)(struct child *c);
	const char *files[PLAN_FILES]; /* what it may read; borrowed from the settings */
	size_t files_n;
	bool files_full; /* there were more */
	bool vouch_key;	 /* gets the key of vouchers (directory, kerberos, lockout) */
	bool reloads;	 /* takes a new configuration in place (workers); others are replaced */
	uint32_t peers;	 /* bit per enum role: it has a wire to each process of those */
	uint32_t ends;	 /* bit per enum role: one of those that it says hangs is killed and started again */
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
	const char *user; /* borrowed from settings */
	struct strv text; /* the configuration file's contents; borrowed */
	struct plan_role roles[PLAN_ROLES];
	size_t roles_n;
	struct plan_socket sockets[PLAN_SOCKETS];
	size_t sockets_n;
};

/* The next role, without files. Its address holds for as long as the plan. */
struct plan_role *plan_add_role(struct plan *plan, enum role role, unsigned count, int (*run)(struct child *), uint32_t peers);
/* NULL and "" are no file. Twice is once. */
void plan_add_file(struct plan_role *r, const char *path);
/* What who speaks with Redis reads; redis NULL: nothing. */
void plan_add_redis(struct plan_role *r, const struct config_redis *redis);
/* What who asks the directory reads: the bind credential with it. */
void plan_add_directory(struct plan_role *r, const struct config_directory *d);
/* A role of this plan asks for more files than PLAN_FILES: -1 with error. */
MUST_CHECK int plan_check(const struct plan *plan, const char *config_file, struct config_error *error);
/* Every file that any of the roles reads, each once; at most `max`: how many. */
size_t plan_files(const struct plan *plan, const char **paths, size_t max);
/* Takes fd. -1, which is logged: there are PLAN_SOCKETS; `cure` says what to do; fd is closed. */
MUST_CHECK int plan_add_socket(struct plan *plan, struct plan_socket socket, const char *cure);
/* A process's slot of the metrics, 1..plan_slots() - 1; 0 is the master's. */
unsigned plan_slot(const struct plan *plan, enum role role, unsigned index);
/* How many slots, with room for the processes that a reload may add. */
unsigned plan_slots(const struct plan *plan);

#endif
