/*
 * device: what the server remembers of one device of one account: policy key, last Ping, and
 * for each folder what the device has (its sync state). Writes no answer.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_DEVICE_H
#define MAIL_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "eas_query.h"
#include "mailbox.h"

#define CLIENT_ID_MAX 40        /* [MS-ASCMD] 2.2.3.28.2 */

/* What a device has of a folder, by uid. */
struct snapshot {
	uint32_t n;
	struct { uint32_t uid, revision; } items[FOLDER_MESSAGES];
};

/* One folder as the device knows it. An answer may be lost, so there is one step back. */
struct sync_state {
	uint32_t key;           /* the last SyncKey given out */
	struct snapshot now;    /* what the device has if it comes back with `key` */
	struct snapshot before; /* what it has if it comes back with `key` - 1 */
	uint32_t body_type;     /* AirSyncBase Type: 1 text, 4 MIME */
	uint32_t truncation;    /* bytes of body to send; UINT32_MAX: all */
};

struct device {
	TAILQ_ENTRY(device) entry;
	char id[EAS_TEXT_MAX + 1];
	uint32_t policy_key;            /* 0: no policy acknowledged yet */
	uint32_t offered_key;           /* 0: none offered */
	uint32_t heartbeat;             /* of the last Ping, seconds; 0: none yet */
	unsigned ping_folders;          /* bit for each folder of the last Ping */
	char client_id[CLIENT_ID_MAX + 1];      /* of the last mail sent */
	struct sync_state *sync[FOLDERS];       /* NULL: never synchronised */
	struct call *waiting;           /* the newest held call; borrowed */
	unsigned holds;                 /* held calls that point here */
};

TAILQ_HEAD(device_list, device);

/*
 * Finds the device, or makes it. A full list drops the one not seen for longest that holds
 * nothing. NULL: all hold something, or no memory. The list owns it.
 */
struct device *device_get(struct device_list *list, const char *id, unsigned max);
void device_list_clear(struct device_list *list);

/* Starts a folder from nothing; the next key is 1. NULL: no memory. */
struct sync_state *device_sync_start(struct device *d, enum folder_id folder);

/*
 * The state that belongs to `key`, after a step back if the last answer was lost.
 * NULL: this device does not have that key.
 */
struct sync_state *device_sync_resume(struct device *d, enum folder_id folder, uint32_t key);

/* Index of a uid in the snapshot, or -1. */
int snapshot_find(const struct snapshot *s, uint32_t uid);
void snapshot_add(struct snapshot *s, const struct message *m);
void snapshot_remove(struct snapshot *s, uint32_t uid);

/* How many items differ between what the device has and what the folder holds. */
uint32_t snapshot_changes(const struct snapshot *s, const struct folder *f);

#endif
