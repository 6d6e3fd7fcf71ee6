/*
 * stranger: addresses from where wrong secrets come, or messages that nobody can open: after lockout.address_attempts of them within the window
 * (lockout.window_seconds) whoever is there has to wait, right or wrong. For secrets that are not of the directory, where the lockout guard
 * watches. Memory is fixed, and entries are found by a key that nobody can choose. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_STRANGER_H
#define EASGATE_ENROLL_STRANGER_H

#include "common/config.h"
#include "common/loop.h"

struct strangers;

/* Borrows both. NULL: out of memory, or no random bytes. */
struct strangers *strangers_new(struct loop *loop, const struct config_lockout *config);
void strangers_free(struct strangers *s);	/* accepts NULL */
/* client: "192.0.2.1:4711". 0: it may try; else so many seconds it has to wait. */
MUST_CHECK unsigned strangers_wait(struct strangers *s, const char *client);
/* It was wrong once more. */
void strangers_add(struct strangers *s, const char *client);

#endif
