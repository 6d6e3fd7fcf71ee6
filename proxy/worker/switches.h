/*
 * switches: which groups are switched to certificates. Redis hash `switches`: field = a group's DN exactly as the configuration writes it,
 * value = "certificate <unix time>"; whoever writes it (the cockpit) can only restrict, so it needs no mac, and a value that is not
 * understood restricts too. Read when an event says so, and every few seconds: a switch counts within SWITCHES_SECONDS even where its event is lost. Worker process.
 */
#ifndef EASGATE_SWITCHES_H
#define EASGATE_SWITCHES_H

#include "common/loop.h"
#include "proxy/settings.h"

#define SWITCHES_SECONDS 5

struct devices;
struct switches;

/* `changed` runs from the loop when the answer of switches_mask() may be another one. Borrows loop and devices. NULL: out of memory. */
struct switches *switches_new(struct loop *loop, struct devices *devices, void (*changed)(void *arg), void *arg);
/* Before devices_free(). Accepts NULL. */
void switches_free(struct switches *s);
/* The configuration counts from now on; at start, and after each reload. Borrowed until the next call. */
void switches_use(struct switches *s, const struct settings *settings);

/* An event says that they are others now: read at once. */
void switches_look(struct switches *s);

/* Bit i: group i of settings_groups() is switched. Where Redis has been lost, what was known last. */
uint64_t switches_mask(const struct switches *s);
/* False: some rule is for a group, and Redis, which would say whether that is switched, has not answered since the start. */
bool switches_are_known(const struct switches *s);

#endif
