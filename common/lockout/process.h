/*
 * process: the *lockout* role of both programs: answers LOCKOUT_CHECK. It alone holds the key of the tags and decides; no device and no
 * network client reaches it. Asks *directory* for facts and for the bind, and has the memory-hard work done by *stretch* processes.
 */
#ifndef EASGATE_LOCKOUT_PROCESS_H
#define EASGATE_LOCKOUT_PROCESS_H

#include "common/config.h"
#include "common/process.h"
#include "common/redis.h"

struct shared_table;

/* Numbers of the program's metrics (common/metrics.h). */
struct lockout_metrics {
	unsigned checks;	/* counter; sub: enum lockout_result */
	unsigned binds;		/* counter; sub: enum lockout_bind */
	unsigned remembered;	/* counter; sub: enum lockout_memory */
	unsigned would;		/* counter: mode log; sub: enum lockout_result that enforce would have given */
	unsigned stretch;	/* histogram: the memory-hard work of one password */
	unsigned waiting;	/* gauge: passwords that wait for it */
	unsigned stretchers;	/* gauge: processes that do it, or could */
	struct redis_metrics redis;
};
enum lockout_bind { LOCKOUT_BIND_WRONG = 0, LOCKOUT_BIND_RIGHT, LOCKOUT_BIND_OTHER };
enum lockout_memory { LOCKOUT_MEMORY_RIGHT = 0, LOCKOUT_MEMORY_WRONG, LOCKOUT_MEMORY_OLD, LOCKOUT_MEMORY_SHARED };

struct lockout_setup {
	const struct config_lockout *config;	/* and by child_settings of the program */
	const struct config_redis *redis;	/* NULL: the table */
	const struct config_directory *directory;
	struct shared_table *table;		/* made before the fork by lockout_table_new(); with Redis NULL */
	const struct lockout_metrics *metrics;	/* NULL: none are kept */
};
/* The life of the role; returns the exit status. Borrows setup and all behind it. */
int lockout_process(struct child *child, const struct lockout_setup *setup);
/* The node's memory where there is no Redis: gone with the program. NULL with errno. */
struct shared_table *lockout_table_new(const struct config_lockout *config);

#endif
