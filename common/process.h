/*
 * process: what a process that the master started is given, and how it lives.
 *
 * Roles are forked, not executed. A child closes what is not its own, takes its bundle, drops to the
 * configured user with no way back (no_new_privs, not dumpable, no core, Landlock where the kernel has it),
 * and then talks to the others over the wires that the master introduces: at start, and again whenever
 * one of the others was replaced.
 */
#ifndef EASGATE_PROCESS_H
#define EASGATE_PROCESS_H

#include "common/base.h"
#include "common/bundle.h"
#include "common/loop.h"

enum role { ROLE_MASTER = 0, ROLE_WORKER, ROLE_REVOCATION, ROLE_DIRECTORY, ROLE_KERBEROS, ROLE_SIGNER, ROLE_LOCKOUT, ROLE_STRETCH, ROLE_COUNT };
const char *role_name(enum role role);

struct child;

/* What a role does with what the master tells it. All optional; run from the loop. */
struct child_handlers {
	/* A wire to a process of role `peer`; takes fd. A second one for the same (peer, index) replaces the first,
	 * whose process is going away: pending questions there are still answered or end with WIRE_CLOSED. */
	void (*link)(struct child *c, enum role peer, unsigned index, int fd, void *arg);
	/* A new configuration. Takes bundle_fd. Returns 0, or -1 to keep the old one (and has logged why). */
	int (*reload)(struct child *c, int bundle_fd, void *arg);
	/* End in good order: finish what is under way, then loop_stop(). */
	void (*drain)(struct child *c, void *arg);
	/* The master has gone. Default: loop_stop() at once. */
	void (*orphaned)(struct child *c, void *arg);
};

struct loop *child_loop(struct child *c);
enum role child_role(const struct child *c);
unsigned child_index(const struct child *c);
/* The process's files. Owned by the child. */
struct bundle *child_bundle(struct child *c);
/* Listening sockets that the master bound for this process; open until the process ends. */
struct child_socket {
	int fd;
	unsigned tag;		/* the program's own meaning: which listener */
};
const struct child_socket *child_sockets(const struct child *c, size_t *n);
/* The program's settings as they were at fork (const struct settings * of the program). Borrowed. */
const void *child_settings(const struct child *c);
/* Handlers stay for the life of the process; call before child_confine(). */
void child_handle(struct child *c, const struct child_handlers *handlers, void *arg);

/*
 * Drops root and locks the doors. `read` and `write` are NULL-terminated lists of paths that stay open to
 * this process (Landlock; NULL: none at all). Call after everything privileged was done. 0, or -1 (logged): then exit.
 */
MUST_CHECK int child_confine(struct child *c, const char *const *read, const char *const *write);
/*
 * For a process that answers other processes' questions: one that comes in does not take the processor from the asker that is still making the next ones.
 * Where both share one, each question would cost two switches of process; on another processor it is served at once all the same. Not allowed: only dearer (logged).
 */
void child_let_askers_finish(void);
/* Tells the master that this process serves now. */
void child_ready(struct child *c);
/*
 * There is no wire to (peer, index), though there should be: it could not be made, or broke. Asks the master for another, which comes
 * by `link` if that process lives; ask again in a second if it does not.
 */
void child_ask_link(struct child *c, enum role peer, unsigned index);
/* (peer, index) does not answer: the master kills it and starts another, if its plan lets this role say so. Say it again if nothing came of it. */
void child_say_hangs(struct child *c, enum role peer, unsigned index);
/* Asks the master to reload (an authentic order of the fleet). */
void child_ask_reload(struct child *c);

#endif
