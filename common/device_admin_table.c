/*
 * device_admin_table: acts on records, and lists of them, in the table of a single machine: in one act under the table's lock. Workers see
 * them at the device's next request, and within seconds where a Ping waits. Runs in tools beside a running program.
 */
#include <stdio.h>

#include "common/device_admin.h"
#include "common/device_parts.h"
#include "common/text.h"

struct table_act {
	enum device_act act;
	bool there;
	char sid[DEVICE_SID_MAX];
};

static void change_state(void *value, void *arg)
{
	struct device_record *r = value;
	struct table_act *act = arg;

	act->there = r->kind == DEVICE_KIND_RECORD && r->state != DEVICE_STATE_NONE;
	if (!act->there)
		return;
	memcpy(act->sid, r->sid, sizeof(act->sid));
	act->sid[sizeof(act->sid) - 1] = '\0';
	if (act->act != DEVICE_FORGET)
		r->state = act->act == DEVICE_RELEASE ? DEVICE_STATE_REGISTERED : DEVICE_STATE_BLOCKED;
}

enum device_act_result device_table_act(struct shared_table *table, const char *key_hex, enum device_act act)
{
	struct table_act change = { .act = act };
	struct device_record standing;
	uint8_t key[SHA256_SIZE];

	if (text_unhex(key, SHA256_SIZE, strv_from(key_hex)) < 0 || !shared_table_get(table, key, &standing))
		return DEVICE_ACT_NOBODY;
	if (!shared_table_change(table, key, change_state, &change))
		return DEVICE_ACT_DOWN;
	if (act == DEVICE_FORGET || !change.there)
		(void)!shared_table_take(table, key, NULL);
	if (!change.there)
		return DEVICE_ACT_NOBODY;
	if (act != DEVICE_RELEASE)
		device_table_uncount(table, change.sid, key);
	return DEVICE_ACT_DONE;
}

struct table_list {
	enum device_list what;
	device_list_fn *each;
	void *arg;
};

static void take(char *out, size_t size, const char *text, size_t max)
{
	struct strv all = { text, strnlen(text, max) };

	if (!text_is_clean(all) || text_copy(out, size, all) < 0)
		memcpy(out, "?", 2);
}

static void on_value(const uint8_t key[SHARED_TABLE_KEY], const void *value, void *arg)
{
	const struct device_record *r = value;
	const struct table_list *list = arg;
	struct device_row row = { .first_seen = r->first_seen, .last_seen = r->last_seen };

	if (r->kind != DEVICE_KIND_RECORD || r->state == DEVICE_STATE_NONE || r->state >= DEVICE_STATES ||
	    (list->what == DEVICE_LIST_WAITING && r->state != DEVICE_STATE_QUARANTINED))
		return;
	text_hex(row.key, key, SHA256_SIZE);
	take(row.sid, sizeof(row.sid), r->sid, sizeof(r->sid));
	take(row.upn, sizeof(row.upn), r->upn, sizeof(r->upn));
	take(row.device, sizeof(row.device), r->device, sizeof(r->device));
	take(row.command, sizeof(row.command), r->command, sizeof(r->command));
	take(row.device_type, sizeof(row.device_type), r->device_type, sizeof(r->device_type));
	take(row.user_agent, sizeof(row.user_agent), r->user_agent, sizeof(r->user_agent));
	take(row.client, sizeof(row.client), r->client, sizeof(r->client));
	snprintf(row.state, sizeof(row.state), "%s", device_state_name((enum device_state)r->state));
	snprintf(row.method, sizeof(row.method), "%s", device_method_name((enum device_method)r->method));
	list->each(list->arg, &row, true);
}

void device_table_list(struct shared_table *table, enum device_list what, device_list_fn *each, void *arg)
{
	struct table_list list = { what, each, arg };

	shared_table_each(table, on_value, &list);
	each(arg, NULL, true);
}
