/*
 * mailbox: the folders of one account and the mails in them, in memory, bounded.
 * Knows nothing of devices or of who waits for news.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_MAILBOX_H
#define MAIL_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#define FOLDER_MESSAGES 128     /* a folder holds no more; the oldest makes room */

/* The values are the ServerIds that devices see. */
enum folder_id {
	FOLDER_NONE = 0,
	FOLDER_INBOX = 1,
	FOLDER_DRAFTS,
	FOLDER_SENT,
	FOLDER_TRASH,
	FOLDERS,
};

struct message {
	TAILQ_ENTRY(message) entry;
	uint32_t uid;           /* grows within a folder, never used again */
	uint32_t revision;      /* grows when something a device shows has changed */
	bool read;
	time_t received;
	size_t n;
	char data[];            /* the mail, n bytes */
};

TAILQ_HEAD(message_list, message);

struct folder {
	struct message_list messages;   /* by uid */
	uint32_t count;
	uint32_t next_uid;
};

/* What all mailboxes share: bytes in use, and how many there may be. */
struct mail_room {
	size_t used;
	size_t limit;
};

struct mailbox {
	struct mail_room *room;         /* borrowed */
	struct folder folders[FOLDERS];
};

void mailbox_init(struct mailbox *m, struct mail_room *room);
void mailbox_clear(struct mailbox *m);

/* "1" -> FOLDER_INBOX; FOLDER_NONE for anything else. */
enum folder_id folder_parse(const char *collection_id);

/*
 * Puts a copy of `mail` into a folder. Returns the message, owned by the mailbox,
 * or NULL: the room is used up, or no memory.
 */
struct message *mailbox_add(struct mailbox *m, enum folder_id folder, const char *mail, size_t n,
    bool read);

struct message *mailbox_find(struct mailbox *m, enum folder_id folder, uint32_t uid);

/* Takes the message out of its folder and frees it. */
void mailbox_remove(struct mailbox *m, enum folder_id folder, struct message *message);

/* Moves the message, which gets a new uid. `from` and `to` must differ. Cannot fail. */
void mailbox_move(struct mailbox *m, enum folder_id from, struct message *message,
    enum folder_id to);

#endif
