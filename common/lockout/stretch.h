/*
 * stretch: the *stretch* role of both programs: the memory-hard work of passwords, and nothing else. As many processes as the configuration
 * says; each does one password at a time and blocks for it, which is why the work is in no other process.
 *
 * Such a process knows a salt and a password for as long as it works, and overwrites both. It does not learn whose they are, has no file,
 * no key and no connection, and what it gives back decides nothing: the tag is made, and judged, in *lockout*, the only one that asks it.
 * Of what several ask, the first that came is served first.
 */
#ifndef EASGATE_LOCKOUT_STRETCH_H
#define EASGATE_LOCKOUT_STRETCH_H

#include "common/config.h"
#include "common/directory/ask.h"
#include "common/lockout/tag.h"
#include "common/process.h"
#include "common/wire.h"

#define STRETCH_MIB_MAX	     256	/* what the configuration may ask for */
#define STRETCH_DEFAULT_MAX  16		/* processes, where the configuration leaves it to the number of CPUs */
#define STRETCH_PROCESSES_MAX 64

/* lockout -> stretch: struct stretch_work; answer: struct stretch_done, or a refusal: not done. The high bit is WIRE_SECRET. */
#define STRETCH_WORK 0x8023u

struct stretch_work {
	uint8_t salt[LOCKOUT_SALT];
	uint32_t mib;			/* a power of two */
	uint32_t password_n;		/* 1 to DIRECTORY_PASSWORD_MAX bytes */
	char password[DIRECTORY_PASSWORD_MAX];
};
struct stretch_done {
	uint8_t stretched[LOCKOUT_STRETCHED];
};

/* What such a process serves; ends with .name == NULL. Its `serve` needs no arg. */
extern const struct wire_verb stretch_verbs[];
/* How many there are: lockout.processes; 0: one for each CPU that this process may use, STRETCH_DEFAULT_MAX at most. */
unsigned stretch_processes(const struct config_lockout *config);
/* The life of the role; returns the exit status. */
int stretch_process(struct child *child);

#endif
