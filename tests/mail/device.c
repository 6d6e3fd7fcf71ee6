/*
 * device: the list of an account's devices and their sync states.
 * Bounded: a folder's snapshot holds no more than a folder does.
 * Part of the sample mail server, which runs as one process.
 */
#include "device.h"

#include <stdlib.h>
#include <string.h>

static void device_free(struct device_list *list, struct device *d)
{
	TAILQ_REMOVE(list, d, entry);
	for (int f = 0; f < FOLDERS; f++)
		free(d->sync[f]);
	free(d);
}

struct device *device_get(struct device_list *list, const char *id, unsigned max)
{
	struct device *d, *oldest = NULL;
	unsigned count = 0;

	TAILQ_FOREACH(d, list, entry) {
		if (strcmp(d->id, id) == 0) {
			TAILQ_REMOVE(list, d, entry);   /* newest first */
			TAILQ_INSERT_HEAD(list, d, entry);
			return d;
		}
		if (d->holds == 0)
			oldest = d;
		count++;
	}
	if (count >= max) {
		if (oldest == NULL)
			return NULL;
		device_free(list, oldest);
	}
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return NULL;
	memcpy(d->id, id, strnlen(id, EAS_TEXT_MAX));
	TAILQ_INSERT_HEAD(list, d, entry);
	return d;
}

void device_list_clear(struct device_list *list)
{
	struct device *d;

	while ((d = TAILQ_FIRST(list)) != NULL)
		device_free(list, d);
}

struct sync_state *device_sync_start(struct device *d, enum folder_id folder)
{
	struct sync_state *s = d->sync[folder];

	if (s == NULL)
		s = d->sync[folder] = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->body_type = 1;
	s->truncation = UINT32_MAX;
	return s;
}

struct sync_state *device_sync_resume(struct device *d, enum folder_id folder, uint32_t key)
{
	struct sync_state *s = d->sync[folder];

	if (s == NULL || s->key == 0 || key == 0)
		return NULL;
	if (key == s->key)
		return s;
	if (key != s->key - 1)
		return NULL;
	s->key = key;
	s->now = s->before;
	return s;
}

int snapshot_find(const struct snapshot *s, uint32_t uid)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->items[i].uid == uid)
			return (int)i;
	return -1;
}

/* Keeps the order by uid, which is the order in which messages come. */
void snapshot_add(struct snapshot *s, const struct message *m)
{
	int at = snapshot_find(s, m->uid);

	if (at < 0 && s->n < FOLDER_MESSAGES)
		at = (int)s->n++;
	if (at < 0)
		return;
	s->items[at].uid = m->uid;
	s->items[at].revision = m->revision;
}

void snapshot_remove(struct snapshot *s, uint32_t uid)
{
	int at = snapshot_find(s, uid);

	if (at < 0)
		return;
	memmove(&s->items[at], &s->items[at + 1], (s->n - (uint32_t)at - 1) * sizeof(s->items[0]));
	s->n--;
}

uint32_t snapshot_changes(const struct snapshot *s, const struct folder *f)
{
	const struct message *m;
	uint32_t known = 0, changes = 0;

	TAILQ_FOREACH(m, &f->messages, entry) {
		int at = snapshot_find(s, m->uid);

		if (at >= 0)
			known++;
		if (at < 0 || s->items[at].revision != m->revision)
			changes++;
	}
	return changes + s->n - known;
}
