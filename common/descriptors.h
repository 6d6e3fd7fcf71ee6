/*
 * descriptors: what an accepting process does when few are left: it keeps some for its own files and ways to others, and closes whom it cannot
 * take, rather than leave him hanging. Runs wherever connections are taken.
 */
#ifndef EASGATE_DESCRIPTORS_H
#define EASGATE_DESCRIPTORS_H

#include "common/base.h"

/*
 * They are given out lowest first: the newest shows how many are in use. True: so few are left (a quarter of RLIMIT_NOFILE, at most 64) that no
 * client may have one.
 */
bool descriptors_are_scarce(int newest);

/* One to give up when there is none: opened while there are some. -1: there are none already. Closed by whoever has it. */
int descriptors_spare(void);
/* After accept4() said EMFILE or ENFILE: takes one connection with the spare, closes it, and has a spare again if it can. */
void descriptors_refuse_one(int listening, int *spare);

#endif
