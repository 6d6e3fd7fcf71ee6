/*
 * control: the few words between master and child, and the descriptors that travel with them (SCM_RIGHTS).
 */
#ifndef EASGATE_CONTROL_H
#define EASGATE_CONTROL_H

#include "common/base.h"

enum control_verb {
	CONTROL_READY = 1,	/* child: serves now */
	CONTROL_RELOADED,	/* child: the new configuration is in force */
	CONTROL_RELOAD_FAILED,	/* child: kept the old one */
	CONTROL_LINK,		/* master: a wire to (role, index); with a descriptor */
	CONTROL_RELOAD,		/* master: a new configuration; with a bundle */
	CONTROL_DRAIN,		/* master: end in good order */
	CONTROL_LINK_ASKED,	/* child: the wire to (role, index) could not be made, or has gone */
	CONTROL_RELOAD_ASKED,	/* child: an authentic order to reload came from the fleet */
	CONTROL_HANGS,		/* child: (role, index) does not answer: the master ends it, where the plan lets this one say so */
};

struct control_message {
	uint32_t verb, role, index, reserved;
};

/* fd < 0: none; it stays open here. 0 or -1 with errno. */
int control_send(int socket, const struct control_message *m, int fd);
/* 1: a message (*fd is -1 or the receiver's own); 0: nothing there now; -1: the other side has gone or broke the form. */
MUST_CHECK int control_receive(int socket, struct control_message *m, int *fd);

#endif
