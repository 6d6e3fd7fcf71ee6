/*
 * mailbox: adding, finding, moving and dropping mails.
 * Every byte kept is counted against the shared room.
 * Part of the sample mail server, which runs as one process.
 */
#include "mailbox.h"

#include <stdlib.h>
#include <string.h>

void mailbox_init(struct mailbox *m, struct mail_room *room)
{
	memset(m, 0, sizeof(*m));
	m->room = room;
	for (int f = 0; f < FOLDERS; f++) {
		TAILQ_INIT(&m->folders[f].messages);
		m->folders[f].next_uid = 1;
	}
}

void mailbox_clear(struct mailbox *m)
{
	for (enum folder_id f = FOLDER_INBOX; f < FOLDERS; f++) {
		struct message *message;

		while ((message = TAILQ_FIRST(&m->folders[f].messages)) != NULL)
			mailbox_remove(m, f, message);
	}
}

enum folder_id folder_parse(const char *collection_id)
{
	if (collection_id[0] < '1' || collection_id[0] >= '0' + FOLDERS ||
	    collection_id[1] != '\0')
		return FOLDER_NONE;
	return (enum folder_id)(collection_id[0] - '0');
}

struct message *mailbox_add(struct mailbox *m, enum folder_id folder, const char *mail, size_t n,
    bool read)
{
	struct folder *f = &m->folders[folder];
	struct message *message;
	size_t cost = sizeof(*message) + n;

	while (f->count == FOLDER_MESSAGES ||
	    (m->room->limit - m->room->used < cost && f->count > 0))
		mailbox_remove(m, folder, TAILQ_FIRST(&f->messages));
	if (m->room->limit - m->room->used < cost)
		return NULL;
	message = calloc(1, cost);
	if (message == NULL)
		return NULL;
	message->uid = f->next_uid++;
	message->read = read;
	message->received = time(NULL);
	message->n = n;
	memcpy(message->data, mail, n);
	m->room->used += cost;
	f->count++;
	TAILQ_INSERT_TAIL(&f->messages, message, entry);
	return message;
}

struct message *mailbox_find(struct mailbox *m, enum folder_id folder, uint32_t uid)
{
	struct message *message;

	TAILQ_FOREACH(message, &m->folders[folder].messages, entry)
		if (message->uid == uid)
			return message;
	return NULL;
}

void mailbox_remove(struct mailbox *m, enum folder_id folder, struct message *message)
{
	TAILQ_REMOVE(&m->folders[folder].messages, message, entry);
	m->folders[folder].count--;
	m->room->used -= sizeof(*message) + message->n;
	free(message);
}

void mailbox_move(struct mailbox *m, enum folder_id from, struct message *message,
    enum folder_id to)
{
	struct folder *f = &m->folders[to];

	if (f->count == FOLDER_MESSAGES)
		mailbox_remove(m, to, TAILQ_FIRST(&f->messages));
	TAILQ_REMOVE(&m->folders[from].messages, message, entry);
	m->folders[from].count--;
	message->uid = f->next_uid++;
	message->revision++;
	TAILQ_INSERT_TAIL(&f->messages, message, entry);
	f->count++;
}
