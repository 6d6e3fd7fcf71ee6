/*
 * process: the *directory* role of both programs: answers DIRECTORY_FIND from one cache, DIRECTORY_SIGN_IN from none, asks LDAP or reads
 * the accounts' file, watches for changes and tells every linked worker.
 */
#ifndef EASGATE_DIRECTORY_PROCESS_H
#define EASGATE_DIRECTORY_PROCESS_H

#include "common/config.h"
#include "common/process.h"

/* Numbers of the program's metrics (common/metrics.h). */
struct directory_metrics {
	unsigned questions;	/* counter; sub: enum account_result, 0 to 4 */
	unsigned cache;		/* counter; sub: enum directory_cache_use */
	unsigned searches;	/* histogram: one account by LDAP; sub: enum account_result */
	unsigned servers;	/* gauge: LDAP servers that are well */
	unsigned entries;	/* gauge: answers in the cache */
};
enum directory_cache_use { DIRECTORY_CACHE_HIT = 0, DIRECTORY_CACHE_MISS, DIRECTORY_CACHE_STALE };

struct directory_setup {
	const struct config_directory *config;	/* and by child_settings of the program */
	const char *const *groups;		/* DNs whose membership is wanted, bit i each; at most 64 */
	unsigned groups_count;
	const char *const *refused_groups;	/* SIDs or RIDs beyond the built-in administrators: ACCOUNT_PROTECTED */
	unsigned refused_groups_count;
	const char *const *kdcs;		/* for the gssapi bind */
	unsigned kdcs_count;
	const struct directory_metrics *metrics;	/* NULL: none are kept */
	bool signs_in;				/* *lockout* may ask DIRECTORY_SIGN_IN; else it is refused */
	bool lists_members;			/* workers may ask DIRECTORY_MEMBERS; else it is refused */
};
/* The life of the role; returns the exit status. Borrows setup and all behind it. */
int directory_process(struct child *child, const struct directory_setup *setup);

#endif
