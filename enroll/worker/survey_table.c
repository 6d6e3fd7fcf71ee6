/*
 * survey_table: three balanced trees (tsearch(3): no order of keys makes them slow) and the verdicts. Pure. Worker of easenroll.
 */
#include "enroll/worker/survey_table.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define COMPARED 256	/* devices of one person that are held against each other */
#define ORDERED	 32

struct survey_table {
	void *by_key, *by_sid, *by_name;
	size_t devices, users, bytes;
	struct survey_user **order;	/* NULL: not arranged */
};

const char *survey_verdict_text(enum survey_verdict verdict)
{
	static const char *const texts[SURVEY_VERDICTS] = { "certificate", "password", "bearer", "unknown", "moved", "old", "blocked" };

	return (unsigned)verdict < SURVEY_VERDICTS ? texts[verdict] : "";
}

/* --- trees --- */

static int compare_key(const void *a, const void *b)
{
	return memcmp(((const struct survey_device *)a)->key, ((const struct survey_device *)b)->key, SHA256_SIZE);
}

static int compare_sid(const void *a, const void *b)
{
	return strcmp(((const struct survey_user *)a)->sid, ((const struct survey_user *)b)->sid);
}

static int compare_name(const void *a, const void *b)
{
	const struct survey_user *x = a, *y = b;
	int c = strcasecmp(x->upn, y->upn);

	return c != 0 ? c : strcmp(x->sid, y->sid);
}

static void keep(void *node)
{
	(void)node;
}

struct survey_table *survey_table_new(void)
{
	return calloc(1, sizeof(struct survey_table));
}

void survey_table_free(struct survey_table *t)
{
	if (t == NULL)
		return;
	tdestroy(t->by_key, free);
	tdestroy(t->by_name, keep);
	tdestroy(t->by_sid, free);
	free(t->order);
	free(t);
}

size_t survey_table_devices(const struct survey_table *t)
{
	return t->devices;
}

/* --- filling --- */

static struct survey_user *user_of(struct survey_table *t, const char *sid, const char *name)
{
	struct survey_user *u = survey_table_find(t, sid);

	if (u != NULL || t->bytes > SURVEY_BYTES)
		return u;
	u = calloc(1, sizeof(*u));
	if (u == NULL)
		return NULL;
	snprintf(u->sid, sizeof(u->sid), "%s", sid);
	snprintf(u->text, sizeof(u->text), "%s", name);
	u->upn = u->text[0] != '\0' ? u->text : u->sid;
	if (tsearch(u, &t->by_sid, compare_sid) == NULL) {
		free(u);
		return NULL;
	}
	if (tsearch(u, &t->by_name, compare_name) == NULL) {
		(void)tdelete(u, &t->by_sid, compare_sid);
		free(u);
		return NULL;
	}
	t->users++;
	t->bytes += sizeof(*u) + 96;
	return u;
}

static enum device_method method_of(const char *text)
{
	for (unsigned m = 0; m < DEVICE_METHODS; m++) {
		if (strcmp(text, device_method_name((enum device_method)m)) == 0)
			return (enum device_method)m;
	}
	return DEVICE_METHODS;
}

static const char *put(char **at, const char *text)
{
	size_t n = strlen(text) + 1;
	char *here = *at;

	memcpy(here, text, n);
	*at += n;
	return here;
}

static struct survey_device *device_new(struct survey_table *t, const struct device_row *row)
{
	size_t n = strlen(row->device) + strlen(row->device_type) + strlen(row->user_agent) + strlen(row->client) + strlen(row->command) + 5;
	struct survey_device *d = t->bytes <= SURVEY_BYTES ? calloc(1, sizeof(*d) + n) : NULL;
	char *at;

	if (d == NULL)
		return NULL;
	at = d->text;
	d->first_seen = row->first_seen;
	d->last_seen = row->last_seen;
	d->state = (uint8_t)device_state_from(strv_from(row->state));
	d->method = (uint8_t)method_of(row->method);
	d->id = put(&at, row->device);
	d->type = put(&at, row->device_type);
	d->agent = put(&at, row->user_agent);
	d->client = put(&at, row->client);
	d->command = put(&at, row->command);
	t->bytes += sizeof(*d) + n + 64;
	return d;
}

/* The newest first among the first ones: who has thousands of devices does not cost their square. */
static void hang(struct survey_user *u, struct survey_device *d)
{
	struct survey_device **at = &u->devices;

	for (unsigned i = 0; i < ORDERED && *at != NULL && (*at)->last_seen > d->last_seen; i++)
		at = &(*at)->next;
	d->next = *at;
	*at = d;
	d->user = u;
	u->devices_n++;
}

bool survey_table_add(struct survey_table *t, const struct device_row *row)
{
	struct survey_device *d, look, **found;
	struct survey_user *u;

	if (text_unhex(look.key, SHA256_SIZE, strv_from(row->key)) < 0)
		return true;
	if (tfind(&look, &t->by_key, compare_key) != NULL)
		return true;
	if (t->devices >= SURVEY_DEVICES || (u = user_of(t, row->sid, row->upn)) == NULL || (d = device_new(t, row)) == NULL)
		return false;
	memcpy(d->key, look.key, SHA256_SIZE);
	found = tsearch(d, &t->by_key, compare_key);
	if (found == NULL) {
		free(d);
		return false;
	}
	hang(u, d);
	t->devices++;
	return true;
}

bool survey_table_list(struct survey_table *t, const char *sid, const char *name, unsigned group, struct survey_totals *totals)
{
	struct survey_user *u = user_of(t, sid, name);

	if (u == NULL)
		return false;
	if ((u->listed >> group & 1) != 0)
		return true;
	if (u->seen == 0) {
		totals->without += u->listed == 0;
		totals->groups[group].without++;
	}
	u->listed |= UINT64_C(1) << group;
	return true;
}

/* --- reading --- */

struct walk {
	struct survey_user **order;
	size_t n;
};

static void visit(const void *node, VISIT which, void *arg)
{
	struct walk *w = arg;

	if (which == postorder || which == leaf)
		w->order[w->n++] = *(struct survey_user *const *)node;
}

int survey_table_arrange(struct survey_table *t)
{
	struct walk w = { calloc(t->users + 1, sizeof(struct survey_user *)), 0 };

	if (w.order == NULL)
		return -1;
	twalk_r(t->by_name, visit, &w);
	free(t->order);
	t->order = w.order;
	return 0;
}

struct survey_user *survey_table_user(struct survey_table *t, size_t i)
{
	return t->order != NULL && i < t->users ? t->order[i] : NULL;
}

struct survey_user *survey_table_find(struct survey_table *t, const char *sid)
{
	struct survey_user look;
	void *found;

	if (strlen(sid) >= sizeof(look.sid))
		return NULL;
	memcpy(look.sid, sid, strlen(sid) + 1);
	found = tfind(&look, &t->by_sid, compare_sid);
	return found != NULL ? *(struct survey_user **)found : NULL;
}

/* --- verdicts --- */

/* Whether the same device of the same person has come by certificate a day after this one came otherwise, and since. */
static bool has_moved(const struct survey_user *u, const struct survey_device *d)
{
	unsigned n = 0;

	for (const struct survey_device *c = u->devices; c != NULL && n < COMPARED; c = c->next, n++) {
		if (c != d && c->method == DEVICE_BY_CERTIFICATE && c->state != DEVICE_STATE_BLOCKED && c->state != DEVICE_STATE_QUARANTINED &&
		    d->id[0] != '\0' && strcmp(c->id, d->id) == 0 && c->last_seen >= d->last_seen + SURVEY_MOVED)
			return true;
	}
	return false;
}

static enum survey_verdict verdict_on(const struct survey_user *u, const struct survey_device *d, unsigned number, int64_t since)
{
	static const enum survey_verdict by_method[DEVICE_METHODS + 1] = { SURVEY_CERTIFICATE, SURVEY_PASSWORD, SURVEY_BEARER, SURVEY_UNKNOWN };

	if (d->state == DEVICE_STATE_BLOCKED)
		return SURVEY_BLOCKED;
	if (d->last_seen < since)
		return SURVEY_OLD;
	if (d->method != DEVICE_BY_CERTIFICATE && number < COMPARED && has_moved(u, d))
		return SURVEY_MOVED_ON;
	return by_method[d->method];
}

void survey_table_judge(struct survey_user *u, const struct enroll_migration *m, int64_t since, struct survey_totals *totals)
{
	unsigned seen = 0, number = 0;

	u->holding = 0;
	for (struct survey_device *d = u->devices; d != NULL; d = d->next) {
		d->verdict = (uint8_t)verdict_on(u, d, number++, since);
		totals->verdicts[d->verdict]++;
		seen += d->verdict != SURVEY_OLD && d->verdict != SURVEY_BLOCKED;
		u->holding += survey_holds_back(d->verdict);
	}
	u->seen = seen;
	totals->absorbed += u->absorbed;
	totals->prevented += u->prevented;
	if (seen == 0)
		return;
	totals->users++;
	if (u->known == SURVEY_UNAVAILABLE) {
		totals->unknown_users++;
		totals->unknown_holding += u->holding;
	}
	for (unsigned i = 0; u->known == SURVEY_KNOWN && i < m->all_n && i < ENROLL_GROUPS_MAX; i++) {
		struct survey_group *g = &totals->groups[i];
		if ((u->groups & (UINT64_C(1) << m->all[i].bit)) == 0)
			continue;
		g->users++;
		g->ready += u->holding == 0;
		g->devices += seen;
		g->holding += u->holding;
	}
}
