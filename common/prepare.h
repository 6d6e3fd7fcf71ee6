/*
 * prepare: what must be there before a process is started: the user, folders, descriptors, listening sockets. Master process, as root where it is.
 * Every function that fails has logged why and what to do.
 */
#ifndef EASGATE_PREPARE_H
#define EASGATE_PREPARE_H

#include <pwd.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "common/address.h"

/* Whom the processes run as: *out is getpwnam()'s, NULL where we are not root. -1: there is no such user, or it is root. */
MUST_CHECK int prepare_user(const char *name, struct passwd **out);
/* Made for pw (NULL: for us) where missing; what is there keeps its rights. */
MUST_CHECK int prepare_dir(const char *path, mode_t mode, const struct passwd *pw);
/* At least `need` descriptors for each process; as many as there may be. `key` and its value are what asks for them. */
MUST_CHECK int prepare_descriptors(rlim_t need, const char *key, unsigned value);

#define PREPARE_SHARED 1u /* SO_REUSEPORT: several sockets have the same address */

/* A listening TCP socket, not blocking; or -errno, which is not logged: prepare_say_bind() does. */
int prepare_bind(const struct address *a, unsigned flags);
void prepare_say_bind(const char *text, int error);
/* "listening", with what and the address that it got. */
void prepare_say_listening(const char *what, int fd);
/* run_dir/name, a listening socket of that type for root and pw alone; what is there by that name goes. -1: logged. */
int prepare_local(const char *run_dir, const char *name, int type, const struct passwd *pw);
/* Tries one address without keeping it: 0, or -errno. */
int prepare_try(const char *address, unsigned flags);

#endif
