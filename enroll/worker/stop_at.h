/*
 * stop_at: a named step of issuing or revoking, at which a crash test ends the process as a power cut would. In builds for tests only (EASGATE_TEST_HOOKS,
 * sanitizers) the environment variable EASGATE_STOP_AT names it; elsewhere there is nothing but the caller's own `step`. What was gathered till then is committed
 * before, unless EASGATE_STOP_UNSETTLED is set: a process that is killed leaves either.
 */
#ifndef EASGATE_ENROLL_STOP_AT_H
#define EASGATE_ENROLL_STOP_AT_H

#if defined(EASGATE_TEST_HOOKS) || defined(EASGATE_SANITIZED)
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enroll/worker/registry.h"

static inline void stop_at(const char *name, struct registry *r)
{
	const char *wanted = getenv("EASGATE_STOP_AT");

	if (wanted == NULL || strcmp(wanted, name) != 0)
		return;
	if (getenv("EASGATE_STOP_UNSETTLED") == NULL && registry_settle(r) < 0)
		abort();
	kill(getpid(), SIGKILL);
}
#else
static inline void stop_at(const char *name, struct registry *r)
{
	(void)name;
	(void)r;
}
#endif

#define STEP(config, name)				\
	do {						\
		stop_at(name, (config)->registry);	\
		if ((config)->step != NULL)		\
			(config)->step(name);		\
	} while (0)

#endif
