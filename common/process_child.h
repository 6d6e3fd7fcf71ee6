/*
 * process_child: what the master hands a process over fork. For master.c and process.c; roles use process.h.
 */
#ifndef EASGATE_PROCESS_CHILD_H
#define EASGATE_PROCESS_CHILD_H

#include "common/process.h"

struct child_start {
	enum role role;
	unsigned index;
	int (*run)(struct child *c);
	const void *settings;
	const char *user;
	int control_fd, bundle_fd;
	const struct child_socket *sockets;
	size_t sockets_n;
};

/* Runs the role to its end and returns the exit status. Takes the descriptors. */
int child_main(const struct child_start *start);

#endif
