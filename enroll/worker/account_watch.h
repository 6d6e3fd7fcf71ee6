/*
 * account_watch: accounts that were disabled, deleted or taken out of the required group lose their devices' certificates, within a minute (more than
 * 3,000 accounts: within (accounts / 64) seconds); those that left a profile's group lose that profile's alone. A group that the directory does not have was
 * left by nobody. Asks the directory past its cache, by SID; revokes by revoke.h only. Worker of easenroll.
 *
 * Careful, because a directory that errs would revoke everybody: what is not a clear and fresh answer changes nothing, a bad one must come twice
 * with some seconds between, and no more than a small part of the accounts falls in ten minutes: then it stops and says so.
 * Locked and expired accounts are left alone: easproxy refuses them by itself for as long as it lasts.
 */
#ifndef EASGATE_ENROLL_ACCOUNT_WATCH_H
#define EASGATE_ENROLL_ACCOUNT_WATCH_H

#include "enroll/worker/worker.h"

#define WATCH_WINDOW_SECONDS 600
#define WATCH_LEAST	     10	/* so many accounts may fall in a window, however few there are; else a twentieth of them */

struct account_watch;

/* Needs w->loop, directory and registry by the time the loop runs. NULL: out of memory. */
struct account_watch *account_watch_new(struct enroll_worker *w);
void account_watch_free(struct account_watch *a);	/* accepts NULL */
/* The directory said that this account changed: it is asked at once. "" : the sweep will come by. */
void account_watch_changed(struct account_watch *a, const char *sid);

#endif
